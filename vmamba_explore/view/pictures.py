"""Frames as encoded pictures, and maps laid over them."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image

from vmamba_explore.clips import Clip
from vmamba_explore.errors import shown
from vmamba_explore.view.colors import MISSING, Scale, color_table, scale_of

EXACT_SIDE = 128
"""Frames up to this many pixels a side are encoded without loss (PNG), larger ones as JPEG."""


def encode(frame: npt.NDArray[np.uint8], exact: bool = False) -> bytes:
    """Return one frame, uint8 (height, width, 3), as PNG where small and as JPEG otherwise.

    Args:
        frame: The frame.
        exact: Whether it is PNG whatever its size.
    """
    buffer = io.BytesIO()
    if exact or max(frame.shape[:2]) <= EXACT_SIDE:
        Image.fromarray(frame).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(frame).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def thumbnail(frame: npt.NDArray[np.uint8], side: int = 112) -> str:
    """Return a small JPEG of a frame, uint8 (height, width, 3), as a data URI for a figure."""
    image = Image.fromarray(frame)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def enlarged(frame: npt.NDArray[np.uint8], side: int) -> str:
    """Return a frame as a data URI whose pixels are enlarged, sharp, to at least `side` in all."""
    times = max(1, math.ceil(side / max(frame.shape[:2])))
    return thumbnail(frame.repeat(times, axis=0).repeat(times, axis=1), side=2 * side)


def over_tokens(call: str, name: str, values: xr.DataArray) -> xr.DataArray:
    """Return a map with its dims in the order frame, row, col.

    Args:
        call: Begins the message of an error.
        name: Of the map, for the same.
        values: Those dims in any order.

    Raises:
        ValueError: the dims are not frame, row and col, or one of them is empty.
    """
    if set(values.dims) != {"frame", "row", "col"} or 0 in values.shape:
        raise ValueError(
            f"{call}: overlay {shown(name)} has dims {dict(values.sizes)}, expected frame, row and "
            'col, none empty. Reduce the others first, for example with .mean("channel").'
        )
    return values.transpose("frame", "row", "col")


def first_clip_frames(values: xr.DataArray, num_frames: int) -> npt.NDArray[np.int64]:
    """Return the first frame of a clip of `num_frames` in each of a map's frames.

    That is the coordinate `clip_frame`, where there is one; otherwise they share the clip evenly.
    """
    if "clip_frame" in values.coords:
        return values["clip_frame"].values.astype(np.int64)
    frames = values.sizes["frame"]
    return -(-np.arange(frames, dtype=np.int64) * num_frames // frames)


def token_frames(first: npt.NDArray[np.int64], num_frames: int) -> npt.NDArray[np.int64]:
    """Return the map's frame that covers each frame of a clip; see `first_clip_frames`."""
    return np.maximum(first.searchsorted(np.arange(num_frames), side="right") - 1, 0)


@dataclass(frozen=True, eq=False)
class Overlay:
    """A map over a clip's frames, ready to draw: levels of one scale that spans the whole clip.

    Attributes:
        scale: Values that the first and the last color stand for.
        levels: uint8 (frames, rows, cols), 0 to 254, or `MISSING`.
        token_frame: int64 (num_frames,): the map's frame that covers each frame of the clip.
    """

    scale: Scale
    levels: npt.NDArray[np.uint8]
    token_frame: npt.NDArray[np.int64]

    @classmethod
    def from_map(cls, values: xr.DataArray, num_frames: int) -> Overlay:
        """Scale a map, dims frame, row, col, for a clip of `num_frames`."""
        scale, first = scale_of(values.values), first_clip_frames(values, num_frames)
        return cls(scale, scale.levels(values.values), token_frames(first, num_frames))

    def over(self, clip: Clip, frame: int, opacity: float) -> npt.NDArray[np.uint8]:
        """Return one frame of the clip, uint8 (height, width, 3), with the map blended in.

        The frame is turned gray, so that all color is the map's; it shows alone where a value is
        missing.
        """
        picture = np.asarray(Image.fromarray(clip.frames[frame]).convert("L"))[..., None]
        height, width = picture.shape[:2]
        levels = self.levels[self.token_frame[frame]]
        rows = np.arange(height) * levels.shape[0] // height
        cols = np.arange(width) * levels.shape[1] // width
        levels = levels[rows][:, cols]
        table = np.vstack([color_table(self.scale.signed), np.zeros((1, 3), np.uint8)])
        blended = (1 - opacity) * picture + opacity * table[levels]
        return np.where((levels == MISSING)[..., None], picture, blended).round().astype(np.uint8)
