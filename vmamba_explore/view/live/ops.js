// The model's arithmetic in plain JavaScript; wasm.js has the same functions, compiled.
//
// All arrays are Float32Array and token-major: (tokens, channels). An order is an Int32Array: the
// token that is read at each step.

const silu = (x) => x / (1 + Math.exp(-x));

export const plainOps = {
  name: "JavaScript",

  // x (tokens, ins) times weight (outs, ins), plus bias (outs): (tokens, outs)
  linear(x, weight, ins, bias = null) {
    const [tokens, outs] = [x.length / ins, weight.length / ins];
    const out = new Float32Array(tokens * outs);
    for (let t = 0; t < tokens; t += 1) {
      const row = t * ins;
      let o = 0;
      for (; o + 4 <= outs; o += 4) {
        let [a, b, c, d] = [0, 0, 0, 0];
        let [wa, wb, wc, wd] = [o * ins, (o + 1) * ins, (o + 2) * ins, (o + 3) * ins];
        for (let i = row; i < row + ins; i += 1) {
          const value = x[i];
          a += value * weight[wa++];
          b += value * weight[wb++];
          c += value * weight[wc++];
          d += value * weight[wd++];
        }
        const at = t * outs + o;
        out[at] = a;
        out[at + 1] = b;
        out[at + 2] = c;
        out[at + 3] = d;
      }
      for (; o < outs; o += 1) {
        let sum = 0;
        for (let i = 0; i < ins; i += 1) sum += x[row + i] * weight[o * ins + i];
        out[t * outs + o] = sum;
      }
      if (bias !== null) for (o = 0; o < outs; o += 1) out[t * outs + o] += bias[o];
    }
    return out;
  },

  // Each token over the root of its mean square, times weight
  rmsNorm(x, weight, eps) {
    const width = weight.length;
    const out = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += width) {
      let squares = 0;
      for (let i = start; i < start + width; i += 1) squares += x[i] * x[i];
      const scale = 1 / Math.sqrt(squares / width + eps);
      for (let i = 0; i < width; i += 1) out[start + i] = x[start + i] * scale * weight[i];
    }
    return out;
  },

  // SiLU of the causal convolution of each channel; weight (channels, taps), the last tap is the
  // token itself
  convolve(x, order, weight, bias) {
    const channels = bias.length;
    const taps = weight.length / channels;
    const out = new Float32Array(x.length);
    for (let step = 0; step < order.length; step += 1) {
      const at = order[step] * channels;
      for (let c = 0; c < channels; c += 1) out[at + c] = bias[c];
      for (let k = Math.max(0, taps - 1 - step); k < taps; k += 1) {
        const from = order[step - taps + 1 + k] * channels;
        for (let c = 0; c < channels; c += 1) out[at + c] += weight[c * taps + k] * x[from + c];
      }
      for (let c = at; c < at + channels; c += 1) out[c] = silu(out[c]);
    }
    return out;
  },

  // softplus(dt + bias), in place
  stepSize(dt, bias) {
    const channels = bias.length;
    for (let i = 0; i < dt.length; i += 1) {
      const x = dt[i] + bias[i % channels];
      dt[i] = x > 20 ? x : Math.log1p(Math.exp(x));
    }
    return dt;
  },

  // Steps from..to of a scan: writes y (tokens, channels), with the skip D u where there is a D,
  // and moves state (channels, states) on; h (tokens, channels, states) gets every state, unless
  // it is null. What a scan is given: { u, delta, A, B, C, D, order }.
  scan({ u, delta, A, B, C, D, order }, from, to, state, y, h = null) {
    const [channels, states] = [u.length / order.length, B.length / order.length];
    for (let step = from; step < to; step += 1) {
      const token = order[step];
      for (let c = 0; c < channels; c += 1) {
        const at = token * channels + c;
        const [d, write] = [delta[at], delta[at] * u[at]];
        let read = D === null ? 0 : D[c] * u[at];
        for (let n = 0; n < states; n += 1) {
          const i = c * states + n;
          const next = Math.exp(d * A[i]) * state[i] + write * B[token * states + n];
          state[i] = next;
          read += next * C[token * states + n];
          if (h !== null) h[token * channels * states + i] = next;
        }
        y[at] = read;
      }
    }
  },

  // The sum of some y, times SiLU(z), times scale
  gatedSum(ys, z, scale) {
    const out = new Float32Array(z.length);
    for (const y of ys) for (let i = 0; i < z.length; i += 1) out[i] += y[i];
    for (let i = 0; i < z.length; i += 1) out[i] *= silu(z[i]) * scale;
    return out;
  },

  // The mean over channels and states of exp(grown A), at each token; grown (tokens, channels)
  meanDecay(grown, A, channels) {
    const states = A.length / channels;
    return Float32Array.from({ length: grown.length / channels }, (_, t) => {
      let sum = 0;
      for (let c = 0; c < channels; c += 1) {
        const since = grown[t * channels + c];
        for (let i = c * states; i < (c + 1) * states; i += 1) sum += Math.exp(since * A[i]);
      }
      return sum / A.length;
    });
  },
};

export function softmax(logits) {
  const top = Math.max(...logits);
  const shares = Array.from(logits, (logit) => Math.exp(logit - top));
  const sum = shares.reduce((a, b) => a + b, 0);
  return Float32Array.from(shares, (share) => share / sum);
}

// Some rows of (tokens, width), or some columns of them
export function rowsOf(values, width, rows) {
  const out = new Float32Array(rows.length * width);
  for (let at = 0; at < rows.length; at += 1) {
    out.set(values.subarray(rows[at] * width, (rows[at] + 1) * width), at * width);
  }
  return out;
}

export function columnsOf(values, width, columns) {
  const tokens = values.length / width;
  const out = new Float32Array(tokens * columns.length);
  let at = 0;
  for (let token = 0; token < tokens; token += 1) {
    for (const column of columns) out[at++] = values[token * width + column];
  }
  return out;
}
