"""Several views of one video: clips at several times, each cropped at several places."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8

from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.picture import short_side
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.errors import check_fields


@dataclass(frozen=True)
class Views:
    """How many views of a video a test averages over.

    Args:
        temporal: Clips, spread evenly from the start of the video to its end; one is its middle.
        spatial: Square crops along the longer side, spread likewise from one end to the other.
    Raises:
        ValueError: less than one.
    """

    temporal: int = 4
    spatial: int = 3

    def __post_init__(self) -> None:
        check_fields(
            self,
            temporal=(self.temporal >= 1, "at least 1"),
            spatial=(self.spatial >= 1, "at least 1"),
        )


def read_views(
    path: str | os.PathLike[str],
    views: Views,
    num_frames: int,
    img_size: int,
    stride: int = 2,
) -> UInt8[np.ndarray, "views num_frames height width 3"]:
    """Read all views of a video; a frame that several clips share is decoded once.

    Args:
        path: A video file.
        views: How many.
        num_frames: Frames of a clip.
        img_size: Height and width of a view, pixels; also the short side of the resized frame.
        stride: Source frames from one frame of a clip to the next.
    Returns:
        uint8 (temporal * spatial, num_frames, img_size, img_size, 3), time outermost.
    Raises:
        ClipError: the file cannot be read.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1.
    """

    def choose(available: int) -> tuple[np.ndarray, int]:
        last = max(0, available - 1 - (num_frames - 1) * stride)
        clips = [
            frame_indices(available, num_frames, stride, start)
            for start in spread(last, views.temporal)
        ]
        return np.concatenate([indices for indices, _ in clips]), clips[-1][1]

    frames = load_frames(path, choose, partial(short_side, size=img_size)).frames
    clips = frames.reshape(views.temporal, num_frames, *frames.shape[1:])
    height, width = frames.shape[1:3]
    tall = height > width
    found = []
    for clip in clips:
        for begin in spread(max(height, width) - img_size, views.spatial):
            top, left = (begin, 0) if tall else (0, begin)
            found.append(clip[:, top : top + img_size, left : left + img_size])
    return np.stack(found)


def spread(last: int, count: int) -> list[int]:
    """Return evenly spaced places from 0 to `last`; one is in the middle."""
    if count == 1:
        return [last // 2]
    return np.rint(np.linspace(0, last, count)).astype(int).tolist()
