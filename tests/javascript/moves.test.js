import assert from "node:assert/strict";
import { test } from "node:test";
import { KEYS } from "../../vmamba_explore/view/explorer/help.js";
import { keysOf } from "../../vmamba_explore/view/explorer/moves.js";
import { cellIn, paneName } from "../../vmamba_explore/view/explorer/stage.js";
import { explored } from "./explored.js";

const CHOICES = { direction: ["forward", "backward", "both", "difference"], quantity: ["delta", "log", ""] };

async function pressed(keys, changes) {
  const { view } = await explored(changes);
  const [toggle, help] = ["toggled", "helped"].map((words) => () => view.set("path", words));
  const { alone, shift } = keysOf(view, CHOICES, toggle, help);
  for (const key of keys) key.startsWith("Shift+") ? shift[key.slice(6)]() : alone[key]();
  return view;
}

for (const [keys, name, value] of [
  [["ArrowRight", "ArrowRight"], "frame", 2],
  [["ArrowLeft"], "frame", 3], // around the clip's end
  [["End", "ArrowRight"], "frame", 0],
  [["End", "Home"], "frame", 0],
  [["ArrowUp"], "layer", 5], // there is none above
  [["ArrowDown"], "layer", 0],
  [["ArrowDown", "ArrowDown"], "layer", 0],
  [["d"], "direction", "difference"],
  [["d", "d"], "direction", "forward"],
  [["q", "q"], "quantity", ""],
  [["p"], "path", true],
  [[" "], "path", "toggled"],
  [["?"], "path", "helped"],
  [["Shift+?"], "path", "helped"],
  [["Shift+ArrowUp"], "query", [0, 1, 1]], // the first one is in the middle
  [["End", "Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp"], "query", [1, 0, 1]], // no further than the edge
  [["Shift+ArrowDown", "Shift+ArrowLeft", "ArrowRight"], "query", [0, 1, 0]],
  [["Shift+ArrowDown", "Escape"], "query", []],
]) {
  test(`${keys.join(", ")} leads to ${name} ${JSON.stringify(value)}`, async () => {
    assert.deepEqual((await pressed(keys)).get(name), value);
  });
}

test("where no scan is known nothing is asked and no path drawn", async () => {
  const view = await pressed(["Shift+ArrowUp", "p", "d"], { directions: [], steps: { base64: "eJwDAAAAAAE=" }, direction: "forward" });
  assert.deepEqual(view.get("query"), []);
  assert.equal(view.path, false);
});

test("a point of the page is a cell of the pane, or none", () => {
  const box = { left: 10, top: 20, width: 80, height: 40 };
  assert.deepEqual(cellIn(box, 10, 20, 4, 8), { row: 0, col: 0 });
  assert.deepEqual(cellIn(box, 89, 45, 4, 8), { row: 2, col: 7 });
  assert.equal(cellIn(box, 90, 45, 4, 8), null);
  assert.equal(cellIn(box, 9, 19, 4, 8), null);
});

test("a pane is called by its side and direction, as far as there are several", async () => {
  const { view: one } = await explored();
  const { view: two } = await explored({ sides: 2 });
  assert.equal(paneName(one, 0, "forward"), "forward");
  assert.equal(paneName(two, "difference", "difference"), "B − A · forward − backward");
});

test("the list of keys names every key, and no other", async () => {
  const { view } = await explored();
  const { alone, shift } = keysOf(view, CHOICES, () => {}, () => {});
  const every = [...Object.keys(alone), ...Object.keys(shift).map((key) => `Shift+${key}`)];
  assert.deepEqual(KEYS.flatMap(([, , keys]) => keys).sort(), every.sort());
});
