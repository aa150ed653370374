"""Motion clips with a small mark that gives the label away: a shortcut planted on purpose.

A model that was trained where the mark always tells the label has no need to look at any motion.
Then the cause of its answer is known to be the mark, in place and in time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClip, MotionClips, Twins
from vmamba_explore.clips.motion_plan import Draws, random_words
from vmamba_explore.clips.series import Indices
from vmamba_explore.errors import shown

__all__ = ["WatermarkedClip", "WatermarkedClips", "mark"]

Match = Literal["label", "other", "none"]
CELLS = 8  # places along a side; one is a patch of 8 x 8 pixels in a picture of 64
_SQUARES = 4  # along a side of the mark
_STREAM = 8  # of random words; the clips' own are below


@dataclass(frozen=True, eq=False)
class WatermarkedClip:
    """A motion clip with a mark, and the truth about both.

    Args:
        motion: The clip as it is seen; the mark's pixels are taken out of its masks.
        watermark: Pixels of the mark, (num_frames, height, width); none where nothing is drawn.
        place: Row and column of the mark, in eighths of the picture.
        marked: The class whose mark is drawn, or None.
    """

    motion: MotionClip
    watermark: Bool[np.ndarray, "num_frames height width"]
    place: tuple[int, int]
    marked: int | None


class WatermarkedClips:
    """`MotionClips` with the mark of a class in every frame of a clip, always in the same place.

    The place is one of 8 x 8 and, like the class of a mark that does not match, drawn from random
    words of its own: beneath the mark the clip is that of `MotionClips` with the same arguments,
    and the place tells nothing about the label.

    Args:
        clips: What is marked; its img_size is a multiple of 32.
        match: Whose mark: "label", the clip's own class; "other", any of the nine others;
            "none", no mark at all.
    Raises:
        ValueError: pictures into which the mark does not fit, or an unknown match.
    """

    def __init__(self, clips: MotionClips, match: Match = "label") -> None:
        if clips.img_size % (CELLS * _SQUARES):
            raise ValueError(
                f"WatermarkedClips: a mark does not fit into pictures of {clips.img_size} pixels; "
                f"expected an img_size that is a multiple of {CELLS * _SQUARES}."
            )
        if match not in get_args(Match):
            raise ValueError(
                f"WatermarkedClips: match is {shown(match)}, expected label, other or none."
            )
        self.clips = clips
        self.match = match

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int | np.integer) -> WatermarkedClip:
        return self._clip(index, self.clips[index])

    def twin(self, index: int | np.integer) -> WatermarkedClip:
        """Clip `index` with its window played backwards; place the same, mark by its own label."""
        return self._clip(index, self.clips.twin(index))

    def batch(
        self, indices: Indices, twins: Twins = False
    ) -> tuple[UInt8[np.ndarray, "n num_frames height width 3"], Int64[np.ndarray, " n"]]:
        """Several clips without their masks; see `MotionClips.batch`.

        Returns:
            The frames with their marks, uint8, and the labels, those of the motion.
        """
        frames, labels = self.clips.batch(indices, twins)
        places, marked = self.marks(indices, labels)
        for clip, place, number in zip(frames, places, marked, strict=True):
            self._draw(clip, place, int(number))
        return frames, labels

    def marks(
        self, indices: Indices, labels: Int64[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, "n row_col"], Int64[np.ndarray, " n"]]:
        """Where the marks of some clips are, and of which classes; see `WatermarkedClip`.

        Args:
            indices: Which clips, (n,).
            labels: The labels that they bear, (n,).
        Returns:
            Rows and columns in eighths of the picture, (n, 2), and class numbers (n,), -1 without
            a mark.
        """
        wanted = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        draws = Draws(random_words((self.clips.seed, _STREAM + self.clips.split), wanted))
        places = np.stack([draws.below(CELLS), draws.below(CELLS)], axis=1)
        step = 1 + draws.below(len(CLASS_NAMES) - 1)
        if self.match == "label":
            return places, labels
        if self.match == "none":
            return places, np.full_like(labels, -1)
        return places, (labels + step) % len(CLASS_NAMES)

    def _clip(self, index: int | np.integer, motion: MotionClip) -> WatermarkedClip:
        places, marked = self.marks(index, np.array([motion.label]))
        frames, number = motion.clip.frames.copy(), int(marked[0])
        self._draw(frames, places[0], number)
        watermark = np.zeros(frames.shape[:3], bool)
        if number >= 0:
            watermark[(slice(None), *self._square(places[0]))] = True
        masks = {
            name: getattr(motion, name) & ~watermark
            for name in ("evidence", "ignore", "distractor")
        }
        clip = replace(motion.clip, frames=frames, source=f"marked {motion.clip.source}")
        return WatermarkedClip(
            motion=replace(motion, clip=clip, **masks),
            watermark=watermark,
            place=(int(places[0, 0]), int(places[0, 1])),
            marked=number if number >= 0 else None,
        )

    def _draw(self, frames: NDArray[np.uint8], place: NDArray[np.int64], number: int) -> None:
        if number >= 0:
            side = self.clips.img_size // CELLS
            frames[(slice(None), *self._square(place))] = mark(number, side)[None, ..., None]

    def _square(self, place: NDArray[np.int64]) -> tuple[slice, slice]:
        side = self.clips.img_size // CELLS
        row, col = (slice(int(p) * side, (int(p) + 1) * side) for p in place)
        return row, col


def mark(label: int, side: int = 8) -> UInt8[np.ndarray, "side side"]:
    """The mark of a class: black and white squares, half of each.

    The patterns of any two classes agree in half of their squares (they are Walsh functions), so
    no mark looks more like another one than like the rest.

    Args:
        label: Index into `CLASS_NAMES`.
        side: Pixels, a multiple of 4.
    """
    bits = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # of 0 to 3
    across, down = bits[(label + 1) % 4], bits[(label + 1) // 4]
    white = (bits @ down)[:, None] + (bits @ across)[None, :]
    squares = np.where(white % 2 == 0, 255, 0).astype(np.uint8)
    return squares.repeat(side // _SQUARES, 0).repeat(side // _SQUARES, 1)
