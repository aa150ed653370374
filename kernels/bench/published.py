"""The yardstick: the algorithm of the published CPU reference, in our own writing.

mamba_ssm's `selective_scan_ref` is what a Mamba model runs where its CUDA kernel cannot: channel-
major memory, exp(delta A) and delta B u for all tokens at once, then one token after the other.
One deviation, in its favor: tokens are taken with `unbind`. The published indexing `x[:, :, t]`
makes the gradient quadratic in the number of tokens (minutes at 1569).

Source: Gu and Dao 2023, arXiv:2312.00752, algorithm 2; state-spaces/mamba,
mamba_ssm/ops/selective_scan_interface.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def published_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
) -> Tensor:
    """Run the scan with softplus; u, delta, z (batch, d_inner, seqlen), B, C (batch, d_state, ...).

    Returns:
        y, (batch, d_inner, seqlen).
    """
    delta = F.softplus(delta + delta_bias[:, None])
    A_bar = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    written = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    h = A.new_zeros(u.shape[0], *A.shape)
    ys = []
    for A_bar_t, written_t, C_t in zip(
        A_bar.unbind(2), written.unbind(2), C.unbind(2), strict=True
    ):
        h = A_bar_t * h + written_t
        ys.append(torch.einsum("bdn,bn->bd", h, C_t))
    y = torch.stack(ys, dim=2)
    return (y + u * D[:, None]) * F.silu(z)
