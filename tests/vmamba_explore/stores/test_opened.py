"""A store opens lazily, holds what is there, and says how far it is."""

import json
import logging

import numpy as np
import pytest

import vmamba_explore as vx
from tests.vmamba_explore.stores.stores import made
from vmamba_explore.stores.opened import as_states, blocks, open_states, stored


@pytest.fixture
def values():
    return {"embedding": np.arange(24, dtype=np.float16).reshape(6, 1, 4)}


def test_a_finished_store_of_extract_opens_with_every_video(model, videos, tmp_path):
    vx.extract(model, videos, tmp_path / "s", quantities=["embedding"], progress=False)
    states = open_states(tmp_path / "s")
    assert states.attrs["progress"] == "12 of 12 videos are done."
    assert states["embedding"].dims == ("video", "clip", "feature")
    assert states["path"].values.tolist() == [str(one.path) for one in videos.videos]


def test_nothing_is_read_before_it_is_asked_for(values, tmp_path):
    path = made(tmp_path / "s", values)
    states = open_states(path)
    for chunk in (path / "embedding" / "c" / "3").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"not a chunk")
    assert states["embedding"].isel(video=2).values.tolist() == [[8, 9, 10, 11]]
    with pytest.raises(Exception, match="."):
        states["embedding"].isel(video=3).values  # noqa: B018


def test_an_unfinished_store_opens_with_the_videos_that_are_done_and_says_so(
    values, tmp_path, caplog
):
    path = made(tmp_path / "s", values, done=[1, 0, 1, 2, 0, 1])
    with caplog.at_level(logging.WARNING):
        states = open_states(path)
    said = "3 of 6 videos are done, 1 could not be read (see `error`), 2 are still to come."
    assert states.attrs["progress"] == said and said in caplog.text
    assert states["video"].values.tolist() == [0, 2, 5]
    assert states["embedding"].values[:, 0, 0].tolist() == [0, 8, 20]
    assert open_states(path, only_done=False).sizes["video"] == 6


@pytest.mark.parametrize("kind", ["no folder", "a file", "an empty folder", "another group"])
def test_what_is_not_a_store_is_refused_in_a_sentence(kind, tmp_path):
    path = tmp_path / "odd"
    if kind == "a file":
        path.write_text("x")
    elif kind != "no folder":
        path.mkdir()
    if kind == "another group":
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises((ValueError, FileNotFoundError), match="open_states: .*odd"):
        open_states(path)


def test_a_store_of_another_version_is_refused_with_both_versions(values, tmp_path):
    path = made(tmp_path / "s", values, format=99)
    with pytest.raises(ValueError, match="has format 99, and this version reads format 1"):
        open_states(path)


def test_a_store_of_which_nothing_is_done_cannot_be_used(values, tmp_path):
    path = made(tmp_path / "s", values, done=[0] * 6)
    with pytest.raises(ValueError, match=r"probe: 0 of 6 videos are done, 6 are still to come"):
        as_states(open_states(path), "probe")
    with pytest.raises(ValueError, match=r"probe: 0 of 6 videos are done"):
        as_states(path, "probe")


def test_a_quantity_that_is_not_stored_is_named_beside_those_that_are(values, tmp_path):
    states = open_states(made(tmp_path / "s", values))
    with pytest.raises(ValueError, match="quantity is 'delta', expected 'embedding'"):
        stored(states, "delta", "probe")


def test_blocks_are_the_whole_array_a_few_videos_at_a_time_in_float32(values, tmp_path):
    array = open_states(made(tmp_path / "s", values))["embedding"]
    parts = list(blocks(array, most_bytes=2 * 4 * 4))
    assert [part.shape[0] for _, part in parts] == [2, 2, 2]
    assert all(part.dtype == np.float32 for _, part in parts)
    assert np.array_equal(np.concatenate([part for _, part in parts]), values["embedding"])


def test_a_dataset_that_is_not_a_store_is_refused(values, tmp_path):
    states = open_states(made(tmp_path / "s", values)).drop_vars("done")
    with pytest.raises(ValueError, match="nearest: this dataset has no done; expected the folder"):
        as_states(states, "nearest")
