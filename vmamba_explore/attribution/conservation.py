"""Where the relevance of a logit ended up, to the last bias."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

INPUTS = ("tokens", "positions", "class token")


class Leak(NamedTuple):
    """Relevance that a layer hands on to none of its inputs.

    Args:
        name: The bias, by the model's parameter name; or a layer that a rule was missing in.
        layer: Its block, None outside of the blocks.
        relevance: Mean over the clips, logits.
        share: Its size in parts of the summed |relevance|, mean over the clips.
    """

    name: str
    layer: int | None
    relevance: float
    share: float


@dataclass(frozen=True, eq=False)
class Conservation:
    """A ledger of relevance: tokens, positions, class token and every bias add up to the logit.

    Attributes:
        entries: Relevance of each clip, (batch,), logits, by name: "tokens" (what the pixels
            bring, without the bias of the patch embedding), "positions", "class token", and the
            biases by the model's parameter names.
        logit: What was explained, (batch,).
        absolute: The summed |relevance|, (batch,): of each token, each position, the class token
            and each bias.
        by_layer: Relevance of each block's input and, last, of the last block's output, (batch,
            layer + 1), logits.
        rules_off: The rules of MambaLRP that were left out; with one left out the sum is another.
    """

    entries: Mapping[str, Float[Tensor, " batch"]]
    logit: Float[Tensor, " batch"]
    absolute: Float[Tensor, " batch"]
    by_layer: Float[Tensor, "batch layers"]
    rules_off: tuple[str, ...] = ()

    @property
    def biases(self) -> dict[str, Float[Tensor, " batch"]]:
        """The entries that are biases."""
        return {name: value for name, value in self.entries.items() if name not in INPUTS}

    @property
    def inputs(self) -> Float[Tensor, " batch"]:
        """Tokens, positions and class token together, (batch,), logits."""
        return torch.stack([self.entries[n] for n in INPUTS if n in self.entries]).sum(0)

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The sum of all entries, (batch,), logits."""
        return torch.stack(list(self.entries.values())).sum(0)

    @property
    def gap(self) -> Float[Tensor, " batch"]:
        """|total - logit| in parts of the summed |relevance|, (batch,)."""
        return (self.total - self.logit).abs() / self.absolute

    @property
    def unexplained(self) -> Float[Tensor, "batch layers"]:
        """What each block, and last the read-out, took without a bias of its own to show for it,
        (batch, layer + 1), logits: rounding, unless rules were left out."""
        after = torch.cat([self.by_layer[:, 1:], self.logit.unsqueeze(1)], dim=1)
        taken = after - self.by_layer
        for name, value in self.biases.items():
            layer = _layer(name)
            if layer is not None:
                taken[:, layer] -= value
            elif name == "head.bias":
                taken[:, -1] -= value
        return taken

    def leaks(self) -> list[Leak]:
        """What keeps relevance from the inputs, the largest first: biases, and layers where a
        rule was missing."""
        parts = dict(self.biases)
        if self.rules_off:
            without = f"without {', '.join(self.rules_off)}"
            *blocks, read_out = self.unexplained.unbind(1)
            parts |= {f"layers.{i} {without}": value for i, value in enumerate(blocks)}
            parts[f"norm_f {without}"] = read_out
        leaks = [self._leak(name, value) for name, value in parts.items()]
        return sorted(leaks, key=lambda leak: -leak.share)

    def _leak(self, name: str, value: Tensor) -> Leak:
        share = (value.abs() / self.absolute).mean()
        return Leak(name, _layer(name), float(value.mean()), float(share))

    def __repr__(self) -> str:
        clips = f"{len(self.logit)} clip" + ("s, means" if len(self.logit) > 1 else "")
        head = (
            f"Conservation ({clips}): logit {float(self.logit.mean()):.4g}, ledger "
            f"{float(self.total.mean()):.4g}, gap {float(self.gap.max()):.1e} of the summed "
            "|relevance|"
        )
        if self.rules_off:
            head += f"; without the rules {', '.join(self.rules_off)}"
        lines, leaks = (
            [self._leak(n, self.entries[n]) for n in INPUTS if n in self.entries],
            self.leaks(),
        )
        lines += leaks[:6]
        if rest := leaks[6:]:
            sums = sum(x.relevance for x in rest), sum(x.share for x in rest)
            lines.append(Leak(f"{len(rest)} smaller ones", None, *sums))
        width = max(len(line.name) for line in lines)
        shown = (f"  {x.name:<{width}} {x.relevance:+10.4g} {x.share:7.1%}" for x in lines)
        return "\n".join([head, *shown])


def _layer(name: str) -> int | None:
    found = re.match(r"layers\.(\d+)", name)
    return None if found is None else int(found[1])
