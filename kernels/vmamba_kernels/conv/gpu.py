"""The convolution on a GPU: launches its Triton kernels. Memory is token-major."""

from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.conv import gpu_kernels as kernels
from vmamba_kernels.conv.operators import ConvOptions
from vmamba_kernels.operators import Results, token_major_like
from vmamba_kernels.scan.gpu_forward import contiguous, on_device
from vmamba_kernels.scan.gpu_kernels import Tokens


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions) -> Tensor:
    """See `operators.Launch`."""
    out = token_major_like(x)
    batch, d_inner, seqlen = x.shape
    programs = batch * -(-seqlen // kernels.TILE.value) * -(-d_inner // kernels.BLOCK.value)
    if batch:
        with on_device(x):
            kernels.forward_kernel[(programs,)](
                _tokens(x), _filter(weight, bias), _tokens(out), contiguous(options.order),
                seqlen, d_inner, **_constants(weight, options),
            )  # fmt: skip
    return out


def gradient(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions
) -> Results:
    """See `operators.Launch`."""
    grad_x = token_major_like(x)
    (batch, d_inner, seqlen), d_conv = x.shape, weight.shape[1]
    pieces = -(-seqlen // (kernels.TILE.value * kernels.TILES.value))
    sums = x.new_empty(batch, pieces, d_conv + 1, d_inner, dtype=torch.float32)
    programs = batch * pieces * -(-d_inner // kernels.BLOCK.value)
    if batch:
        with on_device(x):
            kernels.gradient_kernel[(programs,)](
                _tokens(x), _filter(weight, bias), _tokens(grad), _tokens(grad_x), sums,
                contiguous(options.order), seqlen, d_inner, **_constants(weight, options),
            )  # fmt: skip
    grad_weight = sums[:, :, :d_conv].sum((0, 1)).t().to(weight.dtype).contiguous()
    grad_bias = None if bias is None else sums[:, :, d_conv].sum((0, 1)).to(bias.dtype)
    return grad_x, grad_weight, grad_bias


def _tokens(x: Tensor) -> Tokens:
    """x for a kernel; a copy only if its stride along the channels is not 1."""
    x = x if x.stride(1) == 1 else token_major_like(x).copy_(x)
    return Tokens(x, x.stride(0), x.stride(2))


def _filter(weight: Tensor, bias: Tensor | None) -> kernels.Filter:
    return kernels.Filter(weight, weight.stride(0), weight.stride(1), contiguous(bias))


def _constants(weight: Tensor, options: ConvOptions) -> dict[str, Any]:
    """What the kernels are compiled for, and how."""
    constants = {"D_CONV": weight.shape[1], "SILU": options.silu, "REVERSE": options.reverse}
    return constants | {"num_warps": 1, "enable_fp_fusion": True}
