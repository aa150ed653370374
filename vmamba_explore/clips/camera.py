"""Camera clips: photographs filmed by a virtual camera, with the truth of what it did.

The label names the camera: content that moves to the left is a pan to the right. It follows from
the path on which the camera is led and from nothing else: objects move through the picture, the
hand that holds the camera shakes, near things move more than far ones, and a zoom may be a drive
along a road.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.clips.camera_film import develop
from vmamba_explore.clips.camera_path import (
    AXIS_AND_SIGN,
    CLASS_NAMES,
    CUT,
    KINDS,
    LEVELS,
    STATIC,
    Level,
    Pose,
    Shares,
    direction_class,
    draw_path,
    flow_on_grid,
    label_of,
    shares,
)
from vmamba_explore.clips.camera_path import Path as CameraPath
from vmamba_explore.clips.camera_scene import film
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.photographs import bundled
from vmamba_explore.clips.series import ClipSeries

__all__ = ["CLASS_NAMES", "CameraClip", "CameraClips", "Change"]


@dataclass(frozen=True, eq=False)
class CameraClip:
    """A generated clip and the truth about its camera.

    Args:
        clip: The frames.
        label: Index into `CLASS_NAMES`, or -1 for mixed: no class has 60 % of the target.
        target: Share of the answer that each class has, (10,), summing to 1.
        pose: The camera at each frame, jitter included, (num_frames, 4): right and down in shares
            of the picture's side, logarithm of the zoom, radians clockwise.
        cut: The first frame after the cut; None without one.
        objects: Pixels of objects that move of their own, (num_frames, height, width).
    """

    clip: Clip
    label: int
    target: Shares
    pose: Pose
    cut: int | None
    objects: Bool[np.ndarray, "num_frames height width"]

    @property
    def class_name(self) -> str:
        """The label as words; "mixed" where no class is clear."""
        return KINDS[self.label]

    @property
    def window(self) -> tuple[int, int]:
        """First and last frame of the middle 90 % of the camera's way, or those around the cut.

        The way is that along the axis of the label; of a camera that stands or does several things
        at once, the whole clip.
        """
        if self.cut is not None:
            return self.cut - 1, self.cut
        if not STATIC < self.label < CUT:
            return 0, len(self.pose) - 1
        axis = AXIS_AND_SIGN[self.label - 1][0]
        way = self.pose[:, axis] - self.pose[0, axis]
        done = way / way[-1]
        return int((done <= 0.05).nonzero()[0][-1]), int((done >= 0.95).nonzero()[0][0])

    @property
    def deciding(self) -> Bool[np.ndarray, " num_frames"]:
        """The frames of the window."""
        number = np.arange(len(self.pose))
        return (self.window[0] <= number) & (number <= self.window[1])

    @property
    def evidence(self) -> Bool[np.ndarray, "num_frames height width"]:
        """What shows the camera's movement: the pixels of the window, but those of objects."""
        return self.deciding[:, None, None] & ~self.objects

    @property
    def ignore(self) -> Bool[np.ndarray, "num_frames height width"]:
        """No pixel."""
        return np.zeros_like(self.objects)

    def flow(self, side: int) -> Float64[np.ndarray, "steps side side 2"]:
        """Movement that the camera alone gives to the content from each frame to the next.

        Args:
            side: Places are the centers of side x side cells of the picture.
        Returns:
            Right and down, in shares of the picture's side, (num_frames - 1, side, side, 2). Across
            a cut it is 0.
        """
        return flow_on_grid(np.diff(self.pose, axis=0), side).reshape(-1, side, side, 2)


@dataclass(eq=False, kw_only=True)
class CameraClips(ClipSeries):
    """A seeded series of camera clips; clip i is the same in whatever order clips are drawn.

    Clips i, i + 11, i + 22 ... are of one kind, `KINDS[i % 11]`: the ten classes and "mixed".
    Pixels may differ by rounding between machines; poses, labels and targets do not.

    Args:
        seed: 0 to 2**64 - 1.
        photographs: Files of photographs, or "train" or "test": scikit-image's own.
        num_frames: Frames of a clip, >= 8.
        img_size: Side of the picture, 16 to 512 pixels; filmed at twice that.
        level: "usual"; "easy": one photograph, without objects or noise, moved at a good speed;
            "hard": slow movements, large objects, more roads.
        length: How many clips `len()` reports and indexing allows.
    """

    photographs: Sequence[Path] | Literal["train", "test"] = "train"
    level: Level = "usual"

    def _limits(self) -> dict[str, tuple[bool, str]]:
        named = isinstance(self.photographs, str)
        return super()._limits() | {
            "photographs": (
                self.photographs in ("train", "test") if named else len(self.photographs) > 0,
                "files, train, or test",
            ),
            "level": (self.level in LEVELS, "easy, usual, hard"),
        }

    def __getitem__(self, index: int | np.integer) -> CameraClip:
        self._numbers(index)
        rng = np.random.default_rng([self.seed, int(index), LEVELS.index(self.level)])
        kind = int(index) % len(KINDS)
        cut = None
        if kind == CUT:
            pictures, moving, path, cut = self._cut(rng)
            target = np.eye(len(CLASS_NAMES))[CUT]
        else:
            path = draw_path(rng, kind, self.num_frames, self.level)
            pictures, moving = self._film(rng, kind, path)
            target = shares(path.led)
        frames = develop(rng, pictures, self.img_size, self.level)
        return CameraClip(
            clip=self._as_clip(frames, f"camera clip {index}"),
            label=label_of(target),
            target=target,
            pose=path.pose,
            cut=cut,
            objects=F.max_pool2d(moving.float(), 2).bool().numpy(),
        )

    def _film(self, rng: np.random.Generator, kind: int, path: CameraPath) -> tuple[Tensor, Tensor]:
        files = self.photographs
        files = bundled(files) if isinstance(files, str) else files
        return film(rng, files, kind, path.pose, 2 * self.img_size, self.level)

    def _cut(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, CameraPath, int]:
        """Two shots of calm cameras, or one of them filmed from two places."""
        first = int(rng.integers(3, self.num_frames - 2))
        shots, paths = [], []
        for _ in range(2):
            kind = int(rng.integers(1, CUT)) if rng.uniform() < 0.5 else STATIC
            path = draw_path(rng, kind, self.num_frames, self.level, calm=0.5)
            paths.append(path)
            shots.append(self._film(rng, CUT, path))
        joined = []
        for a, b in ((paths[0].led, paths[1].led), (paths[0].jitter, paths[1].jitter)):
            joined.append(np.concatenate([a[:first], b[first:] - b[first] + a[first - 1]]))
        pictures, moving = (
            torch.cat([one[:first], other[first:]]) for one, other in zip(*shots, strict=True)
        )
        return pictures, moving, CameraPath(*joined), first


@dataclass(frozen=True)
class Change:
    """An exact change of a clip, of which the truth is known as exactly.

    Args:
        mirror: Exchange left and right.
        backward: Play the clip backward.
        quarters: Quarter turns counterclockwise, 0 to 3.
        channels: Order of the color channels.
        negative: Exchange dark and bright.
    """

    mirror: bool = False
    backward: bool = False
    quarters: int = 0
    channels: tuple[int, int, int] = (0, 1, 2)
    negative: bool = False

    def frames(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
        """Change the pictures; mirrored first, turned last."""
        frames = frames[:, :, ::-1] if self.mirror else frames
        frames = frames[::-1] if self.backward else frames
        frames = np.rot90(frames, self.quarters, (1, 2))
        frames = frames[..., self.channels] if self.channels != (0, 1, 2) else frames
        return np.ascontiguousarray(255 - frames if self.negative else frames)

    def pose(self, pose: Pose) -> Pose:
        """Change the camera's pose likewise."""
        x, y, z, r = pose.T
        if self.mirror:
            x, r = -x, -r
        for _ in range(self.quarters):
            x, y = y, -x
        changed = np.stack([x, y, z, r], axis=1)
        return changed[::-1].copy() if self.backward else changed

    def classes(self) -> NDArray[np.int64]:
        """Which class each class becomes, (10,)."""
        result = np.arange(len(CLASS_NAMES))
        for old, (axis, sign) in enumerate(AXIS_AND_SIGN, 1):
            step = np.diff(self.pose(np.outer([0, sign], np.eye(4)[axis])), axis=0)[0]
            found = int(np.abs(step).argmax())
            result[old] = direction_class(found, step[found])
        return result

    def target(self, target: NDArray[np.floating]) -> NDArray[np.floating]:
        """Change what belongs to the classes, (..., 10)."""
        changed = np.empty_like(target)
        changed[..., self.classes()] = target
        return changed
