"""The causal convolution on a GPU: Triton kernels, as torch custom operators.

Triton is imported by the first operator that runs. Memory is token-major.
"""

from typing import Any

import torch
from torch import Tensor


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    reverse: bool,
    order: Tensor | None = None,
) -> Tensor:
    """Convolve x (batch, d_inner, seqlen) with weight (d_inner, d_conv); see `causal_conv1d`."""
    return _forward(x, weight, bias, order, silu, reverse)


_TENSORS = "Tensor x, Tensor weight, Tensor? bias, Tensor? order"


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_gpu",
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
    from vmamba_kernels.conv import gpu_kernels as kernels
    from vmamba_kernels.scan.gpu_launch import on_device

    out = _empty_tokens(x)
    batch, d_inner, seqlen = x.shape
    programs = batch * -(-seqlen // kernels.TILE.value) * -(-d_inner // kernels.BLOCK.value)
    if batch:
        with on_device(x):
            kernels.forward_kernel[(programs,)](
                _tokens(x), _filter(weight, bias), _tokens(out), _order(order), seqlen, d_inner,
                **_constants(weight, silu, reverse),
            )  # fmt: skip
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
    return _empty_tokens(x)


@torch.library.custom_op(
    "vmamba_kernels::causal_conv1d_gpu_gradient",
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
    from vmamba_kernels.conv import gpu_kernels as kernels
    from vmamba_kernels.scan.gpu_launch import on_device

    grad_x = _empty_tokens(x)
    (batch, d_inner, seqlen), d_conv = x.shape, weight.shape[1]
    pieces = -(-seqlen // (kernels.TILE.value * kernels.TILES.value))
    sums = x.new_empty(batch, pieces, d_conv + 1, d_inner, dtype=torch.float32)
    programs = batch * pieces * -(-d_inner // kernels.BLOCK.value)
    if batch:
        with on_device(x):
            kernels.gradient_kernel[(programs,)](
                _tokens(x), _filter(weight, bias), _tokens(grad_out), _tokens(grad_x), sums,
                _order(order), seqlen, d_inner, **_constants(weight, silu, reverse),
            )  # fmt: skip
    grad_weight = sums[:, :, :d_conv].sum((0, 1)).t().to(weight.dtype).contiguous()
    if bias is None:
        return grad_x, grad_weight, x.new_empty(0)
    return grad_x, grad_weight, sums[:, :, d_conv].sum((0, 1)).to(bias.dtype)


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
    grad_bias = x.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    return _empty_tokens(x), weight.new_empty(weight.shape), grad_bias


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
        'causal_conv1d: backend="gpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_gradient.register_autograd(_no_second_gradient)


def _empty_tokens(x: Tensor) -> Tensor:
    """New memory shaped and typed like x, token-major whatever x is."""
    batch, d_inner, seqlen = x.shape
    return x.new_empty_strided((batch, d_inner, seqlen), (seqlen * d_inner, 1, d_inner))


def _tokens(x: Tensor) -> Any:
    """x for a kernel; a copy only if its stride along the channels is not 1."""
    from vmamba_kernels.scan.gpu_kernels import Tokens

    x = x if x.stride(1) == 1 else _empty_tokens(x).copy_(x)
    return Tokens(x, x.stride(0), x.stride(2))


def _filter(weight: Tensor, bias: Tensor | None) -> Any:
    from vmamba_kernels.conv.gpu_kernels import Filter

    bias = None if bias is None else bias.contiguous()
    return Filter(weight, weight.stride(0), weight.stride(1), bias)


def _order(order: Tensor | None) -> Tensor | None:
    return None if order is None else order.contiguous()


def _constants(weight: Tensor, silu: bool, reverse: bool) -> dict[str, Any]:
    """What the kernels are compiled for, and how."""
    constants = {"D_CONV": weight.shape[1], "SILU": silu, "REVERSE": reverse}
    return constants | {"num_warps": 1, "enable_fp_fusion": True}
