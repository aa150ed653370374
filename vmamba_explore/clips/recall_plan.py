"""What happens in a recall clip, in integers: colors, times and places. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from vmamba_explore.clips.motion_plan import SCENE_WORDS, TURN, Draws, Ints, random_words

COLOR_NAMES: tuple[str, ...] = ("red", "yellow", "green", "blue")
"""The colors, a quarter of the color circle apart; after blue comes red again."""
CLASS_NAMES: tuple[str, ...] = ("same color", "next color", "opposite color", "previous color")
NUM_COLORS = len(COLOR_NAMES)
BLOCK = NUM_COLORS**2
"""Clips that together show each color as a sample with each color as a test once."""
CHANNELS: tuple[tuple[int, ...], ...] = tuple(permutations(range(3)))
"""Orders of the color channels of a background; the first leaves them."""
LONGEST = 2
"""Frames for which a disc is shown at most."""
Timing = tuple[int, int, int, int]
"""First frame of the sample; frames of the sample, of the delay, of the test."""
_CLIPS, _ORDERS = 16, 18  # streams of random words; those of the other generated clips are below


@dataclass(frozen=True, eq=False)
class Discs:
    """One disc of each of n clips: its color, (n,), when and where it is shown.

    `frames` is its first and its last frame, (n, 2); `place` is across and down, (n, 2), as shares
    of the room that there is for its center, in 65536ths.
    """

    colors: Ints
    frames: Ints
    place: Ints


@dataclass(frozen=True, eq=False)
class RecallPlan:
    """Everything random about n clips, before drawing."""

    labels: Ints  # (n,)
    sample: Discs
    test: Discs
    distractors: tuple[Discs, ...]
    has_distractors: NDArray[np.bool_]  # (n,)
    channels: Ints  # (n,): which of the orders of red, green and blue the background has
    scene: Ints  # (n, 40): random words from which the background is made


def fits(timing: Timing, num_frames: int) -> bool:
    """Whether a clip of so many frames, the first and the last left out, has room for a timing."""
    first, sample, delay, test = timing
    shown = all(1 <= length <= LONGEST for length in (sample, test))
    return shown and first >= 1 and delay >= 1 and first + sample + delay + test < num_frames


def make_plan(
    key: tuple[int, int],
    indices: Ints,
    steps: Ints,
    num_frames: int,
    delay: tuple[int, int],
    timing: Timing | None,
) -> RecallPlan:
    """Draw the clips `indices` of the stream `key`; the colors of their samples moved by `steps`.

    Args:
        key: Seed, and 0 or 1 for train or test backgrounds.
        indices: Numbers of the clips, (n,).
        steps: Steps along the color circle, (n,).
        num_frames: Frames of a clip.
        delay: Shortest and longest delay.
        timing: The timing of all clips; None draws one for each.
    """
    seed, split = key
    words = random_words((seed, _CLIPS + split), indices)
    draws = Draws(words)
    shown = [1 + draws.below(LONGEST) for _ in range(2)]
    gap = delay[0] + draws.below(delay[1] - delay[0] + 1)
    first = 1 + draws.below(num_frames - 1 - shown[0] - gap - shown[1])
    if timing is not None:
        first, shown[0], gap, shown[1] = (np.full_like(first, number) for number in timing)
    sample, test = _pairs((seed, _ORDERS + split), indices)
    sample = (sample + steps) % NUM_COLORS
    second = first + shown[0] + gap
    discs = [
        Discs(colors, _frames(begin, length), _place(draws))
        for colors, begin, length in ((sample, first, shown[0]), (test, second, shown[1]))
    ]
    # One distractor begins in the delay, the other anywhere.
    distractors = []
    for begin, choices in ((first + shown[0], gap), (np.zeros_like(first), num_frames)):
        start, length = begin + draws.below(choices), 1 + draws.below(LONGEST)
        frames = np.minimum(_frames(start, length), num_frames - 1)
        distractors.append(Discs(draws.below(NUM_COLORS), frames, _place(draws)))
    return RecallPlan(
        labels=(test - sample) % NUM_COLORS,
        sample=discs[0],
        test=discs[1],
        distractors=tuple(distractors),
        has_distractors=draws.below(2) == 0,
        channels=draws.below(len(CHANNELS)) if split == 0 else np.zeros_like(first),
        scene=words[:, -SCENE_WORDS:],
    )


def _pairs(key: tuple[int, int], indices: Ints) -> tuple[Ints, Ints]:
    """The colors of sample and test: each pair once in every block, in an order of its own."""
    blocks, which = np.unique(indices // BLOCK, return_inverse=True)
    orders = random_words(key, blocks)[:, :BLOCK].argsort(axis=1, kind="stable")
    pairs = orders[which, indices % BLOCK]
    return pairs // NUM_COLORS, pairs % NUM_COLORS


def _frames(first: Ints, length: Ints) -> Ints:
    return np.stack([first, first + length - 1], axis=1)


def _place(draws: Draws) -> Ints:
    return np.stack([draws.below(TURN), draws.below(TURN)], axis=1)
