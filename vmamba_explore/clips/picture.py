"""From a decoded frame to the pixels that a player shows: upright, square pixels, resized."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np
from torch import from_numpy
from torch.nn.functional import interpolate

UPRIGHT = np.eye(2, dtype=np.int64)
"""The orientation of a frame that is shown as it is stored, see `orientation`."""

ASPECTS = Fraction(1, 16), Fraction(16)
"""Other shapes of pixels are a damaged header's."""

NEARLY_SQUARE = Fraction(1, 50)
"""Deviations that only come from rounding the size of a picture; a player's stretch is not seen."""


def orientation(frame: av.VideoFrame) -> np.ndarray | None:
    """Return how a frame must be turned or mirrored to be shown.

    Returns:
        int64 (2, 2), row vectors (x, y) of the picture shown for a step in x and in y of the
        stored one, each 0, 1 or -1; None where the frame does not say. Angles between quarter
        turns become the nearest one.
    Source:
        ISO/IEC 14496-12, 8.3.2.3 (the matrix of a track), as FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(cast("bytes", data), np.int32)[:5].astype(np.int64).tolist()
    across = abs(b) + abs(c) > abs(a) + abs(d)
    signs = np.sign([[0, b], [c, 0]] if across else [[a, 0], [0, d]])
    return signs if abs(signs).sum() == 2 else None


def upright(
    frame: av.VideoFrame, turn: np.ndarray = UPRIGHT, aspect: Fraction = Fraction(1)
) -> np.ndarray:
    """Return a frame's pixels as a player shows them.

    Args:
        frame: A decoded frame.
        turn: Its `orientation`.
        aspect: Width of a stored pixel over its height. Other than 1, the picture is stretched
            along its shorter pixels' side, so that no detail is lost.
    Returns:
        RGB pixels, uint8 (H, W, 3).
    """
    width, height = frame.width, frame.height
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    # threads would be missing in a forked process, see `without_threads`
    pixels = frame.reformat(width, height, "rgb24", threads=1).to_ndarray()
    if turn[0, 0] == 0:
        pixels = pixels.swapaxes(0, 1)
    mirror_x, mirror_y = turn.sum(0) < 0
    return pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


def pixel_aspect(ratio: Fraction | None) -> Fraction:
    """Return the width of a pixel over its height; 1 where a file says nothing sensible."""
    if not ratio or not ASPECTS[0] <= ratio <= ASPECTS[1] or abs(ratio - 1) <= NEARLY_SQUARE:
        return Fraction(1)
    return ratio


def middle_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize the short side of a frame, uint8 (H, W, 3), to `size` pixels and crop the middle."""
    image = short_side(pixels, size)
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def square_box(height: int, width: int, size: int) -> tuple[float, float, float, float]:
    """Return what `middle_square` keeps of a frame, in its own pixels: left, top, right, bottom.

    Args:
        height, width: Of the frame.
        size: Of the square, pixels.
    """
    tall, wide = _resized(height, width, size)
    top, left = (tall - size) // 2, (wide - size) // 2
    across, down = width / wide, height / tall
    return left * across, top * down, (left + size) * across, (top + size) * down


def _resized(height: int, width: int, size: int) -> list[int]:
    """Height and width of a frame when its short side has `size` pixels."""
    short = min(height, width)
    return [max(size, round(side * size / short)) for side in (height, width)]


def short_side(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame, uint8 (H, W, 3), until its short side has `size` pixels (antialiased
    bilinear)."""
    wanted = _resized(pixels.shape[0], pixels.shape[1], size)
    image = from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    image = interpolate(image, wanted, mode="bilinear", antialias=True)
    return image[0].permute(1, 2, 0).numpy()
