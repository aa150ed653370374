"""The mean over channels of hidden attention as a matrix over all pairs of tokens, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.hidden_attention import REDUCED, Reduce, check_choice, reduced
from vmamba_explore.analysis.scan_operator import Kind, ScanOperator
from vmamba_explore.trace.trace import TokenLabels, Trace

_TILE = 2**22
"""Numbers in the vectors that are scanned side by side, at most, unless one is longer."""


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
        tiles = unit_rows(operator, range(seqlen))
        count = -(-seqlen // rows_at_once(operator))
        title = f"matrix of layer {layer}"
        for tokens, rows in tqdm(tiles, title, total=count, unit="tile", leave=False):
            values[:, tokens] = reduced(rows, reduce).unflatten(0, (batch, -1)).to(values)
    return AttentionMatrix(
        values,
        layer,
        direction,
        REDUCED[reduce].format("weight"),
        operator.residual,
        trace.labels,
    )


def rows_at_once(operator: ScanOperator) -> int:
    """How many rows `unit_rows` scans side by side: a bounded amount of memory, or one row."""
    if operator.batch > 1:
        return 1
    return max(1, _TILE // (operator.d_inner * operator.seqlen))


def unit_rows(
    operator: ScanOperator, tokens: Sequence[int]
) -> Iterator[tuple[list[int], Float[Tensor, "rows d_inner seqlen"]]]:
    """Yield an operator's rows, several at a time where there is one clip.

    Args:
        operator: Of one clip or several.
        tokens: Natural indices.
    Yields:
        Some of the tokens, and their rows: (batch * tokens, d_inner, seqlen).
    """
    transposed, size = operator.T, rows_at_once(operator)
    for start in range(0, len(tokens), size):
        some = list(tokens[start : start + size])
        ones = torch.zeros(operator.batch * len(some), operator.d_inner, operator.seqlen)
        for row, token in enumerate(some * operator.batch):
            ones[row, :, token] = 1
        yield some, transposed @ ones
