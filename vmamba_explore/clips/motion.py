"""Motion clips: generated clips of ten motions, with the truth of where and when they move.

Five coordinates of an object, cyclic, each up or down: right/left, down/up, clockwise/
counterclockwise, approach/recede, appear/vanish. The label follows the object in the two-colored
ring; the ring turns, grows and fades with it. Nothing but the order of the frames in the window
tells a class from its partner, `label ^ 1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray

from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.motion_plan import CLASS_NAMES, Plan, make_plan
from vmamba_explore.clips.motion_render import Layer, changed, covered, draw_frames
from vmamba_explore.clips.series import Indices, PaintedClips

__all__ = ["CLASS_NAMES", "MotionClip", "MotionClips", "shuffle_window"]

Twins = bool | np.bool_ | Sequence[bool] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MotionClip:
    """A generated clip and the truth about it; the three masks never overlap.

    Args:
        clip: The frames.
        label: Index into `CLASS_NAMES`; `label ^ 1` is the same motion backwards.
        evidence: What shows the motion, (num_frames, height, width): in the window, where the
            target on its own (ring included) differs by more than 12 of 255 from the window's
            frame before or after; just uncovered background included.
        ignore: The target's other pixels. Neither right nor wrong.
        distractor: Pixels that the distractor covers in this frame or in the one before or after,
            where the target does not have them.
        window: First and last frame of the motion.
    """

    clip: Clip
    label: int
    evidence: Bool[np.ndarray, "num_frames height width"]
    ignore: Bool[np.ndarray, "num_frames height width"]
    distractor: Bool[np.ndarray, "num_frames height width"]
    window: tuple[int, int]

    @property
    def class_name(self) -> str:
        """The label as a word."""
        return CLASS_NAMES[self.label]

    @property
    def deciding(self) -> Bool[np.ndarray, " num_frames"]:
        """The frames of the window."""
        number = np.arange(len(self.evidence))
        return (self.window[0] <= number) & (number <= self.window[1])


@dataclass(eq=False)
class MotionClips(PaintedClips):
    """An endless, seeded series of motion clips; clip i is the same on every machine.

    In a window of 6 to 9 frames (of 16) that excludes the first and the last frame, an object with
    a ring around it moves along one of five cyclic coordinates; before and after, it stands
    elsewhere. Where it starts is uniform on the circle of every coordinate.

    `twin(i)` is clip i with the composed frames of the window in reverse, pixel for pixel, and the
    opposite label. So the part of the distractor's motion that falls into the window is reversed
    too. Which of the two is clip i and which the twin, a coin decides: clips and twins have the
    same distribution, and no frame, index or bag of frames tells a label from its partner.

    Args:
        seed: 0 to 2**64 - 1. Clips over train and over test backgrounds never share random words.
        num_frames: Frames of a clip, >= 8; the window grows with it.
        img_size: Side of the picture, 16 to 512 pixels. The scene is the same at every size.
        distractors: Which clips hold a second object, without ring, that plays another class in
            another window: "half", "none" or "all". The rest of the clip does not depend on it.
        backgrounds: "train" or "test": which photographs stand behind (no photograph is in both);
            a quarter of the backgrounds are plain patterns.
        length: How many clips `len()` reports and indexing allows.
    """

    def __getitem__(self, index: int | np.integer) -> MotionClip:
        return self._clip(index, twin=False)

    def twin(self, index: int | np.integer) -> MotionClip:
        """Clip `index` with its window played backwards and the opposite label."""
        return self._clip(index, twin=True)

    def batch(
        self, indices: Indices, twins: Twins = False
    ) -> tuple[UInt8[np.ndarray, "n num_frames height width 3"], Int64[np.ndarray, " n"]]:
        """Render several clips, the same pixels as one by one, without the masks.

        Args:
            indices: Which clips, (n,).
            twins: Which of them are to be the twins, bool, (n,) or one for all.
        Returns:
            The frames, uint8, and the labels.
        """
        plan = self.plan(indices, twins)
        return self._frames(plan), plan.labels

    def plan(self, indices: Indices, twins: Twins = False) -> Plan:
        """Labels, windows and poses of several clips, without drawing them; see `batch`."""
        wanted = self._numbers(indices)
        mirrored = np.broadcast_to(np.asarray(twins, dtype=bool), wanted.shape)
        return make_plan((self.seed, self.split), wanted, mirrored, self.num_frames)

    def _draw(self, frames: NDArray[np.uint8], plan: Plan, row: int) -> None:
        still = self._background(plan, row)
        frames[:] = draw_frames(still, self._layers(plan, row), self.num_frames)

    def _layers(self, plan: Plan, row: int) -> list[Layer]:
        """The objects of one clip, the target last."""
        shown = self._shows_distractors(plan.has_distractor[row])
        actors = [plan.distractor, plan.target] if shown else [plan.target]
        return [
            Layer(int(a.sprites[row]), a.poses[row], a is plan.target, self.img_size)
            for a in actors
        ]

    def _clip(self, index: int | np.integer, twin: bool) -> MotionClip:
        plan = self.plan(index, twin)
        layers = self._layers(plan, 0)
        target = layers[-1].full(self.img_size)
        window = (int(plan.windows[0, 0]), int(plan.windows[0, 1]))
        evidence = changed(target, window)
        distractor = np.zeros_like(evidence)
        for layer in layers[:-1]:
            here = covered(layer.full(self.img_size))
            distractor |= here
            distractor[1:] |= here[:-1]
            distractor[:-1] |= here[1:]
        of_target = covered(target)
        frames = draw_frames(self._background(plan, 0), layers, self.num_frames)
        return MotionClip(
            clip=self._as_clip(frames, f"motion clip {index}{' reversed' if twin else ''}"),
            label=int(plan.labels[0]),
            evidence=evidence,
            ignore=of_target & ~evidence,
            distractor=distractor & ~of_target & ~evidence,
            window=window,
        )


def shuffle_window(
    frames: UInt8[np.ndarray, "num_frames height width 3"],
    window: tuple[int, int],
    generator: np.random.Generator,
) -> UInt8[np.ndarray, "num_frames height width 3"]:
    """Return the clip with the frames of its window in random order: the motion is gone."""
    first, last = window
    order = np.arange(len(frames))
    order[first : last + 1] = generator.permutation(order[first : last + 1])
    return frames[order]
