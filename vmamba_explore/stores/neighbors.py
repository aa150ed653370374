"""The clips of a store that are most like another one, found in one pass through it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import Clip
from vmamba_explore.errors import check_choice
from vmamba_explore.stores.layout import LISTED
from vmamba_explore.stores.opened import AnyStore, as_states, blocks, class_names, stored

Measure = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class Neighbor:
    """A clip of a store, and how near it is.

    Args:
        video: Its number in the list that was extracted.
        clip: Which clip of the video.
        value: Cosine similarity, 1 for the same direction; or Euclidean distance, 0 for the same.
        path: The video file, as the store has it.
        label: What it shows, by name where the store has names; "" where it is not known.
        indices: The frames of the file that were shown to the model.
        seconds: When these are shown.
    """

    video: int
    clip: int
    value: float
    path: str
    label: str
    indices: tuple[int, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """What is most like a clip, the nearest first.

    Args:
        query: A row of the store, or the clip that was asked about.
        found: The neighbors.
        quantity: What was compared.
        measure: "cosine" or "euclidean".
        compared: How many clips of the store were compared.
        left_out: How many were not: those of the query's own video.
        model: What the model is called.
        img_size: Side of the square that the model sees of a frame, pixels.
    """

    query: Neighbor | Clip
    found: tuple[Neighbor, ...]
    quantity: str
    measure: Measure
    compared: int
    left_out: int
    model: str
    img_size: int

    def __len__(self) -> int:
        return len(self.found)


def neighbors(
    states: AnyStore,
    vector: NDArray[np.float32],
    query: Neighbor | Clip,
    k: int,
    *,
    quantity: str = "embedding",
    measure: Measure = "cosine",
    same_video: bool = False,
) -> Neighbors:
    """Find the nearest clips of a store, reading it once, a block at a time.

    Args:
        states: A store.
        vector: The query's values of the quantity.
        query: What these are the values of.
        k: How many neighbors.
        quantity: What to compare; all values of a clip are one vector.
        measure: As for `nearest`.
        same_video: Whether clips of the query's own file count.
    Raises:
        ValueError: k is less than 1, another measure or quantity, values of another number or
            without a direction, or no clip is left.
    """
    check_choice("nearest: measure", measure, get_args(Measure))
    if k < 1:
        raise ValueError(f"nearest: k is {k}, expected at least 1.")
    data = as_states(states, "nearest")
    array, wanted = stored(data, quantity, "nearest"), vector.astype(np.float32).ravel()
    width = array.size // (array.sizes["video"] * array.sizes["clip"])
    if len(wanted) != width:
        raise ValueError(
            f"nearest: the query has {len(wanted)} values of {quantity} and the store's clips have "
            f"{width}; expected the same model and quantity."
        )
    size = float(np.linalg.norm(wanted))
    if measure == "cosine" and not size > 0:
        raise ValueError(
            f"nearest: all values of the query's {quantity} are 0, so it has no direction to "
            "compare; use measure='euclidean'."
        )
    own = np.zeros(array.sizes["video"], bool) if same_video else _own(data, query)
    clips = array.sizes["clip"]
    best, rows = np.empty(0, np.float32), np.empty(0, np.int64)
    bar = tqdm(total=array.sizes["video"], desc="comparing", unit="video", leave=False)
    with bar:
        for some, values in blocks(array):
            flat = values.reshape(-1, width)
            near = _near(flat, wanted, measure, size)
            near[np.repeat(own[some], clips)] = -np.inf
            best = np.concatenate([best, near])
            rows = np.concatenate([rows, some.start * clips + np.arange(len(flat))])
            kept = np.lexsort((rows, -best))[:k]
            best, rows = best[kept], rows[kept]
            bar.update(len(values))
    there = np.isfinite(best)
    if not there.any():
        raise ValueError(
            "nearest: the store has no clip of another video; same_video=True compares those of "
            "the query's own."
        )
    return Neighbors(
        query=query,
        found=tuple(
            neighbor(data, int(row) // clips, int(row) % clips,
                     float(value) if measure == "cosine" else -float(value))
            for row, value in zip(rows[there], best[there], strict=True)
        ),
        quantity=quantity,
        measure=measure,
        compared=int((~own).sum()) * clips,
        left_out=int(own.sum()) * clips,
        model=str(data.attrs.get("model", {}).get("name") or "the model of the store"),
        img_size=int(data.attrs.get("sampling", {}).get("img_size", 224)),
    )  # fmt: skip


def neighbor(states: xr.Dataset, row: int, clip: int, value: float) -> Neighbor:
    """Return a clip of a store; `row` is its place among the videos that are there."""
    one = states[["path", "label", "seconds", "indices"]].isel(video=row)
    label, names = int(one["label"]), class_names(states)
    return Neighbor(
        video=int(states["video"][row]),
        clip=clip,
        value=value,
        path=str(one["path"].values),
        label=names[label] if 0 <= label < len(names) else str(label) if label >= 0 else "",
        indices=tuple(one["indices"].values[clip].tolist()),
        seconds=tuple(one["seconds"].values[clip].tolist()),
    )


def _own(states: xr.Dataset, query: Neighbor | Clip) -> NDArray[np.bool_]:
    """Which videos are the query's own file."""
    if not query.path:
        return np.zeros(states.sizes["video"], bool)
    path, found = os.path.abspath(query.path), np.zeros(states.sizes["video"], bool)
    for start in range(0, len(found), LISTED):  # not all names at once
        some = states["path"].isel(video=slice(start, start + LISTED)).values
        found[start : start + LISTED] = [os.path.abspath(str(one)) == path for one in some]
    return found


def _near(
    values: NDArray[np.float32], wanted: NDArray[np.float32], measure: Measure, size: float
) -> NDArray[np.float32]:
    """How near rows are: larger is nearer. A row of zeros has no direction and is at right angles
    to all."""
    if measure == "euclidean":
        return -np.linalg.norm(values - wanted, axis=1)
    sizes = np.linalg.norm(values, axis=1)
    return np.asarray((values @ wanted) / np.where(sizes > 0, sizes * size, 1), np.float32)
