// The numbers of "How it works", in the worker: everything between the pixels of one patch and the
// logits, from one run and one replayed layer; and a whole scan, which walk_scan.js reads token by token.

import { softmax } from "./ops.js";

const WALK_MOST = 4_000_000; // numbers of the states that are sent at once, 16 MB
const WALK_STRONGEST = 16; // channels, where those are asked for that are read most
const WALK_INNER = { share: 0.97, samples: 20_000 }; // of the numbers that colors tell apart; a few would take them all

const walkRow = (values, width, at) => values.slice(at * width, (at + 1) * width);
const walkSigmoid = (x) => 1 / (1 + Math.exp(-x));
const walkDot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const walkLargest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

// Answers a session's question, of the side that it names.
export async function walkReply(session, content, report) {
  const { shown, layer } = session.asked({ ...content, token: content.token ?? [] });
  const { network, about } = session.model;
  if (!network.directions.includes(content.direction)) {
    throw new Error(`This model has no direction '${content.direction}'; expected one of ${network.directions.join(", ")}.`);
  }
  const run = await shown.ran(report);
  const answer = walkAnswer({ network, run, frames: shown.clip.frames, target: shown.target }, { ...content, layer });
  return { ...answer, classNames: about.class_names };
}

// shown: { network, run, frames, target: [class, other class or null] }; question: see the two below
export function walkAnswer(shown, question) {
  return question.walk === "scan" ? walkScan(shown, question) : walkNumbers(shown, question);
}

// A scan as a whole. question: { layer, direction, channels: "all", "strongest" (those read most), or their numbers }.
// Of these channels: u, delta, y (tokens, channels), A (channels, states), h (tokens, channels, states);
// h before the first token is zero, and where `handed` has a step, what comes after it starts from its
// state. reach: how far most of h, and most of what is written, are from zero.
export function walkScan({ network, run, frames }, { layer, direction, channels }) {
  const scan = walkScanOf(network, run, layer, direction);
  const all = scan.D.length;
  const states = scan.A.length / all;
  const tokens = scan.order.length;
  const fitting = Math.max(1, Math.floor(WALK_MOST / (tokens * states)));
  const chosen = walkChannels(scan, channels).slice(0, fitting);
  const columns = (values) => Float32Array.from({ length: tokens * chosen.length },
    (_, i) => values[Math.floor(i / chosen.length) * all + chosen[i % chosen.length]]);
  const rows = (values) => Float32Array.from(chosen.flatMap((channel) => [...walkRow(values, states, channel)]));
  const [u, delta, h] = [columns(scan.u), columns(scan.delta), network.states(scan, chosen)];
  const written = (i) => { // one of all that is written, in the order of h
    const [token, channel] = [Math.floor(i / (states * chosen.length)), Math.floor(i / states)];
    return delta[channel] * u[channel] * scan.B[token * states + (i % states)];
  };
  return {
    layer, direction, channels: chosen, of: all, states, fitting,
    natural: walkNatural(scan.order, run.kept), order: scan.order,
    u, delta, y: columns(scan.y),
    A: rows(scan.A), B: scan.B, C: scan.C, D: Float32Array.from(chosen, (channel) => scan.D[channel]),
    h, reach: { h: walkReach(h.length, (i) => h[i]), written: walkReach(h.length, written) },
    handed: scan.handovers.map(({ step, state }) => ({ step, state: state && rows(state) })),
    frames, clip: [network.config.num_frames, network.config.img_size],
    cls: network.grid.cls,
  };
}

// Every number of a patch. question: { layer, direction, token: [frame, row, column], channel, state };
// channel or state null: the one from which most is read at this token.
export function walkNumbers({ network, run, frames, target }, { layer, direction, token, channel, state }) {
  const { grid, config } = network;
  const index = grid.index(...token);
  const at = run.kept === null ? index : run.kept.indexOf(index);
  if (at < 0) throw new Error("This patch was dropped before the first layer, so there are no numbers of it; choose another one.");
  const replayed = walkLayer(network, run, layer);
  const scan = replayed.scans[direction];
  const step = scan.order.indexOf(at);
  const chosen = channel ?? walkStrongest(scan, at, 1)[0];
  const scanned = walkState(network, scan, step, chosen, state);
  const place = { token, index, layer, direction, step, steps: scan.order.length, channel: chosen, state: scanned.state };
  return {
    place,
    pixels: walkPatch(config, frames, token),
    embedding: walkEmbedding(network, run, index, at),
    norm: walkNorm(network, run, replayed, layer, at),
    convolution: walkConvolved(network, run, replayed, scan, layer, step, chosen),
    selection: walkSelection(network, scan, layer, at, chosen),
    scan: scanned,
    readout: walkReadout(network, run, replayed, scan, scanned, layer, at, chosen),
    logits: walkLogits(network, run, replayed, layer, step, direction, target),
  };
}

// --- the steps -------------------------------------------------------------------------------------

// The pixels of a tubelet, (tubelet, patch, patch, 3), and which frames of the clip they are from
function walkPatch({ tubelet_size: depth, patch_size: patch, img_size: side }, frames, [frame, rowAt, colAt]) {
  const values = new Uint8Array(depth * patch * patch * 3);
  const clipFrames = Array.from({ length: depth }, (_, i) => frame * depth + i);
  let at = 0;
  for (const f of clipFrames) {
    for (let y = rowAt * patch; y < (rowAt + 1) * patch; y += 1) {
      const start = ((f * side + y) * side + colAt * patch) * 3;
      values.set(frames.subarray(start, start + 3 * patch), at);
      at += 3 * patch;
    }
  }
  return { values, clipFrames, size: patch };
}

// projected + position = token, (d_model); position null where none is added
function walkEmbedding({ grid, config, positions }, run, index, at) {
  const width = config.d_model;
  const token = walkRow(run.inputs[0], width, at);
  const video = index - (grid.cls !== null && index > grid.cls ? 1 : 0);
  const position = positions.table === null ? null : walkRow(positions.table, width, video);
  const projected = position === null ? token : token.map((value, i) => value - position[i]);
  return { projected, position, token };
}

// What the block gets, its root mean square, what the norm makes of it, and both halves of in_proj
function walkNorm({ config, weights, ops }, run, { x, z }, layer, at) {
  const input = walkRow(run.inputs[layer], config.d_model, at);
  const channels = x.length / (run.inputs[layer].length / config.d_model);
  return {
    input, rms: Math.sqrt(walkDot(input, input) / input.length + config.norm_eps),
    normed: ops.rmsNorm(input, weights.get(`layers.${layer}.norm.weight`), config.norm_eps),
    x: walkRow(x, channels, at), z: walkRow(z, channels, at),
  };
}

// sum = bias + the taps' weight times x, u = SiLU(sum), of a channel; all: u of all channels
function walkConvolved(network, run, { x }, scan, layer, step, channel) {
  const { weight, bias } = walkConvolution(network, scan, layer);
  const channels = bias.length;
  const count = weight.length / channels;
  const taps = [];
  for (let k = Math.max(0, count - 1 - step); k < count; k += 1) {
    const from = step - count + 1 + k;
    const at = scan.order[from];
    taps.push({
      token: network.grid.place(run.kept === null ? at : run.kept[at]), step: from,
      weight: weight[channel * count + k], x: x[at * channels + channel],
    });
  }
  const all = walkRow(scan.u, channels, scan.order[step]);
  const sum = taps.reduce((s, tap) => s + tap.weight * tap.x, bias[channel]);
  return { taps, count, bias: bias[channel], sum, u: all[channel], all };
}

// What is made of u: dt (dt_rank), delta of all channels, B and C; sum: what a channel's softplus gets
function walkSelection(network, scan, layer, at, channel) {
  const of = (name) => walkWeight(network, scan, layer, name);
  const { dt_rank: rank, d_state: states } = network.config;
  const [bias, channels] = [of("dt_proj.bias"), scan.D.length];
  const u = walkRow(scan.u, channels, at);
  const dt = Float32Array.from({ length: rank }, (_, i) => walkDot(u, walkRow(of("x_proj.weight"), channels, i)));
  const sum = walkDot(dt, walkRow(of("dt_proj.weight"), rank, channel)) + bias[channel];
  const delta = walkRow(scan.delta, channels, at);
  return {
    dt, all: delta, B: walkRow(scan.B, states, at), C: walkRow(scan.C, states, at), sum, bias: bias[channel],
    delta: delta[channel], frozen: delta.every((value) => value === 0),
  };
}

// One state at one step: before · kept + written = after; all: the channel's states after the step
function walkState(network, scan, step, channel, wanted) {
  const channels = scan.D.length;
  const states = scan.A.length / channels;
  const at = scan.order[step];
  const h = network.states(scan, [channel]);
  const all = walkRow(h, states, at);
  const C = walkRow(scan.C, states, at);
  const state = wanted ?? walkLargest(all.map((value, n) => Math.abs(value * C[n])));
  const handed = scan.handovers.filter((each) => each.step === step - 1).at(-1);
  let before = step > 0 ? h[scan.order[step - 1] * states + state] : 0;
  if (handed) before = handed.state === null ? 0 : handed.state[channel * states + state];
  const [A, delta, u] = [scan.A[channel * states + state], scan.delta[at * channels + channel], scan.u[at * channels + channel]];
  const B = scan.B[at * states + state];
  return {
    state, A, delta, u, B, before, kept: Math.exp(delta * A), written: delta * B * u, after: all[state], all,
    handed: handed !== undefined,
  };
}

// state + skip = made, of a channel; y of each direction, as the run had it; gated = sum of y · SiLU(z);
// input + out = output, (d_model)
function walkReadout(network, run, replayed, scan, { all }, layer, at, channel) {
  const { config } = network;
  const channels = scan.D.length;
  const states = scan.A.length / channels;
  const C = walkRow(scan.C, states, at);
  const u = scan.u[at * channels + channel];
  const z = walkRow(replayed.z, channels, at);
  const ys = Object.fromEntries(network.directions.map((name) => [name, walkRow(replayed.scans[name].y, channels, at)]));
  const gated = z.map((gate, c) => (
    gate * walkSigmoid(gate) * replayed.scale * network.directions.reduce((sum, name) => sum + ys[name][c], 0)
  ));
  const input = walkRow(run.inputs[layer], config.d_model, at);
  const output = layer + 1 < config.depth ? run.inputs[layer + 1] : run.output;
  return {
    C, h: all, state: walkDot(C, all), D: scan.D[channel], u, skip: scan.D[channel] * u, made: walkDot(C, all) + scan.D[channel] * u,
    y: scan.y[at * channels + channel], ys, z: z[channel], gate: z[channel] * walkSigmoid(z[channel]), scale: replayed.scale,
    gated: gated[channel], all: gated, input, out: walkRow(replayed.out, config.d_model, at),
    output: walkRow(output, config.d_model, at), edited: run.edits.of(layer, scan.direction).muted || run.edits.silent.has(layer),
  };
}

// The logits, and what this token of the layer's input adds to the asked one straight through the scan
// of each direction, logits; null where edges of that scan are cut. target: [class, other class or null]
function walkLogits(network, run, replayed, layer, step, direction, target) {
  const [asked, minus] = target ?? [walkLargest(run.logits), null];
  const at = replayed.scans[direction].order[step];
  const parts = {};
  for (const name of network.directions) {
    const edit = run.edits.of(layer, name);
    const scan = replayed.scans[name];
    if (edit.cuts.length) parts[name] = null;
    else if (edit.muted || run.edits.silent.has(layer)) parts[name] = 0;
    else parts[name] = walkPart(network, run, replayed, scan, layer, scan.order.indexOf(at), asked, minus);
  }
  return {
    logits: run.logits, shares: softmax(run.logits), target: asked, minus, parts,
    pooled: network.grid.cls === null, tokens: run.output.length / network.config.d_model,
  };
}

// The logit is linear in a layer's input once the selection, the gates and the last norm are frozen:
// the token's own share in the convolution, scanned, gated and projected; analysis/logits.py has it of all.
function walkPart(network, run, { x, z, scale }, scan, layer, step, asked, minus) {
  const { weights, config, grid } = network;
  const { weight, bias } = walkConvolution(network, scan, layer);
  const channels = bias.length;
  const count = weight.length / channels;
  const u = new Float32Array(scan.u.length);
  const from = scan.order[step] * channels;
  for (let j = 0; j < count && step + j < scan.order.length; j += 1) {
    const at = scan.order[step + j] * channels;
    for (let c = 0; c < channels; c += 1) {
      const own = weight[c * count + count - 1 - j] * x[from + c];
      u[at + c] = own * walkSigmoid(walkSum(x, scan.order, step + j, weight, bias, c));
    }
  }
  const handovers = scan.handovers.map((each) => ({ ...each, state: null })); // nothing of it gets past
  const y = network.scan({ ...scan, u, handovers });
  const width = config.d_model;
  const head = walkRow(weights.get("head.weight"), width, asked);
  if (minus !== null) head.forEach((_, i) => { head[i] -= weights.get("head.weight")[minus * width + i]; });
  const norm = weights.get("norm_f.weight");
  const outProj = weights.get(`layers.${layer}.mixer.out_proj.weight`);
  const asking = new Float64Array(channels); // what one number of each gated channel adds
  for (let m = 0; m < width; m += 1) {
    for (let c = 0; c < channels; c += 1) asking[c] += head[m] * norm[m] * outProj[m * channels + c];
  }
  const tokens = y.length / channels;
  const cls = run.kept === null ? grid.cls : run.kept.indexOf(grid.cls);
  const read = grid.cls === null ? Array.from({ length: tokens }, (_, t) => t) : [cls];
  let sum = 0;
  for (const t of read) {
    const final = run.output.subarray(t * width, (t + 1) * width);
    const rms = Math.sqrt(walkDot(final, final) / width + config.norm_eps);
    let here = 0;
    for (let i = t * channels; i < (t + 1) * channels; i += 1) {
      here += y[i] * z[i] * walkSigmoid(z[i]) * asking[i % channels];
    }
    sum += (here * scale) / (rms * read.length);
  }
  return sum;
}

// --- helpers ---------------------------------------------------------------------------------------

const walkReplays = new WeakMap(); // the layer that was replayed last, by run

function walkLayer(network, run, layer) {
  if (walkReplays.get(run)?.layer !== layer) walkReplays.set(run, { layer, replayed: network.layer(run, layer) });
  return walkReplays.get(run).replayed;
}

const walkScanOf = (network, run, layer, direction) => walkLayer(network, run, layer).scans[direction];

const walkWeight = ({ weights }, { direction }, layer, name) => (
  weights.get(`layers.${layer}.mixer.ssm_${direction}.${name}`)
);

const walkConvolution = (network, scan, layer) => ({
  weight: walkWeight(network, scan, layer, "conv1d.weight"), bias: walkWeight(network, scan, layer, "conv1d.bias"),
});

// The natural index of each token of a run
const walkNatural = (order, kept) => (kept === null ? order : order.map((at) => kept[at]));

// What a channel's SiLU gets at a step of the scan
function walkSum(x, order, step, weight, bias, channel) {
  const channels = bias.length;
  const count = weight.length / channels;
  let sum = bias[channel];
  for (let k = Math.max(0, count - 1 - step); k < count; k += 1) {
    sum += weight[channel * count + k] * x[order[step - count + 1 + k] * channels + channel];
  }
  return sum;
}

// The channels of whose states most is read, at a token or, null, over all: |y - D u|
function walkStrongest({ y, u, D }, token, count) {
  const channels = D.length;
  const sums = new Float64Array(channels);
  const [from, to] = token === null ? [0, y.length] : [token * channels, (token + 1) * channels];
  for (let i = from; i < to; i += 1) sums[i % channels] += Math.abs(y[i] - D[i % channels] * u[i]);
  const numbers = Array.from(sums, (_, channel) => channel).sort((a, b) => sums[b] - sums[a]);
  return numbers.slice(0, count);
}

function walkChannels(scan, channels) {
  if (channels === "strongest") return walkStrongest(scan, null, WALK_STRONGEST);
  return channels === "all" ? Array.from(scan.D, (_, channel) => channel) : channels;
}

// How far from zero most of some numbers are. value: a function of the place, 0 to count - 1
function walkReach(count, value) {
  const every = Math.ceil(count / WALK_INNER.samples);
  const some = Float32Array.from({ length: Math.ceil(count / every) }, (_, i) => Math.abs(value(i * every))).sort();
  return some[Math.floor(WALK_INNER.share * (some.length - 1))] || some.at(-1) || 1;
}
