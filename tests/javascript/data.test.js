import assert from "node:assert/strict";
import { test } from "node:test";
import { ends, inWords, rangeInWords, toLevels } from "../../vmamba_explore/view/explorer/data.js";
import { explored } from "./explored.js";

test("levels are inflated and cut into maps, sides and token frames", async () => {
  const { data } = await explored({ sides: 2 });
  const { delta, whole } = Object.fromEntries(data.quantities);
  assert.deepEqual([...delta.plane(0, "forward", 0, 1)], [4, 5, 6, 7]);
  assert.deepEqual([...delta.plane(1, "backward", 5, 0)], [24, 25, 26, 27]);
  assert.deepEqual([...delta.plane("difference", "forward", 0, 0)], [-127, -126, -125, -124]);
  assert.deepEqual([...whole.plane(0, "backward", 5, 1)], [4, 5, 6, 7]); // of all layers, directions
});

test("a missing level is not a number and spoils neither mean nor scale", async () => {
  const delta = (await explored()).data.quantities.get("delta");
  assert.ok(Number.isNaN(delta.plane(0, "backward", 0, 1)[3]));
  assert.equal(delta.means(0)[3], (12 + 13 + 14) / 3);
  assert.equal(inWords(Number.NaN, delta.scale(0, "forward", 0)), "no value");
});

test("steps are counted per direction, and a frame's cells come in the order they are read", async () => {
  const { data } = await explored();
  assert.equal(data.seqlen, 9); // with the class token
  assert.equal(data.step("backward", 0, 1, 0), 5);
  assert.deepEqual(data.order("backward", 1).map(({ row, col }) => [row, col]), [[1, 1], [1, 0], [0, 1], [0, 0]]);
  assert.deepEqual([0, 1].map((frame) => data.firstClipFrame(frame)), [0, 2]);
});

test("a scale spans a layer or all of them, and the directions apart have a symmetric one", async () => {
  const { data } = await explored();
  const log = data.quantities.get("log");
  const span = ({ low, high, signed }) => [low, high, signed];
  assert.deepEqual(span(log.scale(0, "forward", 5)), [0, 2, false]);
  assert.deepEqual(span(log.scale(0, "forward", null)), [-2, 2, false]);
  const apart = data.quantities.get("delta").scale(0, "difference", 0);
  assert.deepEqual(span(apart), [-8, 8, true]); // first direction less the second
  assert.deepEqual(span(data.quantities.get("whole").scale(0, "difference", 0)), [0, 254, false]);
});

test("values of a logarithmic scale are said as they are, differences as ratios, with their unit", async () => {
  const { data } = await explored({ sides: 2 });
  const [log, delta] = ["log", "delta"].map((name) => data.quantities.get(name));
  assert.equal(inWords(-2, log.scale(0, "forward", 0)), "0.01");
  assert.equal(inWords(1, log.scale("difference", "forward", 0)), "×10");
  assert.equal(rangeInWords(delta.scale(0, "forward", 0)), "0 to 254 s");
});

test("values become levels and levels values, within half a level", async () => {
  const { data } = await explored();
  const scale = { low: -1, high: 3 };
  assert.deepEqual([...toLevels([-1, 3, 9, -9, 1, Number.NaN], scale)], [0, 254, 254, 0, 127, 255]);
  const values = data.quantities.get("delta").values(0);
  assert.deepEqual([...toLevels(values.subarray(0, 9), { low: 0, high: 254 })], [...values.subarray(0, 9)]);
});

test("ends leave out what is not finite, and are never equal", () => {
  assert.deepEqual(ends([[1, null, Number.NaN], [5, Infinity]]), [1, 5]);
  assert.deepEqual(ends([[2]]), [1.5, 2.5]);
  assert.deepEqual(ends([[null]]), [0, 1]);
});
