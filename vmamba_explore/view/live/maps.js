// The numbers of an explored run: the maps of every layer from one replay of it, what the logit is
// made of, and what comes later. app/gather.py does this in Python.

import { explainedName } from "./asked.js";
import { attentionRow, gridMap } from "./attention.js";
import { controlAnswers } from "./control_runs.js";
import { decisive, packedHeadline } from "./decisive.js";
import { evidenceCurves } from "./evidence.js";
import { partOf } from "./exploration.js";
import { LogitParts } from "./logit_parts.js";

const SUMMED = 1e-3; // contributions of an edited run are shown where their sum misses the logit by less
const CONTRIBUTION = "contribution";

// The rms over tokens of each state's C: how strongly the state is read
export function readingStrength({ C, order }) {
  const states = C.length / order.length;
  const squares = new Float64Array(states);
  for (let i = 0; i < C.length; i += 1) squares[i % states] += C[i] ** 2;
  return squares.map((sum) => Math.sqrt(sum / order.length));
}

// How many frames have been opened when a scan has read each token: a token opens a frame when it is
// the first of its frame to be read, the class token opens none
function framesOpened(grid, order) {
  const opened = new Set();
  const counts = new Float32Array(order.length);
  for (const token of order) {
    if (token !== grid.cls) opened.add(grid.frameOf(token));
    counts[token] = opened.size;
  }
  return counts;
}

function meanDelta({ delta, D }) {
  const means = new Float32Array(delta.length / D.length);
  for (let t = 0; t < means.length; t += 1) {
    let sum = 0;
    for (let i = t * D.length; i < (t + 1) * D.length; i += 1) sum += delta[i];
    means[t] = sum / D.length;
  }
  return means;
}

function stateNorm(network, scan) {
  const h = network.states(scan);
  const reading = readingStrength(scan);
  const [count, states, size] = [scan.order.length, reading.length, scan.A.length];
  const norms = new Float32Array(count);
  const squares = new Float64Array(states);
  for (let t = 0; t < count; t += 1) {
    squares.fill(0);
    for (let i = t * size; i < (t + 1) * size; i += states) {
      for (let n = 0; n < states; n += 1) squares[n] += h[i + n] * h[i + n];
    }
    norms[t] = Math.sqrt(squares.reduce((sum, square, n) => sum + square * reading[n] ** 2, 0));
  }
  return norms;
}

// What is left, as many tokens later as a frame has, of what is written at each token: the mean over
// channels and states of exp(A (S_later - S)), S the sum of delta over the tokens read so far
function retained(network, { order, delta, A, D }) {
  const { grid, ops } = network;
  const [count, channels, later] = [order.length, D.length, grid.rows * grid.cols];
  const S = new Float64Array((count + 1) * channels); // by step, from nothing read on
  for (let step = 0; step < count; step += 1) {
    const at = order[step] * channels;
    for (let c = 0; c < channels; c += 1) {
      S[(step + 1) * channels + c] = S[step * channels + c] + delta[at + c];
    }
  }
  const known = Math.max(0, count - later);
  const grown = new Float32Array(known * channels);
  for (let i = 0; i < grown.length; i += 1) grown[i] = S[i + (later + 1) * channels] - S[i + channels];
  const left = ops.meanDecay(grown, A, channels);
  const shares = new Float32Array(count).fill(NaN);
  for (let step = 0; step < known; step += 1) shares[order[step]] = left[step];
  return shares;
}

// How old what a token reads from the state is on average, in frames opened since: by the majorant
// of the scan, in which nothing cancels, and the mean over channels
function lookBack(network, { order, u, delta, A, B, C, D }) {
  const channels = D.length;
  const opened = framesOpened(network.grid, order);
  const majorant = { delta, A, B: B.map(Math.abs), C: C.map(Math.abs), D: null, order };
  const written = u.map(Math.abs);
  const dated = written.map((size, i) => size * opened[Math.floor(i / channels)]);
  const [read, readDated] = [written, dated].map((sizes) => network.scan({ ...majorant, u: sizes }));
  return opened.map((now, t) => {
    let sum = 0;
    for (let i = t * channels; i < (t + 1) * channels; i += 1) sum += Math.max(0, now - readDated[i] / read[i]);
    return sum / channels;
  });
}

// By name, a map of one scan: (seqlen)
const OF_SCANS = {
  delta: (_, scan) => meanDelta(scan),
  "state norm": stateNorm,
  retention: retained,
  "look-back": lookBack,
  "hidden attention": (network, scan) => attentionRow(network, scan, null),
};

// Some maps of a run, and where its logit is decided where contributions are among them.
// question: { target, minus, layers, names, classNames, model: about, edited }
export async function firstNumbers(network, run, question, report) {
  if (run.kept !== null) throw new Error("Tokens are dropped in this run, so its maps have holes; there are none.");
  const { names, layers, target, minus, model } = question;
  const rows = Object.fromEntries(names.filter((name) => name in OF_SCANS).map((name) => [name, []]));
  const parts = names.includes(CONTRIBUTION) ? new LogitParts(network, run, target, minus) : null;
  const read = Array.from(network.blocks.keys()).filter((index) => parts || layers.includes(index));
  if (!parts && !Object.keys(rows).length) read.length = 0;
  for (const [done, index] of read.entries()) {
    await report(`layer ${index}`, done / read.length);
    const layer = network.layer(run, index);
    if (parts) parts.add(layer, index);
    if (!layers.includes(index)) continue;
    for (const [name, found] of Object.entries(rows)) {
      found.push(network.directions.map((direction) => OF_SCANS[name](network, layer.scans[direction])));
    }
  }
  const summed = parts && (!question.edited || parts.residual < SUMMED);
  if (summed) rows[CONTRIBUTION] = layers.map((index) => parts.tokens[index]);
  const described = Object.fromEntries(model.quantities.map(({ name, unit, about, log }) => [name, { unit, about, log }]));
  const maps = {};
  for (const name of names) if (rows[name]) maps[name] = { ...gridMap(network, rows[name]), ...described[name] };
  const explained = explainedName(question.classNames, [target, minus]);
  const headline = summed ? packedHeadline(decisive(parts), explained, layers, network.config) : null;
  return { maps, headline };
}

// The maps that are missing, evidence and controls. tokens: what network.embed gave for the frames
export async function laterNumbers(network, tokens, frames, run, question, report) {
  const found = await firstNumbers(network, run, question, partOf(report, 0, 3));
  const curves = await evidenceCurves(network, tokens, run, question, partOf(report, 1, 3));
  const controls = await controlAnswers(network, frames, run, question, partOf(report, 2, 3));
  return { ...found, curves, controls };
}
