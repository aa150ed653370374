import assert from "node:assert/strict";
import { test } from "node:test";
import { offers, runChanges, withChange, wordless } from "../../vmamba_explore/view/explorer/changes.js";
import { explored } from "./explored.js";

const settled = () => new Promise(setImmediate);

// Where an element would be drawn: what can be changed there, by the words of its button.
async function offered(state, prepare = () => {}) {
  const { view } = await explored(state);
  prepare(view);
  return Object.fromEntries(offers(view));
}

test("what is offered follows the layer, the direction, the frame and the asked patch", async () => {
  const both = await offered({ frame: 2, layer: 5 });
  assert.deepEqual(both["mute backward"], { kind: "mute", direction: "backward" });
  assert.deepEqual(both["mute layer 5"], { kind: "mute", layer: 5, direction: null });
  assert.deepEqual(both["reset state before token frame 1"], { kind: "reset", frame: 1, direction: null });
  assert.equal(both["mute the asked patch"], null);
  assert.equal(both["mute the brushed patches"], null);
  const one = await offered({ frame: 2, layer: 0, direction: "forward", query: [1, 0, 1] });
  assert.deepEqual(one["mute layer 0 forward"], { kind: "mute", layer: 0, direction: "forward" });
  assert.deepEqual(one["swap forward state before token frame 1"], { kind: "swap", frame: 1, direction: "forward" });
  assert.deepEqual(one["mute patch 1, 0, 1"], { kind: "freeze", patches: [[1, 0, 1]] });
});

test("no boundary lies before the first frame, and brushed patches are offered together", async () => {
  const first = await offered({ frame: 0 }, (view) => {
    view.brush([0, 1, 1]);
    view.brush([1, 0, 0]);
    view.brush([0, 1, 1]);
    view.brush([1, 1, 1]);
    view.brush([1, 1, 1], false);
  });
  assert.equal(first["reset state before token frame 0"], null);
  assert.deepEqual(first["mute 2 brushed patches"], { kind: "freeze", patches: [[0, 1, 1], [1, 0, 0]] });
});

test("brushed patches are marked in their own frame", async () => {
  const { view } = await explored({ frame: 0 });
  view.brush([0, 1, 0]);
  view.brush([1, 0, 1]);
  assert.deepEqual(view.brushedHere(), [{ row: 1, col: 0 }]);
  view.set("frame", 3);
  assert.deepEqual(view.brushedHere(), [{ row: 0, col: 1 }]);
});

test("a list grows, asks about one class at a time, and is sent without words", () => {
  const given = [{ kind: "mute", direction: "forward", words: "x" }, { kind: "explain", target: 1, words: "y" }];
  assert.deepEqual(wordless(given), [{ kind: "mute", direction: "forward" }, { kind: "explain", target: 1 }]);
  assert.deepEqual(withChange(given, { kind: "explain", target: 2 }), [
    { kind: "mute", direction: "forward" }, { kind: "explain", target: 2 },
  ]);
  assert.equal(withChange(given, { kind: "freeze", frame: 1 }).length, 3);
});

// A view whose kernel is this test.
async function running() {
  const { model, view } = await explored();
  const [sent, said] = [[], []];
  model.send = (content) => sent.push(content);
  view.kept.tellChanging = () => said.push(view.kept.changing);
  const answer = async (i, content) => {
    view.requests.hear({ reply: sent[i].request, ...content });
    await settled();
  };
  return { view, sent, said, answer };
}

test("a run says how far it is, can be cancelled meanwhile, and leaves nothing to say when it is done", async () => {
  const { view, sent, said, answer } = await running();
  runChanges(view, [{ kind: "freeze", frame: 1 }]);
  assert.deepEqual(sent[0].changes, [{ kind: "freeze", frame: 1 }]);
  await answer(0, { progress: 0.5, words: "layer 1" });
  assert.deepEqual(said.at(-1), { words: "running the model: layer 1, 50 %", id: sent[0].request });
  await answer(0, { done: true });
  assert.deepEqual(said.at(-1), { words: "", id: null });
});

test("of two runs only the newer one is spoken of", async () => {
  const { view, said, answer } = await running();
  runChanges(view, []);
  runChanges(view, []);
  await answer(0, { progress: 0.5, words: "old" });
  await answer(0, { cancelled: true });
  assert.equal(said.at(-1).words, "asking the model …");
  await answer(1, { error: "There is no layer 9." });
  assert.deepEqual(said.at(-1), { words: "There is no layer 9.", id: null });
});

test("a kernel that dies in the middle is said, and nothing is stuck", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { view, said, sent } = await running();
  runChanges(view, []);
  view.requests.hear({ reply: sent[0].request, progress: 0.2, words: "layer 0" });
  context.mock.timers.tick(10_001);
  assert.match(said.at(-1).words, /No kernel answers/);
  assert.equal(said.at(-1).id, null, "it offers to cancel what no kernel does");
});
