"""How right a map is, where the cause of the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.analysis.truth import touched_tokens
from vmamba_explore.clips.labeled import LabeledClip
from vmamba_explore.tokens import TokenGrid

SCORES = {
    "pointing": "pointing game",
    "average_precision": "area under precision-recall",
    "iou": "overlap at equal area",
    "share": "share inside",
    "time_share": "share inside the deciding frames",
}
"""Every score, and what it is called."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true in some clips, on the token grid.

    Args:
        evidence: Tokens that show the cause of the answer, (batch, frame, row, col).
        ignored: Tokens that are neither right nor wrong, none of them evidence.
        window: Token frames that hold the cause, (batch, frame).
    """

    evidence: Bool[Tensor, "batch frame row col"]
    ignored: Bool[Tensor, "batch frame row col"]
    window: Bool[Tensor, "batch frame"]

    @classmethod
    def of(cls, clips: Sequence[LabeledClip], grid: TokenGrid) -> Truth:
        """What is true in generated clips.

        A token is evidence if a pixel of its tubelet is; it is ignored if it shows pixels to be
        ignored, but no evidence. A token frame is in the window if one of its clip frames decides.

        Raises:
            ValueError: the clips cannot be cut into that grid.
        """
        return cls.inside(
            [clip.evidence for clip in clips],
            grid,
            [clip.ignore for clip in clips],
            [clip.deciding for clip in clips],
        )

    @classmethod
    def inside(
        cls,
        masks: Sequence[NDArray[np.bool_]],
        grid: TokenGrid,
        ignored: Sequence[NDArray[np.bool_]] | None = None,
        frames: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Truth:
        """A cause with a place of its own.

        Args:
            masks: Pixels of the cause, (num_frames, height, width), one for each clip.
            grid: Of the tokens.
            ignored: Pixels that are neither right nor wrong, likewise; None: none.
            frames: Clip frames that hold the cause, (num_frames,) each; None: those of the masks.
        """
        evidence = _tokens(masks, grid)
        neither = torch.zeros_like(evidence) if ignored is None else _tokens(ignored, grid)
        window = evidence.flatten(2).any(2)
        if frames is not None:
            deciding = torch.from_numpy(np.stack(list(frames)))
            window = deciding.unflatten(1, (grid.frames, -1)).any(2)
        return cls(evidence, neither & ~evidence, window)

    def without(self, frames: Bool[Tensor, "batch frame"]) -> Truth:
        """Leave whole token frames out: what is in them is neither right nor wrong."""
        out = frames[..., None, None]
        return Truth(self.evidence & ~out, self.ignored | out, self.window & ~frames)

    @property
    def area(self) -> Float[Tensor, " batch"]:
        """The part of the tokens that count which are evidence: what a map without knowledge gets
        as share, average precision and, on average, in the pointing game."""
        counted = (~self.ignored).flatten(1).sum(1)
        return self.evidence.flatten(1).sum(1) / counted


def scores(
    maps: Float[Tensor, "batch frame row col"], truth: Truth
) -> dict[str, Float[Tensor, " batch"]]:
    """Compare maps with the truth, clip by clip.

    Args:
        maps: One part of a map, not negative: `attribution.tokens("positive")` or `("abs")`.
        truth: Of the same clips.
    Returns:
        By the names in `SCORES`, each 0 to 1; NaN for a map that is zero everywhere. Ignored
        tokens are left out; `time_share` leaves out whole frames of them only.

        * "pointing": whether the highest value is on evidence; where several are highest, how
          many of them are;
        * "average_precision": the area under precision against recall, tokens ranked by value,
          equal values as one step;
        * "iou": the overlap of the evidence with as many tokens of the highest values;
        * "share": the part of the map's sum that is on evidence;
        * "time_share": the part of the map's sum that is in the frames of the window.
    Raises:
        ValueError: maps of another shape, or a negative value.
    """
    if maps.shape != truth.evidence.shape or bool((maps < 0).any()):
        raise ValueError(
            f"scores: the maps are {tuple(maps.shape)}, lowest value {float(maps.min()):.3g}; "
            f"expected no negative value and {tuple(truth.evidence.shape)} (batch, frame, row, "
            "col), as attribution.tokens('positive') gives them."
        )
    known = zip(truth.evidence, truth.ignored, truth.window, strict=True)
    rows = [_scored(*each) for each in zip(maps.double().cpu(), known, strict=True)]
    return dict(zip(SCORES, torch.tensor(rows, dtype=torch.float64).T, strict=True))


def _scored(values: Tensor, known: tuple[Tensor, Tensor, Tensor]) -> list[float]:
    """The scores of one clip's map, in the order of `SCORES`."""
    evidence, ignored, window = known
    counted, right = values[~ignored].numpy(), evidence[~ignored].numpy()
    total = counted.sum()
    if not total > 0:
        return [np.nan] * len(SCORES)
    in_time = values.sum((1, 2))[~ignored.flatten(1).all(1)]
    deciding = window[~ignored.flatten(1).all(1)]
    return [
        right[counted == counted.max()].mean(),
        average_precision(counted, right),
        _overlap(counted, right),
        counted[right].sum() / total,
        float(in_time[deciding].sum() / in_time.sum()),
    ]


def average_precision(values: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Sum the precision at each threshold, times the recall that it adds; NaN without evidence."""
    count = right.sum()
    if not count:
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(right[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each equal value
    precision = hits[last] / (last + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / count)


def _overlap(values: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Intersection over union with as many tokens as are right, ties shared out evenly."""
    count = int(right.sum())
    if not count:
        return float("nan")
    threshold = np.partition(values, -count)[-count]
    above, at = values > threshold, values == threshold
    common = right[above].sum() + (count - above.sum()) * right[at].mean()
    return float(common / (2 * count - common))


def _tokens(masks: Sequence[NDArray[np.bool_]], grid: TokenGrid) -> Tensor:
    return torch.from_numpy(np.stack([touched_tokens(mask, grid.shape) for mask in masks]))
