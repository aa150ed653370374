"""Held-out linear probes: what can be read out of the states, and how much of it stays.

A probe is a ridge regression from the state that a direction hands on after a token frame. It is
fitted to some clips and judged on others. Beside it stand the same regression from the model's
input tokens, which says what was no work to find, and from states with the answers of the training
clips in random order, which says what the procedure finds in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.clip_targets import Target, targets
from vmamba_explore.analysis.frame_states import FrameStates
from vmamba_explore.errors import check_choice
from vmamba_explore.intervals import NOTHING, Interval, drawn_counts, proportion

SOURCES = ("state", "shuffled", "input tokens", "all tokens read")
"""What is read from: the state; the state, training answers shuffled; the model's input tokens of
the frame; those of all frames that the direction has read by then."""

FEWEST = 20
"""Clips without which there is no probe, in training and in test."""

STRENGTHS = tuple(10.0 ** (step / 2) for step in range(-10, 9))
"""Strengths to choose from, 1e-5 to 1e4, in units of the mean square of a clip's features."""


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """How well held-out probes read each target, by source, layer, direction and token frame.

    Scores are R^2, 0 for always answering the training clips' mean, but the share of right answers
    for classes, such as "label". The 95 % intervals (bootstrap; Wilson for classes) are over test
    clips: they do not say what other training clips would have given. NaN where a target is not
    defined, such as a velocity in a frame in which no window lies.

    Args:
        targets: Names, as in `clip_targets.targets`.
        layers: Layer numbers.
        directions: "forward", "backward".
        values: Scores; input tokens are no different in another layer.
        low: Lower ends of the intervals.
        high: Upper ends.
        train: Training clips of each target and frame.
        test: Test clips.
        classes: Those of the targets that are classes.
    """

    targets: tuple[str, ...]
    layers: tuple[int, ...]
    directions: tuple[str, ...]
    values: Float[np.ndarray, "target source layer direction frame"]
    low: Float[np.ndarray, "target source layer direction frame"]
    high: Float[np.ndarray, "target source layer direction frame"]
    train: Int64[np.ndarray, "target frame"]
    test: Int64[np.ndarray, "target frame"]
    classes: tuple[str, ...] = ("label",)

    def array(self, target: str) -> xr.DataArray:
        """Return one target's scores: dims source, layer, direction, frame, coords low and high.

        Raises:
            ValueError: there is no such target.
        """
        check_choice("ProbeScores: target", target, self.targets)
        at = self.targets.index(target)
        dims = {
            "source": SOURCES,
            "layer": self.layers,
            "direction": self.directions,
            "frame": range(self.values.shape[-1]),
        }
        array = labeled(target, dims, self.values[at], self.low[at], self.high[at])
        score = "share of right answers" if target in self.classes else "R^2"
        return array.assign_coords(test_clips=("frame", self.test[at])).assign_attrs(score=score)


class IntervalArray:
    """Values with the ends of their intervals, arrays of NaN until `array[index] = interval`."""

    def __init__(self, *shape: int) -> None:
        self.values, self.low, self.high = (np.full(shape, np.nan) for _ in range(3))

    def __setitem__(self, index: tuple[int | slice, ...], found: Interval) -> None:
        self.values[index], self.low[index], self.high[index] = found.value, found.low, found.high


def labeled(
    name: str,
    dims: Mapping[str, Sequence[object]],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> xr.DataArray:
    """Label values by their dims, with the ends of the intervals as coordinates low and high."""
    coords = {dim: list(labels) for dim, labels in dims.items()}
    ends = {"low": (tuple(dims), low), "high": (tuple(dims), high)}
    return xr.DataArray(values, coords | ends, tuple(dims), name, {"unit": ""})


class Job(NamedTuple):
    """What a probe is fitted to, and what it is judged by: each (clips, columns)."""

    train: np.ndarray
    test: np.ndarray
    is_class: bool


def probe(
    train: FrameStates,
    test: FrameStates,
    names: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> ProbeScores:
    """Fit probes to the training clips and judge them on the test clips.

    Args:
        train, test: What `frame_states.collect` gives for two different lots of clips.
        names: Targets to read, as in `clip_targets.targets`; None: all.
        resamples: Bootstrap draws behind the intervals of R^2.
        seed: Of these draws and of the shuffled answers.
    Raises:
        ValueError: an unknown target, states at other stops than the frames' ends, or `train` and
            `test` hold different layers or directions.
    """
    check_pair(train, test)
    for stops in train.stops.values():
        if [(train.grid.position(token) or [-1])[0] for token in stops] != list(
            range(train.grid.frames)
        ):
            raise ValueError(
                "probe: expected a state for each token frame; collect without stops=."
            )
    known, truth = targets(train.plan, train.tubelet_size), targets(test.plan, test.tubelet_size)
    names = tuple(known) if names is None else tuple(names)
    for name in names:
        check_choice("probe: target", name, known)
    layers, directions, frames = train.layers, train.directions, train.grid.frames
    scores = IntervalArray(len(names), len(SOURCES), len(layers), len(directions), frames)
    answers = [(known[name], truth[name]) for name in names]
    draws = (resamples, seed)
    order = np.random.default_rng(seed).permutation(len(train))

    def enter(where: tuple[int | slice, ...], frame: int, found: list[Interval]) -> None:
        for at, estimate in enumerate(found):
            scores[at, *where, frame] = estimate

    places = list(product(range(len(layers)), range(len(directions)), range(frames)))
    for a, b, frame in tqdm(places, desc="probing states", unit="probe", leave=False):
        at = (layers[a], directions[b], frame)
        products = inner_products(train.features(*at), test.features(*at, like=train))
        found = _read(*products, answers, frame, draws, order)
        enter((0, a, b), frame, found[: len(names)])
        enter((1, a, b), frame, found[len(names) :])
    if 0 in train.inputs and 0 in test.inputs:
        tokens = [
            inner_products(train.inputs[0][:, frame], test.inputs[0][:, frame])
            for frame in tqdm(range(frames), desc="probing inputs", unit="frame", leave=False)
        ]
        for frame in range(frames):
            found = _read(*tokens[frame], answers, frame, draws)
            enter((2, slice(None), slice(None)), frame, found)
        for b, direction in enumerate(directions):
            read = [torch.zeros_like(each) for each in tokens[0]]
            for frame in train.orders[direction]:  # features side by side: their products add up
                read = [so_far + more for so_far, more in zip(read, tokens[frame], strict=True)]
                found = _read(read[0], read[1], answers, frame, draws)
                enter((3, slice(None), b), frame, found)
    counts = [
        np.array([each[side].valid.sum(axis=0) for each in answers], np.int64) for side in (0, 1)
    ]
    classes = tuple(name for name in names if known[name].is_class)
    return ProbeScores(
        names, layers, directions, scores.values, scores.low, scores.high, counts[0], counts[1],
        classes,
    )  # fmt: skip


def read_class(
    train: Float[Tensor, "train ..."],
    train_labels: Int64[np.ndarray, " train"],
    test: Float[Tensor, "test ..."],
    test_labels: Int64[np.ndarray, " test"],
) -> Interval:
    """Measure how often a held-out linear probe reads a class from states of any kind.

    Args:
        train: States of the clips that the probe is fitted to; the axes after the first are its
            features.
        train_labels: Their classes, from 0.
        test: States of the clips that judge it.
        test_labels: Their classes.
    Returns:
        The share of right answers.
    Raises:
        ValueError: fewer than 20 clips to fit to, or a label too few or too many.
    """
    sizes = (len(train), len(train_labels), len(test), len(test_labels))
    if sizes[0] != sizes[1] or sizes[2] != sizes[3] or sizes[0] < FEWEST or not sizes[2]:
        raise ValueError(
            f"read_class: got states of {sizes[0]} clips with {sizes[1]} labels to fit to and of "
            f"{sizes[2]} with {sizes[3]} to judge by, expected a label for each, and at least "
            f"{FEWEST} clips to fit to."
        )
    answers = np.eye(int(max(train_labels.max(), test_labels.max())) + 1)
    job = Job(answers[train_labels], answers[test_labels], True)
    (guess,) = predicted(
        *inner_products(train.detach().flatten(1), test.detach().flatten(1)), [job]
    )
    return proportion(guess.argmax(axis=1) == test_labels)


def check_pair(train: FrameStates, test: FrameStates) -> None:
    """Raise ValueError unless both hold states of the same layers, directions and stops."""
    if train.states.keys() != test.states.keys() or train.stops != test.stops:
        raise ValueError(
            f"The training clips have states of {sorted(train.states)} at "
            f"{[len(s) for s in train.stops.values()]} stops, the test clips of "
            f"{sorted(test.states)} at {[len(s) for s in test.stops.values()]}; collect the same "
            "for both."
        )


def inner_products(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of training clips, and of test with training clips, in float64.

    Each feature is first divided by its standard deviation over the training clips, so that no
    scale counts: neither the arbitrary one between B and C nor that of a channel.
    """
    mean, deviation = train.double().mean(dim=0), train.double().std(dim=0)
    alive = deviation > 1e-6 * mean.abs()  # not a constant with rounding errors
    scale = torch.where(alive, 1 / deviation.where(alive, torch.ones_like(deviation)), 0.0)
    train, test = (train.double() - mean) * scale, (test.double() - mean) * scale
    return train @ train.T, test @ train.T


def _read(
    products: Tensor,
    crossed: Tensor,
    answers: Sequence[tuple[Target, Target]],
    frame: int,
    draws: tuple[int, int],
    order: np.ndarray | None = None,
) -> list[Interval]:
    """Score every target of one frame; then, in shuffled `order`, fitted to answers of others."""
    found = [NOTHING] * len(answers) * (1 if order is None else 2)
    masks = [(a.valid[:, frame].tobytes(), b.valid[:, frame].tobytes()) for a, b in answers]
    for mask in dict.fromkeys(masks):
        together = [at for at in range(len(answers)) if masks[at] == mask]
        first, second = answers[together[0]]
        rows, columns = second.valid[:, frame].nonzero()[0], first.valid[:, frame].nonzero()[0]
        if min(len(rows), len(columns)) < FEWEST:
            continue
        sources = [columns] if order is None else [columns, order[np.isin(order, columns)]]
        places = [(i * len(answers) + at, at, source)
                  for i, source in enumerate(sources) for at in together]  # fmt: skip
        jobs = [
            Job(answers[at][0].values[source, frame], answers[at][1].values[rows, frame],
                answers[at][0].is_class)
            for _, at, source in places
        ]  # fmt: skip
        guesses = predicted(products[columns][:, columns], crossed[rows][:, columns], jobs)
        for (place, _, _), job, guess in zip(places, jobs, guesses, strict=True):
            found[place] = _score(job, guess, *draws)
    return found


def predicted(products: Tensor, crossed: Tensor, jobs: Sequence[Job]) -> list[np.ndarray]:
    """Fit all jobs at once, each with a strength of its own, and predict the test clips."""
    stops = np.cumsum([job.train.shape[1] for job in jobs]).tolist()
    groups = [slice(stop - job.train.shape[1], stop) for stop, job in zip(stops, jobs, strict=True)]
    train = torch.from_numpy(np.concatenate([job.train for job in jobs], axis=1))
    guesses = fit_ridge(products, train, groups).predict(crossed).numpy()
    return [guesses[:, group] for group in groups]


@dataclass(frozen=True, eq=False)
class DualRidge:
    """A fitted ridge regression: clips' weights in place of features' weights.

    The primal weights, had one formed them, are centered features.T @ coefficients.

    Args:
        coefficients: Of each training clip and target column.
        means: What is predicted for a clip like the mean clip.
        similarity: Mean inner product of each training clip with all of them; its mean is taken
            off again where inner products of new clips are centered.
        strengths: The chosen strength of each group of columns, absolute.
        left_out: R^2 of each group on training clips left out one at a time, at that strength.
    """

    coefficients: Float64[Tensor, "train column"]
    means: Float64[Tensor, " column"]
    similarity: Float64[Tensor, " train"]
    strengths: tuple[float, ...]
    left_out: tuple[float, ...]

    def predict(self, products: Float64[Tensor, "test train"]) -> Float64[Tensor, "test column"]:
        """Predict the targets of new clips.

        Args:
            products: Inner products of their features with the training clips', not centered.
        """
        centered = products - products.mean(dim=1, keepdim=True) - self.similarity
        return (centered + self.similarity.mean()) @ self.coefficients + self.means


def fit_ridge(
    products: Float64[Tensor, "train same"],
    targets: Float64[Tensor, "clips column"],
    groups: Sequence[slice] | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> DualRidge:
    """Fit a linear read-out of features that are known by their inner products only.

    With X and Y centered and K = X X^T, the weights that minimize
    |Y - X W|^2 + strength |W|^2 are W = X^T (K + strength)^-1 Y. The strength of each group of
    columns is the one with the smallest error on clips left out one at a time, which needs no
    refit: a residual divided by one minus its clip's own leverage. Test clips have no part in it.

    Args:
        products: Inner products of the clips' features, K before centering.
        targets: What to predict.
        groups: Columns that share a strength, together all of them in order; None: one group.
        strengths: To choose from, in units of the mean diagonal of the centered K.
    Raises:
        ValueError: fewer than three clips, products and targets of different numbers of clips, or
            values that are not finite.
    Source:
        Saunders, Gammerman and Vovk 1998, ICML (dual form); Allen 1974, Technometrics 16 (PRESS).
    """
    n = len(products)
    if n < 3 or products.shape != (n, n) or len(targets) != n:
        raise ValueError(
            f"fit_ridge: got products {tuple(products.shape)} and targets {tuple(targets.shape)}, "
            "expected (train, train) and (train, columns) of at least 3 clips."
        )
    if not (products.isfinite().all() and targets.isfinite().all()):
        raise ValueError("fit_ridge: products and targets must be finite numbers.")
    groups = [slice(0, targets.shape[1])] if groups is None else groups
    similarity = products.mean(dim=1)
    centered = products - similarity - similarity[:, None] + similarity.mean()
    values, vectors = torch.linalg.eigh(centered)
    values = values.clamp(min=0)
    unit = float(values.mean()) or 1.0
    means = targets.mean(dim=0)
    wanted = targets - means
    inside = vectors.T @ wanted
    absolute = torch.tensor(strengths, dtype=wanted.dtype) * unit
    shrunk = values / (values + absolute[:, None])  # (strength, train)
    leverage = shrunk @ vectors.square().T + 1 / n
    residual = wanted - vectors @ (shrunk[..., None] * inside)
    errors = (residual / (1 - leverage)[..., None]).square().sum(dim=1)  # (strength, column)
    # leaving a clip out moves the mean as well: n / (n - 1) of its distance remains
    totals = wanted.square().sum(dim=0) * (n / (n - 1)) ** 2
    chosen, scores = [], []
    coefficients = torch.empty_like(wanted)
    for group in groups:
        error = errors[:, group].sum(dim=1)
        best, total = int(error.argmin()), float(totals[group].sum())
        chosen.append(float(absolute[best]))
        coefficients[:, group] = vectors @ (inside[:, group] / (values + chosen[-1])[:, None])
        scores.append(1 - float(error[best]) / total if total else float("nan"))
    return DualRidge(coefficients, means, similarity, tuple(chosen), tuple(scores))


def _score(job: Job, guess: np.ndarray, resamples: int, seed: int) -> Interval:
    if job.is_class:
        return proportion(guess.argmax(axis=1) == job.test.argmax(axis=1))
    return Interval.of_draws(held_out_r2(job, guess, resamples, seed), len(guess))


def held_out_r2(
    job: Job, guess: np.ndarray, resamples: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """R^2 = 1 - sum of squared errors / sum of squares about the training mean.

    Of the test clips, then of each draw of them; NaN where the test clips do not differ.
    """
    counts = drawn_counts(len(guess), resamples, seed)
    errors = counts @ np.square(job.test - guess).sum(axis=1)
    total = counts @ np.square(job.test - job.train.mean(axis=0)).sum(axis=1)
    return np.where(total > 0, 1 - errors / np.maximum(total, 1e-300), np.nan)
