"""Many processes write the same bytes as one, also when one of them is killed."""

import os
import signal
import sys
import threading
import time

import dask
import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from distributed import Client, LocalCluster, WorkerPlugin

from tests.vmamba_explore.stores.conftest import bytes_of
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.app.extract import extract
from vmamba_explore.stores import cluster as on_cluster
from vmamba_explore.stores import regions
from vmamba_explore.stores.opened import open_states

QUANTITIES = ("embedding", "delta:mean:float16", "h_boundaries")
pytestmark = pytest.mark.kill


def extracted(model, videos, store, **options):
    return extract(model, videos, store, quantities=QUANTITIES, progress=False, **options)


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two processes of one thread."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """Return a client of it, with both workers there."""
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=600)
        yield client


@pytest.fixture
def whole(model, videos, tmp_path):
    """Return the bytes of a store that one process wrote."""
    extracted(model, videos, tmp_path / "whole.zarr")
    return bytes_of(tmp_path / "whole.zarr")


class Slow(WorkerPlugin):
    """Let every video take a while; kill the process at one of a name."""

    name = "slow"

    def __init__(self, seconds, deadly=""):
        self.seconds, self.deadly = seconds, deadly

    def setup(self, worker):
        self.read = regions.read_clips
        regions.read_clips = self.slowly

    def teardown(self, worker):
        regions.read_clips = self.read

    def slowly(self, path, sampling):
        time.sleep(self.seconds)
        if self.deadly and self.deadly in str(path):
            os._exit(1)
        return self.read(path, sampling)


@pytest.fixture
def slow(client):
    """Return a function that slows all workers down."""

    def start(seconds, deadly=""):
        client.register_plugin(Slow(seconds, deadly), name="slow")

    yield start
    client.unregister_worker_plugin("slow")


def test_a_scheduler_by_its_address_writes_the_same_bytes_as_one_process(
    model, videos, tmp_path, cluster, client, whole
):
    store = tmp_path / "a.zarr"
    extracted(model, videos, store, client=cluster.scheduler_address)
    assert bytes_of(store) == whole
    extracted(model, videos, store, client=client)  # there is nothing left to do
    assert bytes_of(store) == whole


def test_with_one_of_two_workers_killed_the_bytes_are_the_same(
    model, videos, tmp_path, client, slow, whole
):
    store, killed = tmp_path / "a.zarr", []
    slow(0.5)
    pids = list(client.run(os.getpid).values())

    def kill():
        while len(list(store.glob("done/c/*"))) < 3:
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(len(list(store.glob("done/c/*"))))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    extracted(model, videos, store, client=client)
    killer.join(600)
    assert killed and killed[0] < 12  # in the middle
    assert bytes_of(store) == whole


def test_a_video_that_kills_every_process_is_noted_and_the_others_are_written(
    model, videos, tmp_path, cluster, client, slow, monkeypatch
):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # others die beside it
    slow(0.1, deadly=videos.videos[4].path.name)
    found = extracted(model, videos, tmp_path / "a.zarr", client=client)
    done = found["done"].values
    assert done[4] == 2 and "process that ran this video died" in found["error"].values[4]
    assert (np.delete(done, 4) == 1).all()


def test_a_broken_video_and_the_model_in_half_precision_travel(videos, tmp_path, client):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    half = toy(change=enliven).to(dtype=torch.bfloat16)
    paths = [broken, videos.videos[0].path]
    found = extracted(half, paths, tmp_path / "a.zarr", client=client)
    alone = extracted(half, paths, tmp_path / "b.zarr")
    assert found["done"].values.tolist() == [2, 1] and "broken.mp4" in found["error"].values[0]
    assert bytes_of(tmp_path / "a.zarr") == bytes_of(tmp_path / "b.zarr")
    for one in (found, alone):
        one.attrs.pop("store")  # where it is
    xr.testing.assert_identical(found, alone)


def test_the_model_travels_as_settings_and_weights(model, videos, tmp_path, client):
    extracted(model, videos, tmp_path / "a.zarr")
    plugin = on_cluster.ModelOnWorkers(tmp_path / "a.zarr", model)
    kinds = {type(value) for value in plugin.__getstate__().values()}
    assert kinds <= {str, dict, bytes}
    assert all(isinstance(v, int | float | str | None) for v in plugin.config.values())


def test_a_scheduler_that_is_not_there_is_a_sentence(model, videos, tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConnectionError, match="no scheduler answers at tcp://127.0.0.1:9 "),
    ):
        extracted(model, videos, tmp_path / "a.zarr", client="tcp://127.0.0.1:9")


def test_a_scheduler_without_workers_is_a_sentence_and_keeps_the_store(
    model, videos, tmp_path, monkeypatch
):
    monkeypatch.setattr(on_cluster, "LOOK", 0.05)
    monkeypatch.setattr(on_cluster, "PATIENCE", 0.2)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        Client(empty) as client,
        pytest.raises(ConnectionError, match="has had no workers for .*same command resumes"),
    ):
        extracted(model, videos, tmp_path / "a.zarr", client=client)
    found = extracted(model, videos, tmp_path / "a.zarr")
    assert (found["done"] == 1).all()


def test_a_scheduler_that_vanishes_is_a_sentence_and_what_is_done_is_kept(
    model, videos, tmp_path, monkeypatch, whole
):
    monkeypatch.setattr(on_cluster, "LOOK", 0.1)
    store = tmp_path / "a.zarr"
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    )
    client = Client(cluster, timeout="2s")
    client.register_plugin(Slow(1.0), name="slow")

    def leave():
        while len(list(store.glob("done/c/*"))) < 2:
            time.sleep(0.01)
        cluster.close()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    with pytest.raises(ConnectionError, match="the videos that are done are kept"):
        extracted(model, videos, store, client=client)
    leaving.join(600)
    client.close()
    assert 2 <= len(list(store.glob("done/c/*"))) < 12
    extracted(model, videos, store)
    assert bytes_of(store) == whole


OWN = """
import sys
from tests.vmamba_explore.stores.test_cluster import Slow, extracted
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.stores import cluster

give_out = cluster._give_out

def slowed(plugin, client, where):
    give_out(plugin, client, where)
    client.register_plugin(Slow(0.5), name="slow")

cluster._give_out = slowed
if __name__ == "__main__":
    extracted(toy(change=enliven), from_folders(sys.argv[1]), sys.argv[2], workers=2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_ends_takes_its_own_workers_with_it_and_the_same_call_resumes(
    model, films, videos, tmp_path, whole, sent
):
    store, script = tmp_path / "a.zarr", tmp_path / "own.py"
    script.write_text(OWN)
    path = os.pathsep.join([os.getcwd(), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = psutil.Popen([sys.executable, str(script), str(films), str(store)], env=environment)
    ends = time.monotonic() + 600
    while len(list(store.glob("done/c/*"))) < 2:
        assert run.is_running() and time.monotonic() < ends
        time.sleep(0.01)
    family = run.children(recursive=True)
    assert len(family) >= 2
    run.send_signal(sent)
    assert run.wait(600) != 0
    _, left = psutil.wait_procs(family, timeout=600)
    assert not left
    done = open_states(store, only_done=False)["done"].values
    assert set(done) == {0, 1}
    extracted(model, videos, store)
    assert bytes_of(store) == whole


def test_few_videos_are_given_out_at_a_time(model, videos, tmp_path, client, monkeypatch):
    out, most, submit = set(), [], Client.submit

    def counted(self, *given, **options):
        future = submit(self, *given, **options)
        out.add(future.key)
        most.append(len(out))
        future.add_done_callback(lambda future: out.discard(future.key))
        return future

    monkeypatch.setattr(Client, "submit", counted)
    extracted(model, videos, tmp_path / "a.zarr", client=client)
    assert len(most) == 12 and max(most) <= 2 * on_cluster.AHEAD


def test_workers_and_a_client_are_refused_together(model, videos, tmp_path):
    with pytest.raises(ValueError, match="expected one of the two"):
        extracted(model, videos, tmp_path / "a.zarr", workers=2, client="tcp://127.0.0.1:9")


def test_processes_of_its_own_write_the_same_bytes(model, videos, tmp_path, whole):
    extracted(model, videos, tmp_path / "a.zarr", workers=1)
    assert bytes_of(tmp_path / "a.zarr") == whole
