"""What the scan does around its recurrence, by itself: the step size and the gate.

Both give the very bits that they have inside the scan, so that a layer's scan inputs can be shown,
and two directions be summed, as the fused kernels do it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit.ircode import Kernel
from vmamba_kernels.jit.memory import ask_for_large_pages, total
from vmamba_kernels.jit.native import Native, compiled
from vmamba_kernels.jit.tasks import (
    LANES,
    SIZES,
    Blocks,
    parameters,
    summed,
    tiles,
    token_arguments,
    token_major,
    token_order,
)
from vmamba_kernels.jit.vectormath import silu, silu_and_slope, softplus_and_slope


def build_step_size(ragged: bool, gradient: bool) -> Native:
    """out = softplus(delta + bias), or its gradient; grad_bias (batch, d_inner) is added to."""
    tokens = ("delta", "grad_out", "grad_delta") if gradient else ("delta", "out")
    k = Kernel(LANES, (*SIZES, "bias", "grad_bias", *parameters(tokens)))
    with tiles(k, ragged) as tile:
        bias = tile.channels("bias").load(tile.mask)
        streams = [tile.tokens(name) for name in tokens]
        sums = [tile.channels("grad_bias", per_batch=True)] if gradient else []
        with summed(sums, tile.mask) as grad_bias, k.loop(tile.length) as i:
            delta, *others = (stream.at(tile.token(i)) for stream in streams)
            out, slope = softplus_and_slope(delta.load(tile.mask) + bias)
            if gradient:
                grad_out, grad_delta = others
                to_delta = grad_out.load(tile.mask) * slope
                grad_delta.store(to_delta, tile.mask)
                grad_bias[0].set(grad_bias[0].get() + to_delta)
            else:
                others[0].store(out, tile.mask)
    return Native(k)


def build_gated_sum(ragged: bool, two: bool, gradient: bool) -> Native:
    """out = (y + y_backward) * silu(z), or its gradient; grad_y is that of y_backward too."""
    read = ("y", *(["y_backward"] if two else []), "z", *(["grad_out"] if gradient else []))
    written = ("grad_y", "grad_z") if gradient else ("out",)
    k = Kernel(LANES, (*SIZES, *parameters((*read, *written))))
    with tiles(k, ragged) as tile:
        streams = {name: tile.tokens(name) for name in (*read, *written)}
        with k.loop(tile.length) as i:
            places = {name: stream.at(tile.token(i)) for name, stream in streams.items()}
            given = {name: places[name].load(tile.mask) for name in read}
            y = given["y"] + given["y_backward"] if two else given["y"]
            if gradient:
                gate, slope = silu_and_slope(given["z"])
                places["grad_z"].store(given["grad_out"] * y * slope, tile.mask)
                places["grad_y"].store(given["grad_out"] * gate, tile.mask)
            else:
                places["out"].store(y * silu(given["z"]), tile.mask)
    return Native(k)


@torch.library.custom_op(
    "vmamba_kernels::step_size_cpu",
    mutates_args=(),
    schema="(Tensor delta, Tensor? delta_bias) -> Tensor",
)
def _step_size(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    blocks = _blocks(delta)
    out = blocks.empty_output(delta)
    bias = blocks.channels(delta_bias, delta)
    native = compiled(build_step_size, blocks.ragged, False)
    _run(native, blocks, {"delta": delta, "out": out}, {"bias": bias, "grad_bias": None})
    return out


@_step_size.register_fake
def _step_size_shape(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    return _blocks(delta).empty_output(delta)


@torch.library.custom_op(
    "vmamba_kernels::step_size_cpu_gradient",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor delta, Tensor? delta_bias) -> (Tensor, Tensor)",
)
def _step_size_gradient(
    grad_out: Tensor, delta: Tensor, delta_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    blocks = _blocks(delta)
    grad_delta = blocks.empty_output(delta)
    bias = blocks.channels(delta_bias, delta)
    grad_bias = delta.new_zeros(blocks.batch, blocks.d_inner)
    native = compiled(build_step_size, blocks.ragged, True)
    tokens = {"delta": delta, "grad_out": grad_out, "grad_delta": grad_delta}
    _run(native, blocks, tokens, {"bias": bias, "grad_bias": grad_bias})
    if delta_bias is None:
        return grad_delta, delta.new_empty(0)
    return grad_delta, total(grad_bias, 0)


@_step_size_gradient.register_fake
def _step_size_gradient_shapes(
    grad_out: Tensor, delta: Tensor, delta_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    grad_bias = delta.new_empty(0 if delta_bias is None else delta.shape[1])
    return _blocks(delta).empty_output(delta), grad_bias


@torch.library.custom_op(
    "vmamba_kernels::gated_sum_cpu",
    mutates_args=(),
    schema="(Tensor y, Tensor? y_backward, Tensor z) -> Tensor",
)
def _gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    blocks = _blocks(y)
    out = blocks.empty_output(y)
    native = compiled(build_gated_sum, blocks.ragged, y_backward is not None, False)
    _run(native, blocks, {"y": y, "y_backward": y_backward, "z": z, "out": out})
    return out


@_gated_sum.register_fake
def _gated_sum_shape(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    return _blocks(y).empty_output(y)


@torch.library.custom_op(
    "vmamba_kernels::gated_sum_cpu_gradient",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor y, Tensor? y_backward, Tensor z) -> (Tensor, Tensor)",
)
def _gated_sum_gradient(
    grad_out: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    blocks = _blocks(y)
    grad_y, grad_z = blocks.empty_output(y), blocks.empty_output(y)
    native = compiled(build_gated_sum, blocks.ragged, y_backward is not None, True)
    tokens = {"y": y, "y_backward": y_backward, "z": z, "grad_out": grad_out}
    _run(native, blocks, tokens | {"grad_y": grad_y, "grad_z": grad_z})
    return grad_y, grad_z


@_gated_sum_gradient.register_fake
def _gated_sum_gradient_shapes(
    grad_out: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    blocks = _blocks(y)
    return blocks.empty_output(y), blocks.empty_output(y)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _step_size_backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    delta, delta_bias = ctx.saved_tensors
    grad_delta, grad_bias = _step_size_gradient(grad_out, delta, delta_bias)
    return grad_delta, None if delta_bias is None else grad_bias


def _gated_sum_backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    y, y_backward, z = ctx.saved_tensors
    grad_y, grad_z = _gated_sum_gradient(grad_out, y, y_backward, z)
    return grad_y, None if y_backward is None else grad_y, grad_z


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'step_size, gated_sum: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_step_size.register_autograd(_step_size_backward, setup_context=_setup_context)
_gated_sum.register_autograd(_gated_sum_backward, setup_context=_setup_context)
_step_size_gradient.register_autograd(_no_second_gradient)
_gated_sum_gradient.register_autograd(_no_second_gradient)


def _blocks(x: Tensor) -> Blocks:
    batch, d_inner, seqlen = x.shape
    return Blocks(batch, seqlen, d_inner)


def _run(
    native: Native,
    blocks: Blocks,
    tokens: Mapping[str, Tensor | None],
    packed: Mapping[str, Tensor | None] | None = None,
) -> None:
    """Run over all tokens; tensors of tokens are (batch, d_inner, seqlen)."""
    ask_for_large_pages(*tokens.values())
    arguments = blocks.arguments(token_order("", blocks.seqlen, False, None)) | dict(packed or {})
    for name, x in tokens.items():
        arguments |= token_arguments(name, None if x is None else token_major(x))
    native(blocks.tasks, arguments)


def step_size(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    """softplus(delta + delta_bias), float32."""
    return _step_size(delta.float(), None if delta_bias is None else delta_bias.float())


def gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor | None) -> Tensor:
    """(y + y_backward) * silu(z), float32; what is None is left out."""
    y = y.float()
    y_backward = None if y_backward is None else y_backward.float()
    if z is None:
        return y if y_backward is None else y + y_backward
    return _gated_sum(y, y_backward, z.float())
