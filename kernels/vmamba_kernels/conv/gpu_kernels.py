# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disable-error-code="assignment, var-annotated"
"""The causal convolution and its gradient on a GPU: Triton kernels, launched by `gpu`.

One warp is one program. Each thread has two channels, and holds some tokens of them in registers:
every token is a row, a tensor [BLOCK] of its own in a Python tuple. So what a token sees before it
is simply another entry of the tuple, each token is read once by a program, and only the
d_conv - 1 tokens at its edge are read by its neighbor too.

Steps are counted in scan order; the token of a step is the step itself, seqlen - 1 - step in
reverse, or order[step].
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from vmamba_kernels.scan.gpu_kernels import logistic

BLOCK = tl.constexpr(64)  # channels of a program
TILE = tl.constexpr(16)  # tokens in registers
TILES = tl.constexpr(4)  # of one program of the gradient, which adds up their grad_weight


class Filter(NamedTuple):
    """What all tokens share."""

    weight: Any  # (d_inner, d_conv)
    weight_channel: int  # strides
    weight_tap: int
    bias: Any  # (d_inner,), or None


@triton.jit
def place(d_inner, pieces):
    """Batch element and piece of the scan of a program, its channels, and which of them exist."""
    blocks = (d_inner + BLOCK - 1) // BLOCK
    channel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    rest = tl.program_id(0) // blocks
    return (rest // pieces).to(tl.int64), rest % pieces, channel, channel < d_inner


@triton.jit
def row_of(t, batch, step, order, seqlen, channel, lanes, REVERSE: tl.constexpr):
    """Where the token of a step lies, and which channels of it exist: none outside the scan."""
    step = tl.full([BLOCK], step, tl.int64)
    there = lanes & (step >= 0) & (step < seqlen)
    token = seqlen - 1 - step if REVERSE else step
    if order is not None:
        token = tl.load(order + step, mask=there, other=0)
        there = there & (token >= 0) & (token < seqlen)  # what is no order reads nothing
    return t.x + batch * t.batch + token * t.token + channel, there


@triton.jit
def load_rows(
    t, batch, step, order, seqlen, channel, lanes, REVERSE: tl.constexpr, COUNT: tl.constexpr
):
    """COUNT tokens from `step` on; 0 before the first one and after the last one."""
    rows = ()
    for i in tl.static_range(COUNT):
        at, there = row_of(t, batch, step + i, order, seqlen, channel, lanes, REVERSE)
        rows = rows + (tl.load(at, mask=there, other=0.0).to(tl.float32),)
    return rows


@triton.jit
def taps(f, channel, lanes, D_CONV: tl.constexpr):
    """The columns of the weight, and the bias."""
    weight = ()
    for k in tl.static_range(D_CONV):
        at = f.weight + channel * f.weight_channel + k * f.weight_tap
        weight = weight + (tl.load(at, mask=lanes, other=0.0).to(tl.float32),)
    bias = tl.zeros([BLOCK], tl.float32)
    if f.bias is not None:
        bias = tl.load(f.bias + channel, mask=lanes, other=0.0).to(tl.float32)
    return weight, bias


@triton.jit
def seen(x, t, weight, bias, D_CONV: tl.constexpr):
    """bias + sum of weight[k] * x[t + k]: the convolution of the token in row t + D_CONV - 1."""
    c = bias
    for k in tl.static_range(D_CONV):
        c = tl.fma(weight[k], x[t + k], c)
    return c


@triton.jit
def forward_kernel(
    x, f, out, order, seqlen, d_inner,
    D_CONV: tl.constexpr, SILU: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The convolution. Grid: batch x pieces of TILE tokens x blocks."""
    batch, piece, channel, lanes = place(d_inner, (seqlen + TILE - 1) // TILE)
    weight, bias = taps(f, channel, lanes, D_CONV)
    step = piece * TILE
    rows = load_rows(
        x, batch, step - (D_CONV - 1), order, seqlen, channel, lanes, REVERSE, TILE + D_CONV - 1
    )
    for t in tl.static_range(TILE):
        c = seen(rows, t, weight, bias, D_CONV)
        if SILU:
            c = c * logistic(c)
        at, there = row_of(out, batch, step + t, order, seqlen, channel, lanes, REVERSE)
        tl.store(at, c.to(out.x.dtype.element_ty), mask=there)


@triton.jit
def gradient_kernel(
    x, f, grad_out, grad_x, sums, order, seqlen, d_inner,
    D_CONV: tl.constexpr, SILU: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The gradient. With g the gradient of the sums, before the activation,

        grad_x[t]      = sum over k of weight[k] * g[t + D_CONV - 1 - k]
        grad_weight[k] = sum over t of g[t] * x[t - (D_CONV - 1) + k]

    so a tile needs g of the next D_CONV - 1 tokens too, and makes them once more. `sums` (batch,
    pieces, D_CONV + 1, d_inner) gets each program's part of grad_weight and grad_bias.

    Grid: batch x pieces of TILES * TILE tokens x blocks.
    """
    pieces = (seqlen + TILES * TILE - 1) // (TILES * TILE)
    batch, piece, channel, lanes = place(d_inner, pieces)
    weight, bias = taps(f, channel, lanes, D_CONV)
    nothing = tl.zeros([BLOCK], tl.float32)
    parts = ()  # of grad_weight, and of grad_bias
    for _k in tl.static_range(D_CONV + 1):
        parts = parts + (nothing,)
    for tile in range(TILES):
        step = (piece * TILES + tile) * TILE
        rows = load_rows(
            x, batch, step - (D_CONV - 1), order, seqlen, channel, lanes, REVERSE,
            TILE + 2 * (D_CONV - 1),
        )  # fmt: skip
        given = load_rows(
            grad_out, batch, step, order, seqlen, channel, lanes, REVERSE, TILE + D_CONV - 1
        )
        g = ()
        for t in tl.static_range(TILE + D_CONV - 1):
            if SILU:
                c = seen(rows, t, weight, bias, D_CONV)
                s = logistic(c)
                g = g + (given[t] * (s * (1.0 + c * (1.0 - s))),)
            else:
                g = g + (given[t],)
        added = ()
        for k in tl.static_range(D_CONV + 1):
            part = parts[k]
            for t in tl.static_range(TILE):
                if k < D_CONV:
                    part = tl.fma(g[t], rows[t + k], part)
                else:
                    part += g[t]
            added = added + (part,)
        parts = added
        for t in tl.static_range(TILE):
            total = nothing
            for k in tl.static_range(D_CONV):
                total = tl.fma(weight[k], g[t + D_CONV - 1 - k], total)
            at, there = row_of(grad_x, batch, step + t, order, seqlen, channel, lanes, REVERSE)
            tl.store(at, total.to(grad_x.x.dtype.element_ty), mask=there)
    for k in tl.static_range(D_CONV + 1):
        part = (batch * pieces + piece) * (D_CONV + 1) + k
        tl.store(sums + part * d_inner + channel, parts[k], mask=lanes)
