"""The verb: which lists it takes, what a store says of its model, and what a dry run foretells."""

import numpy as np
import pytest

from tests.vmamba_explore.stores.conftest import write_films
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore import load_model
from vmamba_explore.app.extract import as_list, described, extract, store_size
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.stores.opened import open_states
from vmamba_explore.stores.quantities import Quantity

QUANTITIES = (
    ["embedding", "delta:mean:float16", "h_boundaries", "layers.1.hook_block_input"],
    [Quantity("h", layers=(1,), patches=((0, 1),)), "logits", "u:max"],
)


@pytest.fixture
def films(tmp_path):
    """Return a folder of five films."""
    write_films(tmp_path / "films", 5)
    return tmp_path / "films"


@pytest.fixture
def model():
    """Return a small model."""
    return toy(change=enliven)


def files_of(store):
    return [path for path in store.rglob("*") if path.is_file()]


def test_a_store_says_what_its_states_mean(model, films, tmp_path):
    paths = sorted(films.rglob("*.mp4"))[:1]
    asked = ["h_boundaries", "delta"]
    made = extract(model, paths, tmp_path / "a.zarr", quantities=asked, progress=False)
    for found in (made, open_states(tmp_path / "a.zarr")):
        told = found["h_boundaries"].attrs
        assert set(told["tokens"]) == set(model.config.directions)
        assert all(len(ends) == model.grid.frames for ends in told["tokens"].values())
        assert "c times the state" in told["scale"] and "scale" not in found["delta"].attrs


@pytest.mark.parametrize("quantities", QUANTITIES)
@pytest.mark.parametrize("labeled", [True, False])
def test_a_dry_run_foretells_bytes_and_files_exactly(model, films, tmp_path, quantities, labeled):
    videos = from_folders(films) if labeled else sorted(films.rglob("*.mp4"))
    size = store_size(model, videos, quantities=quantities, clips_per_video=2, stride=1)
    store = tmp_path / "a.zarr"
    extract(
        model, videos, store, quantities=quantities, clips_per_video=2, stride=1, progress=False
    )
    files = files_of(store)
    assert size.files == len(files)
    assert size.total == sum(f.stat().st_size for f in files if f.name != "zarr.json")
    assert size.disk == sum(4096 * -(-file.stat().st_size // 4096) for file in files)
    assert size.measured_on == 5 and 0 < size.hours < 1


def test_a_list_of_which_nothing_can_be_read_leaves_the_time_open(model, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    size = store_size(model, [tmp_path / "a.mp4"])
    assert np.isnan(size.hours) and "the time is not known" in str(size)


def test_classes_that_the_model_names_are_numbered_as_it_numbers_them(model, films):
    assert [video.label for video in as_list(from_folders(films), model).videos] == [0] * 2 + [
        1
    ] * 3
    model.class_names = ("wild", "b", "c", "d", "Calm")
    listed = as_list(from_folders(films), model)
    assert [video.label for video in listed.videos] == [4] * 2 + [0] * 3
    model.class_names = ("a", "b", "c", "d", "e")  # other ones
    assert as_list(f"folders:{films}", model).class_names == ("calm", "wild")


def test_paths_alone_have_no_labels(model, films):
    listed = as_list(sorted(films.rglob("*.mp4")), model)
    assert {video.label for video in listed.videos} == {-1} and len(listed) == 5


def test_paths_are_kept_as_they_are_found_from_anywhere(model, films, monkeypatch):
    found = sorted(films.rglob("*.mp4"))
    monkeypatch.chdir(films)
    listed = as_list([path.relative_to(films) for path in found], model)
    assert [video.path for video in listed.videos] == found


def test_a_store_says_how_its_model_is_loaded_again(model, tmp_path):
    bundled = load_model("motion-nano")
    assert described(bundled, bundled)["loaded_by"] == {"what": "motion-nano"}
    assert described(model, model)["loaded_by"] is None
    model.save_pretrained(tmp_path / "mine")
    said = described(model, str(tmp_path / "mine"))
    again = load_model(**said["loaded_by"])
    assert described(again, again)["fingerprint"] == said["fingerprint"]


def test_a_store_is_lazy_without_dask(model, films, tmp_path):
    found = extract(model, from_folders(films), tmp_path / "a.zarr", progress=False)
    assert found["embedding"].chunks is None and not found["embedding"]._in_memory
