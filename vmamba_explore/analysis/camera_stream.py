"""The camera's motion through a film of any length, window after window, little held."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmamba_explore.analysis.camera_motion import (
    COMPONENTS,
    CameraMotion,
    Steps,
    motion_of,
    steps_between,
)
from vmamba_explore.clips.clip import Clip

COLUMNS = ("camera", *(f"camera_{name}" for name in COMPONENTS), "inliers", "measured", "cuts")
"""Of a timeline: the window's label, its total move, the mean share of inliers, the share of its
steps that were measured, and the seconds of the cuts that its row is the first to tell."""
WORDS = ("camera", "cuts")
"""Columns that hold text."""

_CONTEXT = 2  # frames before a window, which tell whether its first step is a cut


class CameraStream:
    """Measures windows of one film in their order; each step once, also those between windows."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: what comes next does not follow it."""
        self._numbers = np.empty(0, np.int64)
        self._seconds = np.empty(0)
        self._steps: Steps | None = None
        self._last: np.ndarray | None = None
        self._told: set[int] = set()

    def row(self, clip: Clip) -> dict[str, Any]:
        """Measure a window and return its values of `COLUMNS`; empty for a window of one frame.

        Args:
            clip: Starts after the window before and overlaps it, follows it, or starts anew.
        """
        motion, cuts = self.add(clip)
        told = {"cuts": " ".join(f"{second:.3f}" for second in cuts)}
        if motion is None:
            return told
        moved = zip(COMPONENTS, motion.total.tolist(), strict=True)
        return {
            "camera": motion.label,
            **{f"camera_{name}": value for name, value in moved},
            "inliers": float(motion.inliers.mean()),
            "measured": float(motion.applies.mean()),
            **told,
        }

    def add(self, clip: Clip) -> tuple[CameraMotion | None, list[float]]:
        """Return a window's motion, None for one frame, and the seconds of cuts not yet told."""
        count = clip.num_frames - clip.repeated
        numbers = clip.indices[:count]
        if len(self._numbers) and not self._follows(numbers):
            self.reset()
        new = numbers > self._numbers.max(initial=-1)
        frames = clip.frames[:count][new]
        if self._last is not None:
            frames = np.concatenate([self._last[None], frames])
        if len(frames) > 1:
            steps = steps_between(frames)
            self._steps = steps if self._steps is None else self._steps + steps
        self._last = clip.frames[count - 1]
        self._numbers = np.concatenate([self._numbers, numbers[new]])
        self._seconds = np.concatenate([self._seconds, clip.seconds[:count][new]])
        drop = max(0, int(np.searchsorted(self._numbers, numbers[0])) - _CONTEXT)
        self._numbers, self._seconds = self._numbers[drop:], self._seconds[drop:]
        if self._steps is None:
            return None, []
        self._steps = self._steps[drop:]
        motion = motion_of(self._steps, self._seconds, clip.source)
        found = set(self._numbers[motion.cuts].tolist())
        untold = sorted(found - self._told)
        self._told = {number for number in self._told | found if number >= self._numbers[0]}
        seconds = [float(self._seconds[self._numbers == number][0]) for number in untold]
        window = motion.since(int(np.searchsorted(self._numbers, numbers[0])))
        return (window if count > 1 else None), seconds

    def _follows(self, numbers: np.ndarray) -> bool:
        """Whether a window goes on where the one before ended, or overlaps it."""
        step = int(np.diff(self._numbers[-2:]).max(initial=1))
        return bool(self._numbers[0] <= numbers[0] <= self._numbers[-1] + step)
