"""Recall clips: generated clips whose label lies between two moments, with the truth of both.

A sample, a delay, a test: a disc with a white rim and a white center is shown for a frame or two,
vanishes, and after some frames another one is shown elsewhere. Each has one of four colors round
the color circle. The label is how many steps the test's color lies after the sample's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray

from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.motion_plan import Ints
from vmamba_explore.clips.recall_plan import (
    CHANNELS,
    CLASS_NAMES,
    COLOR_NAMES,
    LONGEST,
    NUM_COLORS,
    Discs,
    RecallPlan,
    Timing,
    fits,
    make_plan,
)
from vmamba_explore.clips.series import Indices, PaintedClips

__all__ = ["CLASS_NAMES", "COLOR_NAMES", "RecallClip", "RecallClips"]

Steps = int | np.integer | Sequence[int] | NDArray[np.integer]

COLORS = ((230, 30, 35), (255, 225, 0), (0, 175, 75), (40, 80, 245))
WHITE = (255, 255, 255)
# Radii in 64ths of the picture. No square of an eighth of the picture's side fits between center
# and rim: every patch of 8 x 8 of 64 pixels that shows a target's color shows white beside it.
RIM, DISC, CENTER = 13, 10, 4
_FINE = 4  # points along a side of a pixel at which a disc is looked for


@dataclass(frozen=True, eq=False)
class RecallClip:
    """A generated clip and the truth about it; the three masks never overlap.

    Args:
        clip: The frames.
        label: Index into `CLASS_NAMES`: the test's color less the sample's, modulo 4.
        sample_color: Index into `COLOR_NAMES`.
        test_color: The same of the test.
        sample: First and last frame in which the sample is shown.
        test: First and last frame in which the test is shown; the delay lies between.
        sample_mask: The sample's pixels, rim included, (num_frames, height, width).
        test_mask: The test's pixels.
        distractor: The distractors' pixels where no target hides them.
    """

    clip: Clip
    label: int
    sample_color: int
    test_color: int
    sample: tuple[int, int]
    test: tuple[int, int]
    sample_mask: Bool[np.ndarray, "num_frames height width"]
    test_mask: Bool[np.ndarray, "num_frames height width"]
    distractor: Bool[np.ndarray, "num_frames height width"]

    @property
    def class_name(self) -> str:
        """The label in words."""
        return CLASS_NAMES[self.label]

    @property
    def delay(self) -> tuple[int, int]:
        """First and last frame between sample and test."""
        return self.sample[1] + 1, self.test[0] - 1

    @property
    def evidence(self) -> Bool[np.ndarray, "num_frames height width"]:
        """What shows the label: the pixels of sample and test."""
        return self.sample_mask | self.test_mask

    @property
    def ignore(self) -> Bool[np.ndarray, "num_frames height width"]:
        """No pixel: those of sample and test are evidence, all others are not."""
        return np.zeros_like(self.sample_mask)

    @property
    def deciding(self) -> Bool[np.ndarray, " num_frames"]:
        """The frames in which the sample or the test is shown."""
        return np.array([frame.any() for frame in self.evidence])


@dataclass(eq=False, kw_only=True)
class RecallClips(PaintedClips):
    """An endless, seeded series of recall clips; clip i is the same on every machine.

    Sample and test are shown for 1 or 2 frames each, never in the first or the last frame. Of each
    16 clips from a multiple of 16 on, every pair of colors has one. So each color is as frequent
    as a sample and as a test with every label: no frame and no index of a frame leans to a label,
    and sums of votes of single frames have nothing better to say than 1/4 for each. Who sees all
    frames in any order knows both colors, but not "next" from "previous". Sample and test must
    meet, across time.

    `other_sample(i, step)` is clip i with the sample's color `step` further round the circle and
    nothing else changed, except the label.

    Args:
        seed: 0 to 2**64 - 1. Clips over train and over test backgrounds never share random words.
        num_frames: Frames of a clip, >= 8.
        img_size: Side of the picture, 16 to 512 pixels. The scene is the same at every size.
        distractors: Which clips hold two plain discs of any of the colors, one that begins in the
            delay and one at any time: "half", "none" or "all". The rest of the clip does not depend
            on it.
        backgrounds: "train" or "test": which photographs stand behind (no photograph is in both);
            a quarter of the backgrounds are plain patterns. Those of "train" have their red, green
            and blue in any order, so that a few photographs show many colors.
        delay: Fewest and most frames between sample and test.
        timing: The first frame of the sample, and the frames of sample, delay and test: the same
            for all clips, such as (2, 1, 8, 1). None draws them for each clip.
        length: How many clips `len()` reports and indexing allows.
    """

    delay: tuple[int, int] = (2, 8)
    timing: Timing | None = None

    def _limits(self) -> dict[str, tuple[bool, str]]:
        most = self.num_frames - 2 - 2 * LONGEST
        return super()._limits() | {
            "delay": (
                1 <= self.delay[0] <= self.delay[1] <= most,
                f"a shortest and a longest delay of 1 to {most}",
            ),
            "timing": (
                self.timing is None or fits(self.timing, self.num_frames),
                f"four numbers that fit into {self.num_frames} frames",
            ),
        }

    def __getitem__(self, index: int | np.integer) -> RecallClip:
        return self._clip(index, 0)

    def other_sample(self, index: int | np.integer, step: int = 1) -> RecallClip:
        """Clip `index` with the sample's color `step` steps further round the color circle."""
        return self._clip(index, step)

    def batch(
        self, indices: Indices, steps: Steps = 0
    ) -> tuple[UInt8[np.ndarray, "n num_frames height width 3"], Int64[np.ndarray, " n"]]:
        """Render several clips, the same pixels as one by one, without the masks.

        Args:
            indices: Which clips, (n,).
            steps: How far round the circle their samples' colors are moved, (n,) or one for all.
        Returns:
            The frames, uint8, and the labels.
        """
        plan = self.plan(indices, steps)
        return self._frames(plan), plan.labels

    def plan(self, indices: Indices, steps: Steps = 0) -> RecallPlan:
        """Labels, colors, times and places of several clips, without drawing; see `batch`."""
        wanted = self._numbers(indices)
        moved = np.broadcast_to(np.asarray(steps, dtype=np.int64), wanted.shape)
        key = (self.seed, self.split)
        return make_plan(key, wanted, moved, self.num_frames, self.delay, self.timing)

    def _background(self, plan: RecallPlan, row: int) -> NDArray[np.uint8]:
        return super()._background(plan, row)[..., CHANNELS[plan.channels[row]]]

    def _distractors(self, plan: RecallPlan, row: int) -> tuple[Discs, ...]:
        return plan.distractors if self._shows_distractors(plan.has_distractors[row]) else ()

    def _draw(self, frames: NDArray[np.uint8], plan: RecallPlan, row: int) -> None:
        frames[:] = self._background(plan, row)
        for disc in self._distractors(plan, row):
            _paint(_shown(frames, disc, row), disc.place[row], DISC, COLORS[disc.colors[row]])
        for disc in (plan.sample, plan.test):
            shown, place = _shown(frames, disc, row), disc.place[row]
            _paint(shown, place, RIM, WHITE)
            _paint(shown, place, DISC, COLORS[disc.colors[row]])
            _paint(shown, place, CENTER, WHITE)

    def _mask(self, discs: Sequence[Discs], radius: int) -> Bool[np.ndarray, "n h w"]:
        canvas = np.zeros((self.num_frames, self.img_size, self.img_size, 1), np.uint8)
        for disc in discs:
            _paint(_shown(canvas, disc, 0), disc.place[0], radius, (255,))
        return canvas[..., 0] > 0

    def _clip(self, index: int | np.integer, step: int) -> RecallClip:
        plan = self.plan(index, step)
        sample, test = (self._mask([disc], RIM) for disc in (plan.sample, plan.test))
        plain = self._mask(self._distractors(plan, 0), DISC)
        moved = f", sample moved by {step % NUM_COLORS}" if step % NUM_COLORS else ""
        return RecallClip(
            clip=self._as_clip(self._frames(plan)[0], f"recall clip {index}{moved}"),
            label=int(plan.labels[0]),
            sample_color=int(plan.sample.colors[0]),
            test_color=int(plan.test.colors[0]),
            sample=(int(plan.sample.frames[0, 0]), int(plan.sample.frames[0, 1])),
            test=(int(plan.test.frames[0, 0]), int(plan.test.frames[0, 1])),
            sample_mask=sample,
            test_mask=test,
            distractor=plain & ~sample & ~test,
        )


def _shown(frames: NDArray[np.uint8], disc: Discs, row: int) -> NDArray[np.uint8]:
    """The frames in which a disc is shown, to paint into."""
    first, last = disc.frames[row]
    return frames[first : last + 1]


def _paint(frames: NDArray[np.uint8], place: Ints, radius: int, color: tuple[int, ...]) -> None:
    """Paint a disc into all `frames`, in integers; its edge covers pixels in 16ths.

    Args:
        frames: Pictures, (n, size, size, color).
        place: Across and down, as in `Discs`.
        radius: In 64ths of the picture.
        color: What it is painted with.
    """
    size = frames.shape[1]
    reach = radius * size * 4  # in 256ths of a pixel, like all lengths below
    room = size * (256 - 8 * (RIM + 1))  # a disc with its rim stays off the picture's edge
    squared, parts = [], []
    for part in place.tolist():
        center = size * 4 * (RIM + 1) + (part * room >> 16)
        first, last = (center - reach) >> 8, (center + reach) >> 8
        points = np.arange(first * _FINE, (last + 1) * _FINE) * (256 // _FINE) + 128 // _FINE
        squared.append((points - center) ** 2)
        parts.append(slice(first, last + 1))
    inside = squared[1][:, None] + squared[0] <= reach * reach
    rows, columns = (side // _FINE for side in inside.shape)
    share = inside.reshape(rows, _FINE, columns, _FINE).sum(axis=(1, 3))[..., None]
    patch = frames[:, parts[1], parts[0]]
    whole = _FINE * _FINE
    patch[:] = (patch * (whole - share) + np.array(color) * share + whole // 2) // whole
