"""The clips that controls show a model: frozen, reversed, shuffled; see `analysis.controls`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from vmamba_explore.analysis.controls import DESCRIPTIONS, Kind, orders_of
from vmamba_explore.clips import Clip
from vmamba_explore.clips.clip import Generated, shown_by
from vmamba_explore.clips.motion import MotionClip

REVERSED = "reversed"
CONTROLS = tuple(kind for kind in DESCRIPTIONS if kind != "original")
"""Their names."""


def control_clip(clip: Clip | Generated, kind: str) -> Clip | Generated:
    """Return the clip as a control shows it to the model.

    Args:
        clip: The clip.
        kind: One of `CONTROLS`; "shuffled" is the first of the orders that `controls` averages.
    """
    if kind == REVERSED:
        return backwards(clip)
    shown = shown_by(clip)
    order = orders_of(shown.num_frames)[list(DESCRIPTIONS).index(cast(Kind, kind))]
    return replace(
        shown,
        frames=np.ascontiguousarray(shown.frames[order]),
        indices=shown.indices[order],
        source=f"{shown.source}, {DESCRIPTIONS[cast(Kind, kind)]}",
        repeated=0,
    )


def backwards(clip: Clip | Generated) -> Clip | Generated:
    """Return the clip with its frames in the opposite order, at the same times.

    A motion clip then bears the label of the opposite motion; the truth about any other is dropped.
    """
    if isinstance(clip, MotionClip):
        first, last = clip.window
        end = clip.clip.num_frames - 1
        masks = {n: getattr(clip, n)[::-1] for n in ("evidence", "ignore", "distractor")}
        return replace(
            clip,
            clip=_reversed(clip.clip),
            label=clip.label ^ 1,
            window=(end - last, end - first),
            **masks,
        )
    return _reversed(shown_by(clip))


def _reversed(clip: Clip) -> Clip:
    seconds = clip.seconds.copy()
    if clip.repeated and clip.fps:  # the frames held at the end come first, so time runs there too
        seconds[-clip.repeated :] += np.arange(1, clip.repeated + 1) / clip.fps
    return replace(
        clip,
        frames=np.ascontiguousarray(clip.frames[::-1]),
        seconds=seconds,
        indices=clip.indices[::-1].copy(),
        source=f"{clip.source}, backwards",
        repeated=0,
    )
