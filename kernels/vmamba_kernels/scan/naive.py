"""The definition of the selective scan, in plain torch, one token after the other.

Every other backend is tested against this one. It runs on any device, in float64 where an argument
is float64, and can be differentiated twice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.checks import check_permutation
from vmamba_kernels.types import ScanInputs, ScanOptions


def scan(
    given: ScanInputs, z: Tensor | None, options: ScanOptions, tokens: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the scan; the arguments are `selective_scan`'s, checked, B and C with a group axis.

    Args:
        tokens: Natural indices of the tokens whose states are stored, int64 (count,); None: none.

    Returns:
        y (batch, d_inner, seqlen), last_state (batch, d_inner, d_state) and states
        (batch, d_inner, d_state, count), which is empty (0,) where `tokens` is None.
    """
    u, delta, A, B, C, D, delta_bias, initial_state = given
    doubles = any(x is not None and x.dtype == torch.float64 for x in (*given, z))
    work = torch.float64 if doubles else torch.float32
    dtype, (batch, d_inner, seqlen) = u.dtype, u.shape
    u, delta, A, B, C = (x.to(work) for x in (u, delta, A, B, C))
    if options.delta_softplus:
        delta = step_size(delta, delta_bias)
    elif delta_bias is not None:
        delta = delta + delta_bias.to(work)[:, None]
    h = A.new_zeros(batch, *A.shape) if initial_state is None else initial_state.to(work)

    # unbind once: indexing [..., t] would make the gradient quadratic in seqlen
    each = list(zip(*(x.unbind(-1) for x in (u, delta, B, C)), strict=True))
    wanted = set([] if tokens is None else tokens.tolist())
    ys, states = [h] * seqlen, {}
    for t in _steps(seqlen, options):
        u_t, delta_t, B_t, C_t = each[t]
        A_bar = torch.exp(delta_t[..., None] * A)
        h = A_bar * h + (delta_t * u_t)[..., None] * _per_channel(B_t, d_inner)
        ys[t] = (_per_channel(C_t, d_inner) * h).sum(-1)
        if t in wanted:
            states[t] = h

    y = torch.stack(ys, dim=1).transpose(1, 2)
    if D is not None:
        y = y + D.to(work)[:, None] * u
    y = gated_sum(y, None, z)
    if tokens is None:
        kept = h.new_empty(0)
    elif len(tokens):
        kept = torch.stack([states[t] for t in tokens.tolist()], dim=-1)
    else:
        kept = h.new_empty(*h.shape, 0)
    return y.to(dtype), h, kept


def scan_norms(
    given: ScanInputs, z: Tensor | None, options: ScanOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the scan and reduce its states.

    Returns:
        y, over_states and readout (batch, d_inner, seqlen), over_channels (batch, d_state, seqlen);
        the last three in the states' type, without a gradient.
    """
    y, _, states = scan(given, z, options, torch.arange(given.u.shape[2]))
    states = states.detach()
    per_channel = _per_channel(given.C.detach().to(states.dtype), given.u.shape[1])
    readout = (per_channel * states).sum(2)
    return y, states.square().sum(2).sqrt(), states.square().sum(1).sqrt(), readout


def bidirectional(
    forward: ScanInputs, backward: ScanInputs, z: Tensor | None, options: ScanOptions
) -> Tensor:
    """Run both directions and gate their sum: y (batch, d_inner, seqlen).

    Args:
        options: Those of the backward scan.
    """
    y, y_backward = (
        scan(given._replace(u=at_least_float32(given.u)), None, how, None)[0]
        for given, how in zip((forward, backward), options.directions(), strict=True)
    )
    return gated_sum(y, y_backward, z).to(forward.u.dtype)


def step_size(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    """softplus(delta + delta_bias), at least float32."""
    delta = at_least_float32(delta)
    if delta_bias is not None:
        delta = delta + delta_bias.to(delta.dtype)[:, None]
    return F.softplus(delta)


def gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor | None) -> Tensor:
    """(y + y_backward) * silu(z), at least float32; what is None is left out."""
    y = at_least_float32(y)
    if y_backward is not None:
        y = y + y_backward.to(y.dtype)
    return y if z is None else y * F.silu(z.to(y.dtype))


def at_least_float32(x: Tensor) -> Tensor:
    """x as float32, float64 left as it is."""
    return x if x.dtype == torch.float64 else x.float()


def _steps(seqlen: int, options: ScanOptions) -> list[int]:
    """The natural index of the token read at each step."""
    if options.order is not None:
        check_permutation("selective_scan", options.order)
        return options.order.tolist()
    return list(range(seqlen))[:: -1 if options.reverse else 1]


def _per_channel(x: Tensor, d_inner: int) -> Tensor:
    """(batch, groups, d_state, ...) -> what broadcasts over (batch, d_inner, d_state, ...)."""
    groups = x.shape[1]
    return x if groups == 1 else x.repeat_interleave(d_inner // groups, dim=1)
