"""From a row of a store back to its file, the very frames, and the model that made it."""

import os
import shutil

import numpy as np
import pytest
import torch

import vmamba_explore as vx
from tests.vmamba_explore.stores.stores import write_film
from tests.vmamba_explore.toys import enliven, toy
from vmamba_explore.app import stored
from vmamba_explore.app.stored import nearest, open_row
from vmamba_explore.clips.clip import ClipError
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.stores.opened import open_states

ASKED = ["embedding:float16", "frame_features"]


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    for number in range(5):
        write_film(folder / f"{number}.mp4", number)
    (folder / "5.mp4").write_bytes(b"not a film")
    return folder


@pytest.fixture
def model():
    return toy(change=enliven)


@pytest.fixture
def store(films, model, tmp_path):
    """A store of five films, two clips each, and a broken one."""
    paths = [films / f"{number}.mp4" for number in range(6)]
    options = {"clips_per_video": 2, "stride": 1, "progress": False}
    vx.extract(model, paths, tmp_path / "s.zarr", quantities=ASKED, **options)
    return tmp_path / "s.zarr"


@pytest.fixture
def asked(monkeypatch, unchecked):
    """What `explore` was given, in the place of an explorer."""
    given = []
    monkeypatch.setattr(stored, "explore", lambda *one, **more: given.append((*one, more)))
    return given


@pytest.mark.parametrize("kind", ["number", "path"])
@pytest.mark.parametrize("clip", [0, 1])
def test_a_row_opens_on_its_file_at_the_very_frames_with_the_model(
    kind, clip, store, films, model, asked
):
    open_row(store, 3 if kind == "number" else films / "3.mp4", clip, model=model, target=1)
    ((shown, used, options),) = asked
    assert used is model and options == {"target": 1}
    assert shown.path == str(films / "3.mp4")
    assert shown.indices.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]][clip]
    expected = load_clip(films / "3.mp4", 4, 1, int(shown.indices[0]), model.config.img_size)
    assert np.array_equal(shown.frames, expected.frames)


def test_the_explorer_is_that_of_the_clip(store, films, model):
    explorer = open_row(store, 1, model=model, progress=False)
    assert explorer.explorations[0].clip.path == str(films / "1.mp4")
    explorer.close()


def test_a_row_without_a_file_is_said(store, films, model, asked):
    os.remove(films / "3.mp4")
    with pytest.raises(ClipError, match=r"3\.mp4: the file is not there any more; put it back"):
        open_row(store, 3, model=model)
    shutil.copy(films / "2.mp4", films / "3.mp4")
    with pytest.raises(ClipError, match="another one than when .* embedding of it differs"):
        open_row(store, 3, model=model)
    os.remove(films / "3.mp4")
    write_film(films / "3.mp4", 3, frames=6)
    with pytest.raises(ClipError, match=r"another one than when .* \(it has 6 frames now\)"):
        open_row(store, 3, 1, model=model)
    assert asked == []


def test_a_model_that_is_gone_or_another_one_is_said(store, model, tmp_path, films, asked):
    with pytest.raises(ValueError, match="the store does not name its model.*pass it as model="):
        open_row(store, 0)
    other = toy(change=enliven, seed=1)
    with pytest.raises(ValueError, match="its weights or settings are others now"):
        open_row(store, 0, model=other)
    model.save_pretrained(tmp_path / "kept")
    named = tmp_path / "named.zarr"
    options = {"stride": 1, "progress": False}
    vx.extract(str(tmp_path / "kept"), [films / "0.mp4"], named, quantities=ASKED, **options)
    open_row(named, 0)
    assert asked[0][1] == str(tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(ValueError, match=r"kept, cannot be loaded \(.*\); pass it as model="):
        open_row(named, 0)
    other.save_pretrained(tmp_path / "kept")
    with pytest.raises(ValueError, match="kept has the fingerprint .* others now"):
        open_row(named, 0)


def test_a_video_without_states_is_said(store, model, asked):
    with pytest.raises(
        ValueError, match=r"video 5 could not be read: .*5\.mp4: not a video .*\)\.$"
    ):
        open_row(store, 5, model=model)
    with pytest.raises(ValueError, match="there is no video 9; expected one of 0 to 5"):
        open_row(store, 9, model=model)
    with pytest.raises(ValueError, match=r"the store has no video x\.mp4"):
        open_row(store, "x.mp4", model=model)
    with pytest.raises(ValueError, match="there is no clip 2; each video has 0 to 1"):
        open_row(store, 0, 2, model=model)


def test_a_row_and_its_own_frames_as_a_clip_have_the_same_neighbors(store, films, model):
    size = model.config.img_size
    clip = load_clip(films / "2.mp4", 4, 1, 8, size)
    row, same = nearest(store, (2, 1), 20), nearest(store, clip, 20, model=model)
    assert [(one.video, one.clip) for one in row.found] == [
        (one.video, one.clip) for one in same.found
    ]
    assert {one.video for one in row.found} == {0, 1, 3, 4} and row.left_out == 2
    one = nearest(store, clip, 1, model=model, same_video=True).found[0]
    assert (one.video, one.clip) == (2, 1) and one.value == pytest.approx(1, abs=1e-5)


def test_a_file_that_is_not_in_the_store_is_compared_with_all_of_it(store, model, tmp_path):
    write_film(tmp_path / "new.mp4", 3, frames=4)
    found = nearest(store, tmp_path / "new.mp4", 3, model=model)
    assert found.compared == 10 and found.left_out == 0
    assert found.query.path == str(tmp_path / "new.mp4")
    with torch.inference_mode():
        own = model.embed(found.query.tensor()[None])[0].numpy()
    stored_values = open_states(store)["embedding"].values.reshape(10, -1).astype(np.float64)
    cosines = stored_values @ own / np.linalg.norm(stored_values, axis=1) / np.linalg.norm(own)
    np.testing.assert_allclose([one.value for one in found.found], sorted(cosines)[::-1][:3],
                               atol=1e-3)  # fmt: skip


def test_any_stored_quantity_can_be_compared_and_a_clip_of_another_shape_is_refused(store, model):
    assert len(nearest(store, 0, 4, quantity="frame_features", measure="euclidean")) == 4
    with pytest.raises(ValueError, match="quantity is 'logits', expected 'embedding' or 'frame_"):
        nearest(store, 0, quantity="logits")
    clip = vx.Clip(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4.0), "small", np.arange(4))
    with pytest.raises(ValueError, match=r"small has the shape \(4, 8, 8, 3\), expected \(4, 32"):
        nearest(store, clip, model=model)


def test_what_is_not_a_clip_is_refused(store, model, unchecked):
    with pytest.raises(TypeError, match="a clip is float, expected the number of a video"):
        nearest(store, 1.5, model=model)
