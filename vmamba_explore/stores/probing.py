"""Linear probes of a store: what can be read from its values, judged on other videos."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.probes import (
    FEWEST,
    IntervalArray,
    Job,
    inner_products,
    labeled,
    predicted,
)
from vmamba_explore.errors import few
from vmamba_explore.intervals import Interval, drawn_counts, mean_interval, proportion
from vmamba_explore.stores.labels import AnyLabels, Kind, Targets, targets_of
from vmamba_explore.stores.opened import AnyStore, as_states, blocks, stored

PLACES = ("layer", "direction", "frame")
"""Dims, or those whose names begin with one and "_of_", that have a probe for each of their places;
the values along the other ones are a clip's features."""
GIB = 2**30


def probe(
    store: AnyStore,
    labels: AnyLabels = None,
    quantity: str = "embedding",
    *,
    column: str | None = None,
    kind: Kind | None = None,
    baselines: Mapping[str, str | AnyStore] | None = None,
    folds: int = 5,
    most_videos: int = 4000,
    budget_gib: float = 2.0,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.DataArray:
    """Measure what a linear read-out of a store's values tells about videos it has not seen.

    The videos are split into folds, and each is judged by a ridge regression fitted to the other
    folds. All clips of a file are in one fold, also where the list has the file twice.

    Args:
        store: A store.
        labels: What to read. None: the labels of the store. An array or list: one for each video,
            or (video, clip). A mapping from paths, or a CSV file with a column "path": videos
            are matched by path, or by the file's name where it is the only one of that name.
            None, "", NaN, and -1 in the store, are unknown: those clips are left out.
        quantity: What to read it from. With the dims layer, direction or frame each place has a
            probe of its own.
        column: The column of the CSV file that has the labels.
        kind: Whether labels are a "class" or a "number". None: floating-point numbers are numbers,
            all else are classes.
        baselines: What else to read it from, by a name of your choice: another quantity of this
            store, such as "pixels" or "layers.0.hook_block_input", the model's input tokens; or
            another store of the same videos, such as that of a model with random weights. One that
            has other places than the quantity is read as a whole, all values of a clip at once.
        folds: How many.
        most_videos: Of a larger store as many videos are drawn, since time grows with their cube.
        budget_gib: The most that the values of one place may take, GiB.
        resamples: Bootstrap draws behind the intervals, where they are not Wilson's.
        seed: Of the folds, the drawn videos, the shuffled labels and the bootstrap.
    Returns:
        Dims source ("stored", "shuffled", "constant", then the baselines) and places. For classes
        the share of clips that are read right, the mean over videos; for numbers R^2 on held-out
        videos. "shuffled" is fitted to labels that were shuffled among the videos, "constant"
        always answers the most common class, or the mean, of the training videos. Coordinates low
        and high are the 95 % interval over videos (Wilson's for classes of one clip a video, else
        bootstrap); it does not say what other training videos would have given. `attrs` have how
        many videos, clips and classes there are.
    Raises:
        ValueError: there is no such quantity, labels do not fit the store, fewer than 20 videos, or
            one class; or the values are over budget.
    """
    states = as_states(store, "probe")
    targets = targets_of(states, labels, column, kind)
    array = stored(states, quantity, "probe")
    rng = np.random.default_rng(seed)
    group = _files(states)
    clips = _chosen(targets, group, most_videos, rng)
    video = np.array([row for row, _ in clips])
    answers = np.array([targets.values[row, clip] for row, clip in clips], np.float64)
    files, of_clip = np.unique(group[video], return_inverse=True)
    _check(targets, answers, files, folds)
    fold = _folds(answers, of_clip, folds, rng)[of_clip]
    shuffled = _shuffled(answers, of_clip, fold, rng)
    sources = {"stored": array} | _baselines(states, baselines or {}, quantity)
    names = ["stored", "shuffled", "constant", *[name for name in sources if name != "stored"]]
    dims = _places(array)
    scores = IntervalArray(len(names), *(array.sizes[dim] for dim in dims))
    seen = (targets, answers, of_clip, resamples, seed)
    constant = _guesses(torch.zeros(len(clips), 1), [answers], targets, fold)[0]
    everywhere = (slice(None),) * len(dims)
    scores[(2, *everywhere)] = _judged(constant, *seen)
    for source, values in sources.items():
        at = _places(values)
        if [values.sizes[dim] for dim in at] != [array.sizes[dim] for dim in dims] or at != dims:
            at = ()
        if values.sizes["clip"] != array.sizes["clip"]:
            raise ValueError(
                f"probe: the baseline {source} has {values.sizes['clip']} clips of each video, "
                f"expected {array.sizes['clip']} as {quantity} has; extract as many."
            )
        where = list(product(*(range(values.sizes[dim]) for dim in at)))
        for place in tqdm(where, desc=f"probing {source}", unit="probe", leave=False):
            features = _features(values.isel(dict(zip(at, place, strict=True))), clips, budget_gib)
            wanted = [answers, shuffled] if source == "stored" else [answers]
            guesses = _guesses(features, wanted, targets, fold)
            for number, guess in enumerate(guesses):
                row = number if source == "stored" else names.index(source)
                scores[(row, *(place or everywhere))] = _judged(guess, *seen)
    coords = {dim: array[dim].values.tolist() if dim in array.coords else range(array.sizes[dim])
              for dim in dims}  # fmt: skip
    found = labeled(
        f"{quantity} read", {"source": names} | coords, scores.values, scores.low, scores.high
    )
    return found.assign_attrs(
        score="share of right answers" if targets.names else "R^2",
        videos=len(files), clips=len(clips), folds=folds, quantity=quantity,
        classes=list(targets.names), left_out=int(targets.known.size - len(clips)),
    )  # fmt: skip


def _files(states: xr.Dataset) -> NDArray[np.int64]:
    """The number of each video's file; a file that is listed twice has one number."""
    paths = [os.path.abspath(str(path)) for path in states["path"].values]
    return np.asarray(pd.factorize(np.array(paths, object))[0], np.int64)


def _chosen(
    targets: Targets, group: NDArray[np.int64], most: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """The clips with a label, of at most so many files, as (video, clip)."""
    known = targets.known
    files = np.unique(group[known.any(axis=1)])
    if len(files) > most:
        files = rng.choice(files, most, replace=False)
    kept = known & np.isin(group, files)[:, None]
    return [(int(row), int(clip)) for row, clip in np.argwhere(kept)]


def _check(
    targets: Targets, answers: NDArray[np.float64], files: NDArray[np.int64], folds: int
) -> None:
    if len(files) < FEWEST or not 2 <= folds <= len(files):
        raise ValueError(
            f"probe: {len(files)} videos have a label and there are {folds} folds; expected at "
            f"least {FEWEST} videos and 2 folds, no more than videos."
        )
    if targets.names and len(np.unique(answers)) < 2:
        raise ValueError(
            f"probe: all {len(files)} videos are of one class, {few(targets.names)}; expected two "
            "or more."
        )


def _folds(
    answers: NDArray[np.float64], of_clip: NDArray[np.int64], folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The fold of each file; dealt out in the order of their answers, so that folds are alike."""
    count = int(of_clip.max()) + 1
    first = np.zeros(count)
    first[of_clip[::-1]] = answers[::-1]
    order = np.lexsort((rng.random(count), first))
    fold = np.empty(count, np.int64)
    fold[order] = np.arange(count) % folds
    return fold


def _shuffled(
    answers: NDArray[np.float64],
    of_clip: NDArray[np.int64],
    fold: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Answers of other files: those of a file go to another one as a whole, clip by clip."""
    count = int(of_clip.max()) + 1
    clips = [np.flatnonzero(of_clip == file) for file in range(count)]
    other = rng.permutation(count)
    mixed = np.empty_like(answers)
    for file, mine in enumerate(clips):
        theirs = answers[clips[other[file]]]
        mixed[mine] = np.resize(theirs, len(mine))
    return mixed


def _baselines(
    states: xr.Dataset, asked: Mapping[str, str | AnyStore], quantity: str
) -> dict[str, xr.DataArray]:
    """What else is read, by name, its videos those of the store."""
    found = {}
    for name, what in asked.items():
        if isinstance(what, str) and what in states.data_vars:
            found[name] = stored(states, what, "probe")
            continue
        other = as_states(what, f"probe: the baseline {name}")
        rows = {path: row for row, path in enumerate(other["path"].values)}
        missing = [str(path) for path in states["path"].values if path not in rows]
        if missing:
            raise ValueError(
                f"probe: the baseline {name} lacks {len(missing)} of the "
                f"{states.sizes['video']} videos, {few(missing, 1)} first; extract the same list."
            )
        order = [rows[path] for path in states["path"].values]
        found[name] = stored(other, quantity, f"probe: the baseline {name}").isel(video=order)
    return found


def _places(array: xr.DataArray) -> tuple[str, ...]:
    return tuple(str(dim) for dim in array.dims if str(dim).partition("_of_")[0] in PLACES)


def _features(array: xr.DataArray, clips: list[tuple[int, int]], budget_gib: float) -> Tensor:
    """Read the features of clips, (clip, feature), a block of videos at a time."""
    rows = np.array(clips, np.int64)
    width = array.size // max(1, array.sizes["video"] * array.sizes["clip"])
    size = 4 * len(clips) * width
    if size > budget_gib * GIB:
        raise ValueError(
            f"probe: {array.name} of {len(clips)} clips takes {size / GIB:.1f} GiB at one place, "
            f"and the budget is {budget_gib:g} GiB; choose fewer places with open_states(store)"
            ".isel(...), fewer videos with most_videos=, or pass budget_gib=."
        )
    found = torch.empty(len(clips), width)
    used, at = np.unique(rows[:, 0], return_inverse=True)
    for some, values in blocks(array.isel(video=used)):
        here = np.flatnonzero((at >= some.start) & (at < some.stop))
        part = values.reshape(values.shape[0], values.shape[1], width)
        found[torch.from_numpy(here)] = torch.from_numpy(part[at[here] - some.start, rows[here, 1]])
    return found


def _guesses(
    features: Tensor,
    answers: list[NDArray[np.float64]],
    targets: Targets,
    fold: NDArray[np.int64],
) -> list[NDArray[np.float64]]:
    """What the probes of the other folds say of each clip: classes, or numbers and what the mean of
    the training clips is, side by side."""
    columns = [np.eye(len(targets.names))[one.astype(int)] if targets.names else one[:, None]
               for one in answers]  # fmt: skip
    found = [np.empty((len(fold), 1 if targets.names else 2)) for _ in answers]
    for number in np.unique(fold):
        test = fold == number
        inside, across = (torch.from_numpy(~test), torch.from_numpy(test))
        products = inner_products(features[inside], features[across])
        jobs = [Job(each[~test], each[test], bool(targets.names)) for each in columns]
        for into, job, guess in zip(found, jobs, predicted(*products, jobs), strict=True):
            if targets.names:
                into[test, 0] = guess.argmax(axis=1)
            else:
                into[test] = np.column_stack([guess, np.full(len(guess), job.train.mean())])
    return found


def _judged(
    guess: NDArray[np.float64],
    targets: Targets,
    answers: NDArray[np.float64],
    of_clip: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> Interval:
    """Score the guesses, with the interval over files."""
    each = np.bincount(of_clip)
    if targets.names:
        right = guess[:, 0] == answers
        if (each == 1).all():
            return proportion(right)
        share = np.bincount(of_clip, right) / each
        return mean_interval(share, resamples, seed)
    counts = drawn_counts(len(each), resamples, seed)
    errors = counts @ np.bincount(of_clip, np.square(answers - guess[:, 0]))
    total = counts @ np.bincount(of_clip, np.square(answers - guess[:, 1]))
    draws = np.where(total > 0, 1 - errors / np.maximum(total, 1e-300), np.nan)
    return Interval.of_draws(draws, len(each))
