"""What is known of generated clips, whichever generator made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from vmamba_explore.clips.clip import Clip


@runtime_checkable
class LabeledClip(Protocol):
    """A generated clip that knows the cause of its label."""

    @property
    def clip(self) -> Clip:
        """The frames."""

    @property
    def label(self) -> int:
        """The right answer, a class number."""

    @property
    def evidence(self) -> Bool[np.ndarray, "num_frames height width"]:
        """The pixels that show the cause of the label."""

    @property
    def ignore(self) -> Bool[np.ndarray, "num_frames height width"]:
        """Pixels that are neither right nor wrong, none of them evidence."""

    @property
    def deciding(self) -> Bool[np.ndarray, " num_frames"]:
        """The frames that hold the cause of the label."""


def runs(marks: Bool[np.ndarray, " place"]) -> list[tuple[int, int]]:
    """Return the first and the last place of each run of marks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]])))
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


@runtime_checkable
class PlannedClips(Protocol):
    """A series of clips that says what is true in them, by number."""

    def plan(self, indices: Sequence[int] | Int64[np.ndarray, " n"]) -> Any:
        """Everything random about several clips; `labels` are the right answers."""

    def batch(
        self, indices: Sequence[int] | Int64[np.ndarray, " n"]
    ) -> tuple[UInt8[np.ndarray, "n num_frames height width 3"], Int64[np.ndarray, " n"]]:
        """The frames of several clips, and their labels."""
