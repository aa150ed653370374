"""Where a virtual camera goes: paths, handheld jitter, and the classes that follow from a path.

A pose is four numbers of the camera: x to the right and y downward, in shares of the picture's
side; z, the logarithm of the zoom; r, radians clockwise. A step between two poses is seen from the
camera: the content moves by -x, grows by z and turns by -r in the picture as it is at that moment.
So flips, quarter turns and reversal of a clip are exact linear changes of its pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

CLASS_NAMES = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out",
    "roll clockwise", "roll counterclockwise", "cut",
)  # fmt: skip
STATIC, CUT, MIXED = 0, 9, -1
KINDS = (*CLASS_NAMES, "mixed")
CENTER_DISTANCE = 0.3826
"""Mean distance of a point of the unit square from its center."""
UNITS = np.array([1, 1, CENTER_DISTANCE, CENTER_DISTANCE])
"""Factors that make the four numbers of a pose comparable: mean shift, in shares of the side."""
AXIS_AND_SIGN = ((0, -1), (0, 1), (1, -1), (1, 1), (2, 1), (2, -1), (3, 1), (3, -1))
"""Of the classes 1 to 8."""
OPPOSITE = {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 8, 8: 7}
"""The class of the opposite direction."""
STILL = 0.022
"""Travel, in shares of the side, at which a clip is half static, half moving."""
CLEAR = 0.6
"""A clip whose largest share is smaller is mixed."""
LARGEST = (1.1, 1.1, 0.42, 0.4)  # travel along each axis, comparable
SMALLEST = 0.03

Level = Literal["easy", "usual", "hard"]
LEVELS: tuple[Level, ...] = ("easy", "usual", "hard")
Pose = Float64[np.ndarray, "num_frames 4"]
Shares = Float64[np.ndarray, "10"]


@dataclass(frozen=True, eq=False)
class Path:
    """What a camera does: where it is led, and the jitter of the hand that holds it."""

    led: Pose
    jitter: Pose

    @property
    def pose(self) -> Pose:
        """Where the camera is, jitter included."""
        return self.led + self.jitter


@dataclass(frozen=True, eq=False)
class CameraPlan:
    """What the cameras of n clips do.

    Args:
        labels: Index into `CLASS_NAMES`, (n,).
        poses: The cameras at each frame, (n, num_frames, 4), jitter included.
        cuts: The first frame after the cut, (n,); 0 without one.
    """

    labels: Int64[np.ndarray, " n"]
    poses: Float64[np.ndarray, "n num_frames 4"]
    cuts: Int64[np.ndarray, " n"]


def direction_class(axis: int, amount: float) -> int:
    """The class of a movement along one axis of the pose, by its sign."""
    return 1 + AXIS_AND_SIGN.index((axis, 1 if amount > 0 else -1))


def travel(pose: Pose) -> Float64[np.ndarray, " eight"]:
    """How far a camera moves in each of the eight directions, in shares of the side."""
    steps = np.diff(pose, axis=0) * UNITS
    return np.array([np.maximum(sign * steps[:, axis], 0).sum() for axis, sign in AXIS_AND_SIGN])


def shares(led: Pose) -> Shares:
    """What share of the answer each class has for a path without a cut, (10,), summing to 1.

    Each direction counts by the fourth power of its travel, standing still by that of `STILL`.
    A direction that is 1.5 times as strong as all others has five sixths.
    """
    strength = np.concatenate([[STILL], travel(led), [0.0]]) ** 4
    return strength / strength.sum()


def label_of(target: Shares) -> int:
    """The class with the largest share, or `MIXED` if that is less than `CLEAR`."""
    return int(target.argmax()) if target.max() >= CLEAR else MIXED


def flow(
    step: Float64[np.ndarray, "*steps 4"],
    x: Float64[np.ndarray, " points"],
    y: Float64[np.ndarray, " points"],
) -> Float64[np.ndarray, "*steps points 2"]:
    """How the picture's content moves for a step of the camera.

    Args:
        step: Differences of poses.
        x: Place of each point, right of the center, in shares of the side.
        y: The same below the center.
    Returns:
        Movement to the right and down, in shares of the side.
    """
    dx, dy, zoom, roll = (step[..., i, None] for i in range(4))
    return np.stack([-dx + zoom * x + roll * y, -dy + zoom * y - roll * x], axis=-1)


def flow_on_grid(
    step: Float64[np.ndarray, "*steps 4"], side: int
) -> Float64[np.ndarray, "*steps cells 2"]:
    """As `flow`, at the centers of side x side cells of the picture, row by row."""
    place = (np.arange(side) + 0.5) / side - 0.5
    x, y = (axis.ravel() for axis in np.meshgrid(place, place))
    return flow(step, x, y)


def profile(rng: np.random.Generator, num_frames: int) -> Float64[np.ndarray, " num_frames"]:
    """Share of a movement that is done at each frame: 0 to 1, smooth, never backward."""
    time = (np.arange(num_frames * 4) + 0.5) / (num_frames * 4)
    wave = np.sin(2 * np.pi * (rng.uniform(0.3, 1.2) * time + rng.uniform()))
    speed = 1 + rng.uniform(0, 0.7) * wave
    if rng.uniform() < 0.3:  # starts late or ends early
        width = rng.uniform(0.5, 0.9)
        start = rng.uniform(0, 1 - width)
        speed /= 1 + np.exp(-(time - start) * 40)
        speed /= 1 + np.exp((time - start - width) * 40)
    done = np.concatenate([[0], np.cumsum(speed)])
    places = np.arange(num_frames) / (num_frames - 1)
    return np.interp(places, np.linspace(0, 1, len(done)), done / done[-1])


def shake(rng: np.random.Generator, num_frames: int, amplitude: float) -> Pose:
    """Handheld jitter of about this standard deviation, without a trend, comparable units."""
    memory = np.exp(-np.arange(7) / rng.uniform(0.5, 3))
    memory /= np.sqrt((memory**2).sum())
    noise = rng.normal(size=(num_frames + 6, 4))
    moved = np.stack([np.convolve(column, memory, "valid") for column in noise.T], axis=1)
    time = np.arange(num_frames) - (num_frames - 1) / 2
    trend = time[:, None] * (time @ moved) / (time @ time)
    return amplitude * (moved - moved.mean(0) - trend) * (1, 1, 0.35, 0.5) / UNITS


def draw_path(
    rng: np.random.Generator, kind: int, num_frames: int, level: Level, calm: float = 1.0
) -> Path:
    """Draw the path of a clip of a kind, an index into `KINDS`; `CUT` draws a nearly still shot.

    Args:
        rng: Where the randomness comes from.
        kind: Index into `KINDS`.
        num_frames: Frames of the clip.
        level: "hard" draws from the slowest quarter of the speeds, "easy" from the middle.
        calm: Factor on everything that moves.
    """
    led = np.zeros((num_frames, 4))
    size = SMALLEST
    if kind in (STATIC, CUT):
        for axis in range(4):
            led[:, axis] = profile(rng, num_frames) * rng.uniform(-1, 1) * 0.012 / UNITS[axis]
        largest_jitter = 0.016
    elif kind < CUT:
        axis, sign = AXIS_AND_SIGN[kind - 1]
        size = _size(rng, axis, level)
        led[:, axis] = sign * profile(rng, num_frames) * size / UNITS[axis]
        for other in range(4):
            if other != axis and rng.uniform() < 0.55:
                part = profile(rng, num_frames) * rng.uniform(-0.45, 0.45) * size
                led[:, other] = part / UNITS[other]
        largest_jitter = 0.014
    else:
        led, size = _mixed(rng, num_frames, level)
        largest_jitter = 0.012
    amplitude = 0.0
    if level != "easy" and rng.uniform() > 0.2:
        amplitude = math.exp(rng.uniform(math.log(0.0005), math.log(largest_jitter)))
    if kind not in (STATIC, CUT):
        amplitude = min(amplitude, 0.25 * size)
    return Path(led * calm, shake(rng, num_frames, amplitude * calm))


def _size(rng: np.random.Generator, axis: int, level: Level) -> float:
    if level == "easy":
        return rng.uniform(0.1, 0.35)
    power = rng.uniform() ** 1.3 * (0.25 if level == "hard" else 1)
    return SMALLEST * (LARGEST[axis] / SMALLEST) ** power


def _mixed(rng: np.random.Generator, num_frames: int, level: Level) -> tuple[Pose, float]:
    """Two movements at once, one there and back, or one too slow to call."""
    led = np.zeros((num_frames, 4))
    axis, other = rng.permutation(4)[:2].tolist()
    sign, other_sign = rng.choice([-1, 1], 2)
    manner = rng.integers(3)
    if manner == 0:
        size = _size(rng, max(axis, other), level)
        led[:, axis] = sign * profile(rng, num_frames) * size
        led[:, other] = other_sign * profile(rng, num_frames) * size * rng.uniform(0.92, 1)
    elif manner == 1:
        size = _size(rng, axis, level)
        turn = int(rng.integers(num_frames // 3, num_frames - num_frames // 3))
        there = profile(rng, turn + 1)
        back = 1 - profile(rng, num_frames - turn) * rng.uniform(0.92, 1)
        led[:, axis] = sign * size * np.concatenate([there, back[1:]])
    else:
        size = rng.uniform(0.0202, 0.024)
        led[:, axis] = sign * profile(rng, num_frames) * size
    return led / UNITS, size
