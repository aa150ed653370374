"""The causal convolution on the CPU: vector code compiled at run time, as torch custom operators.

x and the output are float32 or bfloat16 in token-major memory (see `jit.tasks`), the rest float32.
"""

from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.conv.cpu_kernels import build_forward, build_gradient
from vmamba_kernels.jit.memory import ask_for_large_pages, total
from vmamba_kernels.jit.native import Arguments, compiled
from vmamba_kernels.jit.tasks import (
    Blocks,
    bfloats,
    readable,
    token_arguments,
    token_major,
    token_order,
)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    reverse: bool,
    order: Tensor | None = None,
) -> Tensor:
    """Convolve x (batch, d_inner, seqlen) with weight (d_inner, d_conv); see `causal_conv1d`."""
    bias = None if bias is None else bias.float()
    return _forward(readable(x), weight.float(), bias, order, silu, reverse).to(x.dtype)


_TENSORS = "Tensor x, Tensor weight, Tensor? bias, Tensor? order"


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_cpu",
    mutates_args=(),
    schema=f"({_TENSORS}, bool silu, bool reverse) -> Tensor",
)
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    silu: bool,
    reverse: bool,
) -> Tensor:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    arguments = _inputs(blocks, x, weight, bias, order, reverse)
    out = blocks.empty_output(x)
    ask_for_large_pages(out)
    arguments |= token_arguments("out", out.transpose(1, 2))
    variant = weight.shape[1], silu, blocks.ragged, bfloats(arguments)
    compiled(build_forward, *variant)(blocks.tasks, arguments)
    return out


@_forward.register_fake
def _forward_shape(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    silu: bool,
    reverse: bool,
) -> Tensor:
    return Blocks(x.shape[0], x.shape[2], x.shape[1]).empty_output(x)


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_cpu_gradient",
    mutates_args=(),
    schema=f"(Tensor grad_out, {_TENSORS}, bool silu, bool reverse) -> (Tensor, Tensor, Tensor)",
)
def _gradient(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    arguments = _inputs(blocks, x, weight, bias, order, reverse)
    grad_out, grad_x = token_major(grad_out), blocks.empty_tokens(x)
    grad_weight = blocks.zeros_packed(weight, weight.shape[1])
    grad_bias = weight.new_zeros(blocks.batch, blocks.d_inner)
    ask_for_large_pages(grad_x)
    arguments |= token_arguments("grad_out", grad_out)
    arguments |= token_arguments("grad_x", grad_x)
    arguments |= {
        "grad_weight": grad_weight,
        "grad_bias": grad_bias,
        "unfinished": torch.zeros_like(grad_weight[:, :, 1:]),
    }
    variant = weight.shape[1], silu, blocks.ragged, bfloats(arguments)
    compiled(build_gradient, *variant)(blocks.tasks, arguments)
    return (
        grad_x.transpose(1, 2),
        blocks.unpack(total(grad_weight, 0)).t(),
        weight.new_empty(0) if bias is None else total(grad_bias, 0),
    )


@_gradient.register_fake
def _gradient_shapes(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    grad_weight = weight.new_empty(weight.shape[1], blocks.d_inner).t()
    grad_bias = weight.new_empty(0 if bias is None else blocks.d_inner)
    return blocks.empty_tokens(x).transpose(1, 2), grad_weight, grad_bias


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, order = ctx.saved_tensors
    grads = _gradient(grad_out, x, weight, bias, order, ctx.silu, ctx.reverse)
    grad_x, grad_weight, grad_bias = grads
    return grad_x, grad_weight, None if bias is None else grad_bias, None, None, None


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'causal_conv1d: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_gradient.register_autograd(_no_second_gradient)


def _inputs(
    blocks: Blocks,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    reverse: bool,
) -> Arguments:
    """The arguments that forward and gradient share."""
    order = token_order("causal_conv1d", blocks.seqlen, reverse, order)
    packed: Arguments = {
        "weight": blocks.pack(weight.t()),
        "bias": blocks.channels(bias, weight),
        "window": blocks.zeros_packed(weight, weight.shape[1] - 1),
    }
    return blocks.arguments(order) | packed | token_arguments("x", token_major(x))
