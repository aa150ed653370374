"""Held-out linear probes: what can be read out of the states, and how much of it stays.

A probe is a ridge regression from the state that a direction hands on after a token frame. It is
fitted to some clips and judged on others. Beside it stand the same regression from the model's
input tokens, which says what was no work to find, and from states with the answers of the training
clips in random order, which says what the procedure finds in nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.frame_states import FrameStates
from vmamba_explore.analysis.motion_targets import Target, targets
from vmamba_explore.analysis.ridge import fit_ridge
from vmamba_explore.intervals import NOTHING, Interval, drawn_counts, proportion

SOURCES = ("state", "shuffled", "input tokens", "all tokens read")
"""What is read from: the state; the state, training answers shuffled; the model's input tokens of
the frame; those of all frames that the direction has read by then."""

FEWEST = 20
"""Clips without which there is no probe, in training and in test."""


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """How well held-out probes read each target, by source, layer, direction and token frame.

    Scores are R^2, 0 for always answering the training clips' mean, but the share of right answers
    for "label". The 95 % intervals (bootstrap; Wilson for the label) are over test clips: they
    do not say what other training clips would have given. NaN where a target is not defined, such
    as a velocity in a frame in which no window lies.

    Args:
        targets: Names, as in `motion_targets.targets`.
        layers: Layer numbers.
        directions: "forward", "backward".
        values: Scores; input tokens are no different in another layer.
        low: Lower ends of the intervals.
        high: Upper ends.
        train: Training clips of each target and frame.
        test: Test clips.
    """

    targets: tuple[str, ...]
    layers: tuple[int, ...]
    directions: tuple[str, ...]
    values: Float[np.ndarray, "target source layer direction frame"]
    low: Float[np.ndarray, "target source layer direction frame"]
    high: Float[np.ndarray, "target source layer direction frame"]
    train: Int64[np.ndarray, "target frame"]
    test: Int64[np.ndarray, "target frame"]

    def array(self, target: str) -> xr.DataArray:
        """Return one target's scores: dims source, layer, direction, frame, coords low and high.

        Raises:
            ValueError: there is no such target.
        """
        if target not in self.targets:
            raise ValueError(
                f"ProbeScores: no target {target!r}; there are {', '.join(self.targets)}."
            )
        at, dims = self.targets.index(target), ("source", "layer", "direction", "frame")
        score = "share of right answers" if target == "label" else "R^2"
        return xr.DataArray(
            self.values[at],
            {
                "source": list(SOURCES),
                "layer": list(self.layers),
                "direction": list(self.directions),
                "frame": np.arange(self.values.shape[-1]),
                "low": (dims, self.low[at]),
                "high": (dims, self.high[at]),
                "test_clips": ("frame", self.test[at]),
            },
            dims,
            name=target,
            attrs={"score": score, "unit": ""},
        )


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
        names: Targets to read, as in `motion_targets.targets`; None: all.
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
        if name not in known:
            raise ValueError(f"probe: no target {name!r}; there are {', '.join(known)}.")
    layers, directions, frames = train.layers, train.directions, train.grid.frames
    shape = (len(names), len(SOURCES), len(layers), len(directions), frames)
    values, low, high = (np.full(shape, np.nan) for _ in range(3))
    answers = [(known[name], truth[name]) for name in names]
    draws = (resamples, seed)
    order = np.random.default_rng(seed).permutation(len(train))

    def enter(where: tuple[int | slice, ...], frame: int, found: list[Interval]) -> None:
        for at, estimate in enumerate(found):
            index = (at, *where, frame)
            values[index], low[index], high[index] = estimate.value, estimate.low, estimate.high

    places = [(a, b, frame) for a in range(len(layers)) for b in range(len(directions))
              for frame in range(frames)]  # fmt: skip
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
    return ProbeScores(names, layers, directions, values, low, high, *counts)


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
