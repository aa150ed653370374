"""The scan of one direction while somebody changes it: edited states, handovers, cut edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states

if TYPE_CHECKING:
    from vmamba_explore.model.ssm import SelectiveSSM, StateFunction

Rectangle = tuple[Tensor, Tensor]
"""Edges from every source to every target, as masks (seqlen,)."""


def uncut(new: Rectangle, cuts: Sequence[Rectangle]) -> list[Rectangle]:
    """Split the edges of `new` into rectangles none of which touches one of `cuts`."""
    pieces = [new]
    for sources, targets in cuts:
        pieces = [
            piece
            for s, t in pieces
            for piece in ((s & ~sources, t), (s & sources, t & ~targets))
            if piece[0].any() and piece[1].any()
        ]
    return pieces


def without_cut_edges(ssm: SelectiveSSM, inputs: ScanInputs, y: Tensor, replaced: bool) -> Tensor:
    """y less what the sources of each cut bring to its targets, the skip D u included.

    Args:
        ssm: Whose cuts.
        inputs: What the scan was given, delta after softplus.
        y: What it gave.
        replaced: Whether somebody replaced states in it.
    Raises:
        ValueError: states were replaced, which do not follow from u.
    """
    if replaced:
        raise ValueError(
            f"{ssm.hook_y.name}: edges are cut and states are replaced in the same scan; what a "
            "token brings through a replaced state is not defined. Do one of the two."
        )
    done: list[Rectangle] = []
    for places in ssm.cuts:
        masks = []
        for chosen in places():
            mask = torch.zeros(y.shape[-1], dtype=torch.bool, device=y.device)
            mask[chosen.to(y.device)] = True
            masks.append(mask)
        done += uncut((masks[0], masks[1]), done)
    for sources, targets in done:
        only = inputs._replace(u=inputs.u * sources)._asdict() | ssm.how
        y = torch.where(targets, y - selective_scan(**only), y)
    return y


def scan_with_handovers(ssm: SelectiveSSM, inputs: ScanInputs) -> tuple[Tensor, bool]:
    """Scan in pieces, one up to each handover.

    Returns:
        y in natural order, and whether a state was replaced.
    """
    steps = ssm.steps(seqlen := inputs.u.shape[-1])
    place = steps.argsort()
    at_step: dict[int, list[StateFunction]] = {}
    for token, functions in ssm.handovers.items():
        if not -seqlen <= token < seqlen:
            raise ValueError(
                f"A state is to be handed on after token {token}, but there are only "
                f"{seqlen} tokens, 0 to {seqlen - 1}."
            )
        at_step.setdefault(int(place[token]), []).extend(functions)
    points = (ssm.hook_h, ssm.hook_h_boundaries, ssm.hook_h_over_states, ssm.hook_h_over_channels)
    keep = any(point.is_active for point in points)
    u, delta, A, B, C, D = inputs[:6]
    if ssm.scan_order is not None:
        u, delta, B, C = (x[..., steps] for x in (u, delta, B, C))
    ys, states, state, start, replaced = [], [], None, 0, False
    for stop in sorted({*(step + 1 for step in at_step), seqlen}):
        part = slice(seqlen - stop, seqlen - start) if ssm.reverse else slice(start, stop)
        piece = ScanInputs(
            u[..., part], delta[..., part], A, B[..., part], C[..., part], D, None, state
        )._asdict() | {"reverse": ssm.reverse}
        if keep:
            y, h = selective_scan_with_states(**piece)
            states.append(h)
            state = h[..., 0 if ssm.reverse else -1]
        else:
            y, state = selective_scan(**piece, return_last_state=True)
        ys.append(y)
        for function in at_step.get(stop - 1, []):
            edited = function(state)
            if edited is not None and edited is not state:
                state, replaced = _checked_state(edited, state), True
        start = stop
    if keep:
        h = _joined(ssm, states)
        ssm.hook_h_over_states(torch.linalg.vector_norm(h, dim=2))
        ssm.hook_h_over_channels(torch.linalg.vector_norm(h, dim=1))
        ssm.hook_h_boundaries(h[..., ssm.boundaries(seqlen)])
        edited = ssm.hook_h(h)
        if edited is not h and not torch.equal(edited, h):
            raise ValueError(
                f"{ssm.hook_h.name} cannot be edited while states are read or replaced as they "
                "are handed on from token to token: which comes first is not defined."
            )
    return _joined(ssm, ys), replaced


def rescan(ssm: SelectiveSSM, y: Tensor, h: Tensor, edited: Tensor, inputs: ScanInputs) -> Tensor:
    """Take the states that differ from h, and let all others follow from them.

    Args:
        ssm: Whose scan.
        y, h, edited: What the scan gave, and the states to take, natural order.
        inputs: What the scan was given, delta after softplus.
    Returns:
        y, (batch, d_inner, seqlen); a clip that nobody touched keeps its bits.
    """
    steps = ssm.steps(y.shape[-1])
    u, delta, A, B, C, D = inputs[:6]
    u, delta, B, C, y, h, edited = (x[..., steps] for x in (u, delta, B, C, y, h, edited))
    changed = edited != h
    if changed.all():
        return _read(ssm, edited, u, C).to(y.dtype)[..., steps.argsort()]
    tokens = changed.flatten(0, 2).any(0).nonzero().flatten().tolist()
    pieces = [y[..., : tokens[0]]]
    before = h[..., tokens[0]]  # the state that the recurrence brings to the edited token
    for token, end in zip(tokens, [*tokens[1:], y.shape[-1]], strict=True):
        state = torch.where(changed[..., token], edited[..., token], before)
        at = slice(token, token + 1)
        pieces.append(_read(ssm, state.unsqueeze(-1), u[..., at], C[..., at]).to(y.dtype))
        # up to the next edit, whose own y is replaced in the next round
        span = slice(token + 1, min(end + 1, y.shape[-1]))
        if span.start < span.stop:
            after, before = selective_scan(
                u[..., span],
                delta[..., span],
                A,
                B[..., span],
                C[..., span],
                D,
                return_last_state=True,
                initial_state=state,
            )
            pieces.append(after[..., : end - token - 1])
    touched = changed.flatten(1).any(1)[:, None, None]
    return torch.where(touched, torch.cat(pieces, dim=-1), y)[..., steps.argsort()]


def _read(ssm: SelectiveSSM, h: Tensor, u: Tensor, C: Tensor) -> Tensor:
    """y of given states: sum_n C[n] h[n] + D u."""
    read = torch.einsum("bdnt,bnt->bdt", h, C.to(h.dtype))
    return read + ssm.D.to(h.dtype)[:, None] * u.to(h.dtype)


def _joined(ssm: SelectiveSSM, pieces: list[Tensor]) -> Tensor:
    """Pieces of a scan, in the order in which they were made, along the natural token axis."""
    if ssm.scan_order is not None:
        return torch.cat(pieces, dim=-1)[..., ssm.scan_order.argsort()]
    return torch.cat(pieces[::-1] if ssm.reverse else pieces, dim=-1)


def _checked_state(edited: object, state: Tensor) -> Tensor:
    wanted = f"(batch, d_inner, d_state) = {tuple(state.shape)}"
    if not isinstance(edited, Tensor) or edited.shape != state.shape:
        got = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
        raise ValueError(f"A state was to be replaced by {got}, expected a tensor {wanted}.")
    return edited.to(state)
