"""Several methods on one clip, and how good each map is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from vmamba_explore.attribution.ground_truth import SCORES, Truth, scores
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.removal_scores import faithfulness, problem_of
from vmamba_explore.attribution.result import Attribution
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.clips.labeled import LabeledClip
from vmamba_explore.edits import editing, pinned
from vmamba_explore.hooks import plain
from vmamba_explore.model.contrast import Classes
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.videomamba import VideoMamba

CONTROLS = ("random", "frame_difference", "edge_energy", "center_prior")
REMOVAL: dict[str, dict[str, Any]] = {
    "tubelets": {"n_steps": 8, "baselines": "clip_mean"},
    "frames": {"unit": "frames", "baselines": "held"},
}
"""How units are taken away."""
REMOVALS = {"deletion": "deletion (low is good)", "insertion": "insertion (high is good)"}
"""Scores of a clip whose truth nobody knows, and what they are called."""
Report = Callable[[str, float], None]


def blocks(model: VideoMamba, side: int = 2) -> Tensor:
    """Number the units of `side` token frames, rows and columns, (frame, row, col)."""
    frame, row, col = torch.meshgrid(
        *(torch.arange(n) // side for n in model.grid.shape), indexing="ij"
    )
    return (frame * (row.max() + 1) + row) * (col.max() + 1) + col


def card_methods(model: VideoMamba) -> dict[str, dict[str, Any]]:
    """The methods of the card and their options: few samples, so that 300 clips take minutes.

    A method may be there twice, under names of its own, with "method" among the options.
    """
    config = plain(model).config
    side = 2 * config.patch_size
    return {
        "saliency": {},
        "input_x_gradient": {},
        "integrated_gradients": {"baselines": "clip_mean", "n_steps": 16},
        "integrated_gradients, blur": {
            "method": "integrated_gradients",
            "baselines": "blur",
            "n_steps": 16,
        },
        "gradient_shap": {"baselines": ("clip_mean", "blur"), "n_samples": 8},
        "deep_lift": {"baselines": "clip_mean"},
        "noise_tunnel": {"nt_samples": 8},
        "layer_grad_cam": {},
        "layer_integrated_gradients": {"baselines": "clip_mean", "n_steps": 16},
        "occlusion": {"sliding_window_shapes": (config.tubelet_size, side, side)},
        "feature_ablation": {"unit": "tubes"},
        "shapley_value_sampling": {"unit": "frames", "n_samples": 5},
        "kernel_shap": {"unit": "frames", "n_samples": 40},
        "drop_tokens": {"unit": blocks(model)},
        "extremal_perturbation": {"areas": (0.1,), "n_steps": 20},
        "mamba_lrp": {},
        "attention_rollout": {},
        "attention_x_gradient": {},
        "delta": {},
        "delta_x_gradient": {},
        "selection_path": {},
        "state_x_gradient": {},
        **{name: {} for name in CONTROLS},
    }


@dataclass(frozen=True, eq=False)
class ClipScore:
    """A method's map of one clip, and how good it is.

    Attributes:
        method: Its name.
        attribution: What it gave.
        scores: By name, NaN where undefined: of the map's positive part those of
            `ground_truth.SCORES` where the truth is known; otherwise the areas under the curves
            of `REMOVALS`, in units of what the clip has above its baseline.
        chance: What an uninformed map would reach, by name, where that is known.
        gap: By how much the map misses its sum, relative to it; None where none is promised.
    """

    method: str
    attribution: Attribution
    scores: Mapping[str, float]
    chance: Mapping[str, float]
    gap: float | None


def score_on_clip(
    model: VideoMamba,
    clip: Clip | Generated,
    methods: Sequence[str],
    target: Classes | None = None,
    minus: Classes | None = None,
    *,
    report: Report | None = None,
    budget_gib: float | int = 1.0,
) -> Iterator[ClipScore]:
    """Explain one clip with several methods and score every map, one after the other.

    Args:
        model: The model.
        clip: The clip; a `LabeledClip` knows where the truth is.
        methods: Names of `card_methods(model)`, whose options are taken.
        target, minus: As for `attribute`.
        report: Called with the method and the share done, 0 to 1, before each method and each
            block of the model that runs; what it raises ends the work at once.
        budget_gib: As for `attribute`.
    Raises:
        ValueError: no method, or an unknown one.
    """
    model = plain(model)
    known = card_methods(model)
    wrong = [name for name in methods if name not in known]
    if wrong or not methods:
        raise ValueError(
            f"score_on_clip: methods is {list(methods)}, expected some of {', '.join(known)}."
        )
    frames = shown_by(clip)
    truth = Truth.of([clip], model.grid) if isinstance(clip, LabeledClip) else None
    for number, name in enumerate(methods):
        with _heard(model, report, name, number / len(methods)):
            options = dict(known[name])
            found = attribute(
                model, frames, target, options.pop("method", name), minus=minus,
                budget_gib=budget_gib, progress=False, **options,
            )  # fmt: skip
            right, chance = (
                _removals(model, frames, found, budget_gib)
                if truth is None
                else _against(truth, found)
            )
        yield ClipScore(name, found, right, chance, _gap(found))


def _against(truth: Truth, found: Attribution) -> tuple[dict[str, float], dict[str, float]]:
    right = scores(found.tokens("positive"), truth)
    area, frames = float(truth.area), float(truth.window.double().mean())
    chance = dict.fromkeys(("pointing", "average_precision", "share"), area)
    return {name: float(right[name]) for name in SCORES}, {**chance, "time_share": frames}


def _removals(
    model: VideoMamba, clip: Clip, found: Attribution, budget_gib: float | int
) -> tuple[dict[str, float], dict[str, float]]:
    problem = problem_of(model, clip, found, budget_gib=budget_gib, progress=False)
    curves = faithfulness(problem, found, **REMOVAL["tubelets"])
    areas = {name: getattr(curves, name).area(normalized=True) for name in REMOVALS}
    return {name: float(area) for name, area in areas.items()}, {}


def _gap(found: Attribution) -> float | None:
    if found.convergence_delta is None:
        return None
    base = 0.0 if found.baseline_output is None else float(found.baseline_output)
    change = abs(float(found.output) - base)
    return abs(float(found.convergence_delta)) / change if change > 0 else math.nan


def _heard(
    model: VideoMamba, report: Report | None, words: str, done: float
) -> AbstractContextManager[None]:
    """Call `report` now and before every block of the model that runs inside the block."""
    if report is None:
        return nullcontext()
    report(words, done)
    tell = pinned(report)  # it may run the model, without the edits of a method
    points = [cast(Block, block).hook_block_input for block in model.layers]
    return editing(*((point.observers, lambda _: tell(words, done)) for point in points))
