"""What happens in a motion clip, in integers: labels, windows, poses. Nothing here draws a pixel.

Every coordinate of an object is a phase on a circle, an integer in [0, 65536): x and y go once
round the picture, the angle once round the turn, size (one octave) and opacity are sawteeth.
A motion adds a constant step to one phase per frame, so at every frame every phase is uniform and
no single pose leans to a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES: tuple[str, ...] = (
    "right", "left", "down", "up", "clockwise", "counterclockwise",
    "approach", "recede", "appear", "vanish",
)  # fmt: skip
TURN = 1 << 16
NUM_SPRITES = 96
_X, _Y, _ANGLE, _SIZE, _OPACITY = range(5)
# Phase per frame, smallest and largest: 4 to 5.8 pixels of 64, 20 to 30 degrees, a factor of
# 1.10 to 1.12, an opacity of 0.10 to 0.125.
_STEPS = np.array(
    [
        [TURN // 16, TURN // 11],
        [TURN // 16, TURN // 11],
        [TURN // 18, TURN // 12],
        [TURN // 7, TURN // 6],
        [TURN // 6, TURN // 5],
    ]
)
_WORDS = 96  # random words a clip; a fixed number, so that no option shifts another draw
SCENE_WORDS = 40

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Actor:
    """One object of each clip: which sprite, (n,), and its phases, (n, num_frames, 5)."""

    sprites: Ints
    poses: Ints


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything random about n clips, before drawing."""

    labels: Ints  # (n,)
    windows: Ints  # (n, 2): first and last frame of the motion
    target: Actor
    distractor: Actor
    has_distractor: NDArray[np.bool_]  # (n,)
    scene: Ints  # (n, 40): 32-bit random words from which the background is made


def all_windows(num_frames: int) -> Ints:
    """Every window (first, last) of 6/16 to 9/16 of the clip without its first and last frame."""
    shortest, longest = 6 * num_frames // 16, 9 * num_frames // 16
    return np.array(
        [
            (first, first + length - 1)
            for length in range(shortest, longest + 1)
            for first in range(1, num_frames - length)
        ]
    )


class Draws:
    """Hands out a clip's random words one after the other, for n clips at once."""

    def __init__(self, words: Ints) -> None:
        self._words = words
        self._next = 0

    def below(self, limit: int | Ints) -> Ints:
        """Uniform integers in [0, limit), (n,)."""
        word = self._words[:, self._next]
        self._next += 1
        return (word * limit) >> 32


def random_words(key: tuple[int, int], indices: Ints) -> Ints:
    """32-bit words of the clips `indices`, (n, 96): Philox with the clip's number as counter.

    Raw words only: numpy keeps these the same for ever, its distributions it does not.
    """
    words = np.empty((len(indices), _WORDS), np.int64)
    for row, index in zip(words, indices.tolist(), strict=True):
        philox = np.random.Philox(key=np.array(key, np.uint64), counter=[0, index, 0, 0])
        row[:] = philox.random_raw(_WORDS) >> np.uint64(32)
    return words


def make_plan(
    key: tuple[int, int], indices: Ints, twins: NDArray[np.bool_], num_frames: int
) -> Plan:
    """Draw the clips `indices` of the stream `key`; where `twins` is true, their partners."""
    words = random_words(key, indices)
    draws = Draws(words)
    choices = all_windows(num_frames)
    label, which = draws.below(10), draws.below(len(choices))
    windows = choices[which]
    sprite = draws.below(NUM_SPRITES)
    poses = _move(draws, label, windows, num_frames)

    # The distractor: another class, another window, another sprite.
    other_label = (label + 1 + draws.below(9)) % 10
    other = (which + 1 + draws.below(len(choices) - 1)) % len(choices)
    other_sprite = (sprite + 1 + draws.below(NUM_SPRITES - 1)) % NUM_SPRITES
    other_poses = _move(draws, other_label, choices[other], num_frames)
    has_distractor = draws.below(2) == 0

    # A coin says which of the two, forward or backward, is the clip; the other is its twin. So
    # clips and twins have one and the same distribution.
    backward = (draws.below(2) == 1) ^ twins
    frame = np.broadcast_to(np.arange(num_frames), (len(indices), num_frames))
    first, last = windows[:, :1], windows[:, 1:]
    inside = (first <= frame) & (frame <= last)
    order = np.where(inside & backward[:, None], first + last - frame, frame)[..., None]
    return Plan(
        labels=label ^ backward,
        windows=windows,
        target=Actor(sprite, np.take_along_axis(poses, order, axis=1)),
        distractor=Actor(other_sprite, np.take_along_axis(other_poses, order, axis=1)),
        has_distractor=has_distractor,
        scene=words[:, -SCENE_WORDS:],
    )


def _move(draws: Draws, label: Ints, windows: Ints, num_frames: int) -> Ints:
    """Phases (n, num_frames, 5): one pose before the window, a motion in it, one pose after."""
    before, start, after = (
        np.stack([draws.below(TURN) for _ in range(5)], axis=1)[:, None] for _ in range(3)
    )
    coordinate = label >> 1
    slow, fast = _STEPS[coordinate].T
    step = (slow + draws.below(fast - slow)) * (1 - 2 * (label & 1))
    frame = np.arange(num_frames)[:, None]
    first, last = windows[:, :1, None], windows[:, 1:, None]
    moving = (np.arange(5) == coordinate[:, None, None]) * step[:, None, None]
    ramp = (start + moving * (frame - first)) % TURN
    return np.where(frame < first, before, np.where(frame > last, after, ramp))
