"""What an operator over tokens gives: weights by source token, and its output split by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import xarray as xr
from torch import Tensor

from vmamba_explore.errors import check_choice
from vmamba_explore.trace.trace import TokenLabels

Reduction = Literal["mean", "sum", "abs", "positive"]


def over_channels(values: Tensor, reduce: str) -> Tensor:
    """Mean over channels, of sizes or positive parts: (..., d_inner, seqlen) to (..., seqlen)."""
    if reduce == "abs":
        values = values.abs()
    elif reduce == "positive":
        values = values.clamp_min(0)
    return values.mean(-2)


@dataclass(frozen=True, eq=False)
class TokenWeights:
    """What a read-out takes from every token of a layer's input, channel by channel.

    Or, from `ScanOperator.column`, what every output token takes of one token of the input.

    Args:
        by_direction: For each direction the weights, (batch, d_inner, seqlen), natural order.
        sources: For each direction what the tokens held in the run, the same shape.
        offset: What the read-out takes that comes from no token, (batch, d_inner), or None.
        kind: "alpha" where the sources are the scans' u, "beta" where they are the mixer's x.
        labels: Places and times of the tokens.
        layer: Block number.
        deviation: Measures `residual`: a scan, so not before it is asked for.
    """

    by_direction: dict[str, Tensor]
    sources: dict[str, Tensor]
    offset: Tensor | None
    kind: Literal["alpha", "beta"]
    labels: TokenLabels
    layer: int
    deviation: Callable[[], float]

    @property
    def residual(self) -> float:
        """How far the operator's output is from the recorded one, relative."""
        return self.deviation()

    @property
    def weights(self) -> Tensor:
        """Summed over the directions, (batch, d_inner, seqlen)."""
        return torch.stack(list(self.by_direction.values())).sum(0)

    @property
    def contributions_by_direction(self) -> dict[str, Tensor]:
        """Weight times what the token held, for each direction, (batch, d_inner, seqlen)."""
        return {name: w * self.sources[name] for name, w in self.by_direction.items()}

    @property
    def contributions(self) -> Tensor:
        """Weight times what the token held, summed over the directions. Over the tokens, and with
        `offset`, these sum to what is read."""
        return torch.stack(list(self.contributions_by_direction.values())).sum(0)

    @property
    def total(self) -> Tensor:
        """What is read, channel by channel: (batch, d_inner)."""
        total = self.contributions.sum(-1)
        return total if self.offset is None else total + self.offset

    def tokens(
        self,
        reduce: Reduction = "mean",
        of: Literal["weights", "contributions"] = "weights",
        direction: str | None = None,
    ) -> Tensor:
        """Reduce the channels to one number per token.

        Args:
            reduce: "mean" or "sum" (signed), "abs" (mean size) or "positive" (mean of the
                positive part).
            of: Weights, or weights times what the tokens held.
            direction: One direction; None sums them.
        Returns:
            (batch, seqlen), natural order, the class token included.
        """
        check_choice("TokenWeights: reduce", reduce, get_args(Reduction))
        check_choice("TokenWeights: of", of, ("weights", "contributions"))
        check_choice("TokenWeights: direction", direction, (*self.by_direction, None))
        values = getattr(self, of) if direction is None else (
            self.by_direction if of == "weights" else self.contributions_by_direction
        )[direction]  # fmt: skip
        return values.sum(-2) if reduce == "sum" else over_channels(values, reduce)

    def array(
        self,
        clip: int = 0,
        reduce: Reduction = "mean",
        of: Literal["weights", "contributions"] = "weights",
    ) -> xr.DataArray:
        """One number per video token and direction; see `tokens`.

        Returns:
            Dims direction, frame, row, col; the class token's numbers are in `attrs["cls"]`, by
            direction, and the residual in `attrs["residual"]`.
        """
        names = list(self.by_direction)
        rows = torch.stack([self.tokens(reduce, of, name)[clip] for name in names])
        name = of.rstrip("s") if reduce in ("mean", "sum") else f"{reduce} {of.rstrip('s')}"
        array = self.labels.array(rows, clip, name, {"direction": names}, residual=self.residual)
        array = array.assign_coords(layer=self.layer)
        _, cls = self.labels.grid.split(rows.detach())
        if cls is not None:
            array.attrs["cls"] = dict(zip(names, cls.tolist(), strict=True))
        return array


@dataclass(frozen=True, eq=False)
class FrameContributions:
    """A layer's output split exactly by where it came from.

    Args:
        values: The parts, (batch, source, d_inner, seqlen); over `source` they sum to the output.
        names: Of the sources: token frames by number, then "cls" and "offset" where they exist.
        labels: Places and times of the tokens.
        layer: Block number.
        residual: How far the sum is from the recorded output, relative.
    """

    values: Tensor
    names: tuple[int | str, ...]
    labels: TokenLabels
    layer: int
    residual: float

    @property
    def targets(self) -> tuple[int | str, ...]:
        """Names of the targets: token frames, then "cls" where there is a class token."""
        return self.labels.sources

    def shares(self) -> Tensor:
        """What part of each target frame's output came from each source.

        The output of a frame is a vector over its tokens and channels; a source's share is its
        part's length along that vector, so the shares of a target sum to 1. A negative share
        works against the others.

        Returns:
            (batch, target, source).
        """
        output = self.values.sum(1, keepdim=True)
        along = (self.values * output).sum(2)  # (batch, source, seqlen)
        masks = self.labels.masks(along.device)
        summed = torch.stack([along[..., mask].sum(-1) for mask in masks], dim=1)
        return summed / summed.sum(-1, keepdim=True)

    def array(self, clip: int = 0) -> xr.DataArray:
        """`shares` of one clip with labels: dims target, source."""
        coords = {"target": [*map(str, self.targets)], "source": [*map(str, self.names)]}
        values = self.shares()[clip].detach().cpu().numpy()
        attrs = {"quantity": "share of the output", "residual": self.residual}
        array = xr.DataArray(values, coords, ("target", "source"), "share of the output", attrs)
        return array.assign_coords(layer=self.layer)
