import assert from "node:assert/strict";
import { test } from "node:test";
import { accepted, createAddress, stateIn, stateInPython, stateText } from "../../vmamba_explore/view/explorer/address.js";
import { explored } from "./explored.js";

const STATE = { frame: 8, quantity: "state norm", direction: "", query: [1, 0, 1], path: false, opacity: 0.55 };
const TEXT = "view:frame=8&quantity=state+norm&direction=&query=[1,0,1]&path=false&opacity=0.55";

test("a state is written readably and read back, text that looks like JSON too", async () => {
  await explored();
  assert.equal(stateText(STATE), TEXT);
  assert.deepEqual(stateIn(`#${TEXT}`), STATE);
  for (const quantity of ["8", "true", "[1]", "a=b&c#d", 'x"y', "null", "größe"]) {
    assert.deepEqual(stateIn(`#${stateText({ quantity })}`), { quantity });
  }
});

test("a fragment of another page holds no state, and a broken one raises nothing", async () => {
  await explored();
  assert.equal(stateIn("#section-2"), null);
  assert.deepEqual(stateIn("#view:frame=%E0%A4%A&&=&x"), { frame: "\ufffd%A", "": "", x: "" });
});

test("the line of Python has Python's constants", () => {
  assert.equal(
    stateInPython({ path: true, scale: null, query: [1, 2], quantity: 'a "b"' }),
    '{"path": True, "scale": None, "query": [1, 2], "quantity": "a \\"b\\""}',
  );
});

for (const [name, value] of [
  ["layer", 1], ["layer", "5"], ["quantity", "age"], ["direction", "up"], ["query", [2, 0, 0]], ["query", [0, 0]],
  ["query", [0, 0, 0.5]], ["query", "1"], ["opacity", 2], ["opacity", "1"], ["speed", 0], ["path", 1],
  ["scale", "one"], ["frame", "x"], ["frame", 0.5], ["sides", []], ["constructor", 1],
]) {
  test(`an address that asks for ${name}=${JSON.stringify(value)} is refused in a sentence`, async () => {
    const { view } = await explored();
    assert.throws(() => accepted(view, { frame: 1, [name]: value }), /^Error: The address asks for .*does not have.*\.$/);
  });
}

test("what a view can show is taken, a frame beyond the clip as its last", async () => {
  const { view } = await explored();
  const state = { frame: 99, quantity: "", layer: 0, direction: "difference", query: [1, 1, 0], path: true };
  assert.deepEqual(accepted(view, state), { ...state, frame: 3 });
  assert.deepEqual(accepted(view, { query: [], frame: -1 }), { query: [], frame: 0 });
});

// A page at an address, and what is written into that.
function page(hash) {
  const written = [];
  globalThis.location = { hash };
  globalThis.history = { state: null, replaceState: (_state, _title, text) => written.push(text) };
  globalThis.window = new EventTarget();
  return written;
}

test("the address is followed on load and when it changes, and written once after a move", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const written = page("#view:frame=2&layer=0");
  const { view } = await explored({ addressed: true });
  const part = createAddress(view);
  assert.deepEqual([view.get("frame"), view.get("layer")], [2, 0]);
  part.update(new Set(["frame"]));
  context.mock.timers.tick(1000);
  assert.deepEqual(written, []); // nothing moved
  for (const frame of [1, 0, 3]) {
    view.set("frame", frame);
    part.update(new Set(["frame"]));
  }
  context.mock.timers.tick(1000);
  assert.deepEqual(written, ["#view:frame=3&quantity=delta&layer=0&direction=both&query=[]&path=false"]);
  location.hash = "#view:layer=5";
  window.dispatchEvent(new Event("hashchange"));
  assert.equal(view.get("layer"), 5);
});

test("playing writes nothing until it stops", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const written = page("");
  const { view } = await explored({ addressed: true });
  const part = createAddress(view);
  view.playing = true;
  view.set("frame", 1);
  part.update(new Set(["frame"]));
  context.mock.timers.tick(1000);
  assert.deepEqual(written, []);
  view.playing = false;
  part.update(new Set(["playing"]));
  context.mock.timers.tick(1000);
  assert.equal(written.length, 1);
});

test("a bad address changes nothing and is told until the reader moves", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  page("#view:frame=2&layer=7");
  const { view } = await explored({ addressed: true });
  const part = createAddress(view);
  assert.equal(view.get("frame"), 0);
  assert.match(view.status.textContent, /The address asks for layer=7/);
  view.set("frame", 1);
  part.update(new Set(["frame"]));
  context.mock.timers.tick(1000);
  assert.equal(view.status.textContent, "");
});

test("a view that shares its page leaves the address alone", async () => {
  page("#view:frame=2");
  const { view } = await explored();
  createAddress(view).update(new Set(["frame"]));
  assert.equal(view.get("frame"), 0);
});
