// The functions of ops.js in WebAssembly SIMD, from ops.c; plain JavaScript where the browser has
// none, and for sizes that do not fill vectors of four.
//
// What a call needs is copied into the module's memory, and its result out of it: nothing stays.

import { plainOps } from "./ops.js";

// bytes: ops.wasm, or null for plain JavaScript
export async function loadOps(bytes) {
  if (bytes === null) return plainOps;
  try {
    const { instance } = await WebAssembly.instantiate(bytes);
    return compiledOps(instance.exports);
  } catch {
    return plainOps; // no WebAssembly, no SIMD in it, or a page that forbids it
  }
}

function compiledOps(compiled) {
  const { memory } = compiled;
  let top = 0;

  // Room in memory, until the next call begins
  const room = (numbers) => {
    const at = top;
    top += (4 * numbers + 15) & ~15;
    const missing = top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  };
  const put = (values) => {
    const at = room(values.length);
    new values.constructor(memory.buffer, at, values.length).set(values);
    return at;
  };
  const view = (at, count) => new Float32Array(memory.buffer, at, count);
  const begin = () => {
    top = compiled.__heap_base.value;
  };

  const turned = new WeakMap(); // weights, each turned once
  const turnedOnce = (weight, width, filled) => {
    if (!turned.has(weight)) turned.set(weight, transposed(weight, width, filled));
    return turned.get(weight);
  };

  return {
    ...plainOps,
    name: "WebAssembly",

    linear(x, weight, ins, bias = null) {
      begin();
      const [tokens, outs] = [x.length / ins, weight.length / ins];
      const filled = (outs + 3) & ~3; // whole vectors
      const added = new Float32Array(filled);
      if (bias !== null) added.set(bias);
      const given = [put(x), put(turnedOnce(weight, ins, filled)), put(added)];
      const out = room(tokens * filled);
      compiled.linear(given[0], tokens, ins, given[1], filled, given[2], out);
      if (filled === outs) return view(out, tokens * outs).slice();
      const values = new Float32Array(tokens * outs);
      for (let t = 0; t < tokens; t += 1) values.set(view(out + 4 * t * filled, outs), t * outs);
      return values;
    },

    convolve(x, order, weight, bias) {
      const channels = bias.length;
      if (channels % 4) return plainOps.convolve(x, order, weight, bias);
      begin();
      const taps = weight.length / channels;
      const given = [put(x), put(order)];
      const out = room(x.length);
      const turnedWeight = put(turnedOnce(weight, taps));
      compiled.convolve(...given, order.length, channels, taps, turnedWeight, put(bias), out);
      return view(out, x.length).slice();
    },

    stepSize(dt, bias) {
      if (bias.length % 4) return plainOps.stepSize(dt, bias);
      begin();
      const at = put(dt);
      compiled.stepSize(at, dt.length / bias.length, bias.length, put(bias));
      dt.set(view(at, dt.length));
      return dt;
    },

    scan(given, from, to, state, y, h = null) {
      const { u, delta, A, B, C, D, order } = given;
      const [channels, states] = [u.length / order.length, B.length / order.length];
      if (channels % 4) return plainOps.scan(given, from, to, state, y, h);
      begin();
      const skip = D ?? new Float32Array(channels);
      const taken = [u, delta, transposed(A, states), B, C, skip, order].map(put);
      const [moving, outY] = [put(transposed(state, states)), room(y.length)];
      const outH = h === null ? 0 : room(h.length);
      const scratch = room(8 * states);
      compiled.scan(...taken, from, to, channels, states, moving, outY, outH, scratch);
      state.set(transposed(view(moving, state.length), channels));
      copyRows(y, view(outY, y.length), channels, order.subarray(from, to));
      if (h !== null) copyRows(h, view(outH, h.length), channels * states, order.subarray(from, to));
    },

    gatedSum(ys, z, scale) {
      if (ys.length > 2 || z.length % 4) return plainOps.gatedSum(ys, z, scale);
      begin();
      const [first, second] = ys.map(put);
      const [gate, out] = [put(z), room(z.length)];
      compiled.gatedSum(first, second ?? 0, gate, z.length, scale, out);
      return view(out, z.length).slice();
    },

    meanDecay(grown, A, channels) {
      if (channels % 4) return plainOps.meanDecay(grown, A, channels);
      begin();
      const [states, tokens] = [A.length / channels, grown.length / channels];
      const [since, rates] = [put(grown), put(transposed(A, states))];
      const out = room(tokens);
      compiled.meanDecay(since, rates, tokens, channels, states, out);
      return view(out, tokens).slice();
    },
  };
}

// (rows, width) → (width, filled), rows filled up with zeros
function transposed(values, width, filled = values.length / width) {
  const rows = values.length / width;
  const out = new Float32Array(width * filled);
  for (let row = 0; row < rows; row += 1) {
    for (let i = 0; i < width; i += 1) out[i * filled + row] = values[row * width + i];
  }
  return out;
}

function copyRows(to, from, width, rows) {
  for (const row of rows) to.set(from.subarray(row * width, (row + 1) * width), row * width);
}
