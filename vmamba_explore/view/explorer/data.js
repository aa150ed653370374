// What the explorer shows, unpacked once: frames, the values of every map, the steps of the scans.

import { asBytes, colored, decodePictures, grayed, inflate, short } from "../widgets/drawing.js";
import { terms } from "./terms.js";

const DRAWN = 800; // maps kept as pictures

// The numbers of one map, decoded from levels. Of a map on a logarithmic scale they are log10, so a
// difference of them is a ratio.
export class Quantity {
  // levels: by side ("0", "1", "difference"), (layer, direction, frame, row, col), see packing.py.
  constructor(description, levels, directions, layers) {
    Object.assign(this, description);
    this.sides = levels;
    this.layers = layers;
    const one = this.shape[1] === 1 && directions.length > 1;
    this.directions = one ? [] : directions; // none: it does not depend on the direction
    this.memo = new Map();
  }

  // Whether one map stands for all layers.
  get ofAll() {
    return this.shape[0] === 1 && this.layers.length > 1;
  }

  once(key, make) {
    if (!this.memo.has(key)) this.memo.set(key, make());
    return this.memo.get(key);
  }

  layerIndex(layer) {
    return this.shape[0] === 1 ? 0 : this.layers.indexOf(layer);
  }

  values(side) {
    return this.once(`values ${side}`, () => {
      const levels = this.sides[side];
      const ranges = side === terms.difference ? this.differenceRanges : this.ranges;
      const perLayer = levels.length / ranges.length;
      return Float32Array.from(levels, (level, i) => {
        if (level === terms.missing) return NaN;
        const [low, high] = ranges[Math.floor(i / perLayer)];
        return low + (level / (terms.levels - 1)) * (high - low);
      });
    });
  }

  // Whether a direction stands for the difference of the two that this map has.
  differs(direction) {
    return direction === terms.difference && this.directions.length > 1;
  }

  // The values of one token frame, (row, col).
  plane(side, direction, layer, frame) {
    const [, directions, frames, rows, cols] = this.shape;
    const values = this.values(side);
    const cut = (index) => {
      const start = ((this.layerIndex(layer) * directions + index) * frames + frame) * rows * cols;
      return values.subarray(start, start + rows * cols);
    };
    if (this.differs(direction)) {
      const second = cut(1);
      return cut(0).map((value, i) => value - second[i]);
    }
    return cut(Math.max(0, this.directions.indexOf(direction)));
  }

  // What the colors of a pane span; layer null: all layers.
  scale(side, direction, layer) {
    const ofDirections = this.differs(direction);
    const kind = side === terms.difference ? terms.difference : "0";
    return this.once(`scale ${kind} ${ofDirections} ${layer}`, () => {
      const all = kind === terms.difference ? this.differenceRanges : this.ranges;
      const indices = layer === null ? all.keys() : [this.layerIndex(layer)];
      let [low, high] = [Infinity, -Infinity];
      if (ofDirections) {
        high = Math.max(...[...indices].map((index) => this.directionReach(kind, index))) || 1;
        low = -high;
      } else {
        for (const index of indices) {
          low = Math.min(low, all[index][0]);
          high = Math.max(high, all[index][1]);
        }
      }
      const ratio = this.log && (ofDirections || kind === terms.difference);
      const signed = this.signed || ofDirections || kind === terms.difference;
      return { low, high, signed, ratio, log: this.log && !ratio, unit: this.unit };
    });
  }

  // The sides that share a scale with one.
  kin(side) {
    if (String(side) === terms.difference) return [terms.difference];
    return Object.keys(this.sides).filter((name) => name !== terms.difference);
  }

  // The largest difference of the directions in a layer, over frames and sides.
  directionReach(kind, index) {
    const layer = this.shape[0] === 1 ? this.layers[0] : this.layers[index];
    let reach = 0;
    for (const side of this.kin(kind)) {
      for (let frame = 0; frame < this.shape[2]; frame++) {
        for (const value of this.plane(side, terms.difference, layer, frame)) {
          if (Math.abs(value) > reach) reach = Math.abs(value);
        }
      }
    }
    return reach;
  }

  // Means over a frame's tokens, (layer, direction, frame).
  means(side) {
    return this.once(`means ${side}`, () => {
      const values = this.values(side);
      const tokens = this.shape[3] * this.shape[4];
      return Float32Array.from({ length: values.length / tokens }, (_, i) => {
        const present = values.subarray(i * tokens, (i + 1) * tokens).filter((v) => !Number.isNaN(v));
        return present.length ? present.reduce((sum, v) => sum + v, 0) / present.length : NaN;
      });
    });
  }

  // One scale for the means of all layers, directions and, but for their difference, sides.
  meanScale(side) {
    const scale = this.scale(side, "", null);
    const [low, high] = ends(this.kin(side).map((kind) => this.means(kind)));
    const reach = Math.max(-low, high) || 1;
    return scale.signed ? { ...scale, low: -reach, high: reach } : { ...scale, low, high };
  }
}

// Lowest and highest of some rows of numbers, apart; numbers that are none are left out.
export function ends(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    for (const value of row) {
      if (value === null || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// A value of a scale in words, with its unit.
export function inWords(value, scale) {
  if (Number.isNaN(value)) return "no value";
  if (scale.ratio) return `×${short(10 ** value)}`;
  return `${short(scale.log ? 10 ** value : value)}${scale.unit ? ` ${scale.unit}` : ""}`;
}

export function rangeInWords(scale) {
  return `${inWords(scale.low, { ...scale, unit: "" })} to ${inWords(scale.high, scale)}`;
}

export function toLevels(values, scale) {
  const top = terms.levels - 1;
  const factor = top / (scale.high - scale.low);
  return Uint8Array.from(values, (value) => {
    if (Number.isNaN(value)) return terms.missing;
    return Math.min(top, Math.max(0, Math.round((value - scale.low) * factor)));
  });
}

// before: what was loaded last; what has not changed since is taken from it.
export async function loadData(model, before = null) {
  const packed = model.get("sides");
  const inflated = (name) =>
    before && before.packed[name] === model.get(name) ? before.inflated[name] : inflate(asBytes(model.get(name)));
  const pictures = packed.map((side, i) => {
    if (i > 0 && side.offsets.length === 1) return null; // it shows the first side's clip
    const known = before?.sides.find(({ frames }) => frames === side.frames);
    return known ? known.pictures : decodePictures(asBytes(side.frames), side.offsets);
  });
  const names = ["levels", "late_levels", "steps"];
  const [all, ...clips] = await Promise.all([Promise.all(names.map(inflated)), ...pictures]);
  const found = new Data(model, Object.fromEntries(names.map((name, i) => [name, all[i]])), clips);
  found.packed = Object.fromEntries(["sides", ...names].map((name) => [name, model.get(name)]));
  return found;
}

export class Data {
  // inflated: the bytes of levels, late_levels and steps; pictures: by side, null for the first side's.
  constructor(model, inflated, pictures) {
    this.inflated = inflated;
    this.directions = model.get("directions");
    this.layers = model.get("layers");
    this.colors = model.get("colors");
    this.tokenFrames = model.get("token_frames");
    const late = model.get("late");
    const shown = pictures.map((own) => ({ pictures: own ?? pictures[0], gray: [] }));
    pictures.forEach((own, i) => {
      if (!own) shown[i] = shown[0];
    });
    this.sides = model.get("sides").map((side, i) => ({ ...side, ...late[i], ...shown[i] }));
    this.tables = asBytes(model.get("tables"));
    this.quantities = this.cut(model.get("maps"), inflated);
    [this.frames, this.rows, this.cols] = model.get("grid");
    const tokens = this.frames * this.rows * this.cols;
    const { buffer, byteOffset, byteLength } = inflated.steps;
    const all = new Int32Array(buffer, byteOffset, byteLength / 4);
    this.steps = Object.fromEntries(
      this.directions.map((direction, i) => [direction, all.subarray(i * tokens, (i + 1) * tokens)]),
    );
    this.seqlen = tokens + (Object.keys(model.get("cls_steps")).length ? 1 : 0);
    this.orders = new Map();
    this.drawn = new Map();
  }

  // The two streams of levels, each map by map and in each side by side.
  cut(descriptions, { levels, late_levels }) {
    const sides = [...this.sides.keys(), ...(this.sides.length > 1 ? [terms.difference] : [])];
    const start = { false: 0, true: 0 };
    return new Map(
      descriptions.map((description) => {
        const length = description.shape.reduce((product, size) => product * size, 1);
        const late = description.late === true;
        const bySide = {};
        for (const side of sides) {
          bySide[side] = (late ? late_levels : levels).subarray(start[late], (start[late] += length));
        }
        return [description.name, new Quantity(description, bySide, this.directions, this.layers)];
      }),
    );
  }

  table(signed) {
    return this.tables.subarray(signed ? 3 * terms.levels : 0).subarray(0, 3 * terms.levels);
  }

  // Rows of values as a picture, one pixel each.
  picture(values, scale, height, width) {
    return colored(toLevels(values, scale), this.table(scale.signed), height, width);
  }

  // The same of one token frame of a map, drawn once.
  mapPicture(quantity, side, direction, layer, frame, scale) {
    const key = `${quantity.label} ${side} ${direction} ${layer} ${frame} ${scale.low} ${scale.high}`;
    if (!this.drawn.has(key)) {
      if (this.drawn.size >= DRAWN) this.drawn.clear();
      const plane = quantity.plane(side, direction, layer, frame);
      this.drawn.set(key, this.picture(plane, scale, this.rows, this.cols));
    }
    return this.drawn.get(key);
  }

  gray(side, clipFrame) {
    const { gray, pictures } = this.sides[side];
    return (gray[clipFrame] ??= grayed(pictures[clipFrame]));
  }

  step(direction, frame, row, col) {
    return this.steps[direction][(frame * this.rows + row) * this.cols + col];
  }

  // The cells of a token frame in the order in which a direction reads them.
  order(direction, frame) {
    const key = `${direction} ${frame}`;
    if (!this.orders.has(key)) {
      const cells = [];
      for (let row = 0; row < this.rows; row++) {
        for (let col = 0; col < this.cols; col++) {
          cells.push({ row, col, step: this.step(direction, frame, row, col) });
        }
      }
      this.orders.set(key, cells.sort((one, other) => one.step - other.step));
    }
    return this.orders.get(key);
  }

  firstClipFrame(frame) {
    return this.tokenFrames.indexOf(frame);
  }

  // Lets go of the pictures, but for those that other data show.
  close(other = null) {
    const stay = new Set(other?.sides.map(({ pictures }) => pictures));
    for (const { pictures } of this.sides) {
      if (!stay.has(pictures)) for (const picture of pictures) picture.close();
    }
  }
}
