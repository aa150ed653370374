// The model's arithmetic in WebAssembly SIMD, for wasm.js; ops.js says what each function does.
//
// `make wasm` compiles it to ops.wasm, without a C library. All arrays are token-major, and every
// count of channels is a multiple of 4: four channels stand in one vector.

#include <wasm_simd128.h>

typedef v128_t vec;

#define load(at) wasm_v128_load(at)
#define store(at, x) wasm_v128_store(at, x)
#define splat(x) wasm_f32x4_splat(x)
#define add(a, b) wasm_f32x4_add(a, b)
#define sub(a, b) wasm_f32x4_sub(a, b)
#define mul(a, b) wasm_f32x4_mul(a, b)
#define over(a, b) wasm_f32x4_div(a, b)
#define madd(a, b, c) add(mul(a, b), c)
#define EXPORT(name) __attribute__((export_name(#name)))

// exp(x) = 2^n exp(r), |r| <= log(2) / 2; exp(r) = 1 + r + r^2 q(r), so it is best where x is near
// 0, as in a state that decays slowly. Relative error below 1e-7; out of -87..88 it is clamped.
static inline vec exponential(vec x) {
    const vec shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    x = wasm_f32x4_pmax(splat(-87.0f), wasm_f32x4_pmin(splat(88.0f), x));
    vec shifted = madd(x, splat(1.44269504f), shift);
    vec n = sub(shifted, shift);
    vec r = sub(x, mul(n, splat(0.693359375f)));
    r = madd(n, splat(2.12194440e-4f), r);
    vec q = madd(splat(0.0013933734f), r, splat(0.008363236f));
    q = madd(q, r, splat(0.041666463f));
    q = madd(q, r, splat(0.16666576f));
    q = madd(q, r, splat(0.5f));
    vec p = add(madd(mul(r, r), q, r), splat(1.0f));
    return wasm_i32x4_add(p, wasm_i32x4_shl(shifted, 23));
}

static inline vec silu(vec x) {
    return over(x, add(splat(1.0f), exponential(wasm_f32x4_neg(x))));
}

// max(x, 0) + log(1 + e), e = exp(-|x|); log(1 + e) = 2 artanh(e / (2 + e))
static inline vec softplus(vec x) {
    vec e = exponential(wasm_f32x4_neg(wasm_f32x4_abs(x)));
    vec s = over(e, add(splat(2.0f), e));
    vec s2 = mul(s, s);
    vec p = madd(splat(1.0f / 13), s2, splat(1.0f / 11));
    p = madd(p, s2, splat(1.0f / 9));
    p = madd(p, s2, splat(1.0f / 7));
    p = madd(p, s2, splat(1.0f / 5));
    p = madd(p, s2, splat(1.0f / 3));
    p = madd(p, s2, splat(1.0f));
    return madd(add(s, s), p, wasm_f32x4_max(x, splat(0.0f)));
}

// Four tokens at once, 4 * wide outputs each
static inline void tile(const float *x, int ins, const float *weight, int outs, const float *bias,
                        float *out, int tokens, int wide) {
    vec sums[4][2];
    for (int t = 0; t < tokens; t++)
        for (int v = 0; v < wide; v++) sums[t][v] = load(bias + 4 * v);
    for (int i = 0; i < ins; i++) {
        vec w[2];
        for (int v = 0; v < wide; v++) w[v] = load(weight + i * outs + 4 * v);
        for (int t = 0; t < tokens; t++) {
            vec each = wasm_v128_load32_splat(x + t * ins + i);
            for (int v = 0; v < wide; v++) sums[t][v] = madd(each, w[v], sums[t][v]);
        }
    }
    for (int t = 0; t < tokens; t++)
        for (int v = 0; v < wide; v++) store(out + t * outs + 4 * v, sums[t][v]);
}

// weight: (ins, outs), the transpose of ops.js's
EXPORT(linear)
void linear(const float *x, int tokens, int ins, const float *weight, int outs, const float *bias,
            float *out) {
    int t = 0;
    for (; t + 4 <= tokens; t += 4) {
        int o = 0;
        for (; o + 8 <= outs; o += 8)
            tile(x + t * ins, ins, weight + o, outs, bias + o, out + t * outs + o, 4, 2);
        if (o < outs) tile(x + t * ins, ins, weight + o, outs, bias + o, out + t * outs + o, 4, 1);
    }
    for (; t < tokens; t++)
        for (int o = 0; o < outs; o += 4)
            tile(x + t * ins, ins, weight + o, outs, bias + o, out + t * outs + o, 1, 1);
}

// weight: (taps, channels), the transpose of ops.js's
EXPORT(convolve)
void convolve(const float *x, const int *order, int tokens, int channels, int taps,
              const float *weight, const float *bias, float *out) {
    for (int step = 0; step < tokens; step++) {
        int first = step < taps - 1 ? taps - 1 - step : 0;
        float *to = out + order[step] * channels;
        for (int c = 0; c < channels; c += 4) {
            vec sum = load(bias + c);
            for (int k = first; k < taps; k++) {
                const float *from = x + order[step - taps + 1 + k] * channels;
                sum = madd(load(weight + k * channels + c), load(from + c), sum);
            }
            store(to + c, silu(sum));
        }
    }
}

EXPORT(stepSize)
void stepSize(float *dt, int tokens, int channels, const float *bias) {
    for (int t = 0; t < tokens; t++)
        for (int c = 0; c < channels; c += 4, dt += 4)
            store(dt, softplus(add(load(dt), load(bias + c))));
}

// A, state: (states, channels), transposes; h: every state (tokens, channels, states), or null;
// scratch: 8 * states numbers
EXPORT(scan)
void scan(const float *u, const float *delta, const float *A, const float *B, const float *C,
          const float *D, const int *order, int from, int to, int channels, int states,
          float *state, float *y, float *h, float *scratch) {
    float *decay = scratch, *now = scratch + 4 * states;
    for (int c = 0; c < channels; c += 4) {
        for (int n = 0; n < states; n++) {
            store(decay + 4 * n, load(A + n * channels + c));
            store(now + 4 * n, load(state + n * channels + c));
        }
        for (int step = from; step < to; step++) {
            int token = order[step], at = token * channels + c;
            vec d = load(delta + at), in = load(u + at);
            vec write = mul(d, in), read = mul(load(D + c), in);
            const float *b = B + token * states, *r = C + token * states;
#pragma clang loop unroll_count(4)
            for (int n = 0; n < states; n++) {
                vec kept = mul(exponential(mul(d, load(decay + 4 * n))), load(now + 4 * n));
                vec next = madd(write, wasm_v128_load32_splat(b + n), kept);
                store(now + 4 * n, next);
                read = madd(next, wasm_v128_load32_splat(r + n), read);
            }
            store(y + at, read);
            if (h == 0) continue;
            float *each = h + at * states;
            for (int n = 0; n < states; n++)
                for (int lane = 0; lane < 4; lane++) each[lane * states + n] = now[4 * n + lane];
        }
        for (int n = 0; n < states; n++) store(state + n * channels + c, load(now + 4 * n));
    }
}

// The sum of y and other, or y where other is null, times SiLU(z) and scale
EXPORT(gatedSum)
void gatedSum(const float *y, const float *other, const float *z, int count, float scale,
              float *out) {
    for (int i = 0; i < count; i += 4) {
        vec sum = other ? add(load(y + i), load(other + i)) : load(y + i);
        store(out + i, mul(mul(sum, silu(load(z + i))), splat(scale)));
    }
}

// The mean over channels and states of exp(grown A), at each token; A: (states, channels)
EXPORT(meanDecay)
void meanDecay(const float *grown, const float *A, int tokens, int channels, int states, float *out) {
    for (int t = 0; t < tokens; t++) {
        vec sum = splat(0.0f);
        for (int c = 0; c < channels; c += 4) {
            vec since = load(grown + t * channels + c), of_channels = splat(0.0f);
            for (int n = 0; n < states; n++)
                of_channels = add(of_channels, exponential(mul(since, load(A + n * channels + c))));
            sum = add(sum, of_channels);
        }
        float total = wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) +
                      wasm_f32x4_extract_lane(sum, 2) + wasm_f32x4_extract_lane(sum, 3);
        out[t] = total / (channels * states);
    }
}
