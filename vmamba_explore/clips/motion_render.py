"""Draw motion clips: photographs and patterns behind, cut-out objects in front, integers only.

Objects are looked up in textures with two texels to a pixel of the picture, already blurred to
the width of a pixel, so that one table look-up per pixel is smooth enough.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vmamba_explore.clips.motion_plan import TURN, Draws, Ints, random_words

# In scikit-image's wheel, all CC0 or public domain by skimage/data/_fetchers.py.
PHOTOGRAPHS = {
    "train": (
        "astronaut.png", "chelsea.png", "hubble_deep_field.jpg", "camera.png", "brick.png",
        "gravel.png", "clock_motion.png",
    ),
    "test": ("coffee.png", "rocket.jpg", "grass.png"),
}  # fmt: skip
RING_COLOR = (255, 0, 220)
_COLORS = (
    (245, 245, 240), (20, 20, 25), (215, 40, 35), (245, 140, 20), (250, 215, 40),
    (60, 160, 60), (30, 170, 190), (40, 80, 200), (110, 65, 35),
)  # fmt: skip
_SMALLEST, _LARGEST = 22, 44  # outer diameter of the ring, in 64ths of the picture
_BODY, _INNER = 0.70, 0.83  # radius of the object and of the ring's hole, in outer radii
_TEXELS = 2  # texels to a pixel of the picture
_FAINTEST = 64  # opacity in 256ths
_VISIBLE = 8  # change of a layer, in 255ths, that counts as a change

_SIN = np.round(4096 * np.sin(2 * np.pi * np.arange(4096) / 4096)).astype(np.int32)
_COS = np.roll(_SIN, -1024)
_SHRINK = np.round(4096 * 2.0 ** (-np.arange(1024) / 1024)).astype(np.int32)

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@lru_cache(maxsize=64)
def _photograph(name: str, short_side: int) -> Frames:
    """A photograph of scikit-image's wheel, its shorter side scaled to `short_side` pixels."""
    with resources.files("skimage").joinpath("data", name).open("rb") as file:
        image = Image.open(file).convert("RGB")
    scale = short_side / min(image.size)
    size = (max(short_side, round(image.width * scale)), max(short_side, round(image.height * scale)))
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC))
    return pixels


def draw_background(scene: Ints, split: str, size: int) -> Frames:
    """The still background of one clip, (size, size, 3), from its 40 random words."""
    draws = Draws(scene[None])

    def below(limit: int) -> int:
        return int(draws.below(limit)[0])

    if below(4) == 0:
        return _pattern(below, size)
    names = PHOTOGRAPHS[split]
    name, zoom = names[below(len(names))], (5, 7, 10)[below(3)]
    image = _photograph(name, size * zoom // 4)
    top = below(TURN) * (image.shape[0] - size) >> 16
    left = below(TURN) * (image.shape[1] - size) >> 16
    crop = image[top : top + size, left : left + size]
    crop = crop[:: 1 - 2 * below(2), :: 1 - 2 * below(2)]
    gain = 144 + below(113)
    return ((crop.astype(np.uint16) * gain) >> 8).astype(np.uint8)
