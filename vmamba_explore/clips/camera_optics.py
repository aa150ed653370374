"""How a virtual camera sees: where it is at each moment, and what its screen reads of a picture.

Places on the screen are shares of its side, right of and below the center. All frames of a clip
are drawn at once, as one tall picture, by torch's `grid_sample`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.clips.camera_path import Pose


@dataclass(frozen=True)
class Moments:
    """The camera at each picture to draw: (n,) each, and the frame, with fractions, it belongs to.

    Args:
        time: Frame of the clip, with fractions.
        pose: The camera, (n, 4).
        start: Pose of the clip's frames, (num_frames, 4).
    """

    time: np.ndarray
    pose: np.ndarray
    start: Pose

    def at(self, values: np.ndarray) -> np.ndarray:
        """Interpolate values that belong to the clip's frames, (num_frames, ...)."""
        lower = np.clip(self.time.astype(int), 0, len(values) - 2)
        part = (self.time - lower).reshape(-1, *[1] * (values.ndim - 1))
        return values[lower] * (1 - part) + values[lower + 1] * part

    def world(self, nearness: float = 1.0, zoom: float = 1.0) -> Tensor:
        """Maps from the screen to a plane, (n, 2, 3).

        Args:
            nearness: How much a plane moves for a shift of the camera; 1 for the far plane.
            zoom: How much it grows for a zoom of the camera.
        """
        z, r = self.start[:, 2] * zoom, self.start[:, 3]
        step = np.diff(self.start, axis=0)
        middle_z, middle_r = (z[1:] + z[:-1]) / 2, (r[1:] + r[:-1]) / 2
        c, s = np.cos(middle_r) * np.exp(-middle_z), np.sin(middle_r) * np.exp(-middle_z)
        moved = np.stack([c * step[:, 0] - s * step[:, 1], s * step[:, 0] + c * step[:, 1]], 1)
        shift = self.at(np.concatenate([np.zeros((1, 2)), np.cumsum(moved, 0)]) * nearness)
        scale, angle = np.exp(-self.pose[:, 2] * zoom), self.pose[:, 3]
        c, s = np.cos(angle) * scale, np.sin(angle) * scale
        rows = [np.stack([c, -s, shift[:, 0]], 1), np.stack([s, c, shift[:, 1]], 1)]
        return torch.from_numpy(np.stack(rows, 1)).float()


def moments(pose: Pose, substeps: int, shutter: float) -> Moments:
    """When to draw the frames, each as `substeps` pictures while the shutter is open."""
    offsets = (np.arange(substeps) + 0.5) / substeps - 0.5
    time = (np.arange(len(pose))[:, None] + shutter * offsets).ravel().clip(0, len(pose) - 1)
    result = Moments(time, np.empty(0), pose)
    return Moments(time, result.at(pose), pose)


def screen(side: int) -> Tensor:
    """Places of the rows, or of the columns, of a square picture, (side,)."""
    return (torch.arange(side) + 0.5) / side - 0.5


def carry(matrices: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Apply (n, 2, 3) maps to all places of columns x and rows y, (n, rows, columns, 2)."""
    by_column = matrices[:, :, 0, None] * x + matrices[:, :, 2, None]
    by_row = matrices[:, :, 1, None] * y
    result = torch.empty(len(matrices), len(y), len(x), 2)
    for i in range(2):
        torch.add(by_column[:, i, None, :], by_row[:, i, :, None], out=result[..., i])
    return result


def look_up(picture: Tensor, places: Tensor, outside: str = "reflection") -> Tensor:
    """Read a picture (channels, height, width) at places in pixels, (n, rows, columns, 2)."""
    height, width = picture.shape[1:]
    grid = places * torch.tensor([2 / width, 2 / height]) - 1
    tall = grid.view(1, -1, *grid.shape[2:])
    found = F.grid_sample(picture[None], tall, padding_mode=outside, align_corners=False)
    return found.view(picture.shape[0], *places.shape[:3]).transpose(0, 1)


def tensor(picture: np.ndarray) -> Tensor:
    """Turn a picture (height, width, channels) into float32 (channels, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()


def window_of(picture: np.ndarray, places: Tensor) -> tuple[Tensor, Tensor]:
    """Cut from a picture what the places see of it; return it with the places in it."""
    height, width = picture.shape[:2]
    flat = places[:, [0, 0, -1, -1], [0, -1, 0, -1]].view(-1, 2)  # the map is affine
    low, high = flat.amin(0).floor().int().tolist(), flat.amax(0).ceil().int().tolist()
    if low[0] < 0 or low[1] < 0 or high[0] > width or high[1] > height:
        return tensor(picture), places
    x0, y0 = max(low[0] - 2, 0), max(low[1] - 2, 0)
    return tensor(picture[y0 : high[1] + 2, x0 : high[0] + 2]), places - torch.tensor([x0, y0])
