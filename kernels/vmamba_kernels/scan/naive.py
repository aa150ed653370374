"""The definition of the selective scan, in plain torch, one token after the other.

Every other backend is tested against this one. It runs on any device, in float64 where an argument
is float64, and can be differentiated twice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the scan; the arguments are `selective_scan`'s, checked, B and C with a group axis.

    Returns:
        y (batch, d_inner, seqlen), last_state (batch, d_inner, d_state) and states
        (batch, d_inner, d_state, seqlen), which is empty unless `keep_states`.
    """
    given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    doubles = any(x is not None and x.dtype == torch.float64 for x in given)
    work = torch.float64 if doubles else torch.float32
    dtype, (batch, d_inner, _) = u.dtype, u.shape
    u, delta, A, B, C = (x.to(work) for x in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(work)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    h = A.new_zeros(batch, *A.shape) if initial_state is None else initial_state.to(work)

    # unbind once: indexing [..., t] would make the gradient quadratic in seqlen
    tokens = list(zip(*(x.unbind(-1) for x in (u, delta, B, C)), strict=True))
    ys, states = [], []
    for u_t, delta_t, B_t, C_t in reversed(tokens) if reverse else tokens:
        A_bar = torch.exp(delta_t[..., None] * A)
        h = A_bar * h + (delta_t * u_t)[..., None] * _per_channel(B_t, d_inner)
        ys.append((_per_channel(C_t, d_inner) * h).sum(-1))
        if keep_states:
            states.append(h)
    if reverse:
        ys.reverse()
        states.reverse()

    y = torch.stack(ys, dim=1).transpose(1, 2)
    if D is not None:
        y = y + D.to(work)[:, None] * u
    if z is not None:
        y = y * F.silu(z.to(work))
    return y.to(dtype), h, torch.stack(states, dim=-1) if keep_states else h.new_empty(0)


def _per_channel(x: Tensor, d_inner: int) -> Tensor:
    """(batch, groups, d_state) -> what broadcasts over (batch, d_inner, d_state)."""
    groups = x.shape[1]
    return x if groups == 1 else x.repeat_interleave(d_inner // groups, dim=1)
