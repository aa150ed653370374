"""Videos spread over the processes of a Dask cluster; the model travels as settings and weights."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, cast

import torch
from distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from safetensors.torch import load, save

from vmamba_explore.errors import first_line, one_line
from vmamba_explore.files import AnyPath
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import StateStore
from vmamba_explore.stores.regions import write_video

AHEAD = 2
"""Videos that are given out at a time, for each thread of the workers."""
LOOK = 5.0
"""Seconds between two looks at whether there are workers."""
PATIENCE = 60.0
"""Seconds without any worker after which a run gives up."""


class ModelOnWorkers(WorkerPlugin):
    """The model and the store of a run in every worker, those that start later included.

    Args:
        folder: The store's, as the workers reach it.
        model: The model; what travels of it is its configuration and its tensors.
    """

    def __init__(self, folder: AnyPath, model: VideoMamba) -> None:
        self.folder = os.path.abspath(folder)
        self.config = model.config.to_dict()
        weight = model.norm_f.weight
        self.dtype, self.device = str(weight.dtype).removeprefix("torch."), weight.device.type
        state = model.state_dict()
        self.weights = save({name: value.detach().contiguous() for name, value in state.items()})
        self.name = f"vmamba-explore {fingerprint(model)} {self.folder}"

    def setup(self, worker: Any) -> None:
        """Build the model and open the store."""
        model = VideoMamba(VideoMambaConfig(**self.config)).to(getattr(torch, self.dtype))
        model.load_state_dict(load(self.weights))
        self.model, self.store = model.to(self.device).eval(), StateStore(self.folder)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("model", "store")}


def write_on_worker(plugin: str, number: int, path: str) -> str:
    """Write the region of a video in a worker; see `write_video`."""
    torch.set_num_threads(1)  # of this thread: the cluster counts its cores as threads of workers
    mine = cast(ModelOnWorkers, get_worker().plugins[plugin])
    return write_video(mine.store, number, mine.model, path)


@contextlib.contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Start processes of one thread each on this machine, and end them with the block."""
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # a limit is kept by killing
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def client_of(address: str) -> Iterator[Client]:
    """Connect to a scheduler that runs already.

    Raises:
        ConnectionError: none answers.
    """
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"extract: no scheduler answers at {one_line(address)} ({first_line(error)}); start "
            "one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`."
        ) from None
    with client:
        yield client


def written(
    store: StateStore, order: Sequence[int], paths: Sequence[str], model: VideoMamba, client: Client
) -> Generator[str, None, None]:
    """Write the regions of videos on a cluster; few are given out at a time.

    A video at which processes died may have been in work beside the one that killed them, so it is
    tried again after all others, alone.

    Args:
        store: The store; its folder has the same path on all workers.
        order: The numbers of the videos.
        paths: Their files.
        model: Its model.
        client: A client of the cluster.
    Yields:
        For each video, as it ends, what `write_video` returns.
    Raises:
        ConnectionError: the scheduler is gone, or has had no workers for a while.
        OSError: the store cannot be written to.
        ValueError: the workers cannot load the model or open the store.
    """
    plugin = ModelOnWorkers(store.path, model)
    where = one_line(client.scheduler_info(n_workers=0)["address"])
    cores = _Cores(client, where)
    _give_out(plugin, client, where)
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    flying: dict[Any, tuple[Future, tuple[int, str]]] = {}
    suspects: list[tuple[int, str]] = []
    todo: Iterator[tuple[int, str]] = zip(order, paths, strict=True)
    alone = False
    try:
        while True:
            room = 1 if alone else max(1, AHEAD * cores())
            while len(flying) < room and (task := next(todo, None)) is not None:
                future = client.submit(write_on_worker, plugin.name, *task, pure=False)
                flying[future.key] = future, task
                future.add_done_callback(ended.put)
            if not flying and (alone or not suspects):
                return
            if not flying:
                todo, alone = iter(suspects), True
                continue
            try:
                future, task = flying.pop(ended.get(timeout=LOOK).key)
            except queue.Empty:
                cores()
                continue
            answer = _answer(future, where)
            if answer is None and not alone:
                suspects.append(task)
                continue
            if answer is None:
                answer = "The process that ran this video died, each time it was tried."
                store.give_up(task[0], answer)
            yield answer
    except Exception:
        if client.status != "running":  # Dask has many kinds for this
            raise _gone(where, "is gone") from None
        raise
    finally:
        if client.status == "running":
            with contextlib.suppress(Exception):  # the cluster may be gone
                client.cancel([future for future, _ in flying.values()])
                client.unregister_worker_plugin(plugin.name)


def _give_out(plugin: ModelOnWorkers, client: Client, where: str) -> None:
    """Bring the model to the workers."""
    try:
        client.register_plugin(plugin, name=plugin.name)
    except Exception as error:
        raise ValueError(
            f"extract: the workers of {where} cannot begin ({first_line(error)}). Each needs "
            "vmamba-explore[extract] of this version, and the store's folder under the same path."
        ) from None


def _answer(future: Future, where: str) -> str | None:
    """What became of a video; None where processes died at it."""
    if future.cancelled():
        raise _gone(where, "is gone")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return None
    if isinstance(error, CancelledError):
        raise _gone(where, "is gone")
    raise error


def _gone(where: str, what: str) -> ConnectionError:
    return ConnectionError(
        f"extract: the scheduler at {where} {what}; the videos that are done are kept, and the "
        "same command resumes."
    )


class _Cores:
    """How many threads the workers have in all; asked now and then."""

    def __init__(self, client: Client, where: str) -> None:
        self.client, self.where = client, where
        self.asked, self.known, self.seen = -LOOK, 0, time.monotonic()

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self.asked >= LOOK or not self.known:
            if self.client.status != "running":
                raise _gone(self.where, "is gone")
            try:
                self.known = sum(self.client.nthreads().values())
            except Exception as error:  # Dask has many kinds for this
                raise _gone(self.where, f"does not answer ({first_line(error)})") from None
            self.asked = now
            if self.known:
                self.seen = now
            elif now - self.seen > PATIENCE:
                raise _gone(self.where, f"has had no workers for {PATIENCE:.0f} seconds")
        return self.known
