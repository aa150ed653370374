"""Open a store to read it: lazily, and only the videos that are there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.errors import check_choice, one_line, shown
from vmamba_explore.files import AnyPath
from vmamba_explore.stores.layout import (
    BROKEN,
    DONE,
    FORMAT,
    UNSEEN,
    done_states,
    import_zarr,
)

logger = logging.getLogger(__name__)

AnyStore = AnyPath | xr.Dataset
"""A store: its folder, or what `open_states` or `extract` returned."""
BOOKKEEPING = ("path", "label", "done", "error", "seconds", "indices")
"""Variables that are not quantities."""
BLOCK_BYTES = 32 * 2**20
"""How much of a store is read at a time."""


def open_states(store: AnyPath, *, only_done: bool = True) -> xr.Dataset:
    """Open a store of states to read it; values are read when they are asked for.

    A store that is still being written, or whose run was interrupted, opens too: it holds the
    videos that are done by now, and a warning says how many are not.

    Args:
        store: Its folder.
        only_done: Leave out the videos that have no values: those still to come and those that
            could not be read. False keeps a row for each; `error` says why one could not be read.
    Returns:
        Variables with the dims video and clip, then their own. The coordinate `video` is the number
        in the list that was extracted. `attrs["progress"]` says how many are done.
    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is not a store of states, or one of another format version.
        ImportError: zarr is not installed.
    """
    import_zarr()
    if not os.path.isdir(store):
        raise FileNotFoundError(
            f"open_states: there is no folder {one_line(store)}; extract(model, videos, store) "
            "makes one."
        )
    try:
        data = xr.open_zarr(store, consolidated=False, chunks=None)
    except (OSError, ValueError, KeyError):
        data = xr.Dataset()
    version = data.attrs.get("format")
    if version is None or "done" not in data:
        raise ValueError(
            f"open_states: {one_line(store)} is not a store of states; expected a folder that "
            "extract wrote."
        )
    if version != FORMAT:
        raise ValueError(
            f"open_states: {one_line(store)} has format {shown(version)}, and this version reads "
            f"format {FORMAT}; use the version of vmamba-explore that wrote it, or extract again."
        )
    data.attrs["store"] = os.path.abspath(os.fspath(store))
    data = data.assign_coords(video=np.arange(data.sizes["video"]))
    done = done_states(store)
    data["done"] = ("video", done)
    data.attrs["progress"] = progress(done)
    if (done == UNSEEN).any():
        logger.warning("open_states: %s: %s", one_line(store), data.attrs["progress"])
    return _done(data, done) if only_done else data


def progress(done: NDArray[np.uint8]) -> str:
    """Say how far a store is, in one sentence."""
    broken, left = int((done == BROKEN).sum()), int((done == UNSEEN).sum())
    words = f"{int((done == DONE).sum()):,} of {len(done):,} videos are done"
    words += f", {broken:,} could not be read (see `error`)" if broken else ""
    return words + (f", {left:,} are still to come" if left else "") + "."


def as_states(store: AnyStore, call: str) -> xr.Dataset:
    """Return the videos of a store that are done.

    Args:
        store: A store.
        call: Begins the message of an error.
    Raises:
        ValueError: no video is done, or the dataset is not one of `open_states`.
    """
    if isinstance(store, xr.Dataset):
        missing = [name for name in ("path", "label", "done") if name not in store]
        if missing or "video" not in store.dims:
            raise ValueError(
                f"{call}: this dataset has no {' and no '.join(missing or ['dim video'])}; "
                "expected the folder of a store, or what open_states returned."
            )
        data = store
        if "video" not in data.coords:
            data = data.assign_coords(video=np.arange(data.sizes["video"]))
        data = _done(data, np.atleast_1d(data["done"].values))
    else:
        data = open_states(store)
    if not data.sizes["video"]:
        raise ValueError(f"{call}: {data.attrs.get('progress', 'no video is done.')}")
    return data


def _done(data: xr.Dataset, done: NDArray[np.uint8]) -> xr.Dataset:
    return data if (done == DONE).all() else data.isel(video=np.flatnonzero(done == DONE))


def stored(states: xr.Dataset, quantity: str, call: str) -> xr.DataArray:
    """Return a quantity of a store.

    Raises:
        ValueError: it does not hold that quantity.
    """
    known = [str(name) for name in states.data_vars if name not in BOOKKEEPING]
    check_choice(f"{call}: quantity", quantity, known)
    return states[quantity]


def blocks(
    array: xr.DataArray, most_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Read an array from its first video to its last, some at a time, as float32.

    Args:
        array: Has the dim video first.
        most_bytes: How much a block may take; it holds one video at least.
    """
    count = array.sizes["video"]
    each = 4 * max(1, array.size // max(1, count))
    step = max(1, most_bytes // each)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        yield rows, np.asarray(array.isel(video=rows).values, dtype=np.float32)


def class_names(states: xr.Dataset) -> tuple[str, ...]:
    """What the classes of a store's labels are called, by number; empty where unknown."""
    return tuple(map(str, states.attrs.get("class_names") or ()))
