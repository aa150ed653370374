import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { learn } from "../../vmamba_explore/view/explorer/terms.js";
import { choicesAnswer, readingAnswer, stateAnswer } from "../../vmamba_explore/view/live/answers.js";
import { LiveExploration } from "../../vmamba_explore/view/live/exploration.js";
import { Grid } from "../../vmamba_explore/view/live/grid.js";
import { packSides } from "../../vmamba_explore/view/live/packed.js";
import { Session } from "../../vmamba_explore/view/live/session.js";
import { packed } from "./explored.js";

const TERMS = { ...packed().terms, floor: 1e-6, one_state: "state", state_label: "state {state} of channel {channel}, layer {layer}", state_about: "" };
const CONFIG = {
  num_frames: 4, img_size: 4, patch_size: 2, tubelet_size: 2, num_classes: 3, cls_position: null,
  backward_order: "spatiotemporal", depth: 2, expand: 2, d_model: 2, d_state: 3,
};
const ABOUT = {
  name: "made up", config: CONFIG, class_names: ["a", "b's", "c"], own_names: ["a", "b's", "c"],
  descriptions: { original: "the clip", frozen: "still", reversed: "played backwards", shuffled: "mixed" },
  orders: [[0, 1, 2, 3], [0, 0, 0, 0], [3, 2, 1, 0], [2, 0, 3, 1]],
};
const NAMES = ["delta", "state norm", "contribution"];
const map = (value, layers = 2) => ({
  values: Float32Array.from({ length: layers * 2 * 8 }, (_, i) => i + value), dims: [layers, 2, 2, 2, 2],
  unit: "", about: "", log: false, signed: false,
});

// A model whose logits tell the first pixel and how much was changed, and whose maps tell the same.
function model(told = []) {
  const grid = new Grid(CONFIG);
  const network = {
    config: CONFIG, grid, directions: grid.directions,
    embed: (frames) => Float32Array.from(frames),
    async begin(tokens, edits, report) {
      await report("layer 0", 0);
      await report("layer 1", 0.5);
      told.push(["run", tokens[0], edits.scans.size]);
      return { logits: Float32Array.from([tokens[0], edits.scans.size, 0.5]), value: tokens[0] + 100 * edits.scans.size };
    },
  };
  const numbers = {
    async firstNumbers(_, run, { names, target, edited }, report) {
      await report("maps", 0.5);
      told.push(["first", names.join(), target, edited]);
      return { maps: Object.fromEntries(names.map((name) => [name, map(run.value)])), headline: null };
    },
    async laterNumbers(_, tokens, frames, run, { names }, report) {
      assert.equal(tokens[0], frames[0]);
      await report("evidence", 0.5);
      told.push(["later", names.join()]);
      const curves = [{ name: "seen", direction: grid.directions[0], values: [run.value, NaN] }];
      const controls = { sentence: `${run.value}`, rows: [] };
      return { maps: Object.fromEntries(names.map((name) => [name, map(run.value)])), curves, controls };
    },
    tokenRows: async (_, run, layer, token) => {
      const found = { reads: map(1 + run.value + layer, 1) };
      return token ? { ...found, read_by: map(2, 1) } : found;
    },
    stateMap: async (_, run, layer, channel, state) => map(run.value + 10 * layer + channel + state, 1),
    stateChoices: async (_, run, layer, token, { target }) => [{ words: `${layer} ${token} ${target} ${run.value}` }],
  };
  return { network, about: ABOUT, numbers };
}

function clip() {
  const frames = Uint8Array.from({ length: 4 * 4 * 4 * 3 }, (_, i) => 7 + Math.floor(i / 48));
  return { frames, size: [4, 4], seconds: [0, 0.1, 0.2, 0.3], fps: 10, source: "clip.mp4", film: "key" };
}

// A session, what it sent, and a function that asks it and waits for the last answer.
function opened({ kept = false, changes = [], told = [] } = {}) {
  learn({ get: () => TERMS });
  const sent = [];
  const opening = async (report) => {
    const made = model(told);
    const given = kept
      ? { target: [0, null], known: true, missing: false, lens: "lens", headline: "told", controls: "python", classes: [["a", 1]] }
      : {};
    const side = new LiveExploration(made, clip(), { names: NAMES, layers: [0, 1], ...given });
    if (kept) return { model: made, name: "its name", sides: [side], maps: [], changes, kept };
    await side.begin(["delta", "contribution"], report);
    const { maps } = await packSides([side], ABOUT.name);
    return { model: made, name: ABOUT.name, sides: [side], maps, changes, kept };
  };
  const answers = { state: stateAnswer, choices: choicesAnswer, token: readingAnswer };
  const session = new Session((message) => sent.push(message), opening, answers);
  let number = 0;
  const ask = async (content) => {
    number += 1;
    const mine = number;
    session.hear({ request: mine, ...content }, "delta");
    const answer = () => sent.findLast(({ content: each }) => each?.reply === mine && each.progress === undefined);
    while (!answer()) await new Promise((go) => setTimeout(go, 1));
    return { ...answer().content, buffers: answer().buffers };
  };
  const traits = () => sent.findLast((message) => message.traits)?.traits;
  return { session, sent, ask, traits, told };
}

test("what comes later is sent as late, once, in the order of the maps", async () => {
  const { ask, traits, sent } = opened();
  assert.equal((await ask({ run: "late" })).done, true);
  const { maps, late, late_levels } = traits();
  assert.deepEqual(maps.map(({ name, late: l }) => [name, l]), [["delta", false], ["state norm", true], ["contribution", false]]);
  assert.equal(inflateSync(late_levels).length, 2 * 2 * 8);
  assert.equal(late[0].missing, false);
  assert.deepEqual(late[0].curves[0].values, [7, null]);
  assert.equal(late[0].evidence, "evidence for a (logits)");
  const before = sent.filter((message) => message.traits).length;
  await ask({ run: "late" });
  assert.equal(sent.filter((message) => message.traits).length, before);
});

test("a change shows the model beside itself with the quantity that is shown, and undo the model alone", async () => {
  const { ask, traits, told, session } = opened();
  await session.open();
  told.length = 0;
  assert.equal((await ask({ run: "change", changes: [{ kind: "mute", direction: "forward" }] })).done, true);
  const { sides, heading, changes, code, maps, late } = traits();
  assert.deepEqual(sides.map(({ title }) => title), ["clip.mp4", "forward scans muted"]);
  assert.equal(heading, "A: clip.mp4 — B: forward scans muted · model: made up");
  assert.deepEqual(changes, [{ kind: "mute", direction: "forward", layer: null, words: "forward scans muted" }]);
  assert.match(code, /explore\(clip, model, target='a', compare=lambda model: mute\(model, 'forward'\)\)$/);
  assert.deepEqual(told, [["run", 7, 2], ["first", "delta", 0, true]], "only the changed side ran");
  assert.deepEqual(maps.map(({ name }) => name), ["delta"]);
  assert.equal(sides[1].frames.length, 0);
  assert.equal(sides[1].film, "key");
  assert.deepEqual(late.map(({ missing }) => missing), [true, true]);
  await ask({ run: "late" });
  assert.deepEqual(traits().maps.map(({ name }) => name), NAMES);
  assert.deepEqual(traits().late.map(({ controls }) => controls.sentence), ["7", "207"]);
  await ask({ run: "change", changes: [] });
  assert.equal(traits().sides.length, 1);
  assert.equal(traits().late[0].missing, false);
  assert.deepEqual([traits().changes, traits().code], [[], ""]);
});

test("another class is explained of the same clip, and one that was asked about does not run again", async () => {
  const { ask, traits, told } = opened();
  await ask({ run: "change", changes: [{ kind: "explain", target: 2, minus: 1 }] });
  assert.equal(traits().sides.length, 1);
  assert.deepEqual([traits().sides[0].target, traits().sides[0].minus, traits().sides[0].explained], [2, 1, "c − b's"]);
  told.length = 0;
  const both = [{ kind: "explain", target: 2, minus: 1 }, { kind: "freeze", frame: 1 }];
  await ask({ run: "change", changes: both });
  assert.deepEqual(told.map(([what]) => what), ["run", "first"]);
  assert.deepEqual(traits().sides.map(({ target }) => target), [2, 2]);
});

test("a control shows the frames in its order, without what belongs to the clip's file", async () => {
  const { ask, traits } = opened();
  await ask({ run: "change", changes: [{ kind: "show", shown: "reversed" }] });
  const [one, other] = traits().sides;
  assert.deepEqual([one.source, other.source, other.film], ["clip.mp4", "clip.mp4, backwards", ""]);
  assert.ok(other.frames.length > 0);
  await ask({ run: "change", changes: [{ kind: "show", shown: "frozen" }] });
  assert.equal(traits().sides[1].title, "clip.mp4, still");
});

test("an error is a sentence and the view stays as it was", async () => {
  const { ask, session, sent } = opened();
  await session.open();
  const { sides } = session;
  for (const changes of [null, [{ kind: "mute", layer: 9 }], [{ kind: "explain", target: 3 }], [{ kind: "reset", frame: 0 }]]) {
    assert.match((await ask({ run: "change", changes })).error, /\.$/);
  }
  assert.match((await ask({ run: "strip" })).error, /no file/);
  assert.equal(session.sides, sides);
  assert.ok(!sent.some((message) => message.traits));
});

test("a run that is cancelled shows nothing, and the next one does", async () => {
  const { session, ask, sent } = opened();
  await session.open();
  session.hear({ request: "x", run: "change", changes: [{ kind: "freeze", frame: 0 }] }, "delta");
  session.hear({ cancel: "x" }, "delta");
  await ask({ run: "late" });
  assert.deepEqual(sent.findLast(({ content }) => content?.reply === "x").content, { reply: "x", cancelled: true });
  assert.equal(session.sides.length, 1);
});

test("a side that is shown no more is not completed, and what is shown is", async () => {
  const { ask, session, told, traits } = opened();
  await ask({ run: "change", changes: [{ kind: "freeze", frame: 0 }] });
  const late = ask({ run: "late" });
  await ask({ run: "change", changes: [{ kind: "freeze", frame: 1 }] });
  await late;
  assert.deepEqual(session.missing(), []);
  assert.deepEqual(traits().late.map(({ missing }) => missing), [false, false]);
  assert.equal(told.filter(([what]) => what === "later").length, 2);
});

test("questions about a patch, the read-out and a state are answered of each side", async () => {
  const { ask } = opened();
  const reading = await ask({ side: 0, layer: 1, token: [1, 0, 1] });
  assert.deepEqual(reading.maps.map(({ name, shape, log }) => [name, shape, log]),
    [["reads", [1, 2, 2, 2, 2], true], ["read_by", [1, 2, 2, 2, 2], true]]);
  assert.equal(reading.buffers[0].length, 16);
  assert.deepEqual((await ask({ side: 0, layer: 0, token: [] })).maps.map(({ name }) => name), ["reads"]);
  await ask({ run: "change", changes: [{ kind: "mute", layer: 1, direction: "forward" }] });
  const { map: state, buffers } = await ask({ state: [3, 2], layer: 1 });
  assert.deepEqual([state.name, state.label], ["state", "state 2 of channel 3, layer 1"]);
  assert.equal(buffers[0].length, 3 * 16, "two sides and their difference");
  assert.deepEqual((await ask({ choices: true, side: 1, layer: 1, token: [] })).choices, [{ words: "1 null 0 107" }]);
});

test("a question that cannot be answered says what was expected", async () => {
  const { ask } = opened();
  const words = async (content) => (await ask(content)).error;
  assert.match(await words({ side: 1, layer: 0, token: [] }), /no such side/);
  assert.match(await words({ side: 0, layer: 2, token: [] }), /layer is 2, expected one of 0, 1\.$/);
  assert.match(await words({ side: 0, layer: 0, token: [0, 0, 2] }), /query is \[0, 0, 2\], expected \[frame, row, col\] below/);
  assert.match(await words({ side: 0, layer: 0, token: "x" }), /query is 'x'/);
  assert.match(await words({ state: [4, 0], layer: 0 }), /channel is 4, expected 0 to 3\.$/);
  assert.match(await words({ state: [0], layer: 0 }), /\[channel, state\]/);
  assert.match(await words({ anything: 1 }), /no such question/);
});

test("an exported side keeps what Python found of it, and undo gives back the view's own traits", async () => {
  const { ask, traits, sent, told, session } = opened({ kept: true });
  await ask({ side: 0, layer: 0, token: [0, 0, 0] });
  assert.deepEqual(told.map(([what]) => what), ["run"], "a question about a patch needs no maps");
  await ask({ run: "change", changes: [{ kind: "freeze", frame: 0 }] });
  assert.equal(traits().late[0].lens, "lens");
  assert.match(traits().heading, /model: its name$/);
  await ask({ run: "late" });
  assert.deepEqual(traits().late.map(({ headline, lens }) => [headline, lens]), [["told", "lens"], [null, null]]);
  assert.equal(traits().late[0].controls, "python");
  await ask({ run: "change", changes: [] });
  assert.deepEqual(sent.filter((message) => message.first), [{ first: true }]);
  assert.equal(session.sides.length, 1);
});

test("of a page that was exported changed, undo computes the model as it is", async () => {
  const { ask, traits, sent } = opened({ kept: true, changes: [{ kind: "freeze", frame: 0 }] });
  await ask({ run: "change", changes: [] });
  assert.ok(!sent.some((message) => message.first));
  assert.deepEqual(traits().sides.map(({ title }) => title), ["clip.mp4"]);
});
