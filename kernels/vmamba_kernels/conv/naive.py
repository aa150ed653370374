"""The definition of the causal convolution, in plain torch: a sum of shifted copies."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.checks import check_permutation
from vmamba_kernels.conv.operators import ConvOptions


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions) -> Tensor:
    """Convolve x (batch, d_inner, seqlen) with weight (d_inner, d_conv); see `causal_conv1d`."""
    order, silu, reverse = options
    if order is not None:
        check_permutation("causal_conv1d", order)
        out = conv(x[..., order], weight, bias, options._replace(order=None))
        return out[..., order.argsort()]
    doubles = any(t is not None and t.dtype == torch.float64 for t in (x, weight, bias))
    work = torch.float64 if doubles else torch.float32
    (d_conv, seqlen), dtype = (weight.shape[1], x.shape[2]), x.dtype
    x, weight = x.to(work), weight.to(work)
    x = F.pad(x, (0, d_conv - 1) if reverse else (d_conv - 1, 0))
    taps = weight.flip(1) if reverse else weight  # anticausal: the first tap is the token itself
    out = torch.zeros_like(x[..., :seqlen])
    for k in range(d_conv):
        out = out + taps[:, k, None] * x[..., k : k + seqlen]
    if bias is not None:
        out = out + bias.to(work)[:, None]
    return (F.silu(out) if silu else out).to(dtype)
