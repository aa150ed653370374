"""What happens to a film between lens and file: light, blur, noise, compression, captions."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.clips.camera_path import Level, profile


def develop(
    rng: np.random.Generator, frames: Tensor, side: int, level: Level
) -> UInt8[np.ndarray, "num_frames height width 3"]:
    """Turn what a lens sees, (num_frames, 3, side, side) of 0 to 255, into a clip's frames."""
    if level == "easy":
        return _pixels(F.interpolate(frames, (side, side), mode="area"))
    num_frames = len(frames)
    light = rng.uniform(0.6, 1.35) * np.ones(num_frames)
    if rng.uniform() < 0.4:
        light *= 1 + profile(rng, num_frames) * rng.uniform(-0.25, 0.25)
    if rng.uniform() < 0.2:
        light *= 1 + rng.normal(size=num_frames) * 0.02
    if rng.uniform() < 0.08:  # a step of the exposure
        step = np.arange(num_frames) >= rng.integers(2, num_frames - 1)
        light *= np.where(step, rng.uniform(0.8, 1.25), 1)
    tint = light[:, None, None, None] * rng.uniform(0.85, 1.15, (1, 3, 1, 1))
    frames = ((frames - 110) * rng.uniform(0.5, 1.2) + 110) * torch.from_numpy(tint).float()
    if rng.uniform() < 0.12:
        frames = frames.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if rng.uniform() < 0.4:
        frames = _blur(frames, rng.uniform(0.3, 1.6))
    if rng.uniform() < 0.3:
        frames = _compress(frames, int(rng.uniform(20, 90)))
    small = F.interpolate(frames, (side, side), mode="area")
    if rng.uniform() < 0.5:
        deviation = rng.uniform(0.6, 5.5)
        small = small + torch.from_numpy(
            rng.standard_normal(tuple(small.shape), dtype=np.float32) * deviation
        )
    return _overlay(rng, _pixels(small))


def _pixels(frames: Tensor) -> np.ndarray:
    return frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def _blur(frames: Tensor, deviation: float) -> Tensor:
    """Blur by a Gaussian of up to four pixels to each side."""
    weights = torch.exp(-(torch.arange(5) ** 2) / (2 * deviation**2))
    weights /= weights[0] + 2 * weights[1:].sum()
    for axis in (2, 3):
        padding = (0, 0, 4, 4) if axis == 2 else (4, 4, 0, 0)
        wide, size = F.pad(frames, padding, mode="replicate"), frames.shape[axis]
        frames = wide.narrow(axis, 4, size) * weights[0]
        for reach in range(1, 5):
            for start in (4 - reach, 4 + reach):
                frames.add_(wide.narrow(axis, start, size), alpha=float(weights[reach]))
    return frames


def _compress(frames: Tensor, quality: int) -> Tensor:
    results = []
    for picture in _pixels(frames):
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        results.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).float()


def _overlay(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Now and then black bars, a caption, or frames that are shown twice."""
    num_frames, side = frames.shape[:2]
    if rng.uniform() < 0.06:
        bar = int(side * rng.uniform(0.05, 0.16))
        frames[:, :bar] = 0
        frames[:, side - bar :] = 0
    if rng.uniform() < 0.08:
        low, high = (0, 0, 0.1, 0.05), (0.6, 0.9, 0.4, 0.12)
        x, y, w, h = (side * rng.uniform(low, high)).astype(int)
        color = rng.integers(0, 256, (1, 1, 1, 3))
        if rng.uniform() < 0.5:
            color = np.where(rng.uniform(size=(1, h, w, 1)) < 0.5, color, 255 - color)
        spot = frames[:, y : y + h, x : x + w]
        spot[:] = color[:, : spot.shape[1], : spot.shape[2]]
    if rng.uniform() < 0.1:
        for frame in range(1, num_frames):
            if rng.uniform() < 0.25:
                frames[frame] = frames[frame - 1]
    return frames
