"""The scan as a linear operator: with delta, B and C frozen, who reads whom costs one more scan."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.frozen_scan import FrozenScan
from vmamba_explore.analysis.token_weights import FrameContributions, TokenWeights
from vmamba_explore.errors import check_choice, shown
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.model.surgery import uncut
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.places import usable
from vmamba_explore.trace.record import replay_layer
from vmamba_explore.trace.trace import TokenLabels, Trace

Kind = Literal["alpha", "beta"]
Tokens = int | Sequence[int] | Tensor
GIB = 2**30
_TILE = 2**22
"""Numbers in the vectors that are scanned side by side, at most, unless one is longer."""


class DenseBudgetError(MemoryError):
    """A matrix over all pairs of tokens would take more memory than its budget."""


@dataclass(frozen=True, eq=False)
class ScanOperator:
    """What one layer's scan does to its input once delta, B and C are frozen: a linear operator.

    Per channel, with S_t the sum of delta up to token t in scan order::

        alpha[t, s] = sum_n C[t, n] exp(A[n] (S_t - S_s)) delta_s B[s, n],   s <= t
        y    = (alpha + diag D) u                          kind "alpha": from u to the scan's y
        beta = diag(g) (alpha + diag D) diag(sigma(c)) K   kind "beta": from x to out_proj's input

    with g = SiLU(z), K the causal convolution and c its output. Nothing of size seqlen x seqlen
    is ever made: applying the operator is one scan, and so is applying its transpose. Every
    tensor stands in natural clip order. alpha freezes the selection (delta, B and C follow from
    the clip too), beta also freezes both gates: a change of the clip changes more than this.

    `op @ v` applies it to v (batch, d_inner, seqlen), `op.T @ v` its transpose. "both" directions
    are summed. Gradients flow through everything where the trace kept its graph.

    Source:
        Ali, Zimerman and Wolf 2024, arXiv:2403.01590, equation 9 (alpha); beta, the transpose as
        a scan, edits and the exact split by frames are this project's.
    """

    directions: dict[str, FrozenScan]
    labels: TokenLabels
    layer: int
    direction: str
    kind: Kind = "alpha"
    transposed: bool = False
    cuts: tuple[tuple[Tensor, Tensor], ...] = ()  # disjoint (sources, targets), bool (seqlen,)

    @classmethod
    def from_trace(
        cls,
        trace: Trace,
        *,
        layer: int,
        direction: Literal["forward", "backward", "both"] = "both",
        kind: Kind = "alpha",
    ) -> ScanOperator:
        """Take the operator that ran.

        Args:
            trace: A recording with what `ScanOperator.names(layer, kind)` lists; or with the
                layer's `hook_block_input` alone, from which the rest is recomputed.
            layer: Block number, from 0.
            direction: "forward", "backward" or "both".
            kind: "alpha", the scan with its skip D, from u to y; or "beta", the whole mixer from
                the convolutions' input x to what out_proj gets.

        Raises:
            KeyError: something needed was not recorded.
            ValueError: no such layer, direction or kind, or the weights changed since.
        """
        check_choice("ScanOperator: kind", kind, ("alpha", "beta"))
        mixer = trace.mixer(layer)
        if direction != "both":
            trace.ssm(layer, direction)  # raises where there is none
        names = list(mixer.directions) if direction == "both" else [direction]
        at = f"layers.{layer}.mixer"
        per_direction = [f"ssm_{d}.hook_{q}" for d in names for q in ("u", "delta", "B", "C", "y")]
        around = ["hook_x", "hook_z"] if kind == "beta" else []
        missing = [name for name in [*per_direction, *around] if f"{at}.{name}" not in trace]
        if missing and f"layers.{layer}.hook_block_input" in trace:
            trace, missing = replay_layer(trace, layer, cls.names(layer, kind)), []
        if missing:
            raise UnknownNameError(
                f"ScanOperator: the trace lacks {', '.join(missing)} of layer {layer}. Record with "
                f"names_filter=ScanOperator.names({layer}, {shown(kind)}), or "
                "'*.hook_block_input', from which the rest can be recomputed."
            )
        make = FrozenScan.alpha if kind == "alpha" else FrozenScan.beta
        found = {name: make(trace, layer, name) for name in names}
        # what was recorded in inference mode cannot take part in a gradient, a copy of it can
        found = {name: scan.map(usable) for name, scan in found.items()}
        if not torch.is_grad_enabled():
            found = {name: scan.map(Tensor.detach) for name, scan in found.items()}
        return cls(found, trace.labels, layer, direction, kind)

    @staticmethod
    def names(layer: int | None = None, kind: Kind = "alpha") -> list[str]:
        """List what a trace must hold for `from_trace`, as a `names_filter`; None: every layer."""
        at = f"layers.{'*' if layer is None else layer}.mixer"
        scan = [f"{at}.ssm_*.hook_{name}" for name in ("u", "delta", "B", "C", "y")]
        return scan if kind == "alpha" else [f"{at}.hook_x", f"{at}.hook_z", *scan]

    # ---------------------------------------------------------------- what it is

    @property
    def grid(self) -> TokenGrid:
        """The `TokenGrid` of the clip."""
        return self.labels.grid

    @property
    def seqlen(self) -> int:
        """Tokens, the class token included."""
        return self._any.delta.shape[-1]

    @property
    def batch(self) -> int:
        """Clips."""
        return self._any.delta.shape[0]

    @property
    def d_inner(self) -> int:
        """Channels."""
        return self._any.delta.shape[1]

    @property
    def _any(self) -> FrozenScan:
        return next(iter(self.directions.values()))

    @property
    def parts(self) -> tuple[ScanOperator, ...]:
        """The operators of the single directions, of which this is the sum."""
        return tuple(
            replace(self, directions={name: d}, direction=name)
            for name, d in self.directions.items()
        )

    @property
    def source(self) -> Float[Tensor, "batch d_inner seqlen"]:
        """What a single direction acted on in the run: u (alpha) or x (beta).

        Raises:
            ValueError: two directions (each scan reads its own u), a transpose or a majorant.
        """
        if len(self.directions) > 1 and self.kind == "alpha":
            raise ValueError(
                "ScanOperator.source: each direction's scan reads its own u; take it from one of "
                "op.parts."
            )
        source = self._any.source
        if source is None or self.transposed:
            raise ValueError("ScanOperator.source: a transpose or a majorant acted on nothing.")
        return source

    @property
    def recorded(self) -> Float[Tensor, "batch d_inner seqlen"]:
        """What the run recorded, (batch, d_inner, seqlen), summed over the directions."""
        recorded = [d.recorded for d in self.directions.values() if d.recorded is not None]
        if self.transposed or not recorded:
            raise ValueError("ScanOperator.recorded: a transpose or a majorant never ran.")
        return sum(recorded[1:], recorded[0])

    @property
    def offset(self) -> Float[Tensor, "batch d_inner seqlen"] | None:
        """What reaches the output without coming from the source: for beta the convolution's bias,
        after `restart` the state put in. (batch, d_inner, seqlen), or None where there is none."""
        if self.transposed:
            return None
        offsets = [d.offset for d in self.directions.values() if d.offset is not None]
        return sum(offsets[1:], offsets[0]) if offsets else None

    def output(self) -> Float[Tensor, "batch d_inner seqlen"]:
        """Apply it to what it acted on in the run: op @ source + offset, summed over directions."""
        applied = [part @ part.source for part in self.parts]
        total = sum(applied[1:], applied[0])
        return total if self.offset is None else total + self.offset

    @cached_property
    def residual(self) -> float:
        """How far `output()` is from what the run recorded: L2 distance, relative. Rounding only,
        unless the operator or the run was edited."""
        recorded = self.recorded
        return float((self.output() - recorded).detach().norm() / recorded.detach().norm())

    # ---------------------------------------------------------------- applying it

    @property
    def T(self) -> ScanOperator:
        """The transposed operator: `op.T @ v` is what a read-out v takes from each token."""
        swapped = tuple((targets, sources) for sources, targets in self.cuts)
        return replace(self, transposed=not self.transposed, cuts=swapped)

    def __matmul__(self, v: Tensor) -> Tensor:
        if not isinstance(v, Tensor):
            raise TypeError(f"ScanOperator @ {type(v).__name__}: expected a tensor.")
        shape = (self.batch, self.d_inner, self.seqlen)
        if v.ndim != 3 or v.shape[1:] != shape[1:] or (v.shape[0] != shape[0] and shape[0] != 1):
            raise ValueError(
                f"ScanOperator @ v: v is {tuple(v.shape)}, expected (batch, d_inner, seqlen) = "
                f"{shape}" + (", any batch." if shape[0] == 1 else ".")
            )
        v = v.to(self._any.delta)
        out = self._apply(v)
        for sources, targets in self.cuts:
            out = out - self._apply(v * sources) * targets
        return out

    def _apply(self, v: Tensor) -> Tensor:
        """Without the cuts."""
        parts = [d.adjoint(v) if self.transposed else d.apply(v) for d in self.directions.values()]
        return sum(parts[1:], parts[0])

    # ---------------------------------------------------------------- who reads whom

    def row(self, token: int) -> TokenWeights:
        """What output token `token` reads from every token, channel by channel: one scan.

        Raises:
            ValueError: the index is out of range; or this is a transpose or a majorant, which
                never ran and so has no sources (apply `op @ v`).
        """
        return self.read(self._one(token, "row"))

    def column(self, token: int) -> TokenWeights:
        """Where source token `token` goes, channel by channel: one scan.

        Returns:
            The weight with which each output token takes it; contributions are weight times what
            the token held, so they are what it adds to each output.
        """
        one, token = self._one(token, "column"), self._token(token, "column")
        return TokenWeights(
            {part.direction: part @ one for part in self.parts},
            {p.direction: p.source[..., token, None].expand_as(one) for p in self.parts},
            None,
            *self._of_weights,
        )

    def read(self, v: Tensor) -> TokenWeights:
        """What a read-out takes from every token: sum over tokens t of v[t] * output[t].

        Args:
            v: Weight of each output entry, (batch, d_inner, seqlen).
        Returns:
            For every channel and source token the weight with which it enters, one scan.
        """
        v = v.to(self._any.delta)
        return TokenWeights(
            {part.direction: part.T @ v for part in self.parts},
            {part.direction: part.source for part in self.parts},
            None if self.offset is None else (v * self.offset).sum(-1),
            *self._of_weights,
        )

    def frames(self) -> FrameContributions:
        """Split the output exactly by the token frame it came from: one scan per frame.

        Returns:
            The parts, which sum to `output()`: one for each token frame, one for the class token,
            one for the offset, where there are any. The skip D counts with its own token.
        """
        names, parts = [*self.labels.sources], []
        for mask in self.labels.masks(self._any.delta.device):
            one = [part @ (part.source * mask) for part in self.parts]
            parts.append(sum(one[1:], one[0]))
        if self.offset is not None:
            names.append("offset")
            parts.append(self.offset)
        return FrameContributions(
            torch.stack(parts, dim=1), tuple(names), self.labels, self.layer, self.residual
        )

    # ---------------------------------------------------------------- edits

    def without(self, tokens: Tokens) -> ScanOperator:
        """Take tokens out of the scan: nothing is written and nothing forgotten at them.

        Exactly what deleting them from the scan's inputs does. It is not the removal of a token
        from the model (`drop_tokens`): its skip D u stays, and the convolution let the next
        tokens' u, delta, B and C see it.

        Args:
            tokens: Natural indices.
        Raises:
            ValueError: an index is out of range.
        """
        mask = self._mask(tokens, "without")
        return self._edited(
            lambda d: replace(d, dropped=mask if d.dropped is None else d.dropped | mask)
        )

    def cut(self, sources: Tokens, targets: Tokens) -> ScanOperator:
        """Cut the edges from `sources` to `targets`: those entries of the operator become zero.

        Args:
            sources, targets: Natural indices.
        Raises:
            ValueError: an index is out of range.
        """
        first, second = self._mask(sources, "cut"), self._mask(targets, "cut")
        return replace(self, cuts=(*self.cuts, *uncut((first, second), self.cuts)))

    def restart(self, token: int, state: Tensor | float = 0.0) -> ScanOperator:
        """Replace the state after `token`, so that nothing read before is remembered.

        y[token] is read from the new state too; what it gives is in `offset`.

        Args:
            token: Natural index.
            state: The state to go on from, (batch, d_inner, d_state); 0 resets it.
        Raises:
            ValueError: the index is out of range, the shape is another, or there are two
                directions, each of which has a state of its own (edit one of `op.parts`).
        """
        if len(self.directions) > 1:
            raise ValueError(
                "ScanOperator.restart: each direction has its own state; restart one of op.parts."
            )
        token = self._token(token, "restart")
        d = self._any
        shape = (self.batch, self.d_inner, d.A.shape[1])
        if isinstance(state, Tensor) and tuple(state.shape) != shape:
            raise ValueError(
                f"ScanOperator.restart: state is {tuple(state.shape)}, expected "
                f"(batch, d_inner, d_state) = {shape}."
            )
        state = torch.as_tensor(state, dtype=d.delta.dtype, device=d.delta.device).expand(shape)
        earlier = tuple(old for old in d.restarts if old[0] != token)
        return self._edited(lambda d: replace(d, restarts=(*earlier, (token, state))))

    def majorant(self) -> ScanOperator:
        """The operator with |B|, |C|, |D| and the sizes of gates and kernel: nowhere negative.

        Per channel it bounds the size of every entry, since it leaves out the cancellation
        between states. Its row sums are one scan, those of |alpha| are not.
        """

        def absolute(d: FrozenScan) -> FrozenScan:
            names = ("B", "C", "D", "kernel", "before", "after")
            sizes = {n: getattr(d, n) for n in names if getattr(d, n) is not None}
            sizes = {n: value.abs() for n, value in sizes.items()}
            return replace(d, **sizes, source=None, recorded=None, bias=None, restarts=tuple(
                (token, torch.zeros_like(state)) for token, state in d.restarts
            ))  # fmt: skip

        return self._edited(absolute)

    def double(self) -> ScanOperator:
        """The same in float64, on the naive scan: slow, for checks."""
        return self._edited(lambda d: d.map(Tensor.double))

    def dense(self, budget_gib: float = 0.25) -> Float[Tensor, "batch d_inner seqlen seqlen"]:
        """Write the operator out as a matrix for every channel; for short sequences only.

        Args:
            budget_gib: The most that the matrix may hold, GiB.
        Returns:
            (batch, d_inner, seqlen, seqlen): `[..., t, s]` is what token t takes of token s.
        Raises:
            DenseBudgetError: it would be larger; nothing was computed.
        """
        shape = (self.batch, self.d_inner, self.seqlen, self.seqlen)
        size = self._any.delta.element_size() * self.batch * self.d_inner * self.seqlen**2 / GIB
        if size > budget_gib:
            raise DenseBudgetError(
                f"ScanOperator.dense: {shape} would take {size:.2f} GiB; the budget is "
                f"{budget_gib:.2f} GiB. row, column and frames cost one scan each; or pass "
                f"budget_gib=."
            )
        out = self._any.delta.new_empty(shape)
        for tokens, columns in self.columns(range(self.seqlen)):
            out[..., tokens] = columns.movedim(1, -1)
        return out

    def columns(
        self, tokens: Sequence[int]
    ) -> Iterator[tuple[list[int], Float[Tensor, "batch tokens d_inner seqlen"]]]:
        """Yield columns of the matrix, a bounded number side by side; those of `op.T` are rows.

        Args:
            tokens: Natural indices.
        Yields:
            Some of the tokens, and where each of them goes.
        """
        at_once = self.columns_at_once
        clips = [self] if self.batch == 1 else [self._clip(number) for number in range(self.batch)]
        for start in range(0, len(tokens), at_once):
            some = list(tokens[start : start + at_once])
            # token-major memory, as the scan reads and writes it
            units = torch.zeros(len(some), self.seqlen, self.d_inner).to(self._any.delta)
            units[torch.arange(len(some)), some] = 1
            yield some, torch.stack([(clip @ units.mT).mT for clip in clips]).mT

    @property
    def columns_at_once(self) -> int:
        """How many tokens `columns` scans side by side."""
        return max(1, _TILE // (self.batch * self.d_inner * self.seqlen))

    def _clip(self, number: int) -> ScanOperator:
        return self._edited(lambda d: d.clip(number))

    # ---------------------------------------------------------------- small things

    @property
    def _of_weights(self) -> tuple[Kind, TokenLabels, int, Callable[[], float]]:
        return self.kind, self.labels, self.layer, lambda: self.residual

    def _edited(self, edit: Callable[[FrozenScan], FrozenScan]) -> ScanOperator:
        return replace(self, directions={name: edit(d) for name, d in self.directions.items()})

    def _one(self, token: int, call: str) -> Tensor:
        # token-major memory, as the scan reads it
        one = torch.zeros(self.batch, self.seqlen, self.d_inner).to(self._any.delta).mT
        one[..., self._token(token, call)] = 1
        return one

    def _token(self, token: int, call: str) -> int:
        try:
            token = operator.index(token)
        except TypeError:
            raise ValueError(
                f"ScanOperator.{call}: got {shown(token)}, expected one natural index, a whole "
                "number; grid.index(frame, row, col) gives that of a place."
            ) from None
        return int(self.grid.checked(token, f"ScanOperator.{call}")[0])

    def _mask(self, tokens: Tokens, call: str) -> Tensor:
        mask = torch.zeros(self.seqlen, dtype=torch.bool)
        mask[self.grid.checked(tokens, f"ScanOperator.{call}")] = True
        return mask.to(self._any.delta.device)
