"""Run an extraction: in this process, in processes of its own, or on a cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from vmamba_explore.datasets.lists import VideoList
from vmamba_explore.errors import one_line
from vmamba_explore.files import lock
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import BROKEN, DONE, UNSEEN, StateStore
from vmamba_explore.stores.regions import write_video


def run(
    store: StateStore,
    videos: VideoList,
    model: VideoMamba,
    *,
    workers: int = 0,
    client: Any = None,
    progress: bool = True,
) -> None:
    """Write the regions that are missing; Ctrl-C keeps what is done.

    Videos that could not be read by an earlier run are tried again after the others.

    Args:
        store: The store.
        videos: Its videos.
        model: Its model.
        workers: Processes of one thread to start on this machine; 0 runs in this one.
        client: A `distributed.Client` of a cluster, or the address of a scheduler, to run there.
        progress: Whether to show a progress bar.
    Raises:
        ValueError: another run is writing to the store, or no video at all can be read.
        OSError: the store cannot be written to, or the cluster is gone.
        ImportError: Dask is needed and is not installed.
    """
    with _alone(store.path):
        done = store.done()
        order = [n for state in (UNSEEN, BROKEN) for n in np.flatnonzero(done == state).tolist()]
        _remove_leftovers(store, order)
        bar = tqdm(
            total=len(done),
            initial=len(done) - len(order),
            desc="extracting",
            unit="video",
            disable=not progress,
        )
        broken = 0
        with bar, _answers(store, order, videos, model, workers, client) as answers:
            for reason in answers:
                broken += bool(reason)
                bar.set_postfix(broken=broken, refresh=False)
                bar.update()
    if broken and not (store.done() == DONE).any():
        number = next(n for n in order if store.array("error")[n] != "")
        raise ValueError(
            f"extract: none of the {len(done)} videos of {one_line(videos.name)} can be read; the "
            f"first: {store.array('error')[number]}"
        )


@contextlib.contextmanager
def _answers(
    store: StateStore,
    order: Sequence[int],
    videos: VideoList,
    model: VideoMamba,
    workers: int,
    client: Any,
) -> Iterator[Iterator[str]]:
    """What `write_video` says of each video, while they are written."""
    if not order or (client is None and not workers):
        yield (write_video(store, n, model, videos.videos[n].path) for n in order)
        return
    try:
        from vmamba_explore.stores import cluster
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"extract: more than one process needs Dask ({error.name} is not installed): pip "
            "install 'vmamba-explore[extract]'."
        ) from None
    paths = [str(videos.videos[n].path) for n in order]
    opened: AbstractContextManager[Any]
    if client is None:
        opened = cluster.local_client(min(workers, len(order)))
    elif isinstance(client, str):
        opened = cluster.client_of(client)
    else:
        opened = contextlib.nullcontext(client)
    with (
        opened as there,
        contextlib.closing(cluster.written(store, order, paths, model, there)) as answers,
    ):
        yield answers


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a store's lock, which ends with its process.

    Where the system has none, two runs write the same bytes, each chunk at once.

    Raises:
        ValueError: another run holds it.
    """
    file = os.open(folder / "zarr.json", os.O_RDWR)
    try:
        if not lock(file, wait=False):
            raise ValueError(
                f"extract: another run is writing to {one_line(folder)}; wait until it ends, or "
                "name another store."
            )
        yield
    finally:
        os.close(file)


def _remove_leftovers(store: StateStore, order: Sequence[int]) -> None:
    """Remove the unfinished files of a killed run, which has them where chunks are missing."""
    for name in store.names:
        chunks = store.path / name / "c"
        places = [chunks, *(chunks / str(number) for number in order)]
        for place in filter(os.path.isdir, places):
            for old in place.glob("*.partial") if place == chunks else place.rglob("*.partial"):
                with contextlib.suppress(OSError):
                    old.unlink()
