"""Nothing is lost or written twice, whatever ends a run; what is wrong is a sentence."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore

from tests.vmamba_explore.stores.conftest import bytes_of
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.app.extract import extract
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.stores import regions
from vmamba_explore.stores.layout import StateStore

QUANTITIES = ("embedding", "delta:mean:float16", "h_boundaries")


def extracted(model, videos, store, **options):
    return extract(model, videos, store, quantities=QUANTITIES, progress=False, **options)


def states(store):
    return xr.open_zarr(store, consolidated=False, chunks=None)


@pytest.fixture
def whole(model, videos, tmp_path):
    """Return the bytes of a store that was written without interruption."""
    extracted(model, videos, tmp_path / "whole.zarr")
    return bytes_of(tmp_path / "whole.zarr")


def test_a_row_is_a_video_with_its_path_label_and_times(model, videos, tmp_path):
    found = extracted(model, videos, tmp_path / "a.zarr", stride=1, clips_per_video=2)
    assert found["done"].values.tolist() == [1] * 12
    assert found["path"].values.tolist() == [str(video.path) for video in videos.videos]
    assert found["label"].values.tolist() == [0] * 6 + [1] * 6
    assert found.attrs["class_names"] == ["calm", "wild"]
    assert found["indices"].values[0].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert found["seconds"].values[3, 1] == pytest.approx(np.arange(8, 12) / 16)
    assert found["h_boundaries"].dims == (
        "video", "clip", "layer", "direction", "frame", "channel", "state"
    )  # fmt: skip
    assert found["h_boundaries"].chunks is None
    assert found["direction"].values.tolist() == ["forward", "backward"]


def test_a_done_video_is_not_written_again(model, videos, tmp_path, monkeypatch, whole):
    store = tmp_path / "a.zarr"
    extracted(model, videos, store)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    ran = []
    monkeypatch.setattr(regions, "read_clips", lambda *given: ran.append(given))
    extracted(model, videos, store)
    assert ran == [] and {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_ctrl_c_keeps_what_is_done_and_the_same_call_resumes(
    model, videos, tmp_path, monkeypatch, whole
):
    store, read = tmp_path / "a.zarr", regions.read_clips

    def interrupted(path, sampling):
        if path == videos.videos[5].path:
            raise KeyboardInterrupt
        return read(path, sampling)

    with monkeypatch.context() as patch:
        patch.setattr(regions, "read_clips", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extracted(model, videos, store)
    assert states(store)["done"].values.tolist() == [1] * 5 + [0] * 7
    assert np.isnan(states(store)["embedding"].values[5:]).all()
    extracted(model, videos, store)
    assert bytes_of(store) == whole


SCRIPT = """
import sys, time
from tests.vmamba_explore.stores.test_run import extracted
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.stores import regions
read = regions.read_clips
regions.read_clips = lambda *given: time.sleep(0.5) or read(*given)  # slower than whoever kills it
extracted(toy(change=enliven), from_folders(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.kill
def test_a_run_that_is_killed_at_random_moments_ends_with_the_same_bytes(
    model, films, videos, tmp_path, whole
):
    store = tmp_path / "a.zarr"
    draw = random.Random(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    reached = []
    for _ in range(3):
        before = sum(reached)
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(films), str(store)], env=environment
        )
        deadline = time.monotonic() + 600
        while len(list(store.glob("embedding/c/*"))) <= before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.6 * draw.random())
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        done = states(store)["done"].values
        assert set(done) <= {0, 1}
        reached.append(int(done.sum()) - before)
        if not sum(reached):
            continue
        finite = np.isfinite(states(store)["embedding"].values[done == 1])
        assert finite.all()
    assert sum(reached) < 12
    extracted(model, videos, store)
    assert bytes_of(store) == whole  # unfinished files of the killed ones, too, are gone


def test_a_second_run_is_refused_while_the_first_one_lives(model, videos, tmp_path, monkeypatch):
    store, read, said = tmp_path / "a.zarr", regions.read_clips, []

    def meanwhile(path, sampling):
        if not said:
            said.append("")
            with pytest.raises(ValueError, match="another run is writing to .*a.zarr; wait") as one:
                extracted(model, videos, store)
            said.append(str(one.value))
        return read(path, sampling)

    monkeypatch.setattr(regions, "read_clips", meanwhile)
    extracted(model, videos, store)
    assert len(said) == 2 and (states(store)["done"] == 1).all()
    extracted(model, videos, store)  # the lock ended with its run


def test_a_broken_video_is_noted_with_its_sentence_and_tried_again_by_the_next_run(
    model, films, tmp_path, whole
):
    root = tmp_path / "films"
    for film in sorted(films.rglob("*.mp4")):
        (root / film.parent.name).mkdir(parents=True, exist_ok=True)
        (root / film.parent.name / film.name).write_bytes(film.read_bytes())
    film, store = root / "calm" / "03.mp4", tmp_path / "a.zarr"
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 3])
    found = extracted(model, from_folders(root), store)
    assert found["done"].values.tolist() == [1, 2] + [1] * 10
    assert "03.mp4" in found["error"].values[1] and found["error"].values[0] == ""
    assert np.isnan(found["embedding"].values[1]).all()
    film.write_bytes(content)
    found = extracted(model, from_folders(root), store)
    assert found["done"].values.tolist() == [1] * 12 and found["error"].values[1] == ""
    assert bytes_of(store)["embedding/c/1/0/0"] == whole["embedding/c/1/0/0"]


def test_a_list_of_which_nothing_can_be_read_is_an_error_that_shows_the_first(model, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="none of the 1 videos .* be read; the first: .*a.mp4"):
        extracted(model, [tmp_path / "a.mp4"], tmp_path / "a.zarr")
    assert states(tmp_path / "a.zarr")["done"].values.tolist() == [2]


def test_a_number_too_large_for_float16_is_noted_and_what_fits_is_kept(videos, tmp_path):
    model = toy(change=lambda model: model.head.bias.fill_(7e4))
    with pytest.raises(ValueError, match="65,504, the largest that float16 has"):
        extract(model, videos, tmp_path / "a.zarr", quantities=["logits:float16"], progress=False)
    found = extract(model, videos, tmp_path / "b.zarr", quantities=["logits"], progress=False)
    assert (found["logits"].values > 65504).all()


def test_a_full_disk_is_a_sentence_and_the_store_stays_readable(
    model, videos, tmp_path, monkeypatch, whole
):
    store, put, count = tmp_path / "a.zarr", LocalStore.set, []

    async def full(self, key, value):
        count.append(key)
        if len(count) > 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)
        await put(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full)
        with pytest.raises(OSError, match="No space left on device.*the same command resumes") as e:
            extracted(model, videos, store)
    assert e.value.errno == errno.ENOSPC and "\n" not in str(e.value)
    done = states(store)["done"].values
    assert 0 < done.sum() < 12 and np.isfinite(states(store)["embedding"].values[done == 1]).all()
    extracted(model, videos, store)
    assert bytes_of(store) == whole


def test_a_disk_that_is_full_from_the_start_leaves_no_store(model, videos, tmp_path, monkeypatch):
    async def full(self, key, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full)
        with pytest.raises(OSError, match="cannot write the folder .No space left on device"):
            extracted(model, videos, tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": toy(seed=5)}, "holds what another model made"),
        ({"quantities": ["embedding"]}, r"holds other quantities .*; now embedding"),
        ({"videos": slice(0, 3)}, "holds another list of videos .films, 12 videos; now films, 3"),
        ({"stride": 1}, "holds other frames: stride is 2, now 1"),
        ({"clips_per_video": 2}, "holds other frames: clips_per_video is 1, now 2"),
    ],
)
def test_a_store_of_something_else_is_refused_and_left_alone(
    model, videos, tmp_path, change, message
):
    store = tmp_path / "a.zarr"
    given = {"model": model, "videos": videos, "quantities": QUANTITIES, "progress": False}
    extract(store=store, **given)
    before = bytes_of(store)
    if isinstance(part := change.get("videos"), slice):
        change = {"videos": type(videos)(videos.videos[part], videos.class_names, videos.name)}
    with pytest.raises(ValueError, match=message):
        extract(store=store, **(given | change))
    assert bytes_of(store) == before


def test_a_folder_or_a_store_of_another_kind_is_refused_and_left_alone(model, videos, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    zarr.create_group(store=str(tmp_path / "other.zarr"), zarr_format=3)
    for name in ("notes", "other.zarr"):
        with pytest.raises(ValueError, match=f"{name} is not a store of states"):
            extracted(model, videos, tmp_path / name)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["a.txt"]


def test_a_video_is_written_by_a_plain_call_that_knows_the_folder_alone(
    model, videos, tmp_path, whole
):
    store = tmp_path / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmamba_explore.app.extract.run", lambda *_, **__: None)
        extracted(model, videos, store)
    other = toy(seed=5, change=enliven)
    with pytest.raises(ValueError, match="holds what another model made"):
        regions.write_video(store, 0, other)
    assert {regions.write_video(store, number, model) for number in reversed(range(12))} == {""}
    assert bytes_of(store) == whole


def test_memory_does_not_hold_what_is_written(model, videos, tmp_path, monkeypatch):
    kept, write = [], StateStore.write

    def watched(self, number, values):
        kept.append(sum(value.nbytes for value in values.values()))
        write(self, number, values)

    monkeypatch.setattr(StateStore, "write", watched)
    extracted(model, videos, tmp_path / "a.zarr")
    assert len(set(kept)) == 1 and len(kept) == 12  # a video at a time, however many there are
