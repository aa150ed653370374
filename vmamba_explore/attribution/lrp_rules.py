"""The blocks of a VideoMamba with the factors held constant that MambaLRP holds constant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.analysis.frozen_scan import FrozenScan
from vmamba_explore.errors import shown
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32

RULES: dict[str, str] = {
    "norm": "x / rms(x) in every RMSNorm: rms(x) is held",
    "conv_silu": "c * sigmoid(c) after the convolution: sigmoid(c) is held",
    "gate_silu": "z * sigmoid(z) in the gate: sigmoid(z) is held",
    "scan": "the selective scan: delta, B and C are held",
    "gate": "y * g where the gate meets the scan: each factor gets half",
}
"""What MambaLRP changes about a gradient times input, by name."""
ALL_RULES = frozenset(RULES)


def checked_rules(rules: Collection[str]) -> frozenset[str]:
    """The rules as a set.

    Raises:
        ValueError: one is unknown.
    """
    chosen = frozenset([rules] if isinstance(rules, str) else rules)
    if chosen - ALL_RULES:
        raise ValueError(
            f"mamba_lrp: there is no rule {shown(min(chosen - ALL_RULES, key=str))}; the rules are "
            f"{', '.join(RULES)}."
        )
    return chosen


@dataclass(frozen=True, eq=False)
class ModifiedBlock:
    """One run of a block whose factors are held, up to its output projection; one graph.

    What follows is linear: `block.mixer.out_proj` of `mixed`, added to the residual stream.

    Attributes:
        mixed: Both directions' gated sum, (batch, seqlen, d_inner).
        biases: By direction, once the gradient has been taken, the relevance of the convolution's
            bias, (batch,); nothing for a direction without one.
        gate: SiLU(z), (batch, d_inner, seqlen), as u and y.
        u, y: By direction what the scan is given and what it gives; empty unless kept.
        scans: By direction the frozen scan; empty unless kept.
    """

    mixed: Tensor
    biases: dict[str, Tensor]
    gate: Tensor
    u: dict[str, Tensor]
    y: dict[str, Tensor]
    scans: dict[str, FrozenScan]

    @classmethod
    def run(
        cls, block: Block, residual: Tensor, rules: Collection[str], keep: bool = False
    ) -> ModifiedBlock:
        """Run a block on (batch, seqlen, d_model)."""
        mixer = block.mixer
        hidden = rms_norm(block.norm, residual, "norm" in rules)
        x, z = mixer.in_proj(hidden).mT.chunk(2, dim=1)
        gate = _silu(at_least_float32(z), "gate_silu" in rules)
        biases: dict[str, Tensor] = {}
        us, ys, scans, total = {}, {}, {}, None
        for name, ssm in mixer.directions.items():
            c = ssm.convolve(x)
            _watch_bias(c, ssm.conv1d.bias, biases, name)
            u = _silu(c, "conv_silu" in rules)
            y, scan = _scanned(ssm, u, "scan" in rules)
            total = y if total is None else total + y
            if keep:
                us[name], ys[name], scans[name] = u, y, scan
        assert total is not None
        mixed = _HalfGate.apply(total, gate) if "gate" in rules else total * gate
        mixed = (mixed if mixer.scale == 1.0 else mixed * mixer.scale).to(x.dtype)
        return cls(mixed.mT, biases, gate, us, ys, scans)


def _watch_bias(c: Tensor, bias: Tensor | None, into: dict[str, Tensor], name: str) -> None:
    """Have the relevance of a bias that was added to `c` written down when its gradient comes."""
    if bias is None:
        return
    held = bias.detach()

    def watch(gradient: Tensor) -> None:
        into[name] = at_least_float32(gradient.sum(-1) * held).sum(1)

    c.register_hook(watch)


def _scanned(ssm: SelectiveSSM, u: Tensor, frozen: bool) -> tuple[Tensor, FrozenScan]:
    with torch.set_grad_enabled(not frozen):
        inputs = ssm.inputs(u)
    scan = FrozenScan.of(ssm, inputs)
    y: Tensor = _Scan.apply(at_least_float32(u), scan) if frozen else ssm.scan(inputs)
    return y, scan


class _Scan(torch.autograd.Function):
    """A frozen scan whose gradient, taken once, is its transpose: `du` alone, and no states."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, scan: FrozenScan) -> Tensor:
        ctx.scan = scan
        return scan.apply(u)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        scan, ctx.scan = ctx.scan, None  # what it holds is let go before the next one's turn
        return scan.adjoint(upstream[0]), None


class _HeldSilu(torch.autograd.Function):
    """SiLU whose gradient holds the sigmoid."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0] * torch.sigmoid(ctx.saved_tensors[0])


class _HalfGate(torch.autograd.Function):
    """A product whose gradient gives each factor half: that of o / 2 + sg(o) / 2 with o = y * g.

    It is linear in y, so it is the same before and after the directions are added.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(y, g)
        return y * g

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        y, g = ctx.saved_tensors
        half = 0.5 * upstream[0]
        return half * g, half * y


def rms_norm(norm: nn.RMSNorm, residual: Tensor, frozen: bool) -> Tensor:
    """An RMSNorm of the residual stream in the weights' dtype, its divisor held where `frozen`."""
    x = residual.to(norm.weight.dtype)
    if not frozen:
        return norm(x)
    wide = at_least_float32(x)
    scale = (wide.detach().square().mean(-1, keepdim=True) + (norm.eps or 0.0)).rsqrt()
    return (wide * scale).to(x.dtype) * norm.weight


def layer_norm(norm: nn.LayerNorm, x: Tensor, frozen: bool) -> Tensor:
    """A LayerNorm, its divisor held where `frozen`: linear then, but for its bias."""
    if not frozen:
        return norm(x)
    wide = at_least_float32(x)
    scale = (wide.detach().var(-1, correction=0, keepdim=True) + norm.eps).rsqrt()
    wide = (wide - wide.mean(-1, keepdim=True)) * scale
    return wide.to(x.dtype) * norm.weight + norm.bias


def _silu(x: Tensor, frozen: bool) -> Tensor:
    held: Tensor = _HeldSilu.apply(x) if frozen else F.silu(x)
    return held
