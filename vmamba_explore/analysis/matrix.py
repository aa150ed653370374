"""The mean over channels of hidden attention as a matrix over all pairs of tokens, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.attention import REDUCED, Reduce, check_choice, reduced
from vmamba_explore.analysis.scan_operator import Kind, ScanOperator
from vmamba_explore.trace.trace import TokenLabels, Trace


@dataclass(frozen=True, eq=False)
class AttentionMatrix:
    """The mean over channels of a layer's matrix: row t is what token t reads.

    Attributes:
        values: float32 (batch, seqlen, seqlen): reader, source, natural order.
        layer: Of the model.
        direction: "forward", "backward" or "both".
        name: What the values are.
        residual: Relative distance of the frozen operator's output to the run's.
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch seqlen seqlen"]
    layer: int
    direction: str
    name: str
    residual: float
    labels: TokenLabels

    def by_frame(self) -> Float[Tensor, "batch reader source"]:
        """What a token of one frame reads from a whole frame: sum over sources, mean over readers.

        Returns:
            Readers and sources are the token frames, then the class token where there is one.
        """
        grid = self.labels.grid
        frame = grid.frame_of_tokens().to(self.values.device)
        cls = [] if grid.cls_index is None else [-1]
        masks = torch.stack([frame == number for number in (*range(grid.frames), *cls)])
        masks = masks.to(self.values)
        readers = masks / masks.sum(-1, keepdim=True)
        return readers @ self.values @ masks.mT


def attention_matrix(
    trace: Trace,
    layer: int,
    direction: Literal["forward", "backward", "both"] = "both",
    *,
    kind: Kind = "alpha",
    reduce: Reduce = "mean",
    budget_gib: float = 1.0,
) -> AttentionMatrix:
    """Lay out the mean over channels of a layer's hidden attention, one row at a time.

    The matrix of every channel, d_inner times as large, never exists: each row is reduced as soon
    as its scan is done. It takes seqlen scans; for single tokens use `hidden_attention`.

    Args:
        trace: Holds what `ScanOperator.names(layer, kind)` lists.
        layer: Which one.
        direction: "both" adds the two up.
        kind, reduce: See `hidden_attention`; "both" adds the directions up channel by channel
            before it reduces.
        budget_gib: The most that the matrix may hold, GiB.
    Raises:
        MemoryError: it would be larger than the budget; nothing has run.
        KeyError, ValueError: as `hidden_attention`.
    """
    check_choice("reduce", reduce, ("mean", "abs", "positive"))
    with torch.no_grad():
        operator = ScanOperator.from_trace(trace, layer=layer, direction=direction, kind=kind)
        batch, seqlen = operator.batch, operator.seqlen
        size = 4 * batch * seqlen**2 / 2**30
        if size > budget_gib:
            raise MemoryError(
                f"attention_matrix: {batch} x {seqlen} x {seqlen} numbers would take {size:.2f} "
                f"GiB; the budget is {budget_gib:.2f} GiB. Take fewer clips, or single tokens with "
                "hidden_attention, or pass budget_gib=."
            )
        values = torch.empty(batch, seqlen, seqlen)
        tiles = operator.T.columns(range(seqlen))
        count = -(-seqlen // operator.columns_at_once)
        title = f"matrix of layer {layer}"
        for tokens, rows in tqdm(tiles, title, total=count, unit="tile", leave=False):
            values[:, tokens] = reduced(rows, reduce).to(values)
    return AttentionMatrix(
        values,
        layer,
        direction,
        REDUCED[reduce].format("weight"),
        operator.residual,
        trace.labels,
    )
