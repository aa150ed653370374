"""What is true in each token frame of a motion clip, and clips whose object jumps in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.motion_plan import CLASS_NAMES, TURN, Plan
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


def targets(plan: Plan, tubelet_size: int) -> dict[str, Target]:
    """Say what is true in each token frame: position, velocity, angle, size, opacity, label.

    What a frame shows is the mean over its clip frames, so that no frame of a tubelet counts more
    and time has no preferred direction. Where the object jumps inside a tubelet, that is the mean
    of two unrelated poses. Position and angle are cyclic: cosine and sine of the phase.

    Args:
        plan: As `MotionClips.plan` gives it.
        tubelet_size: Clip frames in a token frame.
    Returns:
        By name. Position: 4 columns (x, y). Velocity: 2 columns (x, y), picture sides per clip
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
        "label": np.repeat(np.eye(len(CLASS_NAMES))[plan.labels][:, None], frames, axis=1),
    }
    always = np.ones_like(moving)
    return {
        name: Target(name, what, moving if name == "velocity" else always, name == "label")
        for name, what in values.items()
    }


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
