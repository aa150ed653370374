"""The causal convolution on the CPU: vector code compiled at run time, as torch custom operators.

The operators take and give float32, in token-major memory (see `jit.tasks`).
"""

from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.conv.cpu_kernels import build_forward, build_gradient
from vmamba_kernels.jit.native import Arguments, compiled
from vmamba_kernels.jit.tasks import Blocks, token_arguments, token_major, total


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """Convolve x (batch, d_inner, seqlen) with weight (d_inner, d_conv); see `causal_conv1d`."""
    bias = None if bias is None else bias.float()
    return _forward(x.float(), weight.float(), bias, silu, reverse).to(x.dtype)


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_cpu",
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor? bias, bool silu, bool reverse) -> Tensor",
)
def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    arguments = _inputs(blocks, x, weight, bias, reverse)
    out = blocks.empty_output(x)
    arguments |= token_arguments("out", out.transpose(1, 2), reverse)
    compiled(build_forward, weight.shape[1], silu, blocks.ragged)(blocks.tasks, arguments)
    return out


@_forward.register_fake
def _forward_shape(
    x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    return Blocks(x.shape[0], x.shape[2], x.shape[1]).empty_output(x)


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_cpu_gradient",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor x, Tensor weight, Tensor? bias, bool silu, bool reverse) -> "
    "(Tensor, Tensor, Tensor)",
)
def _gradient(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    arguments = _inputs(blocks, x, weight, bias, reverse)
    grad_out, grad_x = token_major(grad_out), blocks.empty_tokens(x)
    grad_weight = x.new_empty(blocks.batch, weight.shape[1], blocks.padded)
    grad_bias = x.new_empty(blocks.batch, blocks.padded)
    arguments |= token_arguments("grad_out", grad_out, reverse)
    arguments |= token_arguments("grad_x", grad_x, reverse)
    arguments |= {"grad_weight": grad_weight, "grad_bias": grad_bias}
    compiled(build_gradient, weight.shape[1], silu, blocks.ragged)(blocks.tasks, arguments)
    return (
        grad_x.transpose(1, 2),
        blocks.unpad(total(grad_weight, 0)).t(),
        x.new_empty(0) if bias is None else blocks.unpad(total(grad_bias, 0)),
    )


@_gradient.register_fake
def _gradient_shapes(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = Blocks(x.shape[0], x.shape[2], x.shape[1])
    grad_weight = x.new_empty(weight.shape[1], blocks.d_inner).t()
    grad_bias = x.new_empty(0 if bias is None else blocks.d_inner)
    return blocks.empty_tokens(x).transpose(1, 2), grad_weight, grad_bias


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    grad_x, grad_weight, grad_bias = _gradient(grad_out, x, weight, bias, ctx.silu, ctx.reverse)
    return grad_x, grad_weight, None if bias is None else grad_bias, None, None


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'causal_conv1d: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_gradient.register_autograd(_no_second_gradient)


def _inputs(
    blocks: Blocks, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool
) -> Arguments:
    """The arguments that forward and gradient share."""
    x = token_major(x)
    weight = blocks.pad(weight.t())
    bias = x.new_zeros(blocks.padded) if bias is None else blocks.pad(bias)
    arguments = blocks.arguments() | token_arguments("x", x, reverse)
    return arguments | {"weight": weight, "bias": bias}
