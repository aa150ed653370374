"""Is delta larger on what moves? The paper's figure 4, measured where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from vmamba_explore.analysis.truth import token_share
from vmamba_explore.clips.motion import MotionClip
from vmamba_explore.trace.trace import Trace


@dataclass(frozen=True, eq=False)
class DeltaContrast:
    """Mean step size on moving and on still tokens: dims clip, layer, direction.

    Attributes:
        moving: Mean delta over channels and the tokens that the target moves through.
        still: Over the tokens in which nothing of target or distractor is, in all frames.
        beside: Over such tokens of the frames in which the target moves, each frame weighted by
            its moving tokens: what differs between `still` and this is the frame, not the token.
        elsewhere: Over such tokens of the frames in which the target does not move.
        distractor: Over the tokens that the distractor covers or has just uncovered; NaN in clips
            without one.
        spread: Standard deviation over all video tokens, relative to their mean: small where
            delta is much the same everywhere.
    """

    moving: xr.DataArray
    still: xr.DataArray
    beside: xr.DataArray
    elsewhere: xr.DataArray
    distractor: xr.DataArray
    spread: xr.DataArray

    @property
    def ratio(self) -> xr.DataArray:
        """Delta on moving tokens over that on still ones of the whole clip, clip by clip."""
        return (self.moving / self.still).rename("delta, moving / still").assign_attrs(unit="")

    @property
    def ratio_beside(self) -> xr.DataArray:
        """Delta on moving tokens over that on still ones of the same frames, clip by clip."""
        ratio = self.moving / self.beside
        return ratio.rename("delta, moving / still beside").assign_attrs(unit="")

    @property
    def ratio_frames(self) -> xr.DataArray:
        """Delta on still tokens of frames with motion over that of frames without, clip by clip."""
        ratio = self.beside / self.elsewhere
        return ratio.rename("delta, still beside / still elsewhere").assign_attrs(unit="")


_NUMBERS = ("moving", "still", "beside", "elsewhere", "distractor", "spread")


def delta_contrast(
    trace: Trace, clips: Sequence[MotionClip], min_share: float = 0.1
) -> DeltaContrast:
    """Compare the mean delta on tokens that show motion with that on still ones.

    Args:
        trace: Holds `hook_delta` of the layers to compare, of these clips in one batch.
        clips: The clips with their truth, in the order of the batch.
        min_share: A token is moving if this share of its pixels is evidence of the motion, more
            than 0.
    Returns:
        Dims clip, layer, direction; every recorded layer and direction.
    Raises:
        ValueError: another number of clips than the batch has, or a share out of range.
        KeyError: delta was not recorded.
    """
    if not 0 < min_share <= 1:
        raise ValueError(f"delta_contrast: min_share is {min_share}, expected above 0, at most 1.")
    places = trace.places("delta")
    if not places:
        raise KeyError("delta_contrast: delta was not recorded; use names_filter='*.hook_delta'.")
    kinds = [_kinds(clip, trace.grid.shape, min_share) for clip in clips]
    layers = sorted({layer for layer, _ in places})
    names = [d for d in trace.config.directions if d in {name for _, name in places}]
    values = np.full((len(_NUMBERS), len(clips), len(layers), len(names)), np.nan)
    for layer, direction in places:
        delta = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_delta"].detach().mean(1)
        if len(delta) != len(clips):
            raise ValueError(
                f"delta_contrast: {len(clips)} motion clips for a batch of {len(delta)}."
            )
        video, _ = trace.grid.split(delta.double().cpu())
        found = [_numbers(one, kind) for one, kind in zip(video, kinds, strict=True)]
        values[:, :, layers.index(layer), names.index(direction)] = np.array(found).T
    coords = {"clip": range(len(clips)), "layer": layers, "direction": names}
    return DeltaContrast(
        *(
            xr.DataArray(part, coords, ("clip", "layer", "direction"), name, {"unit": ""})
            for name, part in zip(_NUMBERS, values, strict=True)
        )
    )


def _kinds(clip: MotionClip, shape: tuple[int, int, int], min_share: float) -> dict[str, Tensor]:
    evidence, ignore, distractor = (
        torch.from_numpy(token_share(mask, shape))
        for mask in (clip.evidence, clip.ignore, clip.distractor)
    )
    moving = evidence >= min_share
    return {
        "moving": moving,
        "still": (evidence + ignore + distractor) == 0,
        "distractor": (distractor >= min_share) & ~moving,
    }


def _numbers(delta: Tensor, kind: dict[str, Tensor]) -> list[float]:
    """The numbers of one clip, in the order of _NUMBERS; NaN where there are no such tokens."""
    moving, still, distractor = (float(delta[kind[name]].mean()) for name in kind)
    share = kind["moving"].sum((1, 2)) / kind["moving"].sum()
    frames = share > 0
    by_frame = (delta * kind["still"]).sum((1, 2)) / kind["still"].sum((1, 2))
    beside = float((share * by_frame)[frames].sum()) if frames.any() else math.nan
    elsewhere = float(by_frame[~frames].nanmean())
    return [moving, still, beside, elsewhere, distractor, float(delta.std() / delta.mean())]
