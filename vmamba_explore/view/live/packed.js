// Explorations as the traits of the explorer: what packing.py and drawn.py make of them in Python.

import { terms } from "../explorer/terms.js";
import { oneLine } from "./words.js";

// The explorer's compressed traits are one zlib stream each.
export async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Halves go to the even number, as numpy rounds.
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

// One scale that spans the finite values of some arrays; a signed one is centered on zero.
export function scaleOf(arrays, signed) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays) {
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [0, 0];
  if (signed) {
    const reach = Math.max(-low, high) || 1;
    return { low: -reach, high: reach, signed: true };
  }
  if (low === high) [low, high] = [Math.min(low, 0), Math.max(high, 0)]; // a constant has the range from zero
  return { low, high: high > low ? high : low + 1, signed: false };
}

// The level of each value on a scale; what is not finite is drawn as nothing.
export function levelsOf(values, { low, high }) {
  const top = terms.levels - 1;
  return Uint8Array.from(values, (value) => {
    if (!Number.isFinite(value)) return terms.missing;
    const share = (value - low) / (high - low);
    return rounded(Math.min(1, Math.max(0, share)) * top);
  });
}

// The numbers that are drawn: on a logarithmic scale log10, down to a small part of the largest value.
function drawnNumbers({ values, log }, top) {
  if (!log) return Float64Array.from(values);
  const floor = terms.floor * top;
  return Float64Array.from(values, (value) => {
    const number = Number.isNaN(value) ? NaN : Math.log10(Math.max(value, floor));
    return Number.isFinite(number) ? number : NaN;
  });
}

// One map of all sides: its description, and the levels, first the sides', then, of two, their difference's.
export function packTogether(name, maps) {
  const [{ dims, unit = "", about = "", log = false }] = maps;
  const layers = dims[0];
  const tops = maps.map(({ values }) => values.reduce((most, v) => (Number.isFinite(v) && v > most ? v : most), -Infinity));
  const top = Math.max(...tops);
  const sides = maps.map((map) => drawnNumbers({ ...map, log }, Number.isFinite(top) ? top : 1));
  const signed = !log && (maps[0].signed ?? sides.some((values) => values.some((value) => value < 0)));
  const difference = sides.length === 2 ? [sides[1].map((value, i) => value - sides[0][i])] : [];
  const size = sides[0].length / layers;
  const cut = (values, layer) => values.subarray(layer * size, (layer + 1) * size);
  const scaled = (arrays, isSigned) =>
    Array.from({ length: layers }, (_, layer) => scaleOf(arrays.map((values) => cut(values, layer)), isSigned));
  const scales = scaled(sides, signed);
  const ofDifference = difference.length ? scaled(difference, true) : [];
  const levels = new Uint8Array((sides.length + difference.length) * sides[0].length);
  [...sides, ...difference].forEach((values, i) => {
    const own = i < sides.length ? scales : ofDifference;
    for (let layer = 0; layer < layers; layer++) {
      levels.set(levelsOf(cut(values, layer), own[layer]), i * values.length + layer * size);
    }
  });
  const ends = ({ low, high }) => [low, high];
  const described = {
    name, unit, label: `${name} (${unit || "no unit"})`, log, signed: scales[0].signed, shape: [...dims],
    ranges: scales.map(ends), differenceRanges: ofDifference.map(ends), about,
  };
  return { described, levels };
}

// The names of the maps that all sides have, in the order of the first.
export const commonMaps = (sides) =>
  Object.keys(sides[0].maps).filter((name) => sides.every(({ maps }) => name in maps));

// Maps of all sides: their descriptions, and their levels, one after the other, compressed.
export async function packMaps(sides, names = commonMaps(sides)) {
  const parts = names.map((name) => packTogether(name, sides.map(({ maps }) => maps[name])));
  const levels = new Uint8Array(parts.reduce((sum, part) => sum + part.levels.length, 0));
  let at = 0;
  for (const part of parts) {
    levels.set(part.levels, at);
    at += part.levels.length;
  }
  return [parts.map(({ described }) => described), await deflated(levels)];
}

// Maps that were asked for, each on a logarithmic scale of its own: descriptions and levels.
export function packAnswer(maps) {
  const parts = Object.entries(maps).map(([name, map]) => packTogether(name, [{ ...map, log: true }]));
  return { maps: parts.map(({ described }) => described), buffers: parts.map(({ levels }) => levels) };
}

// RGB pixels (height, width, 3) as a BMP picture, which keeps every one of them.
export function bitmap(pixels, height, width) {
  const row = 4 * Math.ceil((3 * width) / 4); // rows are whole words, from the last one up
  const file = new Uint8Array(54 + row * height);
  const view = new DataView(file.buffer);
  file.set([0x42, 0x4d]); // "BM"
  view.setUint32(2, file.length, true);
  view.setUint32(10, 54, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  view.setUint32(34, row * height, true);
  for (let y = 0; y < height; y++) {
    const start = 54 + (height - 1 - y) * row;
    for (let i = 0; i < width; i++) {
      const from = 3 * (y * width + i);
      for (let color = 0; color < 3; color++) file[start + 3 * i + color] = pixels[from + 2 - color];
    }
  }
  return file;
}

// A clip's frames as encoded pictures, one after the other, and where each starts.
function encodedFrames(clip) {
  if (clip.encoded) return clip.encoded;
  const [height, width] = clip.size;
  const size = height * width * 3;
  const pictures = Array.from({ length: clip.frames.length / size }, (_, i) =>
    bitmap(clip.frames.subarray(i * size, (i + 1) * size), height, width));
  const offsets = [0];
  for (const picture of pictures) offsets.push(offsets.at(-1) + picture.length);
  const frames = new Uint8Array(offsets.at(-1));
  for (const [i, picture] of pictures.entries()) frames.set(picture, offsets[i]);
  clip.encoded = { frames, offsets };
  return clip.encoded;
}

const NO_FRAMES = { frames: new Uint8Array(0), offsets: [0] };

// What belongs to one side from the start; see `pack_side`.
export function packSide(side, withFrames = true) {
  const { clip } = side;
  return {
    title: oneLine(side.name) || clip.title || clip.source,
    source: clip.source,
    size: [...clip.size],
    ...(withFrames ? encodedFrames(clip) : NO_FRAMES),
    seconds: [...clip.seconds],
    repeated: clip.repeated ?? 0,
    fps: clip.fps,
    classes: side.classes.map(([name, probability]) => ({ name: oneLine(name), probability })),
    target: side.target[0],
    minus: side.target[1],
    explained: oneLine(side.explained),
    deciding: clip.deciding ?? [],
    live: true,
    states: true,
    film: clip.film ?? "",
  };
}

const evidenceLabel = (side) => (side.curves.length ? `evidence for ${oneLine(side.explained)} (logits)` : "");

// What belongs to one side and may come later; see `pack_late`.
export function packLate(side) {
  return {
    missing: side.missing,
    headline: side.headline,
    controls: side.controls,
    camera: side.camera ?? null,
    evidence: evidenceLabel(side),
    lens: side.lens ?? null,
    curves: side.curves.map(({ name, direction, values }) => ({
      name, direction, values: Array.from(values, (value) => (Number.isFinite(value) ? value : null)),
    })),
  };
}

// What is shown, in one line; see `heading`.
function headingOf(sides, modelName) {
  const titles = sides.map((side, i) => {
    const title = packSide(side, false).title;
    return sides.length === 1 ? title : `${terms.sides[i]}: ${title}`;
  });
  return titles.join(" — ") + (modelName ? ` · model: ${oneLine(modelName)}` : "");
}

// The traits that hold what one side or two show; see `pack_sides`. Of two that show one clip, the
// second has no frames of its own.
export async function packSides(sides, modelName) {
  const [first, ...others] = sides;
  const [maps, levels] = await packMaps(sides);
  return {
    sides: [packSide(first), ...others.map((side) => packSide(side, side.clip !== first.clip))],
    late: sides.map(packLate),
    maps: maps.map((map) => ({ ...map, late: false })),
    levels,
    late_levels: await deflated(new Uint8Array(0)),
    heading: headingOf(sides, modelName),
  };
}

// How many channels a scan has, and how many states a channel.
export const stateShape = ({ config: { expand, d_model, d_state } }) => [expand * d_model, d_state];

// The traits that belong to the model and the length of its clips: the same for all sides.
export async function packModel(network, numFrames) {
  const { grid, directions } = network;
  const steps = new Int32Array(directions.length * grid.numPatches);
  const clsSteps = {};
  directions.forEach((direction, i) => {
    const step = new Int32Array(grid.seqlen);
    grid.order(direction).forEach((token, at) => {
      step[token] = at;
    });
    if (grid.cls !== null) clsSteps[direction] = step[grid.cls];
    let place = i * grid.numPatches;
    for (let token = 0; token < grid.seqlen; token++) {
      if (token !== grid.cls) steps[place++] = step[token];
    }
  });
  return {
    steps: await deflated(new Uint8Array(steps.buffer)),
    cls_steps: clsSteps,
    directions: [...directions],
    grid: [grid.frames, grid.rows, grid.cols],
    token_frames: Array.from({ length: numFrames }, (_, i) => Math.floor((i * grid.frames) / numFrames)),
    state_shape: stateShape(network),
  };
}
