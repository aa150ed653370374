"""What the seeded series of generated clips have in common, whatever their clips show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.motion_render import PHOTOGRAPHS, draw_background
from vmamba_explore.errors import check_fields

FPS = 8
Indices = int | np.integer | Sequence[int] | NDArray[np.integer]


@dataclass(eq=False)
class ClipSeries:
    """Clips by number; the same arguments always give the same clips.

    Args:
        seed: 0 to 2**64 - 1.
        num_frames: Frames of a clip, >= 8.
        img_size: Side of the picture, 16 to 512 pixels.
        length: How many clips `len()` reports and indexing allows.
    """

    seed: int = 0
    _: KW_ONLY
    num_frames: int = 16
    img_size: int = 64
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_fields(self, **self._limits())

    def _limits(self) -> dict[str, tuple[bool, str]]:
        """For each field whether its value is fine, and what was expected."""
        return {
            "seed": (0 <= self.seed < 2**64, "0 to 2**64 - 1"),
            "num_frames": (self.num_frames >= 8, "at least 8"),
            "img_size": (16 <= self.img_size <= 512, "16 to 512"),
            "length": (0 < self.length <= 2**63, "at least 1"),
        }

    def __len__(self) -> int:
        return self.length

    def _numbers(self, indices: Indices) -> Int64[np.ndarray, " n"]:
        """Return the numbers of clips as an array, (n,), of which every clip exists."""
        wanted = np.atleast_1d(np.asarray(indices))
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.length:
            raise IndexError(
                f"{type(self).__name__}: no clip "
                f"{wanted.min() if wanted.min() < 0 else wanted.max()}; "
                f"there are clips 0 to {self.length - 1}."
            )
        return wanted.astype(np.int64)

    def _as_clip(self, frames: UInt8[np.ndarray, "t h w 3"], source: str) -> Clip:
        number = np.arange(self.num_frames)
        return Clip(frames=frames, seconds=number / FPS, source=source, indices=number)


@dataclass(eq=False, kw_only=True)
class PaintedClips(ClipSeries, ABC):
    """Clips painted over still backgrounds, the same on every machine; half with distractors.

    Args:
        distractors: Which clips hold distractors: "half", "none" or "all". The rest of the clip
            does not depend on it.
        backgrounds: "train" or "test": which photographs stand behind; no photograph is in both.
    """

    distractors: Literal["half", "none", "all"] = "half"
    backgrounds: Literal["train", "test"] = "train"

    def _limits(self) -> dict[str, tuple[bool, str]]:
        return super()._limits() | {
            "distractors": (self.distractors in ("half", "none", "all"), "half, none, all"),
            "backgrounds": (self.backgrounds in PHOTOGRAPHS, "train or test"),
        }

    @property
    def split(self) -> int:
        """0 or 1 for train or test backgrounds; clips of both never share random words."""
        return list(PHOTOGRAPHS).index(self.backgrounds)

    @abstractmethod
    def plan(self, indices: Indices) -> Any:
        """Everything random about several clips, without drawing them."""

    @abstractmethod
    def _draw(self, frames: NDArray[np.uint8], plan: Any, row: int) -> None:
        """Draw one clip of a plan into its frames."""

    def background(self, index: int | np.integer) -> UInt8[np.ndarray, "height width 3"]:
        """The picture behind clip `index`, without any object."""
        return self._background(self.plan(index), 0)

    def _background(self, plan: Any, row: int) -> NDArray[np.uint8]:
        return draw_background(plan.scene[row], self.backgrounds, self.img_size)

    def _shows_distractors(self, drawn: bool | np.bool_) -> bool:
        return {"none": False, "all": True}.get(self.distractors, bool(drawn))

    def _frames(self, plan: Any) -> UInt8[np.ndarray, "n t h w 3"]:
        """Draw every clip of a plan."""
        shape = (len(plan.labels), self.num_frames, self.img_size, self.img_size, 3)
        frames = np.empty(shape, np.uint8)
        for row in range(len(frames)):
            self._draw(frames[row], plan, row)
        return frames
