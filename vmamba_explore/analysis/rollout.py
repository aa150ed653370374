"""Attention roll-out: what a token draws from every token of the clip, over all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.attention import Token, chosen_layers, readout_weights
from vmamba_explore.analysis.scan_operator import Kind, ScanOperator
from vmamba_explore.trace.trace import TokenLabels, Trace


@dataclass(frozen=True, eq=False)
class Rollout:
    """What a token draws, through any number of layers, from the tokens of each layer's input.

    Attributes:
        values: (batch, layer, seqlen): at each layer the weights on the tokens of its input,
            non-negative, natural order; they sum to 1. Those of the first layer are the roll-out
            to the embedded clip.
        through: (batch, layer, direction): what part of the weight the layer's scans moved, by
            direction; the parts sum to 1.
        cancellation: (batch, layer, direction): sum of |alpha| over sum of alpha_plus in
            the sampled rows, 0 to 1: how much of the majorant is really there.
        sampled: How many rows `cancellation` was measured in.
        layers: The number of each entry of the axis `layer`.
        directions: The name of each entry of the axis `direction`.
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch layer seqlen"]
    through: Float[Tensor, "batch layer direction"]
    cancellation: Float[Tensor, "batch layer direction"]
    sampled: int
    layers: tuple[int, ...]
    directions: tuple[str, ...]
    labels: TokenLabels

    @property
    def residual(self) -> float:
        """How far the weights are from summing to 1, at worst."""
        return float((self.values.sum(-1) - 1).abs().max())

    @property
    def cls(self) -> Float[Tensor, "batch layer *frame"] | None:
        """The weight on the class token of each layer's input (on all, where every frame has one);
        None without one."""
        return self.labels.grid.split(self.values)[1]

    def array(self, clip: int = 0, layer: int | None = None) -> xr.DataArray:
        """The weights on the video tokens of one clip.

        Args:
            clip: Which one of the batch.
            layer: At whose input; None: at that of every layer, on a dim `layer`.
        Returns:
            Dims [layer,] frame, row, col.
        """
        attrs = {"residual": self.residual, "cancellation": float(self.cancellation[clip].mean())}
        dims = {"layer": self.layers}
        array = self.labels.array(self.values[clip], clip, "roll-out", dims, **attrs)
        return array if layer is None else array.sel(layer=layer)


def attention_rollout(
    trace: Trace,
    token: Token = None,
    *,
    kind: Kind = "beta",
    sampled: int = 16,
    progress: bool = True,
) -> Rollout:
    """Follow a token's reading back through all layers, as exact rows.

    With M the layer's matrix of one channel, both directions summed and every factor replaced by
    its size (the majorant, nowhere negative), and its rows scaled to sum to 1::

        r <- r / 2 + mean over channels of (M / rowsums)^T r / 2

    from the last layer to the first, half of the weight staying where it is as on the residual
    path. Two scans a layer and direction, no matrix: the row sums m are M applied to ones, and
    (M / m)^T r is M^T applied to r / m. The majorant leaves out that terms of opposite sign cancel
    inside a scan; `cancellation` says how much.

    Args:
        trace: Holds what `ScanOperator.names(None, kind)` lists.
        token: Natural index, (frame, row, col), "cls", or None for what the logits are read from.
        kind: "beta" for the whole mixer, "alpha" for the scans alone.
        sampled: In how many rows, spread evenly and the token's own among them, the cancellation
            is measured; each costs a scan per layer and direction.
        progress: Whether to show a bar.
    Raises:
        IndexError: the token is not in the grid.
        KeyError: a layer was not recorded.
        ValueError: "cls" without a class token, or `sampled` below 1.
    Source:
        Abnar and Zuidema 2020, arXiv:2005.00928, for attention; Ali, Zimerman and Wolf 2024,
        arXiv:2403.01590, section 4, for Mamba's. Here the mean over channels is taken of the
        normalized rows, and weights are made non-negative by the majorant, not by cutting off.
    """
    layers = chosen_layers(trace, None)
    start = readout_weights(trace.config, token)
    start = start / start.sum()
    if sampled < 1:
        raise ValueError(f"attention_rollout: sampled must be at least 1, got {sampled}.")
    rows = _sampled_rows(start, sampled)
    values, through, cancellation, weights = [], [], [], None
    with torch.no_grad():
        bar = tqdm(layers[::-1], desc="roll-out", unit="layer", leave=False, disable=not progress)
        for layer in bar:
            operator = ScanOperator.from_trace(trace, layer=layer, direction="both", kind=kind)
            if weights is None:
                like = operator.parts[0].source
                weights = start.to(like).expand(operator.batch, -1)
            weights, parts, cancelled = _through_layer(operator, weights, rows)
            values.append(weights)
            through.append(parts)
            cancellation.append(cancelled)
    return Rollout(
        torch.stack(values[::-1], 1),
        torch.stack(through[::-1], 1),
        torch.stack(cancellation[::-1], 1),
        len(rows),
        layers,
        tuple(operator.directions),
        trace.labels,
    )


def _through_layer(
    operator: ScanOperator, weights: Tensor, rows: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights on a layer's input, what moved by direction, and the cancellation by direction."""
    plus = operator.majorant()
    ones = torch.ones(operator.batch, operator.d_inner, operator.seqlen).to(weights)
    sums = torch.stack([part @ ones for part in plus.parts])  # by direction
    total = sums.sum(0)
    reads = total > 0  # a channel that reads nothing here leaves the weight where it is
    scaled = torch.where(reads, weights[:, None] / total.where(reads, 1), 0)
    moved = torch.stack([(part.T @ scaled).mean(1) for part in plus.parts], 1)
    stays = torch.where(reads, 0, weights[:, None]).mean(1)
    parts = moved.sum(-1)
    sizes = torch.zeros_like(parts)
    for i, part in enumerate(operator.parts):
        for _, entries in part.T.columns(rows):
            sizes[:, i] += entries.abs().sum((2, 3)).sum(1)
    bounds = sums[..., list(rows)].sum((2, 3)).T
    tiny = torch.finfo(parts.dtype).tiny
    return (
        (weights + moved.sum(1) + stays) / 2,
        parts / parts.sum(-1, keepdim=True).clamp_min(tiny),
        sizes / bounds.clamp_min(tiny),
    )


def _sampled_rows(start: Tensor, count: int) -> list[int]:
    """Tokens spread evenly over the sequence, with the one that is read, where it is one."""
    seqlen = len(start)
    spread = torch.linspace(0, seqlen - 1, min(count, seqlen)).round().long().tolist()
    own = int(start.argmax())
    if start[own] == 1 and own not in spread:
        spread[min(range(len(spread)), key=lambda i: abs(spread[i] - own))] = own
    return sorted(set(spread))
