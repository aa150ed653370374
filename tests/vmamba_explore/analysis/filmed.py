"""Photographs filmed by a camera whose moves are known exactly."""

import functools
import math
from importlib import resources

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, grid_sample

from vmamba_explore.clips.clip import Clip

UNITS = np.array([1.0, 1.0, 0.382597858, 0.382597858])
"""What makes zoom (logarithm) and roll (radians) comparable to shares of the side."""
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
_SIDE = 400
_WIDTH = 0.5  # of the photograph that the camera shows


@functools.cache
def photograph(name):
    """The middle square of one of scikit-image's photographs, (3, 400, 400), 0 to 255."""
    with resources.files("skimage").joinpath("data", name).open("rb") as file:
        image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def look(name, pose, side):
    """What a camera at (x, y, log zoom, clockwise roll) sees, floats (side, side, 3)."""
    line = (torch.arange(2 * side) + 0.5) / (2 * side) - 0.5
    place = torch.complex(
        line.expand(2 * side, -1), line[:, None].expand(-1, 2 * side).contiguous()
    )
    x, y, zoom, roll = pose
    there = _WIDTH * (
        place * math.exp(-zoom) * complex(math.cos(roll), math.sin(roll)) + complex(x, y)
    )
    seen = grid_sample(
        photograph(name)[None], 2 * torch.view_as_real(there)[None], align_corners=False,
        padding_mode="reflection",
    )  # fmt: skip
    return avg_pool2d(seen, 2)[0].permute(1, 2, 0).numpy()


def filmed(name, poses, side=96, noise=0.0, change=None, **fields):
    """A clip of a photograph, 8 frames a second.

    Args:
        name: Of the photograph; a list has one for each frame.
        poses: Of the camera at each frame: right and down in shares of the picture's side,
            logarithm of the zoom, clockwise roll in radians.
        side: Pixels.
        noise: Its standard deviation, gray levels.
        change: What is done to each frame's floats, given its number.
    """
    names = [name] * len(poses) if isinstance(name, str) else name
    pictures = [look(name, pose, side) for name, pose in zip(names, poses, strict=True)]
    if change is not None:
        pictures = [change(picture, number) for number, picture in enumerate(pictures)]
    generator = np.random.default_rng(0)
    frames = np.stack(pictures) + noise * generator.normal(size=(len(poses), side, side, 3))
    numbers = np.arange(len(poses))
    pixels = frames.clip(0, 255).round().astype(np.uint8)
    return Clip(pixels, numbers / 8, "a film", numbers, **fields)


def poses(count=8, **steps):
    """Poses of equal steps along the axes pan, tilt, zoom, roll, in comparable units."""
    each = np.array([steps.get(name, 0.0) for name in ("pan", "tilt", "zoom", "roll")]) / UNITS
    return np.arange(count)[:, None] * each
