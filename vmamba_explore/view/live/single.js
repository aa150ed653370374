// One hidden state at every token, and which of the many are worth looking at;
// analysis/single_states.py and app/live_states.py do this in Python.

import { gridMap } from "./attention.js";
import { logitReadout, readoutAtMixer } from "./logit_parts.js";
import { readingStrength } from "./maps.js";

// h of one channel and state times the rms of the C that reads it, as a map
export function stateMap(network, run, layer, channel, state) {
  const { scans } = network.layer(run, layer);
  const rows = network.directions.map((direction) => {
    const scan = scans[direction];
    const strength = readingStrength(scan);
    const h = network.states(scan, [channel]);
    const { length } = scan.order;
    return Float32Array.from({ length }, (_, t) => h[t * strength.length + state] * strength[state]);
  });
  return { ...gridMap(network, [rows]), unit: "", about: "", log: false, signed: true };
}

// By what they stand out, numbers of all states of a scan, (channels, states), and their unit
function stateNumbers(network, scan, weights, token) {
  const [strength, count] = [readingStrength(scan), scan.order.length];
  const [size, states, channels] = [scan.A.length, strength.length, scan.D.length];
  const h = network.states(scan);
  const [squares, added] = [new Float64Array(size), new Float64Array(size)];
  for (let t = 0; t < count; t += 1) {
    for (let i = 0; i < size; i += 1) {
      const value = h[t * size + i];
      squares[i] += value * value;
      if (weights) added[i] += weights[t * channels + Math.floor(i / states)] * scan.C[t * states + (i % states)] * value;
    }
  }
  const total = new Float64Array(channels);
  for (let i = 0; i < scan.delta.length; i += 1) total[i % channels] += scan.delta[i];
  const lasting = (i) => (count * Math.LN2) / (total[Math.floor(i / states)] * Math.abs(scan.A[i]));
  return [
    ...(weights ? [["adds most to the logit", added, "logits"]] : []),
    ["largest", squares.map((square, i) => Math.sqrt(square / count) * strength[i % states]), ""],
    ["lasts longest", added.map((_, i) => lasting(i)), "tokens"],
    ...(token === null ? [] : [[
      "largest at the asked patch",
      added.map((_, i) => Math.abs(h[token * size + i]) * strength[i % states]),
      "",
    ]]),
  ];
}

// The states of a layer that stand out, by scan: [{ words, direction, channel, state, value, unit }].
// token: [frame, row, col] or null; question: see maps.js
export function stateChoices(network, run, layer, token, { target, minus, edited }) {
  const { z, scans, scale } = network.layer(run, layer);
  const readout = edited ? null : logitReadout(network, run, target, minus);
  const weights = readout && network.ops.gatedSum([readoutAtMixer(network, layer, readout)], z, scale);
  const index = token === null ? null : network.grid.index(...token);
  return network.directions.flatMap((direction) =>
    stateNumbers(network, scans[direction], weights, index).map(([words, values, unit]) => {
      let best = 0; // farthest from zero
      for (let i = 1; i < values.length; i += 1) if (Math.abs(values[i]) > Math.abs(values[best])) best = i;
      const states = network.config.d_state;
      return { words, direction, channel: Math.floor(best / states), state: best % states, value: values[best], unit };
    }));
}
