import assert from "node:assert/strict";
import { test } from "node:test";
import { areasOf, GAP, paneWidth } from "../../vmamba_explore/view/explorer/areas.js";
import { tiling } from "../../vmamba_explore/view/explorer/navigator.js";

test("what stands side by side fits into every width, gaps included", () => {
  for (let width = 200; width <= 1400; width++) {
    const { kind, rail, stage, side, time } = areasOf(width);
    assert.ok(Math.min(rail, stage, side, time) > 0);
    if (kind === "wide") assert.equal(rail + stage + side + 2 * GAP, width);
    if (kind === "wide") assert.equal(rail + time + GAP, width);
    if (kind === "middle") assert.equal(stage + side + GAP, width);
    if (kind === "narrow") assert.deepEqual([stage, side, time], [width, width, width]);
    assert.ok(rail <= width);
  }
});

test("the panel stands beside the panes from 760 pixels on, the navigator from 940", () => {
  const kinds = [624, 759, 760, 939, 940, 1248].map((width) => areasOf(width).kind);
  assert.deepEqual(kinds, ["narrow", "narrow", "middle", "middle", "wide", "wide"]);
});

test("panes fill their place, two rows of them no higher than the panel beside, wide pictures no higher", () => {
  const [wide, narrow] = [areasOf(1248), areasOf(600)];
  assert.equal(paneWidth(wide, 2, 1, [64, 64]), 244);
  assert.equal(paneWidth(wide, 3, 2, [64, 64]), 120);
  assert.equal(paneWidth(wide, 3, 2, [90, 160]), Math.floor((wide.stage - 16) / 3)); // its place is narrower
  assert.equal(paneWidth(wide, 1, 1, [90, 160]), Math.floor((244 * 160) / 90));
  assert.equal(paneWidth(narrow, 2, 1, [64, 64]), 296);
});

test("tiles of all layers fit into the navigator, in as few blocks as leave them large", () => {
  for (const [rows, columns] of [[1, 1], [6, 2], [24, 2], [32, 2], [24, 6], [48, 6]]) {
    const { size, blocks, lines } = tiling(rows, columns, 236, 184);
    assert.ok(blocks * lines >= rows && (blocks - 1) * lines < rows, `${rows} layers have a place each`);
    assert.ok(blocks * (18 + columns * (size + 2) - 2) + (blocks - 1) * 8 <= 236, `${rows} x ${columns}`);
    assert.ok(lines * (size + 2) - 2 <= 184 || size === 9);
  }
  assert.deepEqual(tiling(6, 2, 236, 184), { size: 47, blocks: 2, lines: 3 });
  assert.deepEqual(tiling(100, 6, 100, 184), { size: 9, blocks: 1, lines: 100 }); // taller than asked for
});
