import assert from "node:assert/strict";
import { test } from "node:test";
import { createAsker } from "../../vmamba_explore/view/explorer/query.js";
import { explored } from "./explored.js";

test("a trait that is set tells its listeners once, and Python unless it plays", async () => {
  const { model, view } = await explored();
  const heard = [];
  model.on("change:frame", () => heard.push(model.get("frame")));
  model.save_changes = () => heard.push("saved");
  view.set("frame", 1);
  view.set("frame", 1);
  view.playing = true;
  view.set("frame", 2);
  assert.deepEqual(heard, [1, "saved", 2]);
});

test("the token frame, the asked patch here, and what is shown follow the traits", async () => {
  const { view } = await explored({ sides: 2, frame: 3, query: [1, 0, 1] });
  assert.equal(view.tokenFrame, 1);
  assert.deepEqual(view.queryHere(), { row: 0, col: 1 });
  view.set("frame", 0);
  assert.equal(view.queryHere(), null);
  assert.deepEqual(view.sides(true), [0, 1, "difference"]);
  assert.deepEqual(view.shownDirections(), ["forward", "backward"]);
  view.set("direction", "difference");
  assert.deepEqual(view.shownDirections(), ["difference"]);
  assert.deepEqual(view.shownDirections(true), ["forward", "backward"]);
  assert.equal(view.scaleLayer(), 5);
  view.set("scale", "all");
  assert.equal(view.scaleLayer(), null);
});

test("the status line has one message for each topic", async () => {
  const { view } = await explored();
  view.say("one", "a");
  view.say("two", "b");
  view.say("one", "c");
  assert.equal(view.status.textContent, "c · b");
  view.say("one", "");
  assert.equal(view.status.textContent, "b");
});

// An asker whose kernel is this test: what it sends, and how to answer.
async function asking(changes) {
  const { model, view } = await explored(changes);
  const sent = [];
  model.send = (content) => sent.push(content);
  for (const side of view.data.sides) side.live = true;
  const asker = createAsker(view);
  const answer = (content) => {
    const maps = [{ name: "reads", shape: [1, 2, 2, 2, 2], ranges: [[0, 1]] }];
    view.requests.hear({ maps, ...content }, [new DataView(new ArrayBuffer(16))]);
    return new Promise(setImmediate); // until it was taken in
  };
  return { view, sent, asker, answer };
}

test("sides are asked one after the other, and an answer is kept", async () => {
  const { sent, asker, answer, view } = await asking({ sides: 2, query: [1, 0, 1] });
  asker.ask();
  assert.deepEqual(sent.map(({ side, layer, token }) => [side, layer, token]), [[0, 5, [1, 0, 1]]]);
  assert.equal(asker.state().asking, "pending");
  await answer({ reply: sent[0].request });
  await answer({ reply: sent[1].request });
  assert.equal(asker.state().asking, "answered");
  assert.equal(asker.state().found[1].reads.plane(0, "backward", 5, 1).length, 4);
  view.set("query", []);
  assert.equal(asker.state().asking, "none");
  view.set("query", [1, 0, 1]);
  asker.ask();
  assert.deepEqual([sent.length, asker.state().asking], [2, "answered"]);
});

test("an error is said, an answer to another view is not ours, and a page alone asks nobody", async () => {
  const { view, sent, asker, answer } = await asking({ query: [0, 0, 0] });
  asker.ask();
  await answer({ reply: "somebody else's" });
  assert.equal(asker.state().asking, "pending");
  await answer({ reply: sent[0].request, error: "no <b>answer</b>" });
  assert.deepEqual([asker.state().asking, asker.state().words], ["failed", "no <b>answer</b>"]);
  view.data.sides[0].live = false;
  asker.ask();
  assert.match(asker.state().words, /There is no model to ask here/);
});

test("a late answer is taken, and a view that closes waits for none", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { view, sent, asker, answer } = await asking({ query: [0, 0, 0] });
  asker.ask();
  context.mock.timers.tick(10_000);
  assert.match(asker.state().words, /No kernel answers/);
  await answer({ reply: sent[0].request });
  assert.equal(asker.state().asking, "answered");
  view.set("layer", 0);
  asker.ask();
  view.requests.close();
  await new Promise(setImmediate);
  assert.equal(view.requests.waiting.size, 0);
});

test("a view that closes lets go of its model, of the page and of its element", async () => {
  const { model, view } = await explored();
  const open = new Set(["msg:custom"]); // questions are heard since the view was made
  model.on = (event) => open.add(event);
  model.off = (event) => open.delete(event);
  class Observer {
    observe() { open.add(this); }
    disconnect() { open.delete(this); }
  }
  const dark = { addEventListener: (type) => open.add(type), removeEventListener: (type) => open.delete(type) };
  Object.assign(globalThis, {
    ResizeObserver: Observer, MutationObserver: Observer, cancelAnimationFrame() {},
    window: { matchMedia: () => dark }, document: {}, getComputedStyle: () => ({ paddingLeft: "0", paddingRight: "0" }),
  });
  view.parts = [{ close: () => open.delete("part") }];
  open.add("part");
  const close = view.live();
  assert.equal(open.size, 2 + 6 + 3); // traits; two observers and the page's theme
  close();
  assert.deepEqual([...open], ["msg:custom"], "a view made anew hears the answers of the one before");
  view.kept.requests.close();
  assert.deepEqual([...open], []);
  assert.ok(view.ended.signal.aborted, "the listeners of elements stay");
});
