"""LabeledClip: what is known of a generated clip, whichever generator made it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

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
