// What the browser's modules are given, made up and small: terms, a model object, packed maps.

import { deflateSync } from "node:zlib";
import { loadData } from "../../vmamba_explore/view/explorer/data.js";
import { learn } from "../../vmamba_explore/view/explorer/terms.js";
import { View } from "../../vmamba_explore/view/explorer/view.js";
import { standaloneModel } from "../../vmamba_explore/view/widgets/standalone.js";

const TERMS = {
  both: "both",
  difference: "difference",
  directions: { both: "both", difference: "forward − backward" },
  sides: { 0: "A", 1: "B", difference: "B − A" },
  state: ["frame", "quantity", "layer", "direction", "query", "path"],
  address: "view:",
  reading: { reads: "reads", read_by: "is read by" },
  levels: 255, late: "late", change: "change",
  pictures: "pictures", strip: "strip", window: "window", pixels: { source: "source", model: "model" },
  missing: 255,
};

const map = (name, shape, changes = {}) => ({
  name, shape, unit: "", label: name, about: "", log: false, signed: false,
  ranges: Array(shape[0]).fill([0, 254]), differenceRanges: Array(shape[0]).fill([-127, 127]), ...changes,
});

// Maps of 2 layers, 2 directions, 2 token frames of 2 rows and 2 columns; `whole` has one of each.
// Levels count up, so a value of the first map is its place.
export function packed({ sides = 1, ...changes } = {}) {
  const maps = [
    map("delta", [2, 2, 2, 2, 2], { unit: "s" }),
    map("log", [2, 2, 2, 2, 2], { log: true, ranges: [[-2, 0], [0, 2]] }),
    map("whole", [1, 1, 2, 2, 2]),
  ];
  const parts = maps.flatMap(({ shape }) => Array(sides === 2 ? 3 : 1).fill(shape.reduce((a, b) => a * b)));
  const levels = Uint8Array.from(parts.flatMap((length) => [...Array(length).keys()]));
  levels[15] = TERMS.missing;
  const steps = Int32Array.from([0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0]);
  const side = { frames: "", offsets: [0], title: "clip", seconds: [0, 0.1, 0.2, 0.3] };
  const bytes = (array) => ({ base64: Buffer.from(array.buffer ?? array).toString("base64") });
  return {
    terms: TERMS, maps, levels: bytes(Uint8Array.from(deflateSync(levels))),
    late_levels: bytes(Uint8Array.from(deflateSync(new Uint8Array(0)))), revision: 0,
    late: Array(sides).fill({ missing: false, controls: null, camera: null, evidence: "", curves: [] }),
    steps: bytes(Uint8Array.from(deflateSync(new Uint8Array(steps.buffer)))),
    cls_steps: { forward: 0 }, layers: [0, 5], directions: ["forward", "backward"], colors: {},
    token_frames: [0, 0, 1, 1], grid: [2, 2, 2], tables: bytes(new Uint8Array(6 * 255)),
    sides: Array(sides).fill({ ...side, frames: bytes(new Uint8Array(0)) }),
    frame: 0, quantity: "delta", layer: 5, direction: "both", query: [], path: false, scale: "layer",
    ...changes,
  };
}

export async function explored(changes) {
  globalThis.requestAnimationFrame = () => 1;
  const model = standaloneModel(packed(changes));
  learn(model);
  const data = await loadData(model);
  const view = new View(model, data, { clientWidth: 100 }, { textContent: "" });
  return { model, data, view };
}
