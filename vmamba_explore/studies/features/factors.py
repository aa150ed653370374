"""What is true of the vectors of generated clips: factors, token by token and state by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from vmamba_explore.analysis.clip_targets import circle
from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.clips import motion, recall
from vmamba_explore.clips.labeled import LabeledClip
from vmamba_explore.clips.motion import MotionClip, MotionClips
from vmamba_explore.clips.motion_plan import TURN
from vmamba_explore.clips.recall import RecallClip, RecallClips
from vmamba_explore.tokens import TokenGrid

SHOWN = 0.25
"""A token shows an object that covers this share of its pixels, on average over its tubelet."""
PICKED = {"target": 24, "distractor": 12, "other": 32}
"""Tokens of each clip at most, drawn at random: what shows the target, a distractor, neither."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One thing that is true or false, or has a value, in each of the rows where it is defined.

    Args:
        name: In words.
        group: What it is counted with: "class" for each of the classes.
        values: Of each row; 0 or 1 of a binary factor.
        valid: The rows in which it is defined.
        number: Which of its group; with `answers`, the class or color that is claimed.
        is_binary: Scored by AUROC; else by R^2 of a line through one number.
        answers: Whether the model's answer depends on it, so that steering has a right way.
    """

    name: str
    group: str
    values: Float[np.ndarray, " row"]
    valid: Bool[np.ndarray, " row"]
    number: int = 0
    is_binary: bool = True
    answers: bool = False

    @property
    def score(self) -> str:
        """What it is scored by."""
        return "AUROC" if self.is_binary else "R^2"


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of activations, and what is true in each.

    Args:
        rows: Numbers of the rows in the activations of these clips.
        clips: The clip of each row, from 0.
        count: How many clips.
        factors: By name.
    """

    rows: Int64[np.ndarray, " row"]
    clips: Int64[np.ndarray, " row"]
    count: int
    factors: dict[str, Factor] = field(default_factory=dict)


class _Places(NamedTuple):
    """Clip, token frame, row and column of each row; what it shows (`PICKED`; None: states)."""

    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    shows: NDArray[np.str_] | None


def known_rows(
    series: MotionClips | RecallClips,
    clips: Sequence[LabeledClip],
    numbers: Sequence[int],
    site: Site,
    grid: TokenGrid,
    tubelet_size: int,
    seed: int = 0,
) -> Rows:
    """Choose rows of the clips' activations and say what is true in each.

    Of states all rows are taken, one for each token frame; of tokens at most `PICKED` of a clip.

    Args:
        series, clips, numbers: The series, some of its clips, and which they are.
        site: Where the vectors are taken.
        grid: Of the model's tokens.
        tubelet_size: Clip frames in a token frame.
        seed: Of the tokens that are drawn.
    """
    if site.direction is not None:
        clip, frame = (each.ravel() for each in np.indices((len(clips), grid.frames)))
        zero = np.zeros_like(clip)
        places = _Places(clip, frame, zero, zero, None)
        rows = clip * grid.frames + frame
    else:
        places = _drawn(clips, grid, tubelet_size, seed)
        rows = np.ravel_multi_index(places[:4], (len(clips), *grid.shape))
    plan = series.plan(np.asarray(numbers))
    found = _factors(clips[0], clips, plan, places, tubelet_size)
    return Rows(rows, places.clip, len(clips), {each.name: each for each in found})


def _drawn(clips: Sequence[Any], grid: TokenGrid, tubelet_size: int, seed: int) -> _Places:
    """Tokens of each clip, of every kind at most as many as `PICKED` says."""
    rng = np.random.default_rng(seed)
    found, shows = [], []
    for number, clip in enumerate(clips):
        target = shown_in(_target(clip), grid, tubelet_size)
        other = shown_in(clip.distractor, grid, tubelet_size)
        kinds = {
            "target": target,
            "distractor": other & ~target,
            "other": ~(other | target),
        }
        for kind, marks in kinds.items():
            at = np.argwhere(marks)
            at = at[rng.permutation(len(at))[: PICKED[kind]]]
            found.append(np.column_stack([np.full(len(at), number), at]))
            shows += [kind] * len(at)
    clip, frame, row, col = np.concatenate(found).T
    return _Places(clip, frame, row, col, np.array(shows))


def _target(clip: MotionClip | RecallClip) -> Bool[np.ndarray, "num_frames height width"]:
    return clip.evidence | clip.ignore


def shown_in(
    mask: Bool[np.ndarray, "num_frames height width"], grid: TokenGrid, tubelet_size: int
) -> Bool[np.ndarray, "frame row col"]:
    """Return which tokens show an object, given its pixels."""
    frames, rows, cols = grid.shape
    height, width = mask.shape[1] // rows, mask.shape[2] // cols
    cut = mask.reshape(frames, tubelet_size, rows, height, cols, width)
    return cut.mean((1, 3, 5)) >= SHOWN


@singledispatch
def _factors(
    kind: Any, clips: Sequence[Any], plan: Any, places: _Places, tubelet_size: int
) -> list[Factor]:
    raise TypeError(
        f"known_rows: clips are {type(kind).__name__}, expected motion or recall clips."
    )


@_factors.register
def _motion(
    kind: MotionClip, clips: Sequence[MotionClip], plan: Any, places: _Places, tubelet_size: int
) -> list[Factor]:
    """Class, ring or distractor, ring or background, place.

    The class is asked of tokens that show the ringed object while it moves, and of forward states
    once all of its motion has been read.
    """
    first, last = plan.windows[places.clip].T
    begin, end = places.frame * tubelet_size, (places.frame + 1) * tubelet_size - 1
    moving = (first <= begin) & (end <= last)
    labels = plan.labels[places.clip]
    if places.shows is None:
        seen = end >= last
        found = _each("class", motion.CLASS_NAMES, labels, seen, answers=True)
        phases = plan.target.poses / TURN
        n, num_frames, _ = phases.shape
        by_frame = circle(phases[..., :2]).reshape(n, num_frames // tubelet_size, tubelet_size, -1)
        where = by_frame.mean(2)[places.clip, places.frame]
        always = np.ones(len(where), bool)
        names = ("cosine, across", "cosine, down", "sine, across", "sine, down")
        found += [
            Factor(f"position: {name}", "position", where[:, k], always, is_binary=False)
            for k, name in enumerate(names)
        ]
        return [*found, _binary("motion has begun", end >= first)]
    on = places.shows == "target"
    found = _each("class", motion.CLASS_NAMES, labels, on & moving, answers=True)
    return [*found, *_shown("ring", places), *_place(places)]


@_factors.register
def _recall(
    kind: RecallClip, clips: Sequence[RecallClip], plan: Any, places: _Places, tubelet_size: int
) -> list[Factor]:
    """Colors, label, age of the cue, target or distractor, place.

    The sample's color is asked in the delay, when no pixel shows it; the test's color and the label
    once the test has been shown. The age of the cue is the number of frames since the sample.
    """
    sample, test = plan.sample.frames[places.clip], plan.test.frames[places.clip]
    frame = places.frame  # one clip frame in a token frame
    delay, after = (sample[:, 1] < frame) & (frame < test[:, 0]), frame >= test[:, 1]
    if places.shows is not None:
        delay &= places.shows == "other"
    of = {
        "sample color": (recall.COLOR_NAMES, plan.sample.colors, delay),
        "test color": (recall.COLOR_NAMES, plan.test.colors, after),
        "label": (recall.CLASS_NAMES, plan.labels, after),
    }
    found = [
        each
        for group, (names, which, valid) in of.items()
        for each in _each(group, names, which[places.clip], valid, answers=True)
    ]
    age = (frame - sample[:, 1]).astype(float)
    found.append(Factor("age of the cue", "age of the cue", age, delay, is_binary=False))
    if places.shows is None:
        return [*found, _binary("the cue has been shown", frame >= sample[:, 0])]
    return [*found, *_shown("target disc", places), *_place(places)]


def _each(
    group: str,
    names: Sequence[str],
    which: NDArray[np.int64],
    valid: NDArray[np.bool_],
    answers: bool = False,
) -> list[Factor]:
    """One against the rest."""
    return [
        Factor(f"{group}: {name}", group, (which == k).astype(float), valid, k, answers=answers)
        for k, name in enumerate(names)
    ]


def _binary(name: str, values: NDArray[np.bool_]) -> Factor:
    return Factor(name, name, values.astype(float), np.ones(len(values), bool))


def _shown(word: str, places: _Places) -> list[Factor]:
    """What a token shows."""
    assert places.shows is not None
    on = places.shows == "target"
    return [
        Factor(name, name, on.astype(float), on | (places.shows == other))
        for name, other in (
            (f"{word} or distractor", "distractor"),
            (f"{word} or background", "other"),
        )
    ]


def _place(places: _Places) -> list[Factor]:
    """Where a token stands in the picture."""
    always = np.ones(len(places.row), bool)
    return [
        Factor(f"place: {name}", "place", at.astype(float), always, is_binary=False)
        for name, at in (("row", places.row), ("column", places.col))
    ]
