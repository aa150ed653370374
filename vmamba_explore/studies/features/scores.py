"""How well one number tells a factor: AUROC and R^2, for many numbers at once and with draws."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from scipy.stats import rankdata

from vmamba_explore.intervals import drawn_counts
from vmamba_explore.studies.features.factors import Factor, Rows

RESAMPLES = 1000
"""Draws of test clips; the same for everything that is compared."""


def train_scores(
    values: Float[np.ndarray, "row number"], factors: list[Factor]
) -> Float[np.ndarray, "number factor"]:
    """Score every number on every factor, signed: AUROC - 1/2, or the correlation.

    Args:
        values: Numbers of each row, such as the codes of all features.
        factors: What they are to tell.
    Returns:
        Positive where a large number means yes, or a large value; 0 for a number that is constant.
    """
    found = np.zeros((values.shape[1], len(factors)))
    by_valid: dict[bytes, list[int]] = {}
    for at, factor in enumerate(factors):
        by_valid.setdefault(factor.valid.tobytes(), []).append(at)
    for group in by_valid.values():
        inside = values[factors[group[0]].valid]
        if any(factors[at].is_binary for at in group):
            ranks = rankdata(inside, axis=0)
        for at in group:
            truth = factors[at].values[factors[at].valid]
            if factors[at].is_binary:
                yes, n = truth.sum(), len(truth)
                pairs = max(yes * (n - yes), 1)
                found[:, at] = (truth @ ranks - yes * (yes + 1) / 2) / pairs - 0.5
                continue
            moved = truth - truth.mean()
            spread = inside - inside.mean(0)
            size = np.linalg.norm(spread, axis=0) * np.linalg.norm(moved)
            found[:, at] = moved @ spread / np.where(size > 0, size, np.inf)
    return found


def auroc_draws(
    values: Float[np.ndarray, " row"], truth: Float[np.ndarray, " row"],
    clips: Int64[np.ndarray, " row"], count: int,
) -> Float[np.ndarray, " draw"]:  # fmt: skip
    """Return the area under the ROC curve over all rows, then of each draw of clips.

    Exact for whole clips drawn with replacement: wins are counted for every pair of clips.
    """
    yes, no = truth > 0, truth <= 0
    wins = np.zeros((count, count))
    for clip in np.unique(clips[no]):
        against = np.sort(values[no & (clips == clip)])
        below, upto = (np.searchsorted(against, values[yes], side) for side in ("left", "right"))
        np.add.at(wins[:, clip], clips[yes], (below + upto) / 2)
    counts = drawn_counts(count, RESAMPLES)
    many, few = (counts @ np.bincount(clips[each], minlength=count) for each in (yes, no))
    won = ((counts @ wins) * counts).sum(1)
    return np.where(many * few > 0, won / np.maximum(many * few, 1), np.nan)


def r2_draws(
    guess: Float[np.ndarray, " row"], truth: Float[np.ndarray, " row"], mean: float,
    clips: Int64[np.ndarray, " row"], count: int,
) -> Float[np.ndarray, " draw"]:  # fmt: skip
    """Return R^2 = 1 - squared errors / squares about the training mean, then of each draw."""
    counts = drawn_counts(count, RESAMPLES)
    errors = counts @ np.bincount(clips, np.square(truth - guess), count)
    total = counts @ np.bincount(clips, np.square(truth - mean), count)
    return np.where(total > 0, 1 - errors / np.maximum(total, 1e-300), np.nan)


def held_out(
    train: tuple[NDArray[np.float64], Rows],
    test: tuple[NDArray[np.float64], Rows],
    name: str,
    sign: float,
) -> Float[np.ndarray, " draw"]:
    """Score one number on the test clips, once and in every draw of them.

    Args:
        train, test: The number in each row, and the rows; a line is fitted to those of training.
        name: Of the factor.
        sign: Of the score in training.
    """
    (fitted, known), (values, asked) = train, test
    factor, before = asked.factors[name], known.factors[name]
    truth, clips = factor.values[factor.valid], asked.clips[factor.valid]
    inside = values[factor.valid]
    if factor.is_binary:
        return auroc_draws(np.sign(sign) * inside, truth, clips, asked.count)
    x, y = fitted[before.valid], before.values[before.valid]
    spread = x.var()
    slope = ((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 0 else 0.0
    guess = y.mean() + slope * (inside - x.mean())
    return r2_draws(guess, truth, float(y.mean()), clips, asked.count)


def told(rows: Rows) -> Bool[np.ndarray, " factor"]:
    """Return which of the factors differ between rows."""
    return np.array([
        len(np.unique(each.values[each.valid])) > 1 for each in rows.factors.values()
    ])  # fmt: skip
