// A logit, or the difference of two, as an exact sum of what each token of each layer's input adds to
// it, the last RMSNorm, the selection and the gates frozen; analysis/logits.py does this in Python.

import { transposedScan } from "./attention.js";

// What each entry of the last residual stream adds to a logit: weight (d_model) times scales
// (seqlen); and what the head's bias adds, and the logit itself
export function logitReadout(network, run, target, minus = null) {
  const { config, grid, weights } = network;
  const width = config.d_model;
  const of = (values) => values[target] - (minus === null ? 0 : values[minus]);
  const [head, norm] = [weights.get("head.weight"), weights.get("norm_f.weight")];
  const row = (number) => head.subarray(number * width, (number + 1) * width);
  const weight = row(target).map((value, c) => norm[c] * (value - (minus === null ? 0 : row(minus)[c])));
  const scales = new Float64Array(grid.seqlen);
  for (let t = 0; t < grid.seqlen; t += 1) {
    if (grid.cls !== null && t !== grid.cls) continue;
    let squares = 0;
    for (let i = t * width; i < (t + 1) * width; i += 1) squares += run.output[i] ** 2;
    const share = grid.cls === null ? 1 / grid.seqlen : 1;
    scales[t] = share / Math.sqrt(squares / width + config.norm_eps);
  }
  return { weight, scales, bias: of(weights.get("head.bias")), logit: of(run.logits) };
}

// The read-out carried back through a layer's output projection: (seqlen, d_inner)
export function readoutAtMixer(network, index, { weight, scales }) {
  const { outProj } = network.blocks[index];
  const channels = outProj.length / weight.length;
  const carried = new Float64Array(channels);
  for (let i = 0; i < outProj.length; i += 1) {
    carried[i % channels] += outProj[i] * weight[Math.floor(i / channels)];
  }
  const v = new Float32Array(scales.length * channels);
  for (let i = 0; i < v.length; i += 1) v[i] = scales[Math.floor(i / channels)] * carried[i % channels];
  return v;
}

// The causal convolution of each channel in the order of a scan, without bias; weight (channels, taps)
function convolved(x, order, weight) {
  const channels = x.length / order.length;
  const taps = weight.length / channels;
  const out = new Float32Array(x.length);
  for (let step = 0; step < order.length; step += 1) {
    const at = order[step] * channels;
    for (let k = Math.max(0, taps - 1 - step); k < taps; k += 1) {
      const from = order[step - taps + 1 + k] * channels;
      for (let c = 0; c < channels; c += 1) out[at + c] += weight[c * taps + k] * x[from + c];
    }
  }
  return out;
}

// What each token of a layer's input, and its convolution's bias, add to the logit through one scan.
// layer: what network.layer gives; index: its number
function scanParts(network, { x, z, scans, scale }, index, direction, v) {
  const { order } = scans[direction];
  const [kernel, bias] = network.blocks[index].scans[direction].conv;
  const channels = bias.length;
  const weights = transposedScan(network, scans[direction], network.ops.gatedSum([v], z, scale));
  const before = convolved(x, order, kernel);
  let offset = 0;
  for (let i = 0; i < weights.length; i += 1) {
    weights[i] /= 1 + Math.exp(-before[i] - bias[i % channels]); // u is what this takes of the convolution
    offset += weights[i] * bias[i % channels];
  }
  const taken = convolved(weights, order.slice().reverse(), kernel);
  const tokens = new Float32Array(order.length);
  for (let t = 0; t < tokens.length; t += 1) {
    let sum = 0;
    for (let i = t * channels; i < (t + 1) * channels; i += 1) sum += taken[i] * x[i];
    tokens[t] = sum;
  }
  return { tokens, offset };
}

// The parts of a logit, filled layer by layer
export class LogitParts {
  constructor(network, run, target, minus = null) {
    Object.assign(this, { network, run }, logitReadout(network, run, target, minus));
    this.tokens = []; // [layer][direction], (seqlen)
    this.offsets = []; // [layer][direction]
    const { weight, scales } = this;
    const width = weight.length;
    this.embedding = Float32Array.from(scales, (scale, t) => {
      let sum = 0;
      for (let c = 0; c < width; c += 1) sum += weight[c] * run.inputs[0][t * width + c];
      return scale * sum;
    });
  }

  // layer: what network.layer gave for this number; call it for every layer
  add(layer, index) {
    const { network } = this;
    const v = readoutAtMixer(network, index, this);
    const parts = network.directions.map((name) => scanParts(network, layer, index, name, v));
    this.tokens[index] = parts.map(({ tokens }) => tokens);
    this.offsets[index] = parts.map(({ offset }) => offset);
  }

  // How far the sum of all parts is from the logit, relative to it or to 1
  get residual() {
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const tokens = this.tokens.flat().map(sum);
    const total = sum([...tokens, ...this.offsets.flat(), sum(this.embedding), this.bias]);
    return Math.abs(total - this.logit) / Math.max(1, Math.abs(this.logit));
  }
}
