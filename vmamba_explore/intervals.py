"""Interval: a number with its 95 % interval, by bootstrap, Wilson's score or Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

RESAMPLES = 10_000
_WILSON = 2 * stats.norm.cdf(1.96) - 1
"""The confidence level of z = 1.96 exactly, with which all published shares were measured."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval.

    Args:
        value: The number; NaN where nothing counts.
        low: Lower end.
        high: Upper end.
        n: How many clips, answers or runs count.
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of_draws(cls, draws: Float[np.ndarray, " draw"], n: int) -> Interval:
        """Return the first number with the interval that holds 95 % of the others.

        Args:
            draws: A statistic of the clips themselves, then of each draw; see `drawn_counts`.
            n: Clips that count.
        """
        low, high = np.nanquantile(draws[1:], [0.025, 0.975])
        return cls(float(draws[0]), float(low), float(high), n)

    def to_dict(self) -> dict[str, float]:
        """Plain values, rounded to 4 digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


NOTHING = Interval(np.nan, np.nan, np.nan, 0)
"""Where there is nothing to count."""


def mean_interval(
    scores: Float[np.ndarray, " clips"] | Float[Tensor, " clips"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Average a score over clips and estimate how far other clips like these could move it.

    The interval holds 95 % of the means of clips drawn with replacement. For whether one method is
    better than another on the same clips give the paired difference: `mean_interval(ours - theirs)`
    lies above zero.

    Args:
        scores: One for each clip; NaN, where the clip has no such score, is left out.
        resamples: How often the clips are drawn.
        seed: Of the draws.
    Raises:
        ValueError: fewer than one draw, or a seed below 0.
    Source:
        Efron 1979, Annals of Statistics 7 (percentile interval).
    """
    return mean_intervals(scores[:, None], resamples, seed)[0]


def mean_intervals(
    scores: Float[np.ndarray, "clips score"] | Float[Tensor, "clips score"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Average several scores over the same clips; as `mean_interval` for each column."""
    if resamples < 1:
        raise ValueError(f"mean_interval: resamples is {resamples}, expected at least 1.")
    if seed < 0:
        raise ValueError(f"mean_interval: seed is {seed}, expected at least 0.")
    given = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else scores
    values = given.astype(np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return [NOTHING] * values.shape[1]
    counts = drawn_counts(len(values), resamples, seed)
    sums, drawn = counts @ np.where(known, values, 0.0), counts @ known.astype(np.float64)
    means = np.where(drawn > 0, sums / np.maximum(drawn, 1), np.nan)
    means[0] = [column[there].mean() if there.any() else np.nan
                for column, there in zip(values.T, known.T, strict=True)]  # fmt: skip
    return [
        Interval.of_draws(column, int(n)) if n else NOTHING
        for column, n in zip(means.T, known.sum(0), strict=True)
    ]


@lru_cache(maxsize=4)
def drawn_counts(clips: int, resamples: int, seed: int = 0) -> NDArray[np.float64]:
    """Count how often each clip comes: once, then as often as each draw has it.

    Everything that is compared uses the same draws of clips, with replacement.

    Args:
        clips: How many there are.
        resamples: How often all of them are drawn.
        seed: Of the draws.
    Returns:
        (1 + resamples, clips), read-only; times a score of each clip, its sum in each draw.
    """
    draws = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), resamples)
    counts = np.vstack([np.ones(clips), draws])
    counts.flags.writeable = False
    return counts


def proportion(right: NDArray[np.bool_] | Tensor) -> Interval:
    """Return the share of right answers.

    Raises:
        ValueError: there is no answer, or more than one axis.
    Source:
        Wilson 1927, JASA 22:209, with z = 1.96.
    """
    if right.ndim != 1:
        raise ValueError(
            f"proportion: right has the shape {tuple(right.shape)}, expected one axis of answers."
        )
    if not len(right):
        raise ValueError("proportion: no answers to count.")
    count, n = int(np.asarray(right).sum()), len(right)
    found: Any = stats.binomtest(count, n).proportion_ci(_WILSON, method="wilson")
    return Interval(count / n, float(found.low), float(found.high), n)


def t_interval(values: Sequence[float]) -> Interval:
    """Average a few runs; ends are NaN for less than two.

    Source:
        Student 1908, Biometrika 6.
    """
    mean, n = float(np.mean(values)) if len(values) else np.nan, len(values)
    if n < 2:
        return Interval(mean, np.nan, np.nan, n)
    half = float(stats.t.ppf(0.975, n - 1)) * float(stats.sem(values))
    return Interval(mean, mean - half, mean + half, n)
