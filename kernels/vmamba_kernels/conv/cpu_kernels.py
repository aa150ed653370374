"""The causal convolution and its gradient as vector kernels; `jit.tasks` says what a tile is."""

from vmamba_kernels.jit.ircode import Kernel, Var, Vec, fma
from vmamba_kernels.jit.native import Native
from vmamba_kernels.jit.tasks import CHUNK, LANES, SIZES, carried, parameters, summed, tiles
from vmamba_kernels.jit.vectormath import silu, silu_and_slope

INPUTS = (*SIZES, "weight", "bias", "window", *parameters(("x",)))  # weight: packed, d_conv rows
FORWARD = (*INPUTS, *parameters(("out",)))
GRADIENT = (
    *(*INPUTS, *parameters(("grad_out", "grad_x"))),
    *("grad_weight", "grad_bias", "unfinished"),
)


def slide(window: list[Var], newest: Vec) -> list[Vec]:
    """Move the window one token on; it holds the d_conv - 1 tokens before the newest one."""
    values = [*(place.get() for place in window), newest]
    for place, value in zip(window, values[1:], strict=True):
        place.set(value)
    return values


def weighted(values: list[Vec], weight: list[Vec], bias: Vec) -> Vec:
    """bias + sum_k weight[k] * values[k]."""
    for w, value in zip(weight, values, strict=True):
        bias = fma(w, value, bias)
    return bias


def build_forward(d_conv: int, activate: bool, ragged: bool, bfloats: tuple[str, ...]) -> Native:
    """The convolution: reads INPUTS, writes out."""
    k = Kernel(LANES, FORWARD, bfloats)
    with tiles(k, ragged) as tile, carried(tile.rows("window", d_conv - 1)) as window:
        x, out = tile.tokens("x"), tile.tokens("out")
        weight = [place.load() for place in tile.rows("weight", d_conv, tile.block)]
        bias = tile.channels("bias").load(tile.mask)
        with k.loop(tile.length) as i:
            t, later = tile.token(i), tile.token_to_come(i + CHUNK)
            x.at(later).prefetch()
            out.at(later).prefetch(to_write=True)
            c = weighted(slide(window, x.at(t).load(tile.mask)), weight, bias)
            out.at(t).store(silu(c) if activate else c, tile.mask)
    return Native(k)


def build_gradient(d_conv: int, activate: bool, ragged: bool, bfloats: tuple[str, ...]) -> Native:
    """The gradient of the convolution, token by token in scan order.

    grad_x[s] collects weight[k] * g[t] from the tokens t = s ... s + d_conv - 1 that saw x[s]; a
    second window, `unfinished`, carries the sums that lack some. grad_weight (packed, d_conv rows)
    and grad_bias (batch, d_inner) are added to; the caller sums them over the batch.
    """
    k = Kernel(LANES, GRADIENT, bfloats)
    with (
        tiles(k, ragged) as tile,
        carried(tile.rows("window", d_conv - 1)) as window,
        carried(tile.rows("unfinished", d_conv - 1)) as unfinished,
        summed(tile.rows("grad_weight", d_conv)) as grad_weight,
        summed([tile.channels("grad_bias", per_batch=True)], tile.mask) as (grad_bias,),
    ):
        x, grad_out, grad_x = (tile.tokens(name) for name in ("x", "grad_out", "grad_x"))
        weight = [place.load() for place in tile.rows("weight", d_conv, tile.block)]
        bias = tile.channels("bias").load(tile.mask)
        with k.loop(tile.length) as i:
            t, later = tile.token(i), tile.token_to_come(i + CHUNK)
            for stream in (x, grad_out):
                stream.at(later).prefetch()
            grad_x.at(later).prefetch(to_write=True)
            seen = slide(window, x.at(t).load(tile.mask))
            g = grad_out.at(t).load(tile.mask)
            if activate:
                g = g * silu_and_slope(weighted(seen, weight, bias))[1]
            for total, value in zip(grad_weight, seen, strict=True):
                total.set(fma(g, value, total.get()))
            grad_bias.set(grad_bias.get() + g)
            shifted = slide(unfinished, k.number(0.0))
            sums = [fma(w, g, value) for w, value in zip(weight, shifted, strict=True)]
            for variable, value in zip(unfinished, sums[1:], strict=True):
                variable.set(value)
            finished = i - (d_conv - 1)
            with k.when_not_negative(tile.first + finished):
                grad_x.at(tile.token(finished)).store(sums[0], tile.mask)
        with k.when_not_negative(tile.chunk + 1 - k.int("n_chunks")):  # the last one
            for back, remaining in enumerate(reversed(unfinished), start=1):
                last = tile.length - back
                with k.when_not_negative(tile.first + last):
                    grad_x.at(tile.token(last)).store(remaining.get(), tile.mask)
    return Native(k)
