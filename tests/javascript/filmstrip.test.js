import assert from "node:assert/strict";
import { test } from "node:test";
import { Films } from "../../vmamba_explore/view/explorer/films.js";
import { moveWindow, numberAt, secondsAt, tiled, within } from "../../vmamba_explore/view/explorer/filmstrip.js";
import { keysOf } from "../../vmamba_explore/view/explorer/moves.js";
import { explored } from "./explored.js";

const settled = () => new Promise(setImmediate);
const STRIP = { numbers: [0, 10, 30], seconds: [0.5, 1.5, 2.5] }; // twice as fast at the end

test("seconds and frames lie between those that are known, and past them", () => {
  assert.deepEqual([0, 5, 10, 20, 30, 40].map((number) => secondsAt(STRIP, number)), [0.5, 1, 1.5, 2, 2.5, 3]);
  assert.deepEqual([0.5, 1, 1.5, 2, 2.5, 3].map((time) => numberAt(STRIP, time)), [0, 5, 10, 20, 30, 40]);
  assert.deepEqual([secondsAt({ numbers: [0], seconds: [2] }, 7), numberAt({ numbers: [3], seconds: [2] }, 9)], [2, 3]);
});

test("a window stays within the file, and one that is too long starts with it", () => {
  assert.deepEqual([-5, 3.4, 95, 400].map((first) => within(first, 10, 100)), [0, 3, 90, 90]);
  assert.equal(within(5, 200, 100), 0);
});

test("a tile shows the picture that is nearest to its middle, and none where none was decoded", () => {
  const strip = { numbers: [0, 25, 50, 75], pictures: ["a", "b", "c", null], count: 100 };
  assert.deepEqual(tiled(strip, 4), ["a", "b", "c", "c"]);
  assert.deepEqual(tiled(strip, 2), ["b", "c"]);
  assert.deepEqual(tiled({ ...strip, pictures: ["a", null, null, null] }, 4), ["a", "a", null, null]);
});

// A view whose kernel is this test.
async function moving(changes) {
  const { model, view } = await explored(changes);
  const sent = [];
  model.send = (content) => sent.push(content);
  view.kept.showStrip = () => {};
  const answer = async (content) => {
    view.requests.hear({ reply: sent[0].request, ...content });
    await settled();
  };
  return { view, sent, answer, state: () => view.kept.moving };
}

test("a window that is moved says how far it is, and is where it was put until it is there", async () => {
  const { view, sent, answer, state } = await moving();
  const run = moveWindow(view, 40);
  assert.deepEqual([sent[0].run, sent[0].start], ["window", 40]);
  await answer({ progress: 0.5, words: "layer 3" });
  assert.deepEqual([state().words, state().at, state().id], ["layer 3, 50 %", 40, sent[0].request]);
  await answer({ done: true });
  await run;
  assert.deepEqual([state().words, state().at, state().id], ["", null, null]);
});

for (const [what, last, words] of [
  ["cancelled", { cancelled: true }, "Cancelled: the view stays as it was."],
  ["refused", { error: "film.mp4: the file is gone." }, "film.mp4: the file is gone."],
]) {
  test(`a window that was ${what} goes back to where the clip is`, async () => {
    const { view, answer, state } = await moving();
    const run = moveWindow(view, 40);
    await answer(last);
    await run;
    assert.deepEqual([state().words, state().at, state().id], [words, null, null]);
  });
}

test("a kernel that never answers is said, and the window can be moved again", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { view, state } = await moving();
  moveWindow(view, 40);
  context.mock.timers.tick(10_000);
  assert.match(state().words, /No kernel answers/);
  assert.equal(state().id, null);
});

// A film whose pictures are told apart by name; createImageBitmap is a browser's.
async function withFilm(view, key) {
  const closed = [];
  globalThis.createImageBitmap = async (blob) => ({ name: `${key} ${blob.size}`, close: () => closed.push(key) });
  view.kept.films.known.set(key, null);
  await view.kept.films.put(key, new Uint8Array(10), [0, 1, 3, 6, 10]);
  return closed;
}

test("the pixels of the file are shown where they came, unless those of the model are asked for", async () => {
  const { view } = await explored({ pixels: "source" });
  const [side] = view.data.sides;
  Object.assign(side, { film: "a", pictures: ["model 0", "model 1"] });
  assert.equal(view.picture(0, 1, false), "model 1");
  const keys = keysOf(view, { direction: [], quantity: [] }, () => {});
  keys.alone.m();
  assert.equal(view.get("pixels"), "source", "there is nothing to switch");
  await withFilm(view, "a");
  assert.equal(view.picture(0, 1, false).name, "a 2");
  keys.alone.m();
  assert.equal(view.get("pixels"), "model");
  assert.equal(view.picture(0, 1, false), "model 1");
  keys.alone.m();
  assert.equal(view.picture(0, 1, false).name, "a 2");
  side.film = "";
  assert.equal(view.picture(0, 1, false), "model 1");
});

test("films of clips that are shown no more are closed, also those that come too late", async () => {
  const { view } = await explored();
  const { films } = view.kept;
  const b = await withFilm(view, "b");
  const a = await withFilm(view, "a");
  films.keep(["b"]);
  assert.deepEqual([a.length, b.length, films.get("a"), films.any], [4, 0, null, true]);
  await films.put("a", new Uint8Array(10), [0, 1, 3, 6, 10]);
  assert.deepEqual([a.length, b.length, films.known.has("a")], [8, 0, false]);
  films.keep([]);
  assert.deepEqual([b.length, films.any], [4, false]);
});

test("a file with no more pixels than the model sees leaves nothing to switch", async () => {
  const films = new Films();
  films.known.set("a", null);
  await films.put("a", null, []);
  assert.deepEqual([films.get("a"), films.any], [null, false]);
});
