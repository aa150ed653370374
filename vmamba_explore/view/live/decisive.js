// Where the positive parts of a logit stand, in one sentence; analysis/headline.py says the same.

import { percent } from "./percent.js";

const CLEAR = 2; // a part is named where it has so many times its share of an even spread,
const LEAST = 0.25; // and this share of all
const EXACT = 1e-3; // the largest residual with which parts are said to be parts of the logit

const positive = (value) => Math.max(0, value);
const sumOf = (values) => values.reduce((a, b) => a + b, 0);
const shareOf = (value, whole) => (whole > 0 ? value / whole : 0);
const isClear = (share, among) => share >= Math.max(LEAST, CLEAR / among);

// The place of the largest value, the first of equal ones
function largest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) if (values[i] > values[best]) best = i;
  return best;
}

// parts: LogitParts with every layer. Returns frame, frames [first, last], scan [layer, direction],
// patch [row, col] or null, their shares and whether they are clear; added, logit, residual.
export function decisive(parts) {
  const { network: { grid, directions } } = parts;
  const { frames: count, rows, cols } = grid;
  const patches = rows * cols;
  const video = (tokens) => Float64Array.from(grid.split(tokens).video, positive);
  const frameSums = (values) =>
    Array.from({ length: count }, (_, f) => sumOf(values.subarray(f * patches, (f + 1) * patches)));
  const scans = parts.tokens.flat().map(video);
  const inFrames = scans.map(frameSums);
  const embedded = frameSums(video(parts.embedding));
  const byFrame = embedded.map((sum, f) => sum + sumOf(inFrames.map((sums) => sums[f])));
  const all = [...parts.tokens.flat(), parts.embedding, ...parts.offsets, [parts.bias]];
  const added = sumOf(all.map((values) => sumOf(Float64Array.from(values, positive))));

  const { frames, share: framesShare, clear: framesClear } = decisiveFrames(
    byFrame.map((sum) => shareOf(sum, added)),
  );
  const [first, last] = framesClear ? frames : [0, count - 1];
  const byScan = inFrames.map((sums) => sumOf(sums.slice(first, last + 1)));
  const best = largest(byScan);
  const whole = framesClear ? sumOf(byFrame.slice(first, last + 1)) : added;
  const scanShare = shareOf(byScan[best], whole);
  const scanClear = isClear(scanShare, byScan.length);
  let [patch, patchShare] = [null, 0];
  if (framesClear && scanClear) {
    const plane = new Float64Array(patches);
    for (let i = first * patches; i < (last + 1) * patches; i += 1) plane[i % patches] += scans[best][i];
    [patch, patchShare] = decisivePatch(plane, rows, cols);
  }
  return {
    frame: largest(byFrame), frames, framesShare, framesClear,
    scan: [Math.floor(best / directions.length), directions[best % directions.length]], scanShare, scanClear,
    patch, patchShare, added, logit: parts.logit, residual: parts.residual,
  };
}

// The shortest run of frames with half of all, else the frame with most; is it clear?
function decisiveFrames(shares) {
  const count = shares.length;
  for (let length = 1; length < count; length += 1) {
    const runs = Array.from({ length: count - length + 1 }, (_, f) => sumOf(shares.slice(f, f + length)));
    const first = largest(runs);
    const share = runs[first];
    if (share < 0.5) continue;
    if (isClear(share, count / length)) return { frames: [first, first + length - 1], share, clear: true };
    break;
  }
  const best = largest(shares);
  return { frames: [best, best], share: shares[best], clear: isClear(shares[best], count) };
}

// The middle of the 3 x 3 patches that hold half and more, where that is clear; of equal ones that
// around the peak
function decisivePatch(plane, rows, cols) {
  const windows = Float64Array.from(plane, (_, at) => {
    const [row, col] = [Math.floor(at / cols), at % cols];
    let sum = 0;
    for (let r = Math.max(0, row - 1); r <= Math.min(rows - 1, row + 1); r += 1) {
      for (let c = Math.max(0, col - 1); c <= Math.min(cols - 1, col + 1); c += 1) sum += plane[r * cols + c];
    }
    return sum;
  });
  let best = 0;
  for (let at = 1; at < plane.length; at += 1) {
    const tie = windows[at] === windows[best];
    if (windows[at] > windows[best] || (tie && plane[at] >= plane[best])) best = at;
  }
  const share = windows[best] / sumOf(plane);
  const clear = share >= 0.5 && isClear(share, plane.length / 9);
  return clear ? [[Math.floor(best / cols), best % cols], share] : [null, 0];
}

const isTold = ({ residual, added }) => residual <= EXACT && added > 0;

// One sentence; what is not clear is left out. target: what the logit is of
export function decisiveSentence(found, target) {
  if (found.residual > EXACT) {
    return `What adds to ${target} cannot be told: the parts miss the logit by ${percent(found.residual)}.`;
  }
  if (found.added <= 0) return `Nothing adds to ${target}: every part of its logit is negative.`;
  const [first, last] = found.frames;
  const when = first === last ? `token frame ${first}` : `token frames ${first} to ${last}`;
  const words = [`What adds to ${target} is spread over the clip`];
  if (found.framesClear) {
    const verb = found.framesShare >= 0.5 ? "Decided at" : "Leans most on";
    words[0] = `${verb} ${when} (${percent(found.framesShare)} of what adds to ${target})`;
  }
  if (found.scanClear) {
    const [layer, direction] = found.scan;
    const part = found.scanShare >= 0.5 ? "most of it" : "the largest part";
    words.push(`${part} in layer ${layer}, ${direction} (${percent(found.scanShare)})`);
  }
  if (found.patch !== null) {
    const [row, col] = found.patch;
    words.push(`around row ${row}, column ${col} (${percent(found.patchShare)} of that)`);
  }
  return `${words.join(", ")}.`;
}

// A number with one digit, as Python's ".1g"
function oneDigit(value) {
  const [digit, power] = value.toExponential(0).split("e");
  if (power >= -4 && power < 1) return String(Number(`${digit}e${power}`));
  return `${digit}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

// What the sentence rests on, and what it does not see
const decisiveHedge = ({ logit, residual }) =>
  `All parts sum to the logit, ${logit.toFixed(2)}, but for ${oneDigit(residual)} of it. A ` +
  "part is what a token of a layer's input adds to the logit directly: in later layers " +
  "a token also holds what others brought to it, and delta, B and C are frozen.";

// The sentence with what it rests on and the traits of an explorer that shows the place, as
// packed_headline packs them in Python. layers: those that are shown
export function packedHeadline(found, target, layers, { tubelet_size: depth }) {
  const [layer, direction] = found.scan;
  const opening = isTold(found)
    ? {
      quantity: "contribution",
      frame: found.frame * depth,
      ...(layers.includes(layer) ? { layer } : {}),
      ...(found.scanClear ? { direction } : {}),
    }
    : {};
  return { sentence: decisiveSentence(found, target), hedge: decisiveHedge(found), opening };
}
