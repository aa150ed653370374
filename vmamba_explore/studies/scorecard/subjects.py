"""What there is to score: models that come with clips whose cause is known, in time and space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from vmamba_explore.attribution.clip_scores import card_methods
from vmamba_explore.attribution.ground_truth import Truth, scores
from vmamba_explore.clips import camera, camera_path, motion, recall
from vmamba_explore.clips.labeled import LabeledClip
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.tokens import TokenGrid

Labels = NDArray[np.int64]
Span = tuple[int, int]


@runtime_checkable
class Series(Protocol):
    """Labeled clips by number."""

    def __getitem__(self, index: int) -> LabeledClip: ...

    def batch(self, indices: Sequence[int] | Labels) -> tuple[NDArray[np.uint8], Labels]: ...


class Times(NamedTuple):
    """When a clip shows what, in clip frames.

    Args:
        spans: First and last frame of each part of the cause, in order.
        prefix: The frame with which a prefix of the clip is decided.
        suffix: The frame with which a suffix is decided.
        group: What the clip is counted with.
    """

    spans: Mapping[str, Span]
    prefix: int
    suffix: int
    group: str


class Measure(NamedTuple):
    """A number of every clip's map beside the scores that all subjects have.

    Args:
        kind: What is measured, in words.
        part: Of which part of the truth, in a word.
        of: Turns maps that are not negative, (batch, frame, row, col), into a number each.
        chance: What a map that knows nothing gets, (batch,).
        low_is_good: Whether the best map has the least.
    """

    kind: str
    part: str
    of: Callable[[Tensor], Tensor]
    chance: Tensor
    low_is_good: bool = False


@dataclass(frozen=True)
class Subject:
    """A bundled model, clips of known cause, and what is asked of them.

    Args:
        model: Name of the model.
        clips: What the clips of the score card are, in words.
        explained: What number of the model is explained, in words.
        minus: Gives the class whose logit is subtracted, for each label.
        series: Makes the clips from a seed and one of `conditions`.
        conditions: Kinds of series, by what they are called in a table; the last has the clips of
            the score card.
        times: Says when a clip shows what.
        grouped: By what clips are grouped.
        class_names: Names of the labels.
        measures: Further numbers of maps; those of one kind side by side.
        methods: Attribution methods and their options.
        planted: A model for the same clips that reads a watermark; None where there is none.
    """

    model: str
    clips: str
    explained: str
    minus: Callable[[Labels], Labels]
    series: Callable[[int, str], Series]
    conditions: Mapping[str, str]
    times: Callable[[Any], Times]
    grouped: str
    class_names: Sequence[str]
    measures: Callable[[Sequence[Any], TokenGrid], Sequence[Measure]]
    methods: Callable[[VideoMamba], Mapping[str, Mapping[str, Any]]] = card_methods
    planted: str | None = None

    def card_clips(self, seed: int) -> Series:
        """The clips of the score card."""
        return self.series(seed, list(self.conditions.values())[-1])


DISTRACTORS = {"without distractors": "none", "with distractors": "all"}


# ---------------------------------------------------------------- motion-nano


def _motion_series(seed: int, distractors: Any) -> motion.MotionClips:
    return motion.MotionClips(seed, distractors=distractors, backgrounds="test")


def _motion_times(clip: motion.MotionClip) -> Times:
    """Two frames of the motion tell it from its twin."""
    first, last = clip.window
    pair = clip.label & ~1
    group = "/".join(motion.CLASS_NAMES[pair : pair + 2])
    return Times({"window": clip.window}, first + 1, last - 1, group)


MOTION = Subject(
    model="motion-nano",
    clips="motion clips with distractors, unseen photographs",
    explained="the label's logit less its twin's",
    minus=lambda labels: labels ^ 1,
    series=_motion_series,
    conditions=DISTRACTORS,
    times=_motion_times,
    grouped="motion",
    class_names=motion.CLASS_NAMES,
    measures=lambda clips, grid: (),
    planted="motion-watermark",
)


# ---------------------------------------------------------------- recall-nano


def _recall_series(seed: int, distractors: Any) -> recall.RecallClips:
    return recall.RecallClips(seed, distractors=distractors, backgrounds="test")


def _recall_minus(labels: Labels) -> Labels:
    """The label of the same clip with the sample moved halfway round the color circle.

    Moving the test halfway round gives the same label, and moving twice gives the clip back: the
    question prefers neither disc.
    """
    return (labels + recall.NUM_COLORS // 2) % recall.NUM_COLORS


def _recall_times(clip: recall.RecallClip) -> Times:
    """Either end of the clip decides nothing before both discs have been seen."""
    first, last = clip.delay
    delay = last - first + 1
    spans = {"sample": clip.sample, "test": clip.test}
    return Times(spans, clip.test[0], clip.sample[1], f"delay of {delay} frames")


def _recall_measures(clips: Sequence[recall.RecallClip], grid: TokenGrid) -> list[Measure]:
    """How much is on each disc: of the whole map, and of what is outside the other's frames.

    With the other disc's frames left out, a map that sees both scores as well as one that sees the
    disc alone: the question is whether it sees this disc at all.
    """
    discs = {
        "sample": Truth.inside([clip.sample_mask for clip in clips], grid),
        "test": Truth.inside([clip.test_mask for clip in clips], grid),
    }
    found = []
    for part, other in (("sample", "test"), ("test", "sample")):
        disc = discs[part]
        alone = disc.without(discs[other].window)
        found += [
            Measure("share of the map on it", part, *_place(disc, "share")),
            Measure("share in its frames", part, *_place(disc, "time_share")),
            Measure("share on it, the other's frames left out", part, *_place(alone, "share")),
            Measure("top on it, the other's frames left out", part, *_place(alone, "pointing")),
        ]
    return found


def _recall_methods(model: VideoMamba) -> dict[str, dict[str, Any]]:
    """As for all, with fewer samples: such a model has twice as many tokens."""
    side = 2 * model.config.patch_size
    few: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"n_steps": 8},
        "integrated_gradients, blur": {"n_steps": 8},
        "gradient_shap": {"n_samples": 4},
        "noise_tunnel": {"nt_samples": 4},
        "layer_integrated_gradients": {"n_steps": 8},
        "occlusion": {"sliding_window_shapes": (2, side, side)},
        "shapley_value_sampling": {"n_samples": 2},
        "kernel_shap": {"n_samples": 24},
        "extremal_perturbation": {"n_steps": 10},
    }
    return {name: {**own, **few.get(name, {})} for name, own in card_methods(model).items()}


RECALL = Subject(
    model="recall-nano",
    clips="recall clips with distractors, unseen photographs",
    explained="the label's logit less that of the same clip with the sample's color moved halfway "
    "round the color circle",
    minus=_recall_minus,
    series=_recall_series,
    conditions=DISTRACTORS,
    times=_recall_times,
    grouped="delay",
    class_names=recall.CLASS_NAMES,
    measures=_recall_measures,
    methods=_recall_methods,
)


# ---------------------------------------------------------------- camera-nano


class MovingCameras:
    """Camera clips without the mixed ones and without cameras that stand: nothing happens there.

    Clips are kept once they are filmed, which takes much longer than anything done with them.

    Args:
        seed: Of the series.
        photographs: Which, see `CameraClips`.
    """

    left_out: tuple[int, ...] = (camera_path.STATIC, len(camera_path.CLASS_NAMES))
    """The kinds of clips that are not among them; the one after the classes is "mixed"."""

    def __init__(self, seed: int, photographs: Literal["train", "test"] = "test") -> None:
        self._clips = camera.CameraClips(seed, photographs=photographs)
        self._found: list[camera.CameraClip] = []
        self._next = 0

    def __getitem__(self, index: int | np.integer) -> camera.CameraClip:
        while len(self._found) <= index:
            kind, number = self._next % len(camera_path.KINDS), self._next
            self._next += 1
            if kind not in self.left_out:
                clip = self._clips[number]
                if clip.label == kind:  # the path drawn for a kind is not always clearly of it
                    self._found.append(clip)
        return self._found[index]

    def batch(self, indices: Sequence[int] | Labels) -> tuple[NDArray[np.uint8], Labels]:
        """Frames and labels of several clips."""
        clips = [self[int(index)] for index in indices]
        return np.stack([c.clip.frames for c in clips]), np.array([c.label for c in clips])

    def plan(self, indices: Sequence[int] | Labels) -> camera_path.CameraPlan:
        """Labels, poses and cuts of several clips."""
        clips = [self[int(index)] for index in indices]
        return camera_path.CameraPlan(
            np.array([clip.label for clip in clips]),
            np.stack([clip.pose for clip in clips]),
            np.array([clip.cut or 0 for clip in clips]),
        )


def _camera_minus(labels: Labels) -> Labels:
    """The opposite direction; a cut is compared with a camera that stands."""
    against = {camera_path.STATIC: camera_path.CUT, camera_path.CUT: camera_path.STATIC}
    against |= camera_path.OPPOSITE
    return np.array([against[int(label)] for label in labels])


def _camera_times(clip: camera.CameraClip) -> Times:
    """A part of a clip tells a direction from its opposite once the camera has gone that way.

    How far is what counts as standing still. A cut needs the frame before it and that after it,
    a camera that stands the whole clip.
    """
    group, spans = clip.class_name, {"movement": clip.window}
    if clip.label == camera_path.STATIC:
        return Times(spans, len(clip.pose) - 1, 0, group)
    if clip.cut is not None:
        return Times(spans, clip.cut, clip.cut - 1, group)
    axis, sign = camera_path.AXIS_AND_SIGN[clip.label - 1]
    way = sign * clip.pose[:, axis] * camera_path.UNITS[axis]
    come, left = way - way[0] >= camera_path.STILL, way[-1] - way >= camera_path.STILL
    last = len(way) - 1
    prefix = int(come.argmax()) if come.any() else last
    suffix = last - int(left[::-1].argmax()) if left.any() else 0
    return Times(spans, prefix, suffix, group)


def _camera_measures(clips: Sequence[camera.CameraClip], grid: TokenGrid) -> list[Measure]:
    """How much is on objects that move of their own, and whether it grows with the flow."""
    objects = Truth.inside([clip.objects for clip in clips], grid)
    flow = torch.stack([_flow_size(clip, grid) for clip in clips])
    flow[[clip.cut is not None for clip in clips]] = torch.nan

    def agreement(maps: Tensor) -> Tensor:
        rows = zip(maps, flow, objects.evidence, strict=True)
        return torch.tensor(
            [
                stats.spearmanr(values[~out], size[~out]).statistic if values.any() else np.nan
                for values, size, out in rows
            ],
            dtype=torch.float64,
        )

    on_objects, area = _place(objects, "share")
    area[objects.area == 0] = torch.nan

    def share(maps: Tensor) -> Tensor:
        return torch.where(area.isnan(), area, on_objects(maps))

    zero = torch.zeros(len(clips), dtype=torch.float64)
    return [
        Measure("share of the map", "moving objects", share, area, low_is_good=True),
        Measure("rank correlation with its size", "flow", agreement, zero),
    ]


def _flow_size(clip: camera.CameraClip, grid: TokenGrid) -> Tensor:
    """Mean length of the camera's flow over each token, in shares of the picture's side a frame."""
    size = torch.from_numpy(np.linalg.norm(clip.flow(grid.rows), axis=-1))
    frames = torch.cat([size, size[-1:]])  # the last frame moves on like the one before
    return frames.unflatten(0, (grid.frames, -1)).mean(1)


CAMERA = Subject(
    model="camera-nano",
    clips="camera clips of moving cameras and cuts, unseen photographs",
    explained="the label's logit less that of the opposite direction; of a cut, less that of a "
    "camera that stands",
    minus=_camera_minus,
    series=lambda seed, which: MovingCameras(seed),
    conditions={"moving cameras and cuts": "all"},
    times=_camera_times,
    grouped="class",
    class_names=camera_path.CLASS_NAMES,
    measures=_camera_measures,
)


# ---------------------------------------------------------------- all


def _place(truth: Truth, score: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """One of `ground_truth.SCORES`, and what a map that is the same everywhere gets."""

    def of(maps: Tensor) -> Tensor:
        return scores(maps, truth)[score]

    return of, of(torch.ones(truth.evidence.shape))


SUBJECTS: dict[str, Subject] = {each.model: each for each in (MOTION, RECALL, CAMERA)}
"""By the name of the model."""
