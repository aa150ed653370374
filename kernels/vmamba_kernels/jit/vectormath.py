"""The functions that the kernels need, in vector code: exp2, softplus, SiLU, sums of lanes."""

from collections.abc import Sequence

from vmamba_kernels.jit.ircode import Vec, fma

# 2**f = 1 + f*(c1 + f*(c2 + ...)) on [-1/2, 1/2]: minimax fit of the relative error, 9e-8 (1.7e-7
# in float32). The 1 is exact, so that exp2 reaches 1, 0 and infinity cleanly.
EXP2 = (0.693146978, 0.240222421, 0.0555073374, 0.00967151264, 0.00132647271)
# log(1 + e) = e * (1 + e*(l1 + e*(l2 + ...))) on [0, 1]: likewise, 3e-8 (1.2e-7 in float32)
LOG1P = (
    *(-0.499996483, 0.33321324, -0.248571634, 0.191536546),
    *(-0.137538016, 0.0792045221, -0.0300657861, 0.00536482269),
)
LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453
ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


def exp2(x: Vec) -> Vec:
    """2**x to 2e-7 relative; exactly 0 below -127 and infinite from 128 on."""
    k = x.kernel
    x = x.at_least(-127.0).at_most(128.0)
    shifted = x + ROUND
    f = x - (shifted - ROUND)
    p = one_plus(f, EXP2)
    # multiply by 2**round(x): add the integer to the exponent bits
    integers = k.integers
    whole = k.emit(f"bitcast {k.vec} {shifted.name} to {integers}")
    whole = k.emit(f"shl {integers} {whole}, splat (i32 23)")
    bits = k.emit(f"bitcast {k.vec} {p.name} to {integers}")
    bits = k.emit(f"add {integers} {bits}, {whole}")
    return Vec(k, k.emit(f"bitcast {integers} {bits} to {k.vec}"))


def softplus_and_slope(v: Vec) -> tuple[Vec, Vec]:
    """log(1 + exp(v)) and its derivative, the logistic function of v."""
    e = exp2(v.abs() * -LOG2E)
    s = v.kernel.number(1.0) / (e + 1.0)
    return fma(one_plus(e, LOG1P), e, v.at_least(0.0)), v.where_negative(e * s, s)


def logistic(v: Vec) -> Vec:
    """1 / (1 + exp(-v))."""
    return v.kernel.number(1.0) / (exp2(v * -LOG2E) + 1.0)


def silu(v: Vec) -> Vec:
    """v / (1 + exp(-v))."""
    return v / (exp2(v * -LOG2E) + 1.0)


def silu_and_slope(v: Vec) -> tuple[Vec, Vec]:
    """v / (1 + exp(-v)) and its derivative."""
    s = logistic(v)
    return v * s, s * fma(v, v.kernel.number(1.0) - s, 1.0)


def one_plus(x: Vec, coefficients: Sequence[float]) -> Vec:
    """1 + x*(c0 + x*(c1 + ...)), Horner's way."""
    p = x.kernel.number(coefficients[-1])
    for c in coefficients[-2::-1]:
        p = fma(p, x, c)
    return fma(p, x, 1.0)


def sum_lanes(values: Sequence[Vec]) -> Vec:
    """The lane sums of up to 16 vectors, side by side in one vector.

    Two vectors at a time become one that holds pair sums of both (a butterfly); after four such
    levels lane i holds the sum of vector i. That is three operations a vector instead of eight.
    The result has as many lanes as there are values, rounded up to a power of two.
    """
    k = values[0].kernel
    row = [_narrowed(v) for v in values]
    lanes = min(16, k.lanes)
    width = 1 << (len(row) - 1).bit_length()
    zero = Vec(k, "zeroinitializer", row[0].type)
    row += [zero] * (width - len(row))
    step = 1
    while step < lanes:
        pairs = list(zip(row[::2], row[1::2], strict=True)) if len(row) > 1 else [(row[0], row[0])]
        row = [_butterfly(a, b, step, lanes) for a, b in pairs]
        step *= 2
    return row[0].shuffle(row[0], range(width))


def _narrowed(v: Vec) -> Vec:
    """Add the two halves until 16 lanes are left."""
    lanes = v.kernel.lanes
    while lanes > 16:
        lanes //= 2
        v = v.shuffle(v, range(lanes)) + v.shuffle(v, range(lanes, 2 * lanes))
    return v


def _butterfly(a: Vec, b: Vec, step: int, lanes: int) -> Vec:
    """Lane i: a[i] + a[i ^ step] where bit `step` of i is 0, else the same of b."""
    side = [0 if i & step == 0 else lanes for i in range(lanes)]
    own = a.shuffle(b, [i + s for i, s in enumerate(side)])
    return own + a.shuffle(b, [(i ^ step) + s for i, s in enumerate(side)])
