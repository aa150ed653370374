"""Means over clips with bootstrap intervals, the same draws of clips for all that is compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over clips with its 95 % bootstrap interval.

    Args:
        value: The mean; NaN without a clip.
        low: Lower end.
        high: Upper end.
        n: Clips that count, those without a score left out.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float]:
        """Plain values, rounded to 4 digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(
    scores: Float[np.ndarray, " clips"] | Float[Tensor, " clips"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Average a score over clips and tell how far other clips like these could have moved it.

    The interval holds 95 % of the means of clips drawn with replacement. For whether one method is
    better than another on the same clips give the paired difference: `mean_interval(ours - theirs)`
    lies above zero.

    Args:
        scores: One for each clip; NaN, where the clip has no such score, is left out.
        resamples: How often the clips are drawn.
        seed: Of the draws.
    Raises:
        ValueError: fewer than one draw.
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
    given = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else scores
    values = given.astype(np.float64)
    known = ~np.isnan(values)
    counts = known.sum(0)
    if not counts.any():
        return [Interval(np.nan, np.nan, np.nan, 0)] * values.shape[1]
    draws = _draws(len(values), resamples, seed)
    sums, drawn = draws @ np.where(known, values, 0.0), draws @ known.astype(np.float64)
    means = np.where(drawn > 0, sums / np.maximum(drawn, 1), np.nan)
    result = []
    for column, count in enumerate(counts):
        value = low = high = np.nan
        if count:
            value = values[known[:, column], column].mean()
            low, high = np.nanquantile(means[:, column], [0.025, 0.975])
        result.append(Interval(float(value), float(low), float(high), int(count)))
    return result


@lru_cache(maxsize=2)
def _draws(clips: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each clip comes in each draw, (resamples, clips)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(clips, np.full(clips, 1 / clips), resamples).astype(np.float64)
