"""The scan of one direction with edits: edited states and writes, handovers, cut edges.

Tensors stand in natural clip order; `steps` holds the natural index of the token read at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states

StateFunction = Callable[[Tensor], Tensor | None]
"""Gets a state (batch, d_inner, d_state); its result replaces the state, None keeps it."""

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


def leave_out_own(y: Tensor, u: Tensor, own: Tensor, D: Tensor | None, first: int) -> Tensor:
    """Take out of y what each token wrote itself; at the first token only the skip D u is left.

    Args:
        y: The scan's output, (batch, d_inner, seqlen).
        u: Its input.
        own: The part of its own u that a token reads through the state, shaped like y.
        D: Skip weight, (d_inner,), or None.
        first: Natural index of the first token read.
    """
    rest = y - own * u
    skip = torch.zeros_like(rest) if D is None else D.to(rest.dtype)[:, None] * u
    at_first = torch.zeros(y.shape[-1], dtype=torch.bool, device=y.device)
    at_first[first] = True
    return torch.where(at_first, skip, rest)


def without_cut_edges(
    inputs: ScanInputs,
    y: Tensor,
    cuts: Sequence[tuple[Tensor, Tensor]],
    carried: Callable[[ScanInputs, Tensor], Tensor],
) -> Tensor:
    """Subtract from y what the sources of each cut bring to its targets, the skip D u included.

    Args:
        inputs: The scan's inputs, delta after softplus.
        y: The scan's output, (batch, d_inner, seqlen).
        cuts: (sources, targets) of each cut, token indices; edges cut twice are cut once.
        carried: What the tokens of a mask bring to every y.
    """
    done: list[Rectangle] = []
    for cut in cuts:
        masks = []
        for chosen in cut:
            mask = torch.zeros(y.shape[-1], dtype=torch.bool, device=y.device)
            mask[chosen.to(y.device)] = True
            masks.append(mask)
        done += uncut((masks[0], masks[1]), done)
    for sources, targets in done:
        y = torch.where(targets, y - carried(inputs, sources), y)
    return y


def scan_with_handovers(
    inputs: ScanInputs,
    handovers: Sequence[tuple[int, StateFunction]],
    steps: Tensor,
    how: dict[str, Any],
    keep: bool,
) -> tuple[Tensor, Tensor | None, bool]:
    """Scan in pieces, one up to each handover.

    Args:
        inputs: The scan's inputs, delta after softplus.
        handovers: Tokens, and the function that gets the state each hands on.
        steps, how: The reading order, as an index and as keywords for the kernels.
        keep: Whether to keep every state.
    Returns:
        y; every state before its handover, or None; and whether a function replaced a state.
    Raises:
        ValueError: there is no such token, or a function returned something else than a state.
    """
    place, seqlen = steps.argsort(), inputs.u.shape[-1]
    reverse, gathered = how["reverse"], how["order"] is not None
    at_step: dict[int, list[StateFunction]] = {}
    for token, function in handovers:
        if not -seqlen <= token < seqlen:
            raise ValueError(
                f"A state is to be handed on after token {token}, but there are only "
                f"{seqlen} tokens, 0 to {seqlen - 1}."
            )
        at_step.setdefault(int(place[token]), []).append(function)
    u, delta, A, B, C, D = inputs[:6]
    if gathered:
        u, delta, B, C = (x[..., steps] for x in (u, delta, B, C))
    ys, states, start, replaced = [], [], 0, False
    state = inputs.initial_state
    for stop in sorted({*(step + 1 for step in at_step), seqlen}):
        part = slice(seqlen - stop, seqlen - start) if reverse else slice(start, stop)
        piece = ScanInputs(
            u[..., part], delta[..., part], A, B[..., part], C[..., part], D, None, state
        )._asdict() | {"reverse": reverse}
        if keep:
            y, h = selective_scan_with_states(**piece)
            states.append(h)
            state = h[..., 0 if reverse else -1]
        else:
            y, state = selective_scan(**piece, return_last_state=True)
        ys.append(y)
        for function in at_step.get(stop - 1, []):
            edited = function(state)
            if edited is not None and edited is not state:
                state, replaced = _checked_state(edited, state), True
        start = stop

    def joined(pieces: list[Tensor]) -> Tensor:
        whole = torch.cat(pieces[::-1] if reverse else pieces, dim=-1)
        return whole[..., place] if gathered else whole

    return joined(ys), joined(states) if keep else None, replaced


def rescan(inputs: ScanInputs, y: Tensor, h: Tensor, edited: Tensor, steps: Tensor) -> Tensor:
    """Scan again from the states that differ from h; all others follow the recurrence.

    Args:
        inputs: The scan's inputs, delta after softplus.
        y, h: The scan's output and its states.
        edited: The states to use, shaped like h.
        steps: The reading order.
    Returns:
        y, (batch, d_inner, seqlen); a clip without edited states keeps its bits.
    """
    u, delta, A, B, C, D = inputs[:6]
    u, delta, B, C, y, h, edited = (x[..., steps] for x in (u, delta, B, C, y, h, edited))
    changed = edited != h
    if changed.all():
        return _read(edited, u, C, D).to(y.dtype)[..., steps.argsort()]
    tokens = changed.flatten(0, 2).any(0).nonzero().flatten().tolist()
    pieces = [y[..., : tokens[0]]]
    before = h[..., tokens[0]]  # the state that the recurrence brings to the edited token
    for token, end in zip(tokens, [*tokens[1:], y.shape[-1]], strict=True):
        state = torch.where(changed[..., token], edited[..., token], before)
        at = slice(token, token + 1)
        pieces.append(_read(state.unsqueeze(-1), u[..., at], C[..., at], D).to(y.dtype))
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


STILL = 1e-30
"""The smallest step size that is divided by; a state decays by nothing in it."""


def written_states(inputs: ScanInputs, write: Tensor, how: dict[str, Any]) -> Iterator[Tensor]:
    """The states that writes of any kind make, one n of d_state after the other.

    A kernel writes delta B u, of which B is the same for all channels. With one state at a time
    any write is of this kind: u = write / delta, B = 1; read by C = 1, y is the state.

    Args:
        inputs: The scan's inputs, delta after softplus; u and B are not read.
        write: What is added to the state at each token, (batch, d_inner, d_state, seqlen).
        how: The reading order, as keywords for the kernels.
    Yields:
        h[:, :, n], (batch, d_inner, seqlen).
    """
    delta, A = inputs.delta, inputs.A
    delta = torch.where(delta.abs() < STILL, STILL, delta)
    one = delta.new_ones(()).expand(delta.shape[0], 1, delta.shape[2])
    for n in range(A.shape[1]):
        yield selective_scan(write[:, :, n] / delta, delta, A[:, [n]], one, one, **how)


def _read(h: Tensor, u: Tensor, C: Tensor, D: Tensor | None) -> Tensor:
    """y of given states: sum_n C[n] h[n] + D u."""
    read = torch.einsum("bdnt,bnt->bdt", h, C.to(h.dtype))
    return read if D is None else read + D.to(h.dtype)[:, None] * u.to(h.dtype)


def _checked_state(edited: object, state: Tensor) -> Tensor:
    wanted = f"(batch, d_inner, d_state) = {tuple(state.shape)}"
    if not isinstance(edited, Tensor) or edited.shape != state.shape:
        got = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
        raise ValueError(f"A state was to be replaced by {got}, expected a tensor {wanted}.")
    return edited.to(state)
