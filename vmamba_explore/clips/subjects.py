"""What a clip shows, as far as the bundled models' questions need it: told by pixels alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray

from vmamba_explore.clips.picture import middle_square
from vmamba_explore.clips.recall import CENTER, COLORS, DISC, RIM

__all__ = ["has_ring", "has_sample_and_test", "has_structure"]

Frames = UInt8[np.ndarray, "num_frames height width 3"]
_SIDE = 64  # pixels, to which every frame is resized
_RING_RADII = tuple(np.arange(8.5, 19.1, 0.75).tolist())  # of the middle of a motion clip's ring
_OUTSIDE = 1.3  # a ring ends; a field of color does not
_VIVID = 70  # of 255: how far two of a pixel's colors must lie above the third
_RING = 0.75  # motion clips have at least 0.85 of a ring in a quarter of their frames
_WHITE = 190  # of 255: the least of a white pixel's colors
_NEAR = 60  # of 255: how far a disc's colors may be off
_TARGET = 0.75  # recall clips have all of a target's circles
_FLAT = 3.0  # of 255


def has_ring(frames: Frames) -> bool:
    """Whether a clip shows the ring of motion clips, half magenta, half yellow.

    A circle counts where its points are vividly magenta in one part, vividly yellow in another,
    and those of a larger circle around it are not; it must be there in a quarter of the frames.
    """
    red, green, blue = np.moveaxis(_small(frames), -1, 0)
    magenta = np.minimum(red, blue) - green > _VIVID
    yellow = np.minimum(red, green) - blue > _VIVID
    best = np.zeros(len(frames))
    for radius in _RING_RADII:
        parts = [_on_circles(color, radius) for color in (magenta, yellow)]
        beyond = _on_circles(magenta | yellow, _OUTSIDE * radius)
        here = np.minimum(2.5 * np.minimum(*parts), sum(parts) - 0.7 * beyond)
        best = np.maximum(best, here.max((1, 2)))
    return bool(np.sort(best)[-max(1, len(best) // 4)] >= _RING)


def has_sample_and_test(frames: Frames) -> bool:
    """Whether a clip shows two targets of recall clips, one after the other.

    A target is a disc of one of four colors with a white rim and a white center, in full.
    """
    small = _small(frames)
    white = small.min(-1) > _WHITE
    inner, outer = (CENTER / 2, (DISC + RIM) / 2)
    ringed = np.minimum(_on_circles(white, inner), _on_circles(white, outer))
    shown = np.zeros(len(frames), bool)
    for color in COLORS:
        near = np.abs(small - np.array(color)).max(-1) < _NEAR
        colored = _on_circles(near, (CENTER + DISC) / 2)
        shown |= np.minimum(ringed, colored).max((1, 2)) >= _TARGET
    begins = shown & ~np.concatenate([[False], shown[:-1]])
    return int(begins.sum()) >= 2


def has_structure(frames: Frames) -> bool:
    """Whether most frames are more than one plain color: brightness deviates by over 3 of 255."""
    deviations: Float[np.ndarray, " num_frames"] = frames.mean(-1).std((1, 2))
    return bool(np.median(deviations) > _FLAT)


def _small(frames: Frames) -> NDArray[np.int16]:
    return np.stack([middle_square(frame, _SIDE) for frame in frames]).astype(np.int16)


def _on_circles(
    mask: Bool[np.ndarray, "num_frames height width"], radius: float
) -> Float[np.ndarray, "num_frames height width"]:
    """The share of a circle's points that are in the mask, for a circle around each pixel.

    The picture continues at its opposite edge, as motion clips do.
    """
    spectra = np.fft.rfft2(mask) * _circle(radius)
    return np.fft.irfft2(spectra, s=mask.shape[1:])


@lru_cache
def _circle(radius: float) -> NDArray[np.complex128]:
    """The spectrum that correlates a picture with a circle."""
    turn = np.arange(96) * 2 * np.pi / 96
    row, col = (np.rint(radius * f(turn)).astype(int) % _SIDE for f in (np.sin, np.cos))
    drawn = np.zeros((_SIDE, _SIDE))
    np.add.at(drawn, (row, col), 1 / len(turn))
    return np.fft.rfft2(drawn).conj()
