"""extract(): what a model makes of a whole data set, in a store on disk."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from vmamba_explore.clips.clip import ClipError
from vmamba_explore.datasets.lists import Video, VideoList, read_list
from vmamba_explore.files import AnyPath, output_path
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import identify
from vmamba_explore.model.checkpoints import fingerprint, load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import Layout, Sampling, as_text, prepare
from vmamba_explore.stores.opened import open_states
from vmamba_explore.stores.quantities import Quantity, variables
from vmamba_explore.stores.regions import read_clips, video_values
from vmamba_explore.stores.run import run
from vmamba_explore.stores.sizes import StoreSize, size_of

AnyVideos = str | VideoList | Sequence[AnyPath]


def extract(
    model: str | VideoMamba,
    videos: AnyVideos,
    store: AnyPath,
    *,
    quantities: Sequence[str | Quantity] = ("embedding",),
    clips_per_video: int = 1,
    stride: int | None = 2,
    workers: int = 0,
    client: Any = None,
    loaded_by: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Run a model on many videos and store what it makes of each, in a Zarr store.

    The same call resumes a run that was interrupted, whatever ended it; only the videos that were
    in work are run again. A video that cannot be read is noted and skipped.

    Args:
        model: A model, or what `load_model` takes.
        videos: A data set as `train` takes it ("folders:ROOT", ...), a `VideoList`, or paths.
        store: Folder of the store.
        quantities: What to store: names with, if wanted, a reduction over the patches of a token
            frame and a type, such as "delta:mean:float16", or `Quantity`s.
        clips_per_video: Clips of each video, spread evenly; one is its middle.
        stride: Source frames from one clip frame to the next, or None to spread one clip over the
            whole video.
        workers: Processes of one thread to start on this machine; 0 runs in this one. A script
            needs `if __name__ == "__main__":` above such a call.
        client: A `distributed.Client` of a Dask cluster, or the address of its scheduler, to run
            there; all workers reach videos and store under the paths that they have here.
        loaded_by: Arguments with which `load_model` gives this model, for the store to note, where
            `model` is not its name; None: what is known of it.
        progress: Whether to show a progress bar.
    Returns:
        The store as `open_states(store, only_done=False)` opens it, with a row for each video of
        the list: `done` is 1 for those that are there, 2 for those that could not be read, which
        `error` says of. `open_states(store)` leaves these out.
    Raises:
        ValueError: the store is of another model, list, quantities or frames, or another run is
            writing to it; there is no such quantity; or no video can be read.
        ImportError: zarr is not installed, or Dask where it is needed.
        OSError: the store cannot be written to, or the cluster is gone; what is done is kept.
    """
    if workers and client is not None:
        raise ValueError(
            f"extract: workers is {workers} and a client is given; expected one of the two: "
            "processes of its own, or a cluster that is there."
        )
    loaded = load_model(model) if isinstance(model, str) else plain(model)
    listed = as_list(videos, loaded)
    layout = layout_of(loaded, quantities, clips_per_video, stride)
    path = output_path(store, "extract", folder=True, parents=True)
    opened = prepare(path, layout, listed, described(loaded, model, loaded_by))
    run(opened, listed, loaded, workers=workers, client=client, progress=progress)
    return open_states(path, only_done=False)


def store_size(
    model: str | VideoMamba,
    videos: AnyVideos,
    *,
    quantities: Sequence[str | Quantity] = ("embedding",),
    clips_per_video: int = 1,
    stride: int | None = 2,
    workers: int = 0,
) -> StoreSize:
    """Say what `extract` would store, and how long it would take; nothing is written.

    A few videos are read and run, for the time.

    Args:
        model, videos, quantities, clips_per_video, stride, workers: As for `extract`.
    Returns:
        Bytes by variable, files, and hours.
    Raises:
        ValueError: there is no such quantity.
    """
    loaded = load_model(model) if isinstance(model, str) else plain(model)
    listed = as_list(videos, loaded)
    layout = layout_of(loaded, quantities, clips_per_video, stride)
    count = len(listed)
    took: list[float] = []
    for number in sorted({0, count // 4, count // 2, 3 * count // 4, count - 1} & {*range(count)}):
        for _ in range(1 if took else 2):  # the first run compiles kernels
            begun = time.perf_counter()
            try:
                clip = read_clips(listed.videos[number].path, layout.sampling)
                video_values(loaded, clip, layout.variables, layout.sampling)
            except (ClipError, OSError, FloatingPointError):
                break
            seconds = time.perf_counter() - begun
        else:
            took.append(seconds)
    each = sum(took) / len(took) if took else math.nan
    paths = sum(len(as_text(video.path).encode()) for video in listed.videos)
    return size_of(layout, count, paths, each, len(took), max(1, workers))


def layout_of(
    model: VideoMamba,
    quantities: Sequence[str | Quantity],
    clips_per_video: int = 1,
    stride: int | None = 2,
) -> Layout:
    """Say what a store of a model's quantities has of each video."""
    asked = quantities.split(",") if isinstance(quantities, str) else quantities
    config = model.config
    sampling = Sampling(config.num_frames, config.img_size, stride, clips_per_video)
    return Layout(variables(model, asked), sampling)


def as_list(videos: AnyVideos, model: VideoMamba) -> VideoList:
    """Read a list of videos, their paths absolute; classes are numbered as the model does it."""
    if isinstance(videos, str):
        videos = read_list(videos, model.class_names)
    if not isinstance(videos, VideoList):
        paths = tuple(Video(Path(path), -1) for path in videos)
        videos = VideoList(paths, (), f"{len(paths)} videos")
    if model.class_names is not None and not videos.unnamed:
        with suppress(ValueError):  # classes of its own
            videos = videos.numbered_as(model.class_names)
    absolute = tuple(Video(video.path.absolute(), video.label) for video in videos.videos)
    return replace(videos, videos=absolute)


def described(
    model: VideoMamba, given: str | VideoMamba, loaded_by: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a store says of its model: how `load_model` gives it, where known, and what it is."""
    bundled = identify(model)
    if loaded_by is None and bundled is not None:
        loaded_by = {"what": bundled.name}
    elif loaded_by is None and isinstance(given, str):
        loaded_by = {"what": given}
    by = dict(loaded_by or {})
    if os.path.exists(os.path.expanduser(by.get("what", ""))) and bundled is None:
        by["what"] = os.path.abspath(os.path.expanduser(by["what"]))
    return {
        "name": by.get("what"),
        "loaded_by": by or None,
        "class_names": None if model.class_names is None else list(model.class_names),
        "config": model.config.to_dict(),
        "fingerprint": fingerprint(model),
    }
