"""Change the clips of a training set, all frames of a clip alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn.functional import interpolate

from vmamba_explore.errors import check_fields


@dataclass(frozen=True)
class Augment:
    """Crop, mirror, RandAugment and random erasing: one draw for all frames of a clip.

    Time is never reversed or shuffled.

    Args:
        order_matters: Whether left and right, or before and after, tell classes apart, as in
            Something-Something; a clip is then never mirrored.
        scale: Least share of the picture that a crop shows.
        operations: Of RandAugment, one after the other; 0 for none. Those that would mirror are
            not among them.
        magnitude: How strong they are, between 0 and 30.
        erasing: How often a box is erased.
    Raises:
        ValueError: a value out of range.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1 names RandAugment (arXiv:1909.13719) and
        random erasing (arXiv:1708.04896) without their settings; these are common ones.
    """

    order_matters: bool = False
    scale: float | int = 0.5
    operations: int = 2
    magnitude: int = 9
    erasing: float | int = 0.25

    def __post_init__(self) -> None:
        check_fields(
            self,
            scale=(0 < self.scale <= 1, "above 0, at most 1"),
            operations=(self.operations >= 0, "at least 0"),
            magnitude=(0 < self.magnitude < 30, "between 0 and 30"),
            erasing=(0 <= self.erasing <= 1, "0 to 1"),
        )

    def __call__(
        self,
        frames: UInt8[np.ndarray, "num_frames height width 3"],
        img_size: int,
        seed: int | tuple[int, ...],
    ) -> UInt8[np.ndarray, "num_frames {img_size} {img_size} 3"]:
        """Change one clip; the same seed changes it in the same way.

        Args:
            frames: Of any size.
            img_size: Height and width to return, pixels.
            seed: Of everything drawn.
        Raises:
            ImportError: kornia is not installed.
        """
        draw = np.random.default_rng(seed)
        clip = _crop(frames, img_size, self.scale, draw)
        if not self.order_matters and draw.random() < 0.5:
            clip = clip.flip(-1)
        if self.operations:
            clip = _rand_augment(clip, self.operations, self.magnitude, int(draw.integers(2**31)))
        clip = (clip * 255).round().clamp(0, 255).to(torch.uint8)
        if draw.random() < self.erasing:
            clip = _erase(clip, draw)
        return clip.permute(0, 2, 3, 1).contiguous().numpy()


def _crop(
    frames: np.ndarray, img_size: int, scale: float | int, draw: np.random.Generator
) -> torch.Tensor:
    """A random box of the picture, resized: float (num_frames, 3, img_size, img_size), 0..1."""
    height, width = frames.shape[1:3]
    share = draw.uniform(scale, 1)
    ratio = math.exp(draw.uniform(-math.log(4 / 3), math.log(4 / 3)))
    tall = min(height, max(1, round(math.sqrt(share * height * width / ratio))))
    wide = min(width, max(1, round(math.sqrt(share * height * width * ratio))))
    top, left = int(draw.integers(height - tall + 1)), int(draw.integers(width - wide + 1))
    box = np.ascontiguousarray(frames[:, top : top + tall, left : left + wide])
    clip = torch.from_numpy(box).permute(0, 3, 1, 2).float() / 255
    size = (img_size, img_size)
    return interpolate(clip, size, mode="bilinear", antialias=True).clamp(0, 1)


def _rand_augment(clip: torch.Tensor, operations: int, magnitude: int, seed: int) -> torch.Tensor:
    """Kornia's RandAugment with the parameters drawn for the first frame, on every frame."""
    try:
        from kornia.augmentation.auto import RandAugment
    except ImportError:
        raise ImportError(
            'Augment: RandAugment needs kornia: pip install "vmamba-explore[train]" brings it, '
            "or operations=0 leaves it out."
        ) from None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        change: Any = RandAugment(n=operations, m=magnitude)
        drawn = change.forward_parameters(torch.Size((1, *clip.shape[1:])))
        return torch.cat([change(frame, params=drawn) for frame in clip.split(1)])


def _erase(clip: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """Fill one box, the same in every frame, with noise: 2 to 33 % of the picture."""
    size = clip.shape[-1]
    area = draw.uniform(0.02, 1 / 3) * size * size
    ratio = math.exp(draw.uniform(math.log(0.3), math.log(1 / 0.3)))
    tall = min(size, max(1, round(math.sqrt(area * ratio))))
    wide = min(size, max(1, round(math.sqrt(area / ratio))))
    top, left = int(draw.integers(size - tall + 1)), int(draw.integers(size - wide + 1))
    noise = torch.from_numpy(draw.integers(0, 256, (3, tall, wide), dtype=np.uint8))
    clip = clip.clone()
    clip[:, :, top : top + tall, left : left + wide] = noise
    return clip
