import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { plainOps, softmax } from "../../vmamba_explore/view/live/ops.js";
import { loadOps } from "../../vmamba_explore/view/live/wasm.js";

const file = (name) =>
  readFileSync(new URL(`../../vmamba_explore/view/live/${name}`, import.meta.url));
const compiled = await loadOps(file("ops.wasm"));

let seed = 1;
function random() {
  seed = (seed * 48271) % 2147483647;
  return seed / 2147483647;
}

const numbers = (count, from = -2, to = 2) =>
  Float32Array.from({ length: count }, () => from + (to - from) * random());

function shuffled(count) {
  const order = Int32Array.from({ length: count }, (_, at) => at);
  return order.map((_, at) => {
    const other = at + Math.floor(random() * (count - at));
    const taken = order[other];
    order[other] = order[at];
    return taken;
  });
}

function assertAlike(got, want, what) {
  assert.equal(got.length, want.length, what);
  const size = want.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  got.forEach((value, at) => {
    const apart = Math.abs(value - want[at]) / size;
    assert.ok(apart < 1e-6, `${what}: ${value} at ${at}, expected ${want[at]}`);
  });
}

test("the compiled module was made from the C code beside it", () => {
  const module = new WebAssembly.Module(file("ops.wasm"));
  const [made] = WebAssembly.Module.customSections(module, "source");
  const want = createHash("sha256").update(file("ops.c")).digest("hex");
  assert.equal(Buffer.from(made).toString("hex"), want, "run `make wasm`");
});

test("plain JavaScript is taken where there is nothing to compile, or it does not compile", async () => {
  assert.equal(compiled.name, "WebAssembly");
  assert.deepEqual(Object.keys(compiled).sort(), Object.keys(plainOps).sort());
  assert.equal(await loadOps(null), plainOps);
  assert.equal(await loadOps(new Uint8Array([0, 97, 115, 109, 9, 9, 9, 9])), plainOps);
});

test("products of matrices are the same in both, for every shape", () => {
  for (const tokens of [1, 3, 4, 17]) {
    for (const ins of [1, 5, 64]) {
      for (const outs of [1, 4, 5, 8, 10, 12, 31, 128]) {
        const [x, weight] = [numbers(tokens * ins), numbers(outs * ins)];
        for (const bias of [null, numbers(outs)]) {
          const got = compiled.linear(x, weight, ins, bias);
          assertAlike(got, plainOps.linear(x, weight, ins, bias), `${tokens} ${ins} ${outs}`);
        }
      }
    }
  }
});

test("convolutions are the same in both, in any order and for fewer tokens than taps", () => {
  for (const tokens of [1, 2, 3, 20]) {
    for (const channels of [1, 4, 6, 12]) {
      for (const taps of [1, 2, 4, 7]) {
        const given = [numbers(tokens * channels, -9, 9), shuffled(tokens)];
        given.push(numbers(channels * taps), numbers(channels));
        const got = compiled.convolve(...given);
        assertAlike(got, plainOps.convolve(...given), `${tokens} ${channels} ${taps}`);
      }
    }
  }
});

test("step sizes are the same in both, to the seventh digit of each of them", () => {
  for (const channels of [1, 4, 7, 8]) {
    const exact = (values) => values.map((value) => Math.round(64 * value) / 64); // so is their sum
    const [dt, bias] = [numbers(500 * channels, -60, 60), numbers(channels)].map(exact);
    const want = plainOps.stepSize(dt.slice(), bias);
    compiled.stepSize(dt, bias).forEach((got, at) => {
      assert.ok(Math.abs(got / want[at] - 1) < 1e-6, `${got}, expected ${want[at]}`);
    });
  }
});

test("scans are the same in both, in pieces or whole, with every state or none", () => {
  for (const tokens of [1, 2, 19]) {
    for (const channels of [1, 4, 6, 12]) {
      for (const states of [1, 4, 5, 16]) {
        for (const [D, kept] of [[null, true], [numbers(channels), false]]) {
          const [u, delta] = [numbers(tokens * channels), numbers(tokens * channels, 0, 3)];
          const [B, C] = [numbers(tokens * states), numbers(tokens * states)];
          const A = numbers(channels * states, -16, 0);
          const given = { u, delta, A, B, C, D, order: shuffled(tokens) };
          const start = numbers(channels * states);
          const results = [plainOps, compiled].map((ops) => {
            const [state, y] = [start.slice(), new Float32Array(u.length)];
            const h = kept ? new Float32Array(u.length * states) : null;
            for (const [from, to] of [[0, tokens >> 1], [tokens >> 1, tokens]]) {
              ops.scan(given, from, to, state, y, h);
            }
            return { state, y, h: h ?? [] };
          });
          const what = `${tokens} ${channels} ${states}`;
          for (const name of ["y", "state", "h"]) {
            assertAlike(results[1][name], results[0][name], `${name} of ${what}`);
          }
        }
      }
    }
  }
});

test("a state decays to the seventh digit as it should, and without drift near 1", () => {
  const count = 4000;
  for (const [least, most] of [[-85, 0], [-1e-3, 0]]) {
    const delta = numbers(count, -least, -most);
    const state = new Float32Array(count).fill(1);
    const given = { u: new Float32Array(count), delta, A: new Float32Array(count).fill(-1) };
    const zero = new Float32Array(1);
    Object.assign(given, { B: zero, C: zero, D: null, order: new Int32Array(1) });
    compiled.scan(given, 0, 1, state, new Float32Array(count));
    const errors = state.map((got, at) => got / Math.exp(-delta[at]) - 1);
    const largest = errors.reduce((most, error) => Math.max(most, Math.abs(error)), 0);
    assert.ok(largest < 2e-7, `relative error ${largest}`);
    const mean = errors.reduce((sum, error) => sum + error, 0) / count;
    assert.ok(Math.abs(mean) < 1e-8, `mean relative error ${mean}`);
  }
});

test("gated sums are the same in both, of one direction or two", () => {
  for (const count of [1, 4, 10, 64]) {
    const [first, second, z] = [0, 0, 0].map(() => numbers(count, -30, 30));
    for (const ys of [[first], [first, second]]) {
      const got = compiled.gatedSum(ys, z, 0.5);
      assertAlike(got, plainOps.gatedSum(ys, z, 0.5), `${count}`);
    }
  }
});

test("mean decays are the same in both, also where nothing is asked or everything is gone", () => {
  for (const tokens of [0, 1, 7]) {
    for (const channels of [1, 4, 12]) {
      for (const states of [1, 5, 16]) {
        const grown = numbers(tokens * channels, 0, 8);
        if (tokens > 1) grown.fill(1e4, 0, channels);
        const A = numbers(channels * states, -16, -0.01);
        const got = compiled.meanDecay(grown, A, channels);
        const want = plainOps.meanDecay(grown, A, channels);
        assertAlike(got, want, `${tokens} ${channels} ${states}`);
      }
    }
  }
  assert.equal(plainOps.meanDecay(Float32Array.of(0, 0), Float32Array.of(-1, -2, -3, -4), 2)[0], 1);
});

test("memory grows with what is asked for", () => {
  const [x, weight] = [numbers(100_000 * 8), numbers(8 * 8)];
  assertAlike(compiled.linear(x, weight, 8), plainOps.linear(x, weight, 8), "large");
});

test("shares of large logits are finite and sum to 1", () => {
  const shares = softmax(Float32Array.of(1000, 1001, -1000));
  assert.ok(Math.abs(shares[1] - 1 / (1 + Math.exp(-1))) < 1e-6);
  assert.equal(shares.reduce((a, b) => a + b).toFixed(6), "1.000000");
});
