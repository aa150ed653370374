"""What the camera does, measured without learning: a check on what a model says of any clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from torch import Tensor

from vmamba_explore.analysis.registration import MEAN_REACH, SIDE, register
from vmamba_explore.clips.camera_path import CLASS_NAMES, direction_class
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.errors import shown

COMPONENTS = ("pan", "tilt", "zoom", "roll")
"""What a camera does from one frame to the next: turns right, down, moves or zooms in, rolls
clockwise; each in shares of the picture's side (see `measure_camera`)."""

THRESHOLD = 0.025
"""A camera that moves by less, in total, is static."""

RATIO = 1.5
"""A clip has one motion if its largest component is at least so many times the next one."""

_EXPLAINED = 0.25  # of the structure; unrelated photographs reach 0.18, noise 0.12
_OVERLAP = 0.25  # of the square
_STRUCTURE = 0.25  # gray levels per pixel
_OTHER_COLORS = 0.25  # share of the pixels that change their color, of 4 x 4 x 4
_FAST = 0.1  # moves in sides from which on a failure may be the camera's own
_AT_ONCE = 64  # pairs


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """How the camera moved through a clip.

    Attributes:
        moves: From each frame to the next, the four `COMPONENTS`, shares of the picture's side; NaN
            where the measurement does not apply.
        inliers: The share of the picture's structure that follows the camera, 0 to 1.
        applies: Whether a step was measured: there is structure to see, enough of it follows one
            motion, no frame is damaged, and it is not a cut.
        cuts: Numbers of the clip frames that start a new shot.
        seconds: When each frame is shown in the source.
        source: The clip's name.
    """

    moves: Float64[np.ndarray, "step 4"]
    inliers: Float64[np.ndarray, " step"]
    applies: Bool[np.ndarray, " step"]
    cuts: Int64[np.ndarray, " cut"]
    seconds: Float64[np.ndarray, " frame"]
    source: str = ""

    @property
    def path(self) -> Float64[np.ndarray, "frame 4"]:
        """The moves summed up to each frame; a step that was not measured adds nothing."""
        return np.concatenate([np.zeros((1, 4)), np.nan_to_num(self.moves).cumsum(0)])

    @property
    def measured_path(self) -> Float64[np.ndarray, "frame 4"]:
        """The path at each frame that begins or ends a measured step; NaN at all others."""
        beside = np.concatenate([[False], self.applies, [False]])
        return np.where((beside[1:] | beside[:-1])[:, None], self.path, np.nan)

    @property
    def total(self) -> Float64[np.ndarray, " 4"]:
        """The sum of all measured steps."""
        return self.path[-1]

    @property
    def label(self) -> str:
        """The camera's motion as one of the classes of `camera-nano`.

        "cut" where there is one; "" where fewer than half of the steps were measured; "static"
        where the total stays below `THRESHOLD` and the path below twice that; the largest
        component's name where it is at least `RATIO` times the next one; "mixed" for all else.
        """
        if len(self.cuts):
            return "cut"
        if 2 * self.applies.sum() < len(self.applies):
            return ""
        sizes = np.abs(self.total)
        *_, second, largest = np.sort(sizes)
        if largest < THRESHOLD:
            return "static" if np.abs(self.path).max() < 2 * THRESHOLD else "mixed"
        if largest < RATIO * second:
            return "mixed"
        at = int(sizes.argmax())
        return CLASS_NAMES[direction_class(at, self.total[at])]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each step: when it starts and ends (seconds), its moves, the share of inliers,
        whether it was measured, and whether it is a cut."""
        times = {"start": self.seconds[:-1], "end": self.seconds[1:]}
        moves = dict(zip(COMPONENTS, self.moves.T, strict=True))
        cut = np.isin(np.arange(1, len(self.seconds)), self.cuts)
        judged = {"inliers": self.inliers, "applies": self.applies, "cut": cut}
        return pd.DataFrame(times | moves | judged)

    def since(self, frame: int) -> CameraMotion:
        """The motion from a frame on; a cut at that very frame lies before it."""
        cuts = self.cuts[self.cuts > frame] - frame
        moves, inliers, applies = (
            values[frame:] for values in (self.moves, self.inliers, self.applies)
        )
        return CameraMotion(moves, inliers, applies, cuts, self.seconds[frame:], self.source)

    def __repr__(self) -> str:
        total = ", ".join(
            f"{name} {value:+.3f}" for name, value in zip(COMPONENTS, self.total, strict=True)
        )
        said = self.label or "not measurable"
        return (
            f"CameraMotion of {self.source!r}: {said}; {total}; "
            f"{self.applies.sum()} of {len(self.applies)} steps measured, {len(self.cuts)} cuts"
        )


def measure_camera(clip: Clip) -> CameraMotion:
    """Measure what the camera does from frame to frame, without learning.

    Consecutive frames are registered by the one shift, zoom and rotation that most of the picture's
    structure follows, on squares of 64 pixels; things that move by themselves are left out by
    robust weights. Signs are the camera's: it pans right where the picture moves left. Two things
    mislead it: a large object with more structure than what is behind it is followed in place of
    the camera, and a drive along a road is measured as a smaller zoom than it looks, since what is
    far hardly moves.

    The units of all components compare: pan and tilt in sides of the picture's middle square, zoom
    (logarithm) and roll (radians) times 0.383, the mean distance from the middle of a square of
    side 1: by what they shift the picture on average. A camera that moves forward is seen to
    zoom in.

    Args:
        clip: Of any size, of at least two frames; frames that only repeat the last one are left
            out.
    Returns:
        The curves, where they hold, and the cuts.
    Raises:
        ValueError: the clip has a single frame.
    """
    if not isinstance(clip, Clip):
        raise TypeError(f"measure_camera: clip is {shown(clip)}, expected a Clip.")
    count = clip.num_frames - clip.repeated
    if count < 2:
        raise ValueError(
            f"measure_camera: {clip.source} has {count} frame, expected at least 2; give a longer "
            "clip or a smaller stride."
        )
    broken = None if clip.damaged is None else clip.damaged[:count]
    steps = steps_between(clip.frames[:count], broken)
    return motion_of(steps, clip.seconds[:count].copy(), clip.source)


@dataclass(frozen=True, eq=False)
class Steps:
    """What is measured of each step by itself, before its neighbors decide whether it is a cut.

    Attributes:
        moves: Of the camera, comparable units.
        inliers: The share of the structure that follows.
        fits: Whether the move holds.
        recolored: The share of the pixels that change their color; 0 where a frame is damaged.
    """

    moves: Float64[np.ndarray, "step 4"]
    inliers: Float64[np.ndarray, " step"]
    fits: Bool[np.ndarray, " step"]
    recolored: Float64[np.ndarray, " step"]

    def __add__(self, other: Steps) -> Steps:
        both = ([getattr(part, field.name) for part in (self, other)] for field in fields(self))
        return Steps(*map(np.concatenate, both))

    def __getitem__(self, part: slice) -> Steps:
        return Steps(*(getattr(self, field.name)[part] for field in fields(self)))


def steps_between(
    frames: UInt8[np.ndarray, "frame height width 3"],
    damaged: Bool[np.ndarray, " frame"] | None = None,
) -> Steps:
    """Measure the steps between consecutive frames, of which there are at least two."""
    parts = zip(*_measured(frames), strict=True)
    moves, inliers, fits, recolored = (np.concatenate(part) for part in parts)
    if damaged is not None:
        whole = ~(damaged[1:] | damaged[:-1])
        fits, recolored = fits & whole, recolored * whole
    return Steps(moves, inliers, fits, recolored)


def motion_of(steps: Steps, seconds: Float64[np.ndarray, " frame"], source: str) -> CameraMotion:
    """Find the cuts among steps: between pictures that no motion relates, with other colors or
    alone among calm steps."""
    calm = steps.fits & (steps.inliers >= 2 * _EXPLAINED)
    calm &= (np.abs(steps.moves) < _FAST).all(1)
    beside = np.concatenate([[False], calm, [False]])
    sudden = (steps.recolored >= _OTHER_COLORS) | (beside[:-2] & beside[2:])
    cut = (steps.inliers < _EXPLAINED) & sudden
    return CameraMotion(
        moves=np.where(steps.fits[:, None], steps.moves, np.nan), inliers=steps.inliers,
        applies=steps.fits, cuts=cut.nonzero()[0] + 1, seconds=seconds, source=source,
    )  # fmt: skip


def _measured(frames: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Some steps at a time: moves of the camera, inliers, whether they hold, changed colors."""
    for start in range(0, len(frames) - 1, _AT_ONCE):
        squares = [middle_square(frame, SIDE) for frame in frames[start : start + _AT_ONCE + 1]]
        pixels = torch.from_numpy(np.stack(squares))
        gray = pixels.float() @ torch.tensor([0.299, 0.587, 0.114])
        found = register(gray[:-1], gray[1:])
        fits = (
            (found.explained >= _EXPLAINED)
            & (found.overlap >= _OVERLAP)
            & (found.structure >= _STRUCTURE)
        )
        values = (_of_camera(found.moves), found.explained, fits, _recolored(pixels))
        yield tuple(
            each.numpy() if each.dtype == torch.bool else each.double().numpy() for each in values
        )


def _of_camera(moves: Tensor) -> Tensor:
    """The camera's move, as seen half way, from that of the content; in comparable units."""
    right, down, zoom, turn = moves.double().unbind(-1)
    half = torch.polar((zoom / 2).exp(), turn / 2)
    pan, tilt = torch.view_as_real(-torch.complex(right, down) / half).unbind(-1)
    return torch.stack([pan, tilt, zoom * MEAN_REACH, -turn * MEAN_REACH], -1)


def _recolored(pixels: Tensor) -> Tensor:
    """The share of the pixels that would have to change their color, one of 64, for each step."""
    red, green, blue = (pixels // 64).long().flatten(1, 2).unbind(-1)
    counts = torch.stack([each.bincount(minlength=64) for each in 16 * red + 4 * green + blue])
    return (counts[1:] - counts[:-1]).abs().sum(1).double() / (2 * SIDE**2)
