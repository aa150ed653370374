"""The page of feature cards, made from vectors in memory and from a store on disk."""

import numpy as np
import pytest
import xarray as xr

from tests.vmamba_explore.analysis.features.planted import small_model
from vmamba_explore.analysis.features.activations import Site, record_activations
from vmamba_explore.analysis.features.fit import train_features
from vmamba_explore.analysis.features.measures import measure_features
from vmamba_explore.app.extract import extract
from vmamba_explore.app.feature_page import done_videos, feature_page, stored_activations
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips

SERIES = MotionClips(0, num_frames=8, img_size=16)
CLIPS = [SERIES[number] for number in range(6)]
ASKED = {"width": 12, "k": 2, "steps": 30, "batch_size": 16}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def rows(model):
    return record_activations(model, CLIPS, Site(1))


@pytest.fixture(scope="module")
def features(model, rows):
    return train_features(rows, model=model, **ASKED)


def test_the_page_says_what_it_is_of_and_how_large_it_is(model, rows, features, tmp_path):
    quality = measure_features(model, features, CLIPS)
    page = feature_page(
        model, features, rows, tmp_path / "f.html", CLIPS, which=3, top=2, quality=quality
    )
    text = page.read_text("utf-8")
    assert "<h1>Sparse features: residual stream before layer 1</h1>" in text
    assert "96 of 6 clips" in text and "3 features, " in text
    assert f"variance unexplained {quality.unexplained}" in text
    size = float(text.split("<dt>Size of this page</dt><dd>")[1].split(" MB")[0])
    assert size == pytest.approx(page.stat().st_size / 1e6, abs=0.1)


SITES = {"tokens": Site(1), "states": Site(0, "backward")}


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    """An extraction of three files, one of them broken."""
    pytest.importorskip("zarr")
    folder = tmp_path_factory.mktemp("store")
    for number in range(3):
        frames = np.repeat(SERIES[number].clip.frames, 2, axis=0).repeat(2, 1).repeat(2, 2)
        write_clip(folder / f"{number}.mp4", frames)
    (folder / "1.mp4").write_bytes(b"not a film")
    paths = [folder / f"{number}.mp4" for number in range(3)]
    asked = ["layers.1.hook_block_input:float16", "h_boundaries"]
    return extract(model, paths, folder / "s.zarr", quantities=asked, clips_per_video=2, stride=1)


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_clips_of_a_store_are_read_from_their_files_again(model, store, site, tmp_path):
    rows = stored_activations(done_videos(store), site)
    assert rows.shape[:2] == (2, 2)
    features = train_features(rows, **ASKED)
    labels = xr.DataArray([3, 0, 1], dims="video")
    page = feature_page(
        model, features, store.assign(label=labels), tmp_path / "f.html", which=3, top=3
    )
    text = page.read_text("utf-8")
    assert "0.mp4" in text and "2.mp4" in text and "1.mp4" not in text
    assert "have changed since" not in text
    assert '"label": 1' in text and '"label": 0' not in text


def test_a_store_without_the_site_or_without_a_video_is_a_sentence(
    model, features, store, tmp_path
):
    output = tmp_path / "f.html"
    with pytest.raises(ValueError, match="expected layers.1.hook_block_input. Extract"):
        feature_page(model, features, store.drop_vars("layers.1.hook_block_input"), output)
    with pytest.raises(ValueError, match="no video of the store is done"):
        feature_page(model, features, store.assign(done=0 * store["done"]), output)


def test_features_of_another_model_and_vectors_without_clips_are_refused(
    rows, features, model, tmp_path
):
    with pytest.raises(ValueError, match="a model of other weights"):
        feature_page(small_model(d_state=3), features, rows, tmp_path / "f.html", CLIPS)
    with pytest.raises(ValueError, match="clips is None"):
        feature_page(model, features, rows, tmp_path / "f.html")
    with pytest.raises(FileNotFoundError, match="the folder"):
        feature_page(model, features, rows, tmp_path / "no" / "f.html", CLIPS)
