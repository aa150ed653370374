"""From a store back to its videos and its model: open_row() and nearest()."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.app.explore import AnyClip, explore
from vmamba_explore.clips.clip import Clip, ClipError, Generated, shown_by
from vmamba_explore.clips.decode import load_clip, load_frames
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.errors import first_line, one_line, shown
from vmamba_explore.files import AnyPath
from vmamba_explore.hooks import plain
from vmamba_explore.model.checkpoints import fingerprint, load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import BROKEN, DONE, Sampling
from vmamba_explore.stores.neighbors import Measure, Neighbors, neighbor, neighbors
from vmamba_explore.stores.opened import AnyStore, as_states, open_states, stored
from vmamba_explore.stores.quantities import quantity as requested
from vmamba_explore.stores.quantities import variables
from vmamba_explore.stores.regions import clip_values
from vmamba_explore.view.explorer import Explorer

ALIKE = 1e-2
"""Values of a clip that differ more, of the largest, are those of another picture; other devices,
and float16, move them less."""


def open_row(
    store: AnyStore,
    video: int | AnyPath,
    clip: int = 0,
    *,
    model: str | VideoMamba | None = None,
    **options: Any,
) -> Explorer:
    """Open the explorer on a clip of a store: its file, the very frames, and the model that ran.

    Args:
        store: A store.
        video: The number of the video in the list that was extracted, or its path.
        clip: Which clip of the video.
        model: The model, or what `load_model` takes; None loads what the store names.
        options: As for `explore`, such as target or compare.
    Returns:
        The explorer.
    Raises:
        ClipError: the file is gone, cannot be read, or has other frames now.
        ValueError: there is no such video or clip, it has not been extracted, or the model is gone
            or another one now.
    """
    model = model if model is None or isinstance(model, str) else plain(model)
    states = _every(store, "open_row")
    row = _row(states, video, clip, "open_row")
    state = int(states["done"][row])
    if state != DONE:
        why = f"could not be read: {one_line(states['error'].values[row], 400).rstrip('.')}"
        raise ValueError(
            f"open_row: video {shown(video)} {why if state == BROKEN else 'is still to come'}"
            f"{'' if state == BROKEN else '; run the extraction again to go on with it'}."
        )
    loaded, name = recorded_model(states, model, "open_row")
    shown_clip = read_row(states, row, clip)
    _check_same(states, row, clip, shown_clip, loaded)
    return explore(shown_clip, loaded if isinstance(model, VideoMamba) else name, **options)


def nearest(
    store: AnyStore,
    clip: int | tuple[int, int] | AnyClip,
    k: int = 10,
    *,
    quantity: str = "embedding",
    measure: Measure = "cosine",
    same_video: bool = False,
    model: str | VideoMamba | None = None,
) -> Neighbors:
    """Find the clips of a store that are most like a clip.

    The store is read once, a block at a time, whatever its size.

    Args:
        store: A store that has the quantity.
        clip: A row of the store, as the number of a video in the list or (video, clip), for which
            no model is loaded; or a video file, a `Clip` or a generated clip, which the store's
            model then runs on. A file is read at the store's stride, in its middle.
        k: How many neighbors.
        quantity: What to compare; all values of a clip are one vector.
        measure: "cosine": the cosine of the angle between the vectors, larger is nearer;
            "euclidean": their distance, smaller is nearer.
        same_video: Whether clips of the query's own file count. They are left out by default, being
            near for a poor reason.
        model: The model, or what `load_model` takes, for a query that is not a row; None loads what
            the store names.
    Returns:
        The neighbors, the nearest first; `neighbors_page` shows them.
    Raises:
        ClipError: the file cannot be read.
        ValueError: there is no such row or quantity, the model is gone or another one now, the clip
            is of another shape, or the store has no other video.
        TypeError: `clip` is none of these.
    """
    model = model if model is None or isinstance(model, str) else plain(model)
    states = as_states(store, "nearest")
    array = stored(states, quantity, "nearest")
    query: Any
    if isinstance(clip, int | np.integer | tuple):
        video, number = clip if isinstance(clip, tuple) else (int(clip), 0)
        row = _row(states, video, number, "nearest")
        query, vector = neighbor(states, row, number, np.nan), array.isel(video=row, clip=number)
        values = np.asarray(vector.values, np.float32)
    else:
        loaded, _ = recorded_model(states, model, "nearest")
        query = _as_query(clip, states)
        values = _values(states, loaded, query, quantity)
    options: Any = {"quantity": quantity, "measure": measure, "same_video": same_video}
    return neighbors(states, values, query, k, **options)


def recorded_model(
    states: xr.Dataset, model: str | VideoMamba | None, call: str
) -> tuple[VideoMamba, str]:
    """Return the model that a store is of, and what it is called.

    Args:
        states: The store.
        model: The model, or what `load_model` takes; None: what the store names.
        call: Begins the message of an error.
    Raises:
        ValueError: the store names none, it cannot be loaded, or has other weights now.
    """
    known = dict(states.attrs.get("model") or {})
    name = model if isinstance(model, str) else known.get("name")
    if model is None and not name:
        raise ValueError(
            f"{call}: the store does not name its model, which was not loaded by a name or from a "
            "file; pass it as model=."
        )
    if model is None or isinstance(model, str):
        try:
            loaded = load_model(str(name))
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(
                f"{call}: the model of the store, {one_line(name)}, cannot be loaded "
                f"({first_line(error)}); pass it as model=."
            ) from None
    else:
        loaded = model
    now = fingerprint(loaded)
    if now != known.get("fingerprint"):
        raise ValueError(
            f"{call}: {one_line(name or 'this model')} has the fingerprint {now} and the store was "
            f"made with {known.get('fingerprint')}: its weights or settings are others now; pass "
            "the model that made the store as model=, or extract again."
        )
    return loaded, str(name or type(loaded).__name__)


def read_row(states: xr.Dataset, row: int, clip: int) -> Clip:
    """Read the frames of a clip of a store from its file once more.

    Raises:
        ClipError: the file is gone, cannot be read, or has other frames now.
    """
    path = str(states["path"].values[row])
    if not os.path.isfile(path):
        raise ClipError(
            f"{one_line(path)}: the file is not there any more; put it back where it was when its "
            "states were extracted."
        )
    wanted = np.asarray(states["indices"][row, clip].values)
    size = int(states.attrs["sampling"]["img_size"])

    def choose(available: int) -> tuple[NDArray[np.int64], int]:
        if wanted.max() >= available:
            raise ClipError(f"{one_line(path)}: {_CHANGED} (it has {available} frames now).")
        return wanted, int((wanted[:-1] == wanted[1:]).sum())

    found = load_frames(path, choose, partial(middle_square, size=size))
    if not np.allclose(found.seconds, states["seconds"][row, clip].values, atol=1e-3):
        raise ClipError(f"{one_line(path)}: {_CHANGED} (its frames come at other times).")
    return found


_CHANGED = "the file is another one than when its states were extracted"


def _check_same(states: xr.Dataset, row: int, clip: int, found: Clip, model: VideoMamba) -> None:
    """Raise ClipError where the model makes something else of a clip than what is stored."""
    name = next((name for name in ("embedding", "logits") if name in states), None)
    if name is None:
        return
    before = np.asarray(states[name][row, clip].values, np.float32)
    now = _values(states, model, found, name)
    if np.abs(now - before).max() > ALIKE * max(float(np.abs(before).max()), 1e-6):
        raise ClipError(f"{found.source}: {_CHANGED} (the model's {name} of it differs).")


def _values(
    states: xr.Dataset, model: VideoMamba, clip: Clip, quantity: str
) -> NDArray[np.float32]:
    """What a model makes of a clip, as the store would have it."""
    asked = [requested(one) for one in states.attrs["quantities"]]
    wanted = next(one for one in asked if one.name == quantity)
    config = model.config
    if clip.frames.shape[:3] != (config.num_frames, config.img_size, config.img_size):
        raise ValueError(
            f"nearest: {clip.source} has the shape {clip.frames.shape}, expected "
            f"{(config.num_frames, config.img_size, config.img_size, 3)}, as the model reads it."
        )
    values = clip_values(model, clip.frames, variables(model, [wanted]))[quantity]
    return np.asarray(values, np.float32)


def _as_query(clip: AnyClip, states: xr.Dataset) -> Clip:
    if isinstance(clip, Clip | Generated):
        return shown_by(clip)
    if not isinstance(clip, str | os.PathLike):
        raise TypeError(
            f"nearest: a clip is {type(clip).__name__}, expected the number of a video, "
            "(video, clip), a file, a Clip or a generated clip."
        )
    one = Sampling(**states.attrs["sampling"])
    return load_clip(clip, one.num_frames, one.stride, img_size=one.img_size)


def _every(store: AnyStore, call: str) -> xr.Dataset:
    """The videos of a store, those that are not done as well."""
    if not isinstance(store, xr.Dataset):
        return open_states(store, only_done=False)
    as_states(store, call)
    return (
        store
        if "video" in store.coords
        else store.assign_coords(video=np.arange(store.sizes["video"]))
    )


def _row(states: xr.Dataset, video: int | AnyPath, clip: int, call: str) -> int:
    """The place of a video among those of a dataset, by its number in the list or its path."""
    numbers = states["video"].values
    if isinstance(video, int | np.integer):
        rows = np.flatnonzero(numbers == video)
        if not len(rows):
            progress = states.attrs.get("progress", "")
            raise ValueError(
                f"{call}: there is no video {video}; expected one of {numbers.min()} to "
                f"{numbers.max()} that is done ({progress.rstrip('.')})."
            )
    else:
        wanted = os.path.abspath(os.fspath(video))
        paths = [os.path.abspath(str(path)) for path in states["path"].values]
        rows = np.array([row for row, path in enumerate(paths) if path == wanted], int)
        if not len(rows):
            raise ValueError(f"{call}: the store has no video {one_line(os.fspath(video))}.")
    clips = states.sizes["clip"]
    if not 0 <= clip < clips:
        raise ValueError(f"{call}: there is no clip {clip}; each video has 0 to {clips - 1}.")
    return int(rows[0])
