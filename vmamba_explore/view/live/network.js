// VideoMamba in the browser: tubelets, position embedding, bidirectional Mamba blocks, one linear
// head, as model/videomamba.py, mixer.py and ssm.py have them, with the edits of a run inside.
//
// All arrays are token-major Float32Arrays in natural clip order.

import { NO_EDITS, uncut } from "./edits.js";
import { Grid } from "./grid.js";
import { columnsOf, rowsOf } from "./ops.js";

const IMAGENET_MEAN = [0.485, 0.456, 0.406];
const IMAGENET_STD = [0.229, 0.224, 0.225];

export class Network {
  // config: VideoMambaConfig.to_dict(); weights: Map of the names of state_dict() to Float32Array;
  // ops: the arithmetic, plainOps or what wasm.js loads
  constructor(config, weights, ops) {
    Object.assign(this, { config, weights, ops });
    this.grid = new Grid(config);
    this.directions = this.grid.directions;
    this.channels = config.expand * config.d_model; // d_inner
    this.parameters = 0;
    for (const values of weights.values()) this.parameters += values.length;
    if (config.pos_embed === "sinusoidal") this.parameters -= weights.get("pos_embed").length;
    this.blocks = Array.from({ length: config.depth }, (_, layer) => this.blockOf(layer));
    this.positions = this.positionsOf();
  }

  // The clip's pixels, Uint8Array (num_frames, img_size, img_size, 3), as tokens with their
  // positions, (seqlen, d_model)
  embed(frames) {
    const { num_frames: clipFrames, img_size: side } = this.config;
    const { tubelet_size: depth, patch_size: patch } = this.config;
    if (frames.length !== clipFrames * side * side * 3) {
      throw new Error(
        `The clip has ${frames.length} numbers, this model reads ${clipFrames} frames of ` +
          `${side} x ${side} pixels in 3 colors.`,
      );
    }
    const { rows, cols, numPatches } = this.grid;
    const level = IMAGENET_STD.map((std, color) =>
      Float32Array.from({ length: 256 }, (_, pixel) => (pixel / 255 - IMAGENET_MEAN[color]) / std),
    );
    const tubelets = new Float32Array(numPatches * 3 * depth * patch * patch);
    let at = 0;
    for (let place = 0; place < numPatches; place += 1) {
      const frame = Math.floor(place / (rows * cols)) * depth;
      const row = (Math.floor(place / cols) % rows) * patch;
      const col = (place % cols) * patch;
      for (let color = 0; color < 3; color += 1) {
        for (let f = frame; f < frame + depth; f += 1) {
          for (let y = row; y < row + patch; y += 1) {
            const start = ((f * side + y) * side + col) * 3 + color;
            for (let x = start; x < start + 3 * patch; x += 3) tubelets[at++] = level[color][frames[x]];
          }
        }
      }
    }
    const [weight, bias] = this.pair("patch_embed.proj");
    const video = this.ops.linear(tubelets, weight, weight.length / bias.length, bias);
    const { table, row } = this.positions;
    if (table !== null) for (let i = 0; i < video.length; i += 1) video[i] += table[i];
    if (this.grid.cls === null) return video;
    const token = this.weights.get("cls_token").slice();
    if (row !== null) for (let i = 0; i < row.length; i += 1) token[i] += row[i];
    const split = this.grid.cls * token.length;
    const tokens = new Float32Array(video.length + token.length);
    tokens.set(video.subarray(0, split));
    tokens.set(token, split);
    tokens.set(video.subarray(split), split + token.length);
    return tokens;
  }

  // Runs the blocks on what embed gives. A run keeps the inputs of its blocks; layer() computes
  // everything else from them. kept: the natural indices of the tokens, null where none is dropped
  run(tokens, edits = NO_EDITS) {
    const run = this.start(tokens, edits);
    for (let layer = 0; layer < this.config.depth; layer += 1) this.advance(run, layer);
    return this.finish(run);
  }

  // The same, with await report(words, share) before each block
  async begin(tokens, edits = NO_EDITS, report = async () => {}) {
    const run = this.start(tokens, edits);
    const { depth } = this.config;
    for (let layer = 0; layer < depth; layer += 1) {
      await report(`layer ${layer}`, layer / depth);
      this.advance(run, layer);
    }
    return this.finish(run);
  }

  // What a layer of a run computed: { x, z, out, scans by direction, scale }; see scanOf
  layer({ inputs, edits, kept }, layer) {
    const { ops, config } = this;
    const { norm, toX, toZ, outProj, scans: parts } = this.blocks[layer];
    const hidden = ops.rmsNorm(inputs[layer], norm, config.norm_eps);
    const [x, z] = [toX, toZ].map((weight) => ops.linear(hidden, weight, config.d_model));
    const scale = config.direction_merge === "mean" ? 0.5 : 1;
    const scans = {};
    for (const direction of this.directions) {
      scans[direction] = this.scanOf(parts[direction], x, direction, edits.of(layer, direction), kept);
    }
    const ys = this.directions.map((direction) => scans[direction].y);
    const out = ops.linear(ops.gatedSum(ys, z, scale), outProj, this.channels);
    if (edits.silent.has(layer)) out.fill(0);
    return { x, z, out, scans, scale };
  }

  // Every state of a scan, (seqlen, channels, d_state); of some channels, or of all
  states(scan, channels = null) {
    const part = channels === null ? scan : this.someChannels(scan, channels);
    const h = new Float32Array(part.order.length * part.A.length);
    this.pieces(part, stopsOf(part), handing(part), h);
    return h;
  }

  // y of a scan { u, delta, A, B, C, D or null, order }, with the states that it hands over; or
  // with stops of one's own: steps, and what is called with (step, state) after each
  scan(scan, stops = stopsOf(scan), stopped = handing(scan)) {
    return this.pieces(scan, stops, stopped, null);
  }

  // The logits of the last block's output
  readOut(output, kept = null) {
    const { ops, grid, weights, config } = this;
    const width = config.d_model;
    const norm = weights.get("norm_f.weight");
    let read;
    if (grid.cls === null) {
      const all = ops.rmsNorm(output, norm, config.norm_eps);
      const sums = new Float64Array(width);
      for (let i = 0; i < all.length; i += 1) sums[i % width] += all[i];
      read = Float32Array.from(sums, (sum) => (sum * width) / all.length);
    } else {
      const at = kept === null ? grid.cls : kept.indexOf(grid.cls);
      read = ops.rmsNorm(output.slice(at * width, (at + 1) * width), norm, config.norm_eps);
    }
    return ops.linear(read, ...this.pair("head", width));
  }

  start(tokens, edits) {
    const kept = edits.kept(this.grid);
    const first = kept === null ? tokens : rowsOf(tokens, this.config.d_model, kept);
    return { inputs: [], output: first, edits, kept };
  }

  advance(run, layer) {
    run.inputs[layer] = run.output;
    const { out } = this.layer(run, layer);
    run.output = run.output.map((value, at) => value + out[at]);
  }

  finish(run) {
    run.logits = this.readOut(run.output, run.kept);
    return run;
  }

  // One direction: what it feeds to its scan, all (seqlen, …): u, delta, y over d_inner and B, C
  // over d_state; A (d_inner, d_state), D (d_inner); order, and handovers [{ step, state }]
  scanOf(part, x, direction, edit, kept) {
    const { ops, config, grid, channels } = this;
    const order = grid.order(direction, kept);
    const u = ops.convolve(x, order, ...part.conv);
    const [dt, B, C] = [part.toDt, part.toB, part.toC].map((w) => ops.linear(u, w, channels));
    const delta = ops.stepSize(ops.linear(dt, part.dtProj, config.dt_rank), part.dtBias);
    const places = (tokens) => placesOf(tokens, kept);
    for (const at of places(edit.frozen)) delta.fill(0, at * channels, (at + 1) * channels);
    const scan = {
      direction, order, u, delta, A: part.A, B, C, D: part.D,
      handovers: edit.handovers.map(({ frame, state }) => (
        { step: grid.crossing(order, kept, frame), state }
      )),
    };
    scan.y = this.scan(scan);
    if (edit.cuts.length) this.cut(scan, edit.cuts, places);
    if (edit.muted) scan.y = new Float32Array(scan.y.length);
    return scan;
  }

  someChannels(scan, channels) {
    const { channels: all, config } = this;
    const rows = (values) => values && rowsOf(values, config.d_state, channels);
    const { handovers = [] } = scan;
    return {
      ...scan,
      u: columnsOf(scan.u, all, channels),
      delta: columnsOf(scan.delta, all, channels),
      A: rows(scan.A),
      D: null,
      handovers: handovers.map(({ step, state }) => ({ step, state: rows(state) })),
    };
  }

  // Takes what sources bring to targets out of y, the skip D u included; shared edges once
  cut(scan, cuts, places) {
    if (scan.handovers.length) {
      throw new Error(
        "Edges are cut and states are replaced in the same scan; what a token brings through a " +
          "replaced state is not defined. Do one of the two.",
      );
    }
    const { channels } = this;
    const done = [];
    for (const each of cuts) done.push(...uncut(each, done));
    for (const [sources, targets] of done) {
      const u = new Float32Array(scan.u.length);
      for (const at of places(sources)) {
        u.set(scan.u.subarray(at * channels, (at + 1) * channels), at * channels);
      }
      const brought = this.scan({ ...scan, u });
      for (const at of places(targets)) {
        for (let i = at * channels; i < (at + 1) * channels; i += 1) scan.y[i] -= brought[i];
      }
    }
  }

  // Scans from stop to stop, so that what stands there can be read and replaced
  pieces(scan, stops, stopped, h) {
    const state = new Float32Array(scan.A.length);
    const y = new Float32Array(scan.u.length);
    let from = 0;
    for (const step of [...new Set(stops)].sort((a, b) => a - b)) {
      this.ops.scan(scan, from, step + 1, state, y, h);
      stopped(step, state);
      from = step + 1;
    }
    this.ops.scan(scan, from, scan.order.length, state, y, h);
    return y;
  }

  pair(name, ins = null) {
    const [weight, bias] = ["weight", "bias"].map((part) => this.weights.get(`${name}.${part}`));
    return ins === null ? [weight, bias] : [weight, ins, bias];
  }

  blockOf(layer) {
    const { config, weights, channels } = this;
    const get = (name) => weights.get(`layers.${layer}.${name}`);
    const scans = {};
    for (const direction of this.directions) {
      const of = (name) => get(`mixer.ssm_${direction}.${name}`);
      const selection = outputs(of("x_proj.weight"), [config.dt_rank, config.d_state, config.d_state]);
      scans[direction] = {
        conv: [of("conv1d.weight"), of("conv1d.bias")],
        toDt: selection[0],
        toB: selection[1],
        toC: selection[2],
        dtProj: of("dt_proj.weight"),
        dtBias: of("dt_proj.bias"),
        A: of("A_log").map((log) => -Math.exp(log)),
        D: of("D"),
      };
    }
    const [toX, toZ] = outputs(get("mixer.in_proj.weight"), [channels, channels]);
    return { norm: get("norm.weight"), toX, toZ, outProj: get("mixer.out_proj.weight"), scans };
  }

  // What is added to the video tokens, (numPatches, d_model), and to the class token, (d_model);
  // null where nothing is
  positionsOf() {
    const { config, weights, grid } = this;
    const table = weights.get("pos_embed") ?? null;
    if (!["spatial", "spatial_temporal"].includes(config.pos_embed)) return { table, row: null };
    const width = config.d_model;
    const middle = (grid.rows * grid.cols) >> 1;
    const cls = grid.cls === null ? null : Math.min(grid.cls, middle); // of one frame's rows
    const own = Array.from(table.subarray(0, table.length / width), (_, at) => at);
    const spatial = rowsOf(table, width, own.filter((at) => at !== cls));
    const row = cls === null ? null : rowsOf(table, width, [cls]);
    if (config.pos_embed === "spatial") return { table: spatial, row };
    const times = weights.get("temporal_pos_embedding");
    const both = Float32Array.from({ length: grid.numPatches * width }, (_, at) => {
      const frame = Math.floor(at / spatial.length);
      return times[frame * width + (at % width)] + spatial[at % spatial.length];
    });
    return { table: both, row };
  }
}

// The parts of a weight (outs, ins) that make some of its outputs each
function outputs(weight, counts) {
  const ins = weight.length / counts.reduce((a, b) => a + b, 0);
  let end = 0;
  return counts.map((count) => weight.subarray(end, (end += count * ins)));
}

// The places of natural tokens in the sequence of a run, dropped ones left out
function placesOf(tokens, kept) {
  const natural = [...tokens];
  return kept === null ? natural : natural.map((t) => kept.indexOf(t)).filter((at) => at >= 0);
}

const stopsOf = ({ handovers = [] }) => handovers.map(({ step }) => step);

// Puts the states that a scan hands over in place, zeros for null; the last one of a step counts
const handing = ({ handovers = [] }) => (step, state) => {
  const last = handovers.filter((each) => each.step === step).at(-1);
  if (last.state === null) state.fill(0);
  else state.set(last.state);
};
