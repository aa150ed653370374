"""Frames as few bytes without loss, for a page; clip_pixels.js reads them, without a canvas.

A browser that protects its user against being tracked adds noise to what a script reads from a
canvas, so pictures that must stay exact are not decoded by the browser.
"""

from __future__ import annotations

import zlib

import numpy as np
from jaxtyping import UInt8

Planes = UInt8[np.ndarray, "3 num_frames height width"]


def packed_pixels(frames: UInt8[np.ndarray, "num_frames height width 3"]) -> bytes:
    """Return the frames of a clip as one deflated stream.

    Colors are green, red - green and blue - green; a difference is a byte around 128. Each frame
    of each color is taken as it is, or less the frame before, whichever is smaller when every byte
    is predicted from those to its left, above, and above left, as LOCO-I does. What the
    predictions leave is stored.

    Source:
        Weinberger, Seroussi and Sapiro 2000, "The LOCO-I lossless image compression algorithm",
        IEEE Trans. Image Processing 9(8), eq. 1.
    """
    green = frames[..., 1]
    planes = np.stack([green, *(frames[..., color] - green + np.uint8(128) for color in (0, 2))])
    moved = planes.copy()
    moved[:, 1:] -= planes[:, :-1] - np.uint8(128)
    alone, less = _unpredicted(planes), _unpredicted(moved)
    differs = _size(less) < _size(alone)
    differs[:, 0] = False
    kept = np.where(differs[:, :, None, None], less, alone)
    return zlib.compress(differs.astype(np.uint8).tobytes() + kept.tobytes(), 9)


def _unpredicted(planes: Planes) -> Planes:
    """Every byte less its prediction, modulo 256."""
    left, above, corner = (np.zeros(planes.shape, np.int16) for _ in range(3))
    left[..., 1:] = planes[..., :-1]
    above[..., 1:, :] = planes[..., :-1, :]
    corner[..., 1:, 1:] = planes[..., :-1, :-1]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return planes - np.clip(left + above - corner, low, high).astype(np.uint8)


def _size(rest: Planes) -> np.ndarray:
    """How much the predictions leave of each frame of each color."""
    return np.abs(rest.view(np.int8).astype(np.int64)).sum((2, 3))
