"""One direction of a Mamba mixer: convolution, selection, scan."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.hooks import HookPoint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_kernels import causal_conv1d, selective_scan, selective_scan_with_states


def at_least_float32(x: Tensor) -> Tensor:
    """`x` as float32, float64 left as it is."""
    return x if x.dtype == torch.float64 else x.float()


class SelectiveSSM(nn.Module):
    """Read a clip's tokens in one direction and give y, before the gate, in natural order.

    For channel c, state n and token t in scan order::

        u       = SiLU(conv1d(x))
        delta   = softplus(dt_proj(dt)),   [dt, B, C] = x_proj(u),   A = -exp(A_log)
        h[t]    = exp(delta[t] * A) * h[t-1] + delta[t] * B[t] * u[t]
        y[t]    = sum_n C[t, n] * h[t, n] + D * u[t]

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
        # any other order is read through a permutation: scan position -> natural index
        permuted = order is not None and not self.reverse
        self.register_buffer(
            "scan_order",
            config.grid.backward_indices(order) if permuted and order else None,
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
        self.hook_y = HookPoint(*channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map x to y, both (batch, d_inner, seqlen) in natural clip order."""
        weight, bias = self.conv1d.weight.squeeze(1), self.conv1d.bias
        x = self._to_scan(x)
        u = causal_conv1d(x, weight, bias, activation="silu", reverse=self.reverse)
        u = self.hook_u(self._to_natural(u))
        dt, B, C = self.x_proj(u.mT).split(self.split_sizes, dim=-1)
        delta = self.hook_delta(F.softplus(at_least_float32(self.dt_proj(dt))).mT)
        B, C = self.hook_B(B.mT), self.hook_C(C.mT)
        A = -torch.exp(at_least_float32(self.A_log))
        if self.hook_A_bar.is_active:
            self.hook_A_bar(torch.exp(delta.unsqueeze(2) * A.unsqueeze(-1)))
        return self.hook_y(self._scan(u, delta, A, B, C))

    def _scan(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        u, delta, B, C = (self._to_scan(value) for value in (u, delta, B, C))
        if not self.hook_h.is_active:
            y = selective_scan(u, delta, A, B, C, self.D, reverse=self.reverse)
            return self._to_natural(y)
        y, h = selective_scan_with_states(u, delta, A, B, C, self.D, reverse=self.reverse)
        natural = self._to_natural(h)
        edited = self.hook_h(natural)
        if edited is not natural and not torch.equal(edited, natural):
            values = [u, delta, B, C, y, h, self._to_scan(edited)]
            if self.reverse:
                y = self._rescan(A, *(value.flip(-1) for value in values)).flip(-1)
            else:
                y = self._rescan(A, *values)
        return self._to_natural(y)

    def _rescan(self, A: Tensor, *values: Tensor) -> Tensor:
        """Take the states that differ from h, and let all others follow from them.

        Args:
            A: Decay rate, (d_inner, d_state).
            values: u, delta, B, C, y, h and the edited h, tokens in scan order.
        Returns:
            y, (batch, d_inner, seqlen); a clip that nobody touched keeps its bits.
        """
        u, delta, B, C, y, h, edited = values
        changed = edited != h
        if changed.all():
            return self._read(edited, u, C).to(y.dtype)
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
                    self.D,
                    return_last_state=True,
                    initial_state=state,
                )
                pieces.append(after[..., : end - token - 1])
        touched = changed.flatten(1).any(1)[:, None, None]
        return torch.where(touched, torch.cat(pieces, dim=-1), y)

    def _read(self, h: Tensor, u: Tensor, C: Tensor) -> Tensor:
        """y of given states: sum_n C[n] h[n] + D u."""
        read = torch.einsum("bdnt,bnt->bdt", h, C.to(h.dtype))
        return read + self.D.to(h.dtype)[:, None] * u.to(h.dtype)

    def _to_scan(self, values: Tensor) -> Tensor:
        return values if self.scan_order is None else _permuted(values, self.scan_order)

    def _to_natural(self, values: Tensor) -> Tensor:
        return values if self.scan_order is None else _permuted(values, self.scan_order.argsort())

    def _init_dt(self, dt_rank: int, low: float = 1e-3, high: float = 0.1) -> None:
        """Start with step sizes spread log-uniformly over [low, high], as Mamba does."""
        nn.init.uniform_(self.dt_proj.weight, -(dt_rank**-0.5), dt_rank**-0.5)
        span = math.log(high) - math.log(low)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * span + math.log(low))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus


def _permuted(values: Tensor, order: Tensor) -> Tensor:
    """Reorder the last axis, the tokens, in token-major memory."""
    return values.movedim(-1, 1)[:, order].movedim(1, -1)
