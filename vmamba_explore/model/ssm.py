"""One direction of a Mamba mixer: convolution, selection, scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.edits import Slot, editing
from vmamba_explore.hooks import HookPoint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.surgery import (
    StateFunction,
    leave_out_own,
    rescan,
    scan_with_handovers,
    without_cut_edges,
    written_states,
)
from vmamba_kernels import (
    ScanInputs,
    causal_conv1d,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
    step_size,
)

CutFunction = Callable[[], tuple[Tensor, Tensor]]
"""Returns the (source, target) token indices of the cut edges, in the sequence as it runs."""

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

    Before the first token read h is 0. In a VideoMambaPro it is that token's u, the same for every
    state of a channel, and the backward scan leaves out what a token has written itself; at the
    first token it reads nothing::

        y[t]    = sum_n C[t, n] * (h[t, n] - delta[t] * B[t, n] * u[t]) + D * u[t]

    Every tensor stands in natural clip order; the kernels read it in scan order.

    Args:
        config: Sizes.
        direction: "forward", or "backward" to read in `config.backward_order`.
    Source:
        Gu and Dao 2023, arXiv:2312.00752, algorithm 2; directions: Park et al. 2024,
        arXiv:2407.08476, section 4.4; VideoMambaPro: Lu, Salah and Poppe 2024, arXiv:2406.19006,
        as its scans `selective_scan_ref` and `selective_scan_ref_sub` have it, each direction with
        projections of its own.
    """

    full_order: Tensor | None

    def __init__(self, config: VideoMambaConfig, direction: str) -> None:
        super().__init__()
        d_inner, d_state, dt_rank = config.d_inner, config.d_state, config.dt_rank or 1
        self.split_sizes = [dt_rank, d_state, d_state]
        order = config.backward_order if direction == "backward" else None
        self.reverse = order == "spatiotemporal"  # the kernels read backwards without a flip
        other = order is not None and not self.reverse  # through an index: step -> token
        self.register_buffer(
            "full_order",
            config.grid.backward_indices(order) if other and order else None,
            persistent=False,
        )
        pro = config.scan_variant == "videomambapro"
        self.starts_from_first, self.leaves_out_own = pro, pro and direction == "backward"
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
        self.hook_write = HookPoint(*states, at_least_float32=True, on_demand=True)
        self.hook_h = HookPoint(*states, at_least_float32=True)
        self.hook_h_boundaries = HookPoint(
            "batch", "d_inner", "d_state", "boundary", at_least_float32=True, read_only=True
        )
        self.hook_h_over_states = HookPoint(*channels, at_least_float32=True, read_only=True)
        self.hook_h_over_channels = HookPoint(
            "batch", "d_state", "seqlen", at_least_float32=True, read_only=True
        )
        self.hook_y = HookPoint(*channels, at_least_float32=True)
        self.handovers: Slot[tuple[int | Callable[[], int], StateFunction]] = Slot()
        self.cuts: Slot[CutFunction] = Slot()
        self.state_gradients: Slot[tuple[str, Callable[[Tensor], object]]] = Slot()
        self.convolved: Slot[Callable[[Tensor, Tensor], Tensor]] = Slot()  # (x, u) to u
        self.orders: Slot[Tensor | None] = Slot()  # shorter ones, where tokens are dropped

    @property
    def A(self) -> Tensor:
        """Decay rate, negative, (d_inner, d_state), at least float32."""
        return -torch.exp(at_least_float32(self.A_log))

    @property
    def is_observed(self) -> bool:
        """Whether the scan runs step by step: an edit or a hook needs a value that the fused scan
        hides, or the recurrence is one that it does not have."""
        if self.handovers or self.cuts or self.state_gradients or self.starts_from_first:
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
        how: dict[str, Any] = {} if in_scan_order else self.how
        u = causal_conv1d(x, weight, bias, activation="silu", **how)
        for edit in self.convolved.values:
            u = edit(x, u)
        return self.inputs(self.hook_u(u), 0 if in_scan_order else None)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution of `x` with its bias, before the SiLU; shaped like `x`."""
        return causal_conv1d(x, self.conv1d.weight.squeeze(1), self.conv1d.bias, **self.how)

    def inputs(self, u: Tensor, first: int | None = None) -> ScanInputs:
        """Make the scan's inputs from u, (batch, d_inner, seqlen), delta before its softplus.

        Args:
            u: The scan's input.
            first: Place of the first token read; None: as the scan has it.
        """
        dt, B, C = self.x_proj(u.mT).split(self.split_sizes, dim=-1)
        delta = F.linear(dt, self.dt_proj.weight).mT
        B, C = self.hook_B(B.mT), self.hook_C(C.mT)
        return ScanInputs(u, delta, self.A, B, C, self.D, self.dt_proj.bias, self.start(u, first))

    def start(self, u: Tensor, first: int | None = None) -> Tensor | None:
        """The state before the first token read, None for zeros; arguments as for `inputs`."""
        if not self.starts_from_first:
            return None
        first = self.first(u.shape[-1]) if first is None else first
        return at_least_float32(u[..., first, None]).expand(-1, -1, self.A_log.shape[1])

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
        added, brought = self._added_writes(inputs), None
        if added is not None:
            y, brought, replaced = *self._scan_added(inputs, added), False
        else:
            scan = self._scan_in_pieces if self.handovers else self._scan_past_hooks
            y, replaced = scan(inputs)
        y = self._as_read(inputs, y)
        if brought is not None:
            y = y + brought
        for quantity, keep in self.state_gradients.values:
            if replaced:
                raise ValueError(
                    f"{self.hook_h.name}: a gradient is asked for while states are replaced, which "
                    "it does not pass. Edit other values, or ask for other gradients."
                )
            y = y + self._zeros(inputs, quantity, keep)
        cuts = self.cuts.values
        if cuts and (replaced or added is not None):
            raise ValueError(
                f"{self.hook_y.name}: edges are cut, and states or writes are replaced, in the "
                "same scan; what a token brings is not defined then. Do one of the two."
            )
        return without_cut_edges(inputs, y, [places() for places in cuts], self._carried)

    def _as_read(self, inputs: ScanInputs, y: Tensor) -> Tensor:
        """y without what each token wrote itself, where the scan leaves that out."""
        if not self.leaves_out_own:
            return y
        u, delta, _, B, C, D = inputs[:6]
        own = delta * (at_least_float32(B) * C).sum(1, keepdim=True)
        return leave_out_own(y, u, own, D, self.first(u.shape[-1]))

    def _carried(self, inputs: ScanInputs, sources: Tensor) -> Tensor:
        """What the tokens of a mask (seqlen,) bring to every y, the skip D u included."""
        start = inputs.initial_state
        if start is not None:
            start = start * sources[self.first(len(sources))]
        only = inputs._replace(u=inputs.u * sources, initial_state=start)
        return self._as_read(only, selective_scan(**only._asdict() | self.how))

    def _added_writes(self, inputs: ScanInputs) -> Tensor | None:
        """What functions on `hook_write` add to the writes; None where they change nothing."""
        if not self.hook_write.is_active:
            return None
        scaled = (inputs.delta * inputs.u).mT.unsqueeze(2)  # laid out as the kernels lay out h
        write = (scaled * inputs.B.mT.unsqueeze(3)).permute(0, 3, 2, 1)
        edited = self.hook_write(write)
        if edited is write or torch.equal(edited, write):
            return None
        if self.handovers:
            raise ValueError(
                f"{self.hook_write.name} cannot be edited while states are read or replaced as "
                "they are handed on from token to token. Do one of the two."
            )
        return edited - write

    def _scan_past_hooks(self, inputs: ScanInputs) -> tuple[Tensor, bool]:
        """y, and whether a hook replaced states."""
        given, y = inputs._asdict() | self.how, None
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
                return rescan(inputs, y, h, edited, self.steps(y.shape[-1])), True
        return selective_scan(**given) if y is None else y, False

    def _scan_in_pieces(self, inputs: ScanInputs) -> tuple[Tensor, bool]:
        """y, and whether a handover replaced a state."""
        handovers = [
            (token() if callable(token) else token, function)
            for token, function in self.handovers.values
        ]
        y, h, replaced = scan_with_handovers(
            inputs, handovers, self.steps(inputs.u.shape[-1]), self.how, self._are_states_read
        )
        if h is not None:
            self._show(h, "states are read or replaced as they are handed on from token to token")
        return y, replaced

    def _scan_added(self, inputs: ScanInputs, added: Tensor) -> tuple[Tensor, Tensor]:
        """y, and what it gains where `added` (batch, d_inner, d_state, seqlen) is written, too."""
        given, keep = inputs._asdict() | self.how, self._are_states_read
        y, h = selective_scan_with_states(**given) if keep else (selective_scan(**given), None)
        more = list(written_states(inputs, added, self.how)) if keep else None
        states = written_states(inputs, added, self.how) if more is None else more
        brought = self._read(inputs, states, added)
        if h is not None and more is not None:
            self._show(h + torch.stack(more, 2), f"{self.hook_write.name} is edited")
        return y, brought

    def _read(
        self, inputs: ScanInputs, states: Iterable[Tensor], own: Tensor | None = None
    ) -> Tensor:
        """What states (batch, d_inner, seqlen), one n after the other, bring to y.

        `own` is the part of them that each token wrote itself.
        """
        y: Tensor = sum(inputs.C[:, [n]] * each for n, each in enumerate(states))  # type: ignore
        if not self.leaves_out_own:
            return y
        if own is not None:
            y = y - torch.einsum("bdnt,bnt->bdt", own, inputs.C.to(own.dtype))
        first = torch.zeros(y.shape[-1], dtype=torch.bool, device=y.device)
        first[self.first(y.shape[-1])] = True
        return y.masked_fill(first, 0)

    def _zeros(self, inputs: ScanInputs, quantity: str, keep: Callable[[Tensor], object]) -> Tensor:
        """Zeros for y, in whose graph zeros are added to each state or write ("h" or "write").

        `keep` gets these; their gradient is that of the quantity.
        """
        shape = (*inputs.u.shape[:2], *inputs.B.shape[1:])
        zeros = inputs.delta.new_zeros(()).expand(shape).requires_grad_()
        keep(zeros)
        names = ("delta", "A", "C")  # what is read here
        frozen = inputs._replace(**{name: getattr(inputs, name).detach() for name in names})
        states = written_states(frozen, zeros, self.how)
        return self._read(frozen, states, zeros if quantity == "write" else None)

    @property
    def _are_states_read(self) -> bool:
        points = (
            self.hook_h, self.hook_h_boundaries, self.hook_h_over_states, self.hook_h_over_channels
        )  # fmt: skip
        return any(point.is_active for point in points)

    def _show(self, h: Tensor, meanwhile: str) -> None:
        """Pass every state by the hook points that read it.

        Raises:
            ValueError: a function on `hook_h` changes it; `meanwhile` says why it must not.
        """
        self.hook_h_over_states(torch.linalg.vector_norm(h, dim=2))
        self.hook_h_over_channels(torch.linalg.vector_norm(h, dim=1))
        self.hook_h_boundaries(h[..., self.boundaries(h.shape[-1])])
        edited = self.hook_h(h)
        if edited is not h and not torch.equal(edited, h):
            raise ValueError(
                f"{self.hook_h.name} cannot be edited while {meanwhile}: which comes first is not "
                "defined."
            )

    def at_handover(
        self, token: int | Callable[[], int], function: StateFunction
    ) -> AbstractContextManager[None]:
        """Read or replace the state handed on from one token, for the duration of the block.

        The scan stops after `token`, `function` gets the state, and the scan resumes from its
        result. Unlike an edit of `hook_h` this leaves y[token] alone, and no other state is
        stored, so it costs next to nothing.

        Args:
            token: Natural index; negative ones count from the end. Or a function that returns it
                when the scan runs.
            function: Maps the state (batch, d_inner, d_state) to the one to resume from, or None.
        """
        return editing((self.handovers, (token, function)))

    @property
    def scan_order(self) -> Tensor | None:
        """The order as an index, step -> token; None where the kernels need none."""
        return self.orders.last(self.full_order)

    @property
    def how(self) -> dict[str, Any]:
        """The reading order, as keywords for the kernels."""
        return {"reverse": self.reverse, "order": self.scan_order}

    def steps(self, seqlen: int) -> Tensor:
        """The natural index of the token read at each step, int64 (seqlen,)."""
        order = self.scan_order
        if order is not None:
            return order
        steps = torch.arange(seqlen, device=self.D.device)
        return steps.flip(0) if self.reverse else steps

    def first(self, seqlen: int) -> int:
        """The natural index of the first token read."""
        if self.scan_order is not None:
            return int(self.scan_order[0])
        return seqlen - 1 if self.reverse else 0

    def boundaries(self, seqlen: int) -> Tensor:
        """The natural indices of the tokens whose states are boundaries, one in `BOUNDARY`."""
        return self.steps(seqlen)[BOUNDARY - 1 :: BOUNDARY]

    def _init_dt(self, dt_rank: int, low: float = 1e-3, high: float = 0.1) -> None:
        """Start with step sizes spread log-uniformly over [low, high], as Mamba does."""
        nn.init.uniform_(self.dt_proj.weight, -(dt_rank**-0.5), dt_rank**-0.5)
        span = math.log(high) - math.log(low)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * span + math.log(low))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
