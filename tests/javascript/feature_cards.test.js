import assert from "node:assert/strict";
import { test } from "node:test";
import {
  found, peakFrame, peakIn, percentOf, places, raised, signedNumber, sorted,
} from "../../vmamba_explore/view/feature_cards.js";

const card = (share, byClass, added) => ({ share, fires: 1 - share, byClass, added });
// Two clips, two features, two frames of one row and two columns.
const tokens = {
  signed: false, grid: [2, 1, 2], peaks: [10, 1],
  cards: [card(0.7, [1, 5], [[1, -2, 0, 0], [0, 1, 0, 0]]), card(0.3, [2, 3], [[0, 3, 0, 0]])],
};
const levels = Uint8Array.from([0, 127, 254, 0, 0, 0, 0, 254, 10, 0, 0, 0, 200, 0, 0, 0]);
// The same of states: for each clip a code by feature and frame, then what was written.
const states = { ...tokens, signed: true };
const written = Uint8Array.from([
  254, 100, 0, 20, 127, 127, 254, 0, 127, 190, 127, 127,
  50, 0, 0, 254, 127, 127, 127, 127, 127, 127, 127, 254,
]);

test("a level is that of its clip, feature, frame and patch", () => {
  assert.equal(levels[places(tokens).map(0, 0, 1, 0, 0)], 254);
  assert.equal(levels[places(tokens).map(1, 1, 0, 0, 0)], 200);
  assert.equal(written[places(states).code(0, 1, 1, 0, 0)], 20);
  assert.equal(written[places(states).map(0, 0, 1, 0, 0)], 254);
  assert.equal(written[places(states).map(1, 1, 1, 0, 1)], 254);
});

test("the largest level in a clip is a code, of states too", () => {
  assert.deepEqual([0, 1].map((at) => peakIn(tokens, levels, 1, at)), [10, 200]);
  assert.deepEqual([0, 1].map((at) => peakIn(states, written, 1, at)), [50, 254]);
});

test("a clip opens at the frame in which the map has its most extreme level", () => {
  assert.equal(peakFrame(tokens, levels, 0, 0), 1);
  assert.equal(peakFrame(tokens, levels, 1, 1), 0);
  assert.equal(peakFrame(states, written, 0, 1), 0);
});

test("features at a patch are those with something there, the largest first", () => {
  assert.deepEqual(found(tokens, levels, 0, [1, 0, 1]), [{ at: 1, share: 1 }]);
  assert.deepEqual(found(tokens, levels, 0, [0, 0, 0]), []);
  assert.deepEqual(found(states, written, 0, [1, 0, 1]), [{ at: 0, share: -1 }]);
});

test("features in a clip are ordered by the share of their largest code", () => {
  assert.deepEqual(found(tokens, levels, 1, null).map(({ at }) => at), [1, 0]);
});

test("cards are ordered by what is asked", () => {
  assert.deepEqual(sorted(tokens, levels, "share", 0, 0), [0, 1]);
  assert.deepEqual(sorted(tokens, levels, "fires", 0, 0), [1, 0]);
  assert.deepEqual(sorted(tokens, levels, "effect", 0, 0), [1, 0]);
  assert.deepEqual(sorted(tokens, levels, "class", 0, 0), [1, 0]);
  assert.deepEqual(sorted(tokens, levels, "class", 1, 0), [0, 1]);
  assert.deepEqual(sorted(tokens, levels, "raises", 1, 0), [1, 0]);
  assert.deepEqual(sorted(tokens, levels, "clip", 0, 1), [1, 0]); // 200 of 1 against 10 of 10
  assert.equal(raised(tokens.cards[1], 7), 0);
});

test("a share that is not nothing is not shown as nothing", () => {
  assert.deepEqual([0, 1e-6, 0.00123, 0.0456, 0.5, 1].map(percentOf),
    ["0.00 %", "under 0.01 %", "0.1 %", "4.6 %", "50 %", "100 %"]);
});

test("changes have a sign, and small ones are not nothing", () => {
  assert.deepEqual([1.234, -0.01234, -2e-5, 0].map(signedNumber), ["+1.23", "−0.012", "−2e−5", "0"]);
});
