// A logit as more and more of a clip is seen, one token frame after the other, all other tokens
// dropped; analysis/evidence.py does this in Python.

import { Edits } from "./edits.js";

// The same edits of a run that sees some tokens alone
function seeing(edits, grid, isSeen) {
  const part = Object.assign(new Edits(), edits, { dropped: new Set() });
  for (const token of grid.order(grid.directions[0])) {
    if (token !== grid.cls && !isSeen(grid.frameOf(token))) part.dropped.add(token);
  }
  return part;
}

// The curves [{ name, direction, values }]; none of a clip of too many token frames, each point is
// one run, and none where states are replaced at a boundary, which a part of the clip may not have.
// The whole clip is the run that is there.
export async function evidenceCurves(network, tokens, run, { target, minus, model }, report) {
  const { grid } = network;
  const replaced = [...run.edits.scans.values()].some(({ handovers }) => handovers.length);
  if (grid.frames > model.evidence_frames || replaced) return [];
  const of = ({ logits }) => logits[target] - (minus === null ? 0 : logits[minus]);
  const curves = [
    { whole: grid.frames - 1, sees: (frame, at) => frame <= at },
    { whole: 0, sees: (frame, at) => frame >= at },
  ];
  const count = curves.length * grid.frames;
  const found = [];
  for (const [i, { whole, sees }] of curves.entries()) {
    const [name, direction] = model.evidence_curves[i];
    const values = new Float32Array(grid.frames);
    for (let at = 0; at < grid.frames; at += 1) {
      const done = found.length * grid.frames + at;
      await report("evidence", done / count);
      if (at === whole) {
        values[at] = of(run);
        continue;
      }
      const part = seeing(run.edits, grid, (frame) => sees(frame, at));
      values[at] = of(await network.begin(tokens, part, (_, share) => report("evidence", (done + share) / count)));
    }
    found.push({ name, direction, values });
  }
  return found;
}
