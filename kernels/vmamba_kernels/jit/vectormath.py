"""The functions that the kernels need, in vector code: exp2, softplus, logistic, sums of lanes."""

from collections.abc import Sequence

from vmamba_kernels.jit.ircode import Vec, fma

# 2**f = 1 + f*(c1 + f*(c2 + ...)) on [-1/2, 1/2]: minimax fit of the relative error, 9e-8 (1.7e-7
# in float32). The 1 is exact, so that exp2 reaches 1, 0 and infinity cleanly.
EXP2 = (0.693146978, 0.240222421, 0.0555073374, 0.00967151264, 0.00132647271)
LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453
ROUND = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


def exp2(x: Vec) -> Vec:
    """2**x to 2e-7 relative; exactly 0 below -127 and infinite from 128 on."""
    k = x.kernel
    x = x.at_least(-127.0).at_most(128.0)
    shifted = x + ROUND
    f = x - (shifted - ROUND)
    p = fma(f, EXP2[-1], EXP2[-2])
    for c in EXP2[-3::-1]:
        p = fma(p, f, c)
    p = fma(p, f, 1.0)
    # multiply by 2**round(x): add the integer to the exponent bits
    integers = f"<{k.lanes} x i32>"
    whole = k.emit(f"bitcast {k.vec} {shifted.name} to {integers}")
    whole = k.emit(f"shl {integers} {whole}, splat (i32 23)")
    bits = k.emit(f"bitcast {k.vec} {p.name} to {integers}")
    bits = k.emit(f"add {integers} {bits}, {whole}")
    return Vec(k, k.emit(f"bitcast {integers} {bits} to {k.vec}"))


def softplus_and_slope(v: Vec) -> tuple[Vec, Vec]:
    """log(1 + exp(v)) and its derivative, the logistic function of v."""
    k = v.kernel
    e = exp2(v.abs() * -LOG2E)
    q = e / (e + 2.0)  # log(1 + e) = 2 artanh(q), q <= 1/3
    q2 = q * q
    series = k.number(2 / 13)
    for odd in (11, 9, 7, 5, 3, 1):
        series = fma(series, q2, 2 / odd)
    s = k.number(1.0) / (e + 1.0)
    return fma(series, q, v.at_least(0.0)), v.where_negative(e * s, s)


def logistic(v: Vec) -> Vec:
    """1 / (1 + exp(-v))."""
    return v.kernel.number(1.0) / (exp2(v * -LOG2E) + 1.0)


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
