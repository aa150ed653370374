import assert from "node:assert/strict";
import { test } from "node:test";
import { walkFactor, walkNumber, walkPlace, walkScale, walkShare, walkTerm } from "../../vmamba_explore/view/live/walk_draw.js";

test("numbers have three digits, a true minus sign, and stand in a formula without two signs in a row", () => {
  assert.deepEqual([0.12345, -2, 1e-7, 12345, 0].map(walkNumber), ["0.123", "−2", "1e−7", "12300", "0"]);
  assert.deepEqual([1.5, -1.5].map(walkFactor), ["1.5", "(−1.5)"]);
  assert.deepEqual([1.5, -1.5].map(walkTerm), ["+ 1.5", "− 1.5"]);
});

test("a share that is nearly all is not shown as all", () => {
  assert.deepEqual([0.99986, 1, 0.5, 0.00012, 0.99999999].map(walkShare), ["0.99986", "1", "0.5", "0.00012", "1"]);
});

test("numbers of both signs are centered on zero, others span from the lowest to the highest", () => {
  assert.deepEqual(walkScale([-1, 3]), { low: -3, high: 3, signed: true });
  assert.deepEqual(walkScale([2, 5]), { low: 2, high: 5, signed: false });
  for (const scale of [walkScale([0, 0]), walkScale([4]), walkScale([-0])]) assert.ok(scale.high > scale.low);
});

test("a place is named, and so is the class token, which has none", () => {
  assert.equal(walkPlace([3, 0, 7]), "token frame 3, row 0, col 7");
  assert.equal(walkPlace(null), "the class token");
});
