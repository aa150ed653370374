"""The causal convolution and its gradient as vector kernels; `jit.tasks` says what a task is."""

from vmamba_kernels.jit.ircode import Kernel, Var, Vec, fma
from vmamba_kernels.jit.native import Native
from vmamba_kernels.jit.tasks import LANES, SIZES, Task, parameters
from vmamba_kernels.jit.vectormath import logistic

INPUTS = (*SIZES, "weight", "bias", *parameters(("x",)))  # weight is (d_conv, padded)
FORWARD = (*INPUTS, *parameters(("out",)))
GRADIENT = (*INPUTS, *parameters(("grad_out", "grad_x")), "grad_weight", "grad_bias")


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


def build_forward(d_conv: int, silu: bool, ragged: bool) -> Native:
    """The convolution: reads INPUTS, writes out."""
    k = Kernel(LANES, FORWARD)
    with k.tasks() as number:
        task = Task(k, number, ragged)
        x, out = task.tokens("x"), task.tokens("out")
        weight = [place.load() for place in task.shared_rows("weight", d_conv)]
        bias = task.shared_rows("bias", 1)[0].load()
        window = [Var(k, 0.0) for _ in range(d_conv - 1)]
        with k.loop(k.int("n_seqlen")) as t:
            c = weighted(slide(window, x.at(t).load(task.mask)), weight, bias)
            out.at(t).store(c * logistic(c) if silu else c, task.mask)
    return Native(k)


def build_gradient(d_conv: int, silu: bool, ragged: bool) -> Native:
    """The gradient of the convolution, token by token in scan order.

    grad_x[s] collects weight[k] * g[t] from the tokens t = s ... s + d_conv - 1 that saw x[s]; a
    second window carries the unfinished sums. grad_weight (batch, d_conv, padded) and
    grad_bias (batch, padded) are partial sums: the caller adds them up, in fixed order.
    """
    k = Kernel(LANES, GRADIENT)
    with k.tasks() as number:
        task = Task(k, number, ragged)
        x, grad_out, grad_x = (task.tokens(name) for name in ("x", "grad_out", "grad_x"))
        weight = [place.load() for place in task.shared_rows("weight", d_conv)]
        bias = task.shared_rows("bias", 1)[0].load()
        window, unfinished = ([Var(k, 0.0) for _ in range(d_conv - 1)] for _ in range(2))
        grad_weight, grad_bias = [Var(k, 0.0) for _ in range(d_conv)], Var(k, 0.0)
        with k.loop(k.int("n_seqlen")) as t:
            seen = slide(window, x.at(t).load(task.mask))
            g = grad_out.at(t).load(task.mask)
            if silu:
                c = weighted(seen, weight, bias)
                s = logistic(c)
                g = g * (s * fma(c, k.number(1.0) - s, 1.0))
            for total, value in zip(grad_weight, seen, strict=True):
                total.set(fma(g, value, total.get()))
            grad_bias.set(grad_bias.get() + g)
            shifted = slide(unfinished, k.number(0.0))
            sums = [fma(w, g, value) for w, value in zip(weight, shifted, strict=True)]
            for place, value in zip(unfinished, sums[1:], strict=True):
                place.set(value)
            finished = t - (d_conv - 1)
            with k.when_not_negative(finished):
                grad_x.at(finished).store(sums[0], task.mask)
        for back, remaining in enumerate(reversed(unfinished), start=1):
            last = k.int("n_seqlen") - back
            with k.when_not_negative(last):
                grad_x.at(last).store(remaining.get(), task.mask)
        for row, total in zip(task.rows("grad_weight", d_conv), grad_weight, strict=True):
            row.store(total.get())
        task.rows("grad_bias", 1)[0].store(grad_bias.get())
    return Native(k)
