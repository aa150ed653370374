"""Photographs at several sizes, for clips that are filmed over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vmamba_explore.clips.motion_render import PHOTOGRAPHS
from vmamba_explore.errors import one_line

SHORT_SIDES = (140, 200, 290, 420, 600)
Picture = UInt8[np.ndarray, "height width 3"]


def bundled(split: str) -> tuple[Path, ...]:
    """Paths of scikit-image's photographs of a split, "train" or "test"."""
    folder = Path(str(resources.files("skimage").joinpath("data")))
    return tuple(folder / name for name in PHOTOGRAPHS[split])


@lru_cache(maxsize=256)
def sizes(path: Path) -> tuple[Picture, ...]:
    """Read a photograph with its shorter side scaled to each of `SHORT_SIDES`.

    Sizes more than 1.3 times that of the file are left out.
    """
    try:
        image = Image.open(path).convert("RGB")
    except OSError as error:
        raise ValueError(f"{one_line(path)} cannot be read as a photograph: {error}.") from None
    results: list[Picture] = []
    for side in SHORT_SIDES:
        ratio = side / min(image.size)
        if ratio <= 1.3 or not results:
            size = (round(image.width * ratio), round(image.height * ratio))
            kernel = Image.Resampling.BOX if ratio < 0.5 else Image.Resampling.BICUBIC
            results.append(np.asarray(image.resize(size, kernel)))
    return tuple(results)


def pick(rng: np.random.Generator, photographs: Sequence[Path], short_side: float) -> Picture:
    """Draw a photograph at the size that comes closest to a shorter side; half are mirrored."""
    levels = sizes(photographs[int(rng.integers(len(photographs)))])
    best = min(levels, key=lambda level: abs(math.log(min(level.shape[:2]) / short_side)))
    return best[:, ::-1] if rng.uniform() < 0.5 else best
