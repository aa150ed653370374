"""Which single number of a vector tells a factor best: feature, component, channel, random."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.intervals import Interval
from vmamba_explore.studies.features.factors import Factor, Rows
from vmamba_explore.studies.features.scores import held_out, train_scores

FEATURE, COMPONENT, CHANNEL, RANDOM = "feature", "component", "channel", "random dictionary"
KINDS = (FEATURE, COMPONENT, CHANNEL, RANDOM)
"""Where a single number can come from."""


class Lot(NamedTuple):
    """Vectors, in the measure in which features are found, and what is true of them."""

    vectors: Float[Tensor, "row size"]
    known: Rows


class Choice(NamedTuple):
    """The number that tells a factor best in training, and its scores on the test clips.

    Args:
        number: Of the feature, component or channel.
        trained: AUROC or R^2 in training.
        sign: -1 where a small number means yes.
        draws: Score on the test clips, then on each draw of them.
    """

    number: int
    trained: float
    sign: float
    draws: NDArray[np.float64]


def random_dictionary(
    features: SparseFeatures, vectors: Float[Tensor, "row size"]
) -> SparseFeatures:
    """Return features that were not found but drawn, as many, and as many of them active.

    Directions are uniform on the sphere of the measure and read by their own transpose.

    Args:
        features: What to be like.
        vectors: Training vectors in the measure; the threshold is set on them.
    """
    digest = zlib.crc32(f"random {features.settings.seed}".encode())
    settings = replace(features.settings, kind="batchtopk", seed=digest)
    drawn = SparseFeatures(settings, features.mean, features.measure)
    active = (features.sparse(features.raw_codes(vectors)) > 0).float().mean()
    codes = drawn.raw_codes(vectors).flatten()
    most = max(1, round(float(active) * len(codes)))
    drawn.threshold.copy_(codes.topk(most).values[-1])
    return drawn.eval().requires_grad_(False)


def components(
    vectors: Float[Tensor, "row size"], most: int
) -> tuple[Float[Tensor, " size"], Float[Tensor, "size component"]]:
    """Return the mean and the first principal components of vectors, the largest first."""
    mean = vectors.mean(0)
    spread = (vectors - mean).double()
    _, directions = torch.linalg.eigh(spread.T @ spread)
    return mean, directions.flip(1)[:, :most].to(vectors.dtype)


def numbers_of(
    features: SparseFeatures, train: Lot, test: Lot
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the numbers of each kind in the rows of training and test clips, (row, number)."""
    drawn = random_dictionary(features, train.vectors)
    mean, directions = components(train.vectors, features.width)
    of = {
        FEATURE: lambda z: features.sparse(features.raw_codes(z)),
        COMPONENT: lambda z: (z - mean) @ directions,
        CHANNEL: lambda z: z,
        RANDOM: lambda z: drawn.sparse(drawn.raw_codes(z)),
    }
    return {
        kind: (read(train.vectors).numpy(), read(test.vectors).numpy()) for kind, read in of.items()
    }


def best(
    numbers: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    train: Rows,
    test: Rows,
    kinds: tuple[str, ...] = KINDS,
) -> dict[str, dict[str, Choice]]:
    """Choose the best number of each kind on the training clips and score it on the test clips.

    Returns:
        By kind, then by factor.
    """
    factors = list(train.factors.values())
    found: dict[str, dict[str, Choice]] = {}
    for kind in kinds:
        fitted, asked = numbers[kind]
        scores = train_scores(fitted, factors)
        found[kind] = {}
        for at, factor in enumerate(factors):
            number = int(np.abs(scores[:, at]).argmax())
            signed = float(scores[number, at])
            columns = [values[:, number].astype(np.float64) for values in (fitted, asked)]
            draws = held_out((columns[0], train), (columns[1], test), factor.name, signed)
            found[kind][factor.name] = Choice(number, as_score(factor, signed), signed, draws)
    return found


def as_score(factor: Factor, signed: float) -> float:
    """Turn a signed score of training into an AUROC from 1/2 on, or R^2."""
    return 0.5 + abs(signed) if factor.is_binary else signed**2


def table(runs: list[dict[str, dict[str, Choice]]], test: Rows) -> list[dict[str, object]]:
    """Summarize the runs of several seeds: a row for each group of factors.

    A group's score is the mean over its factors. Of what depends on a seed the mean over the seeds
    is given, with each seed's own; intervals are over test clips, the same draws for all.
    """
    groups: dict[str, list[Factor]] = {}
    for factor in test.factors.values():
        groups.setdefault(factor.group, []).append(factor)
    rows: list[dict[str, object]] = []
    for group, members in groups.items():
        names = [each.name for each in members]
        draws: dict[str, NDArray[np.float64]] = {}
        row: dict[str, object] = {
            "factor": group,
            "score": members[0].score,
            "factors": len(members),
            "rows": int(members[0].valid.sum()),
        }
        for kind in KINDS:
            each = [
                np.mean([run[kind][name].draws for name in names], axis=0)
                for run in runs
                if kind in run
            ]
            draws[kind] = np.mean(each, axis=0)
            row[kind] = {
                **Interval.of_draws(draws[kind], test.count).to_dict(),
                "seeds": [round(float(one[0]), 4) for one in each],
                "numbers": [[run[kind][name].number for name in names] for run in runs
                            if kind in run],
            }  # fmt: skip
        for kind in KINDS[1:]:
            better = draws[FEATURE] - draws[kind]
            row[f"{FEATURE} less {kind}"] = Interval.of_draws(better, test.count).to_dict()
        rows.append(row)
    return rows


def mean_scores(found: Mapping[str, Mapping[str, Choice]], clips: int) -> dict[str, Interval]:
    """Average each kind's scores over its factors, with the interval over test clips."""
    return {
        kind: Interval.of_draws(np.mean([one.draws for one in each.values()], axis=0), clips)
        for kind, each in found.items()
    }
