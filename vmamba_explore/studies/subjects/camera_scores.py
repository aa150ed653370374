"""How right answers about the camera are, on clips with known truth, and how sure they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from vmamba_explore.clips.camera import CLASS_NAMES
from vmamba_explore.clips.camera_path import MIXED, OPPOSITE
from vmamba_explore.intervals import RESAMPLES, Interval, drawn_counts
from vmamba_explore.model.videomamba import VideoMamba

BINS = np.linspace(0, 1, 11)


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities that a model gives, beside the truth.

    Args:
        probabilities: (clips, 10).
        labels: The truth, indices into `CLASS_NAMES`, or -1 for mixed.
        groups: The film that each clip is from; clips of one film are not independent.
    """

    probabilities: Float64[np.ndarray, "clips 10"]
    labels: Int64[np.ndarray, " clips"]
    groups: Shaped[np.ndarray, " clips"]

    @property
    def named(self) -> Int64[np.ndarray, " clips"]:
        """The most probable class of each clip."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one."""
        return self.named == self.labels

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Answers:
        return Answers(self.probabilities[chosen], self.labels[chosen], self.groups[chosen])


def by_group(values: NDArray[Any], groups: NDArray[Any]) -> Interval:
    """The mean over clips, with an interval from drawing whole groups with replacement."""
    names, place = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(place, values), np.bincount(place).astype(float)
    counts = drawn_counts(len(names), RESAMPLES)
    return Interval.of_draws((counts @ sums) / np.maximum(counts @ sizes, 1), len(values))


def judge(answers: Answers, threshold: float) -> dict[str, Any]:
    """Scores of answers, ready for JSON.

    Args:
        answers: Clips without mixed ones.
        threshold: An answer that is less probable is "mixed / none of these".
    Returns:
        `accuracy`, and `mean_of_films`: that of each film, averaged; `by_class`; `opposite`: how
        many answers name the opposite direction; `answered`: share of the clips above the
        threshold, and the accuracy there; `confusion`, rows are the truth; `reliability`.
    """
    labels, right = answers.labels, answers.right
    films = np.unique(answers.groups)
    each = np.array([right[answers.groups == film].mean() for film in films])
    spread = (drawn_counts(len(films), RESAMPLES) @ each) / len(films)
    by_class = {}
    for k in np.unique(labels):
        own = labels == k
        by_class[CLASS_NAMES[k]] = {
            **by_group(right[own], answers.groups[own]).to_dict(),
            "films": len(np.unique(answers.groups[own])),
        }
    turned = np.array([OPPOSITE.get(int(k), MIXED) for k in labels]) == answers.named
    sure = answers.probabilities.max(1) >= threshold
    confusion = np.zeros((len(CLASS_NAMES),) * 2, int)
    np.add.at(confusion, (labels, answers.named), 1)
    return {
        "clips": len(labels),
        "films": len(films),
        "accuracy": by_group(right, answers.groups).to_dict(),
        "mean_of_films": Interval.of_draws(spread, len(films)).to_dict(),
        "by_class": by_class,
        "opposite": int(turned.sum()),
        "opposite_answered": int((turned & sure).sum()),
        "answered": {
            "share": round(float(sure.mean()), 4),
            "accuracy": by_group(right[sure], answers.groups[sure]).to_dict(),
        },
        "confusion": confusion.tolist(),
        "reliability": reliability(answers),
    }


def reliability(answers: Answers) -> dict[str, Any]:
    """How often answers are right, by how probable they are said to be.

    Returns:
        `bins`: for each tenth of probability, how many clips, their mean probability and accuracy;
        `expected_calibration_error`: the mean distance of the two.
    Source:
        Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599.
    """
    sure, right = answers.probabilities.max(1), answers.right
    place = np.clip(np.digitize(sure, BINS) - 1, 0, len(BINS) - 2)
    bins, error = [], 0.0
    for k in range(len(BINS) - 1):
        own = place == k
        if own.any():
            said, true = float(sure[own].mean()), float(right[own].mean())
            error += float(own.mean()) * abs(said - true)
            bins.append([int(own.sum()), round(said, 4), round(true, 4)])
    return {"bins": bins, "expected_calibration_error": round(error, 4)}


def best_temperature(
    logits: Float64[np.ndarray, "clips 10"], targets: Float64[np.ndarray, "clips 10"]
) -> float:
    """The divisor of the logits that makes targets most probable."""

    def loss(logarithm: float) -> float:
        scaled = torch.from_numpy(logits / np.exp(logarithm)).log_softmax(-1).numpy()
        return -float((scaled * targets).sum(1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))


def fold_temperature(model: VideoMamba, temperature: float) -> None:
    """Divide a model's logits by a temperature, once and for all, in its head."""
    with torch.no_grad():
        for parameter in model.check_head("fold_temperature").parameters():
            parameter.div_(temperature)


def best_threshold(answers: Answers) -> float:
    """The threshold that parts right answers from others, those about mixed clips included.

    Returns:
        What maximizes the share of right answers above it plus the share of others below it; of
        thresholds that come within 0.02 of that, the lowest.
    """
    sure, right = answers.probabilities.max(1), answers.right
    options = np.arange(20, 81) / 100
    scores = np.array([(sure[right] >= t).mean() + (sure[~right] < t).mean() for t in options])
    return float(options[scores >= scores.max() - 0.02][0])
