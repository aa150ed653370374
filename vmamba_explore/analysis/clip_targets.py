"""What is true in each token frame of a generated clip, and clips whose object jumps in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from vmamba_explore.analysis.camera_motion import COMPONENTS
from vmamba_explore.clips import camera_path
from vmamba_explore.clips.camera_path import UNITS, CameraPlan
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.motion_plan import CLASS_NAMES, TURN, Plan
from vmamba_explore.clips.recall_plan import NUM_COLORS, RecallPlan
from vmamba_explore.errors import check_choice, shown


@dataclass(frozen=True, eq=False)
class Target:
    """Something that is true of each clip in each token frame.

    Args:
        name: In words.
        values: What a probe is to predict; for a label one column per class, 1 at the right one.
        valid: Where it is defined.
        is_class: Whether the largest column is the answer.
    """

    name: str
    values: Float[np.ndarray, "clips frame column"]
    valid: Bool[np.ndarray, "clips frame"]
    is_class: bool = False


@singledispatch
def targets(plan: Any, tubelet_size: int) -> dict[str, Target]:
    """Say what is true in each token frame.

    Args:
        plan: As `plan(indices)` of a series of motion, recall or camera clips gives it.
        tubelet_size: Clip frames in a token frame.
    Returns:
        By name. Of motion clips: position, velocity, angle, size, opacity, label. Of recall clips:
        sample color, test color, label. Of camera clips: pan, tilt, zoom, roll, label.
    Raises:
        TypeError: the plan is of other clips.
    """
    raise TypeError(
        f"targets: the plan is {type(plan).__name__}, expected that of motion, recall or camera "
        "clips."
    )


@targets.register
def _motion_targets(plan: Plan, tubelet_size: int) -> dict[str, Target]:
    """Position, velocity, angle, size, opacity, label.

    What a frame shows is the mean over its clip frames, so that no frame of a tubelet counts more
    and time has no preferred direction. Where the object jumps inside a tubelet, that is the mean
    of two unrelated poses. Position and angle are cyclic: cosine and sine of the phase.

    Returns:
        Position: 4 columns (x, y). Velocity: 2 columns (x, y), picture sides per clip
        frame, 0 where the object moves along another coordinate; defined in token frames that lie
        in the window with all their clip frames. Angle: 2. Size: octaves above the smallest.
        Opacity: from 0, the faintest, to 1. Label: 10 columns, the same in all frames.
    """
    phases = plan.target.poses / TURN
    n, num_frames, _ = phases.shape

    def over_frames(values: np.ndarray) -> np.ndarray:
        return values.reshape(n, num_frames // tubelet_size, tubelet_size, -1).mean(axis=2)

    number = np.arange(num_frames)
    first, last = plan.windows[:, :1], plan.windows[:, 1:]
    moving = over_frames((first <= number) & (number <= last))[..., 0] == 1
    rows, start = np.arange(n), plan.windows[:, 0]
    step = phases[rows, start + 1, :2] - phases[rows, start, :2]
    step -= np.rint(step)  # the shorter way round
    frames = moving.shape[1]
    values = {
        "position": over_frames(circle(phases[..., :2])),
        "velocity": np.repeat(step[:, None], frames, axis=1),
        "angle": over_frames(circle(phases[..., 2:3])),
        "size": over_frames(phases[..., 3]),
        "opacity": over_frames(phases[..., 4]),
    }
    always = np.ones_like(moving)
    found = {
        name: Target(name, what, moving if name == "velocity" else always)
        for name, what in values.items()
    }
    return found | {"label": _one_of("label", plan.labels, len(CLASS_NAMES), frames)}


@targets.register
def _recall_targets(plan: RecallPlan, tubelet_size: int) -> dict[str, Target]:
    """The colors of sample and test, and the label, the same in all frames, shown or not."""
    known = {
        "sample color": plan.sample.colors,
        "test color": plan.test.colors,
        "label": plan.labels,
    }
    frames = plan.num_frames // tubelet_size
    return {name: _one_of(name, which, NUM_COLORS, frames) for name, which in known.items()}


@targets.register
def _camera_targets(plan: CameraPlan, tubelet_size: int) -> dict[str, Target]:
    """Speed along each axis, shares of the picture's side a clip frame, and the label.

    The speed of a token frame is that from its first to its last clip frame, and not defined across
    a cut; a token frame of one clip frame has none.
    """
    n, num_frames, _ = plan.poses.shape
    first = plan.poses[:, ::tubelet_size]
    last = plan.poses[:, tubelet_size - 1 :: tubelet_size]
    speed = (last - first) * UNITS / max(tubelet_size - 1, 1)
    start = np.arange(0, num_frames, tubelet_size)
    cuts = plan.cuts[:, None]
    whole = ((cuts <= start) | (start + tubelet_size <= cuts)) & (tubelet_size > 1)
    found = {n: Target(n, speed[..., at, None], whole) for at, n in enumerate(COMPONENTS)}
    count = len(camera_path.CLASS_NAMES)
    return found | {"label": _one_of("label", plan.labels, count, len(start))}


def _one_of(name: str, which: Int64[np.ndarray, " clips"], count: int, frames: int) -> Target:
    """One of so many answers, the same in all frames: a column for each, 1 at the right one."""
    values = np.repeat(np.eye(count)[which][:, None], frames, axis=1)
    return Target(name, values, np.ones(values.shape[:2], bool), is_class=True)


def circle(turns: Float[np.ndarray, "*shape phase"]) -> Float[np.ndarray, "*shape column"]:
    """Cosine and sine of phases, in turns: cyclic, so that 0.99 is next to 0."""
    angle = 2 * np.pi * turns
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=-1)


def cut_clips(
    clips: MotionClips, count: int, boundary: int, tubelet_size: int, edge: str = "either"
) -> Int64[np.ndarray, " count"]:
    """Return the first clips whose object jumps exactly between two token frames.

    Args:
        clips: The series.
        count: How many clips.
        boundary: The first token frame after the jump.
        tubelet_size: Clip frames in a token frame.
        edge: "start": it stands before the jump and moves after it; "end": it moves, then stands.
    Raises:
        ValueError: an unknown edge, or the series has no such clip, or too few.
    """
    check_choice("cut_clips: edge", edge, ("start", "end", "either"))
    frame, block = boundary * tubelet_size, 4096
    found: list[Int64[np.ndarray, " some"]] = []
    for start in range(0, len(clips), block):
        indices = np.arange(start, min(start + block, len(clips)))
        first, last = clips.plan(indices).windows.T
        at_start, at_end = first == frame, last + 1 == frame
        found.append(indices[{"start": at_start, "end": at_end}.get(edge, at_start | at_end)])
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
        if not len(found[0]):
            break  # one clip in thirty at the least, where there are any
    raise ValueError(
        f"cut_clips: found {sum(map(len, found))} clips that jump before clip frame {frame} "
        f"(edge {shown(edge)}), expected {count}. The windows of these clips leave out the first "
        "and the last frame; choose another boundary, or a longer series."
    )
