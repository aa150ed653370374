"""One direction's scan with delta, B and C frozen, and its transpose: a scan each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32
from vmamba_explore.model.surgery import leave_out_own
from vmamba_explore.trace.trace import Trace
from vmamba_kernels import (
    ScanInputs,
    causal_conv1d,
    selective_scan,
    selective_scan_with_states,
    step_size,
)

Tokens = slice | Iterable[int] | Tensor | None
"""Natural indices; None: every token."""

_FORGET = 1e10  # a step size after which nothing is left of a state
_STILL = 1e-30  # the smallest step size that is divided by


@dataclass(frozen=True, eq=False)
class FrozenScan:
    """One direction's frozen scan, and for beta what stands around it. Natural clip order.

    A VideoMambaPro's is linear too: its first state is the first u, and what a token writes itself
    is a diagonal.
    """

    delta: Tensor  # (batch, d_inner, seqlen), after softplus
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    reverse: bool
    order: Tensor | None
    source: Tensor | None = None  # what it acted on in the run
    recorded: Tensor | None = None  # what it gave
    kernel: Tensor | None = None  # beta: convolution (d_inner, d_conv), its bias, sigma(c), gate
    bias: Tensor | None = None
    before: Tensor | None = None
    after: Tensor | None = None
    dropped: Tensor | None = None  # bool (seqlen,)
    restarts: tuple[tuple[int, Tensor], ...] = ()
    starts_from_first: bool = False
    leaves_out_own: bool = False

    @classmethod
    def around(
        cls, ssm: SelectiveSSM, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> FrozenScan:
        """A scan that reads as a model's direction does, with these values."""
        return cls(
            delta, A, B, C, D, ssm.reverse, ssm.scan_order,
            starts_from_first=ssm.starts_from_first, leaves_out_own=ssm.leaves_out_own,
        )  # fmt: skip

    @classmethod
    def alpha(cls, trace: Trace, layer: int, direction: str) -> FrozenScan:
        """The scan with its skip D, from u to y, as it ran."""
        ssm = trace.ssm(layer, direction)
        u, delta, B, C, y = (
            at_least_float32(trace[f"layers.{layer}.mixer.ssm_{direction}.hook_{name}"])
            for name in ("u", "delta", "B", "C", "y")
        )
        D = at_least_float32(ssm.D)
        return replace(cls.around(ssm, delta, ssm.A, B, C, D), source=u, recorded=y)

    @classmethod
    def of(cls, ssm: SelectiveSSM, inputs: ScanInputs) -> FrozenScan:
        """The scan of a model's direction with the selection in `inputs`, cut from any graph."""
        with torch.no_grad():
            delta = step_size(inputs.delta, inputs.delta_bias)
            B, C, D = (at_least_float32(x.detach()) for x in (inputs.B, inputs.C, ssm.D))
            return cls.around(ssm, delta, ssm.A, B, C, D)

    @classmethod
    def beta(cls, trace: Trace, layer: int, direction: str) -> FrozenScan:
        """The whole mixer, from the convolution's input to what out_proj gets, as it ran."""
        alpha, mixer = cls.alpha(trace, layer, direction), trace.mixer(layer)
        conv1d = trace.ssm(layer, direction).conv1d
        x, z = (at_least_float32(trace[f"layers.{layer}.mixer.hook_{name}"]) for name in ("x", "z"))
        kernel = at_least_float32(conv1d.weight.squeeze(1))
        bias = None if conv1d.bias is None else at_least_float32(conv1d.bias)
        gate = F.silu(z) * mixer.scale
        return replace(
            alpha,
            source=x,
            recorded=cast(Tensor, alpha.recorded) * gate,
            kernel=kernel,
            bias=bias,
            before=torch.sigmoid(causal_conv1d(x, kernel, bias, **alpha.how)),
            after=gate,
        )

    @cached_property
    def steps(self) -> Tensor:
        """The natural index of the token read at each step."""
        if self.order is not None:
            return self.order
        steps = torch.arange(self.delta.shape[-1], device=self.delta.device)
        return steps.flip(0) if self.reverse else steps

    @cached_property
    def how(self) -> dict[str, Any]:
        return {"reverse": self.reverse, "order": self.order}

    @cached_property
    def backwards(self) -> dict[str, Any]:
        """How to read in the opposite order."""
        if self.order is not None:
            return {"order": self.order.flip(0)}
        return {"reverse": not self.reverse}

    @cached_property
    def selection(self) -> tuple[Tensor, Tensor]:
        """delta and B as edited: nothing written or forgotten at dropped tokens, and at a restart
        everything forgotten and nothing written."""
        delta, B = self.delta, self.B
        if self.dropped is not None:
            delta = delta.masked_fill(self.dropped, 0)
        if self.restarts:
            here = torch.zeros(delta.shape[-1], dtype=torch.bool, device=delta.device)
            here[[token for token, _ in self.restarts]] = True
            delta, B = delta.masked_fill(here, _FORGET), B.masked_fill(here, 0)
        return delta, B

    @cached_property
    def following(self) -> Tensor:
        """The step size of the token read after each one; the last has none that matters."""
        tokens = self.selection[0].mT  # as it lies in memory
        if self.order is not None:
            index = torch.empty_like(self.order)
            index[self.order] = self.order.roll(-1)
            following = tokens[:, index]
        elif self.reverse:
            following = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
        else:
            following = torch.cat([tokens[:, 1:], tokens[:, -1:]], dim=1)
        return following.mT.clamp_min(_STILL)

    @cached_property
    def first(self) -> int:
        """The natural index of the first token read that is not dropped."""
        if self.dropped is None:
            return int(self.steps[0])
        kept = self.steps[~self.dropped[self.steps]]
        return int(kept[0]) if len(kept) else int(self.steps[0])

    @cached_property
    def own(self) -> Tensor:
        """What a token reads of its own u through the state, (batch, d_inner, seqlen)."""
        delta = self.delta if self.dropped is None else self.delta.masked_fill(self.dropped, 0)
        return delta * (self.B * self.C).sum(1, keepdim=True)

    def start(self, v: Tensor) -> Tensor | None:
        """The state before the first token read; None for zeros."""
        if not self.starts_from_first:
            return None
        return v[..., self.first, None].expand(-1, -1, self.A.shape[1])

    def apply(self, v: Tensor) -> Tensor:
        """(alpha + D) v, or beta v."""
        if self.kernel is not None and self.before is not None:
            v = causal_conv1d(v, self.kernel, None, **self.how) * self.before
        y = self._scanned(v)
        return y if self.after is None else y * self.after

    def _scanned(self, v: Tensor) -> Tensor:
        """(alpha + D) v."""
        delta, B = self.selection
        y = _scan(v, delta, self.A, B, self.C, self.D, initial_state=self.start(v), **self.how)
        return leave_out_own(y, v, self.own, self.D, self.first) if self.leaves_out_own else y

    def adjoint(self, v: Tensor) -> Tensor:
        """The transposed operator, which is one scan in the opposite order.

        With delta' the step size of the next token read, lambda follows the recurrence
        lambda_t = exp(delta'_t A) lambda_(t+1) + C_t v_t, and (alpha^T v)_t = delta_t B_t lambda_t.
        """
        delta, B = self.selection
        if self.after is not None:
            v = v * self.after
        following, read = self.following, self.asked(v)
        how = {"return_last_state": True, **self.backwards}
        found, last = _scan(read / following, following, self.A, self.C, B, **how)
        out = torch.addcmul(self.D[:, None] * v, delta, found)
        if self.leaves_out_own:
            out = out - self.own * read
        if self.starts_from_first:  # what is asked of the state before all tokens
            fading = torch.exp(delta[..., self.steps[0], None] * self.A)
            at_first = torch.zeros_like(out[0, 0])
            at_first[self.first] = 1
            out = out + (fading * last).sum(-1, keepdim=True) * at_first
        if self.kernel is None or self.before is None:
            return out
        return causal_conv1d(out * self.before, self.kernel, None, **self.backwards)

    def states(self, v: Tensor, tokens: Tokens = None) -> Tensor:
        """The state h after each token while `apply` scans v.

        Args:
            v: As for `apply`, (batch, d_inner, seqlen).
            tokens: Natural indices of the tokens whose state is kept; None: every one.
        Returns:
            (batch, d_inner, d_state, tokens), at least float32, in the order of `tokens`.
        """
        delta, B = self.selection
        if self.kernel is not None and self.before is not None:
            v = causal_conv1d(v, self.kernel, None, **self.how) * self.before
        v, delta, B, C = _one_clip_each(v, delta, B, self.C)
        how = {"tokens": tokens, "initial_state": self.start(v), **self.how}
        return selective_scan_with_states(v, delta, self.A, B, C, **how).states

    def adjoint_states(self, v: Tensor, tokens: Tokens = None) -> Tensor:
        """The lambda of `adjoint`: by how much sum(v * apply(x)) grows with the state h of a token.

        lambda_t counts every reader of h_t, the token itself (C_t v_t) and all that read it later;
        lambda_t - C_t v_t is what is asked of h_t by those after it alone.

        Args:
            v: As for `adjoint`, (batch, d_inner, seqlen).
            tokens: Natural indices of the tokens whose lambda is kept; None: every one.
        Returns:
            (batch, d_inner, d_state, tokens), at least float32, in the order of `tokens`.
        """
        _, B = self.selection
        if self.after is not None:
            v = v * self.after
        following, read = self.following, self.asked(v)
        u, delta, C, B = _one_clip_each(read / following, following, self.C, B)
        how = {"tokens": tokens, **self.backwards}
        return selective_scan_with_states(u, delta, self.A, C, B, **how).states

    def asked(self, v: Tensor) -> Tensor:
        """What is asked of the states: all of v, without the first token where it reads none."""
        if not self.leaves_out_own:
            return v
        reads = torch.ones(v.shape[-1], dtype=torch.bool, device=v.device)
        reads[self.first] = False
        return torch.where(reads, v, 0)

    @cached_property
    def offset(self) -> Tensor | None:
        """What does not come from the source: the convolution's bias, and states put in."""
        delta, B = self.selection
        parts = []
        if self.bias is not None and self.before is not None:
            parts.append(self._scanned(self.bias[:, None] * self.before))
        for token, state in self.restarts:
            place = self.steps.argsort()
            after = place > place[token]
            there = after.clone()
            there[token] = True
            # the state stands still up to its token, then goes on as the others do
            still, nothing = torch.where(after, delta, 0), torch.zeros_like(delta)
            y = _scan(nothing, still, self.A, B, self.C, initial_state=state, **self.how)
            parts.append(self.asked(torch.where(there, y, 0)))
        if not parts:
            return None
        total = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        return total if self.after is None else total * self.after

    def clip(self, number: int) -> FrozenScan:
        """The scan of one clip of the batch, which `apply` gives any number of inputs."""
        names = ("delta", "B", "C", "source", "recorded", "before", "after")
        one = {n: x[[number]] for n in names if (x := getattr(self, n)) is not None}
        restarts = tuple((token, state[[number]]) for token, state in self.restarts)
        return replace(self, **one, restarts=restarts)

    def map(self, function: Callable[[Tensor], Tensor]) -> FrozenScan:
        """The same with every floating tensor passed through `function`."""
        values: dict[str, Any] = {
            name: function(value)
            for name, value in vars(self).items()
            if name in self.__dataclass_fields__
            and isinstance(value, Tensor)
            and value.is_floating_point()
        }
        restarts = tuple((token, function(state)) for token, state in self.restarts)
        return replace(self, **values, restarts=restarts)


def _scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, **how: Any
) -> Any:
    """Scan any number of inputs with the selection of one clip, or as many as there are clips."""
    u, delta, B, C = _one_clip_each(u, delta, B, C)
    return selective_scan(u, delta, A, B, C, D, **how)


def _one_clip_each(u: Tensor, *selection: Tensor) -> tuple[Tensor, ...]:
    """`u` and the selection, that of one clip given to as many inputs as there are."""
    return u, *(x.expand(u.shape[0], *x.shape[1:]) for x in selection)
