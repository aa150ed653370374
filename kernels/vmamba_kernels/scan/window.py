"""Any window of states, recomputed from the few that were kept."""

import torch
from torch import Tensor

from vmamba_kernels.checks import (
    Tokens,
    check_order,
    check_permutation,
    check_scan,
    token_indices,
)
from vmamba_kernels.scan import selective_scan_with_states
from vmamba_kernels.types import ScanInputs, ScanResult


def scan_window(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    states: Tensor,
    tokens: Tokens,
    start: int,
    stop: int,
    channels: slice | list[int] | None = None,
    reverse: bool = False,
    order: Tensor | None = None,
    initial_state: Tensor | None = None,
    backend: str = "auto",
) -> ScanResult:
    """Recompute y and every state of a window of tokens from states that were kept.

    The scan starts again after the nearest kept token that is read before the window, and reads
    no further than the window: its cost grows with the window and the distance between kept
    tokens, not with seqlen. On `cpu` it gives the bits that the whole scan gave; elsewhere rounding
    may differ (torch's exp rounds by where a number lies in memory, a GPU by how it cuts the scan).

    Args:
        u, delta, A, B, C, D, z, delta_bias, delta_softplus: As given to the whole scan.
        states: What `selective_scan_with_states` kept, (batch, d_inner, d_state, count).
        tokens: Whose states these are, as they were given to it. Forward, slice(63, None, 64)
            keeps one state in 64; for `reverse` slice(0, None, 64) does.
        start, stop: The window: tokens start to stop - 1, natural indices.
        channels: Only these channels, a slice or a list; None: all.
        reverse, order, initial_state, backend: As given to the whole scan.

    Returns:
        `y`, (batch, channels, stop - start), typed like `u`, and `states`, float32
        (batch, channels, d_state, stop - start).

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    call = "scan_window"
    check_scan(call, ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state), z)
    d_inner, seqlen = u.shape[1:]
    check_order(call, seqlen, reverse, order)
    kept = token_indices(call, tokens, seqlen)
    wanted = (u.shape[0], d_inner, A.shape[1], len(kept))
    if states.shape != wanted:
        raise ValueError(
            f"{call}: states is {tuple(states.shape)}, expected (batch, d_inner, d_state, count) "
            f"= {wanted}: one state for each of the {len(kept)} tokens."
        )
    if not 0 <= start < stop <= seqlen:
        raise ValueError(
            f"{call}: start {start} and stop {stop} are no window of {seqlen} tokens; they must "
            "satisfy 0 <= start < stop <= seqlen."
        )
    if order is None:
        steps = torch.arange(seqlen, device="cpu")
        steps = steps.flip(0) if reverse else steps
    else:
        steps = order.cpu()
        check_permutation(call, steps)
    step_of = steps.argsort()  # token -> the step that reads it
    window = step_of[start:stop]
    before = torch.where(step_of[kept] < window.min(), step_of[kept], -1)
    first = int(before.max()) + 1 if len(kept) else 0
    state = states[..., before.argmax()] if first else initial_state

    if channels is not None:
        index = token_indices(call, channels, d_inner, "channel", "d_inner")
        if not len(index):
            raise ValueError(f"{call}: channels names none of the {d_inner} channels.")
        B, C = (_of_channels(x, index, d_inner) for x in (B, C))
        u, delta, A = u[:, channels], delta[:, channels], A[channels]
        z = None if z is None else z[:, channels]
        state = None if state is None else state[:, channels]
        D, delta_bias = (None if x is None else x[channels] for x in (D, delta_bias))

    read = steps[first : int(window.max()) + 1]  # tokens, in the order in which they are read
    where: slice | Tensor
    if order is not None:
        where, at, reverse = read.to(u.device), window - first, False
    else:
        low = int(read.min())
        where, at = slice(low, low + len(read)), torch.arange(start, stop, device="cpu") - low
    u, delta, B, C = (x[..., where] for x in (u, delta, B, C))
    y, found = selective_scan_with_states(
        u, delta, A, B, C, D, None if z is None else z[..., where], delta_bias, delta_softplus,
        tokens=at, reverse=reverse, initial_state=state, backend=backend,
    )  # fmt: skip
    return ScanResult(y[..., at.to(y.device)], found)


def _of_channels(x: Tensor, channels: Tensor, d_inner: int) -> Tensor:
    """B or C for some channels: unchanged, or one group a channel where there were groups."""
    if x.dim() == 3 or x.shape[1] == 1:
        return x
    return x[:, (channels // (d_inner // x.shape[1])).to(x.device)]
