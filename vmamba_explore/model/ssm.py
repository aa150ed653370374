"""One direction of a Mamba mixer: convolution, selection, scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.hooks import HookPoint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_kernels import (
    ScanInputs,
    causal_conv1d,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
    step_size,
)

StateFunction = Callable[[Tensor], Tensor | None]
"""Gets a state (batch, d_inner, d_state); what it returns replaces the state, None keeps it."""

BOUNDARY = 64
"""Tokens from one boundary state to the next."""


def at_least_float32(x: Tensor) -> Tensor:
    """`x` as float32, float64 left as it is."""
    return x if x.dtype == torch.float64 else x.float()


class SelectiveSSM(nn.Module):
    """One direction of a mixer: what it feeds to its scan, and the scan while it is observed.

    For channel c, state n and token t in scan order::

        u       = SiLU(conv1d(x))
        delta   = softplus(dt_proj(dt)),   [dt, B, C] = x_proj(u),   A = -exp(A_log)
        h[t]    = exp(delta[t] * A) * h[t-1] + delta[t] * B[t] * u[t]
        y[t]    = sum_n C[t, n] * h[t, n] + D * u[t]

    Every tensor stands in natural clip order; the kernels read it in scan order.

    Args:
        config: Sizes.
        direction: "forward", or "backward" to read in `config.backward_order`.
    Source:
        Gu and Dao 2023, arXiv:2312.00752, algorithm 2; directions: Park et al. 2024,
        arXiv:2407.08476, section 4.4.
    """

    scan_order: Tensor | None

    def __init__(self, config: VideoMambaConfig, direction: str) -> None:
        super().__init__()
        d_inner, d_state, dt_rank = config.d_inner, config.d_state, config.dt_rank or 1
        self.split_sizes = [dt_rank, d_state, d_state]
        order = config.backward_order if direction == "backward" else None
        self.reverse = order == "spatiotemporal"  # the kernels read backwards without a flip
        other = order is not None and not self.reverse  # through an index: step -> token
        self.register_buffer(
            "scan_order",
            config.grid.backward_indices(order) if other and order else None,
            persistent=False,
        )
        self.conv1d = nn.Conv1d(d_inner, d_inner, config.d_conv, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, sum(self.split_sizes), bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        decay = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(decay.log().repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self._init_dt(dt_rank)

        channels = ("batch", "d_inner", "seqlen")
        states = ("batch", "d_inner", "d_state", "seqlen")
        self.hook_u = HookPoint(*channels)
        self.hook_delta = HookPoint(*channels, at_least_float32=True)
        self.hook_B = HookPoint("batch", "d_state", "seqlen")
        self.hook_C = HookPoint("batch", "d_state", "seqlen")
        self.hook_A_bar = HookPoint(*states, at_least_float32=True, read_only=True)
        self.hook_h = HookPoint(*states, at_least_float32=True)
        self.hook_h_boundaries = HookPoint(
            "batch", "d_inner", "d_state", "boundary", at_least_float32=True, read_only=True
        )
        self.hook_h_over_states = HookPoint(*channels, at_least_float32=True, read_only=True)
        self.hook_h_over_channels = HookPoint(
            "batch", "d_state", "seqlen", at_least_float32=True, read_only=True
        )
        self.hook_y = HookPoint(*channels, at_least_float32=True)
        self.handovers: dict[int, list[StateFunction]] = {}

    @property
    def A(self) -> Tensor:
        """Decay rate, negative, (d_inner, d_state), at least float32."""
        return -torch.exp(at_least_float32(self.A_log))

    @property
    def is_observed(self) -> bool:
        """Whether somebody looks at what a fused scan would not show."""
        if self.handovers:
            return True
        fed = (self.hook_u, self.hook_B, self.hook_C)  # these are made outside it anyway
        points = (m for m in self.modules() if isinstance(m, HookPoint))
        return any(point.is_active for point in points if point not in fed)

    def select(self, x: Tensor, in_scan_order: bool = False) -> ScanInputs:
        """Make the scan's inputs, delta before bias and softplus.

        Args:
            x: Half of what in_proj gives, (batch, d_inner, seqlen).
            in_scan_order: The tokens of `x` stand, and come out, in the order of the scan.
        """
        weight, bias = self.conv1d.weight.squeeze(1), self.conv1d.bias
        how: dict[str, Any] = {} if in_scan_order else self._how
        u = self.hook_u(causal_conv1d(x, weight, bias, activation="silu", **how))
        dt, B, C = self.x_proj(u.mT).split(self.split_sizes, dim=-1)
        delta = F.linear(dt, self.dt_proj.weight).mT
        B, C = self.hook_B(B.mT), self.hook_C(C.mT)
        return ScanInputs(u, delta, self.A, B, C, self.D, self.dt_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x to y before the gate, (batch, d_inner, seqlen), y at least float32."""
        return self.scan(self.select(x))

    def scan(self, inputs: ScanInputs) -> Tensor:
        """Scan step by step, past every hook point: y before the gate, at least float32.

        The same bits as the fused scan of the mixer, which rounds y after the gate only.
        """
        delta = self.hook_delta(step_size(inputs.delta, inputs.delta_bias))
        if self.hook_A_bar.is_active:
            self.hook_A_bar(torch.exp(delta.unsqueeze(2) * inputs.A.unsqueeze(-1)))
        u = at_least_float32(inputs.u)
        return self.hook_y(self._scan(inputs._replace(u=u, delta=delta, delta_bias=None)))

    def _scan(self, inputs: ScanInputs) -> Tensor:
        if self.handovers:
            return self._scan_with_handovers(inputs)
        given, y = inputs._asdict() | self._how, None
        if self.hook_h_over_states.is_active or self.hook_h_over_channels.is_active:
            y, over_states, over_channels, _ = selective_scan_with_norms(**given)
            self.hook_h_over_states(over_states)
            self.hook_h_over_channels(over_channels)
        if self.hook_h_boundaries.is_active:
            tokens = self.boundaries(inputs.u.shape[-1])
            y, h = selective_scan_with_states(**given, tokens=tokens)
            self.hook_h_boundaries(h)
        if self.hook_h.is_active:
            y, h = selective_scan_with_states(**given)
            edited = self.hook_h(h)
            if edited is not h and not torch.equal(edited, h):
                return self._rescan(y, h, edited, inputs)
        return selective_scan(**given) if y is None else y

    @contextmanager
    def at_handover(self, token: int, function: StateFunction) -> Iterator[None]:
        """For the time of a `with` block, read or replace the state handed on from one token.

        The scan stops after `token`, `function` gets the state, and the scan goes on from what it
        returns. Unlike an edit of `hook_h` this leaves y[token] alone, and no other state is ever
        kept, so it costs next to nothing.

        Args:
            token: Natural index; negative ones count from the end.
            function: Maps the state (batch, d_inner, d_state) to the one to go on from, or None.
        """
        functions = self.handovers.setdefault(token, [])
        functions.append(function)
        try:
            yield
        finally:
            functions.remove(function)
            if not functions:
                self.handovers.pop(token, None)

    def _scan_with_handovers(self, inputs: ScanInputs) -> Tensor:
        """The scan in pieces, one up to each handover; y in natural order."""
        steps = self.steps(seqlen := inputs.u.shape[-1])
        place = steps.argsort()
        at_step: dict[int, list[StateFunction]] = {}
        for token, functions in self.handovers.items():
            if not -seqlen <= token < seqlen:
                raise ValueError(
                    f"A state is to be handed on after token {token}, but there are only "
                    f"{seqlen} tokens, 0 to {seqlen - 1}."
                )
            at_step.setdefault(int(place[token]), []).extend(functions)
        points = (self.hook_h, self.hook_h_boundaries)
        norms = (self.hook_h_over_states, self.hook_h_over_channels)
        keep = any(point.is_active for point in (*points, *norms))
        u, delta, A, B, C, D = inputs[:6]
        if self.scan_order is not None:
            u, delta, B, C = (x[..., steps] for x in (u, delta, B, C))
        ys, states, state, start = [], [], None, 0
        for stop in sorted({*(step + 1 for step in at_step), seqlen}):
            part = slice(seqlen - stop, seqlen - start) if self.reverse else slice(start, stop)
            piece = ScanInputs(
                u[..., part], delta[..., part], A, B[..., part], C[..., part], D, None, state
            )._asdict() | {"reverse": self.reverse}
            if keep:
                y, h = selective_scan_with_states(**piece)
                states.append(h)
                state = h[..., 0 if self.reverse else -1]
            else:
                y, state = selective_scan(**piece, return_last_state=True)
            ys.append(y)
            for function in at_step.get(stop - 1, []):
                edited = function(state)
                if edited is not None:
                    state = self._checked_state(edited, state)
            start = stop
        y = self._joined(ys)
        if keep:
            h = self._joined(states)
            self.hook_h_over_states(torch.linalg.vector_norm(h, dim=2))
            self.hook_h_over_channels(torch.linalg.vector_norm(h, dim=1))
            self.hook_h_boundaries(h[..., self.boundaries(seqlen)])
            edited = self.hook_h(h)
            if edited is not h and not torch.equal(edited, h):
                raise ValueError(
                    f"{self.hook_h.name} cannot be edited while states are edited as they are "
                    "handed on from token to token: which comes first is not defined."
                )
        return y

    def _joined(self, pieces: list[Tensor]) -> Tensor:
        """Pieces of a scan, in the order in which they were made, along the natural token axis."""
        if self.scan_order is not None:
            return torch.cat(pieces, dim=-1)[..., self.scan_order.argsort()]
        return torch.cat(pieces[::-1] if self.reverse else pieces, dim=-1)

    def _checked_state(self, edited: object, state: Tensor) -> Tensor:
        wanted = f"(batch, d_inner, d_state) = {tuple(state.shape)}"
        if not isinstance(edited, Tensor) or edited.shape != state.shape:
            got = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
            raise ValueError(f"A state was to be replaced by {got}, expected a tensor {wanted}.")
        return edited.to(state)

    @property
    def _how(self) -> dict[str, Any]:
        return {"reverse": self.reverse, "order": self.scan_order}

    def steps(self, seqlen: int) -> Tensor:
        """The natural index of the token read at each step, int64 (seqlen,)."""
        if self.scan_order is not None:
            return self.scan_order
        steps = torch.arange(seqlen, device=self.D.device)
        return steps.flip(0) if self.reverse else steps

    def boundaries(self, seqlen: int) -> Tensor:
        """The natural indices of the tokens whose states are boundaries, one in `BOUNDARY`."""
        return self.steps(seqlen)[BOUNDARY - 1 :: BOUNDARY]

    def _rescan(self, y: Tensor, h: Tensor, edited: Tensor, inputs: ScanInputs) -> Tensor:
        """Take the states that differ from h, and let all others follow from them.

        Args:
            y, h, edited: What the scan gave, and the states to take, natural order.
            inputs: What the scan was given, delta after softplus.
        Returns:
            y, (batch, d_inner, seqlen); a clip that nobody touched keeps its bits.
        """
        steps = self.steps(y.shape[-1])
        u, delta, A, B, C, D = inputs[:6]
        u, delta, B, C, y, h, edited = (x[..., steps] for x in (u, delta, B, C, y, h, edited))
        changed = edited != h
        if changed.all():
            return self._read(edited, u, C).to(y.dtype)[..., steps.argsort()]
        tokens = changed.flatten(0, 2).any(0).nonzero().flatten().tolist()
        pieces = [y[..., : tokens[0]]]
        before = h[..., tokens[0]]  # the state that the recurrence brings to the edited token
        for token, end in zip(tokens, [*tokens[1:], y.shape[-1]], strict=True):
            state = torch.where(changed[..., token], edited[..., token], before)
            at = slice(token, token + 1)
            pieces.append(self._read(state.unsqueeze(-1), u[..., at], C[..., at]).to(y.dtype))
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

    def _read(self, h: Tensor, u: Tensor, C: Tensor) -> Tensor:
        """y of given states: sum_n C[n] h[n] + D u."""
        read = torch.einsum("bdnt,bnt->bdt", h, C.to(h.dtype))
        return read + self.D.to(h.dtype)[:, None] * u.to(h.dtype)

    def _init_dt(self, dt_rank: int, low: float = 1e-3, high: float = 0.1) -> None:
        """Start with step sizes spread log-uniformly over [low, high], as Mamba does."""
        nn.init.uniform_(self.dt_proj.weight, -(dt_rank**-0.5), dt_rank**-0.5)
        span = math.log(high) - math.log(low)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * span + math.log(low))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
