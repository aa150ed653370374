"""What can be taken out of the explorer."""

import io
import sys
from dataclasses import replace

import av
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from vmamba_explore.view.explorer import Explorer, export


@pytest.fixture
def explorer(make_exploration):
    return Explorer(make_exploration(0))


@pytest.fixture
def pair(make_exploration):
    return Explorer(make_exploration(0), make_exploration(1))


def test_the_page_opens_offline_in_the_present_state(explorer, tmp_path, open_offline):
    explorer.frame, explorer.layer, explorer.quantity = 4, 0, "delta"
    explorer.direction = "backward"
    explorer.to_html(tmp_path / "page.html")
    page = open_offline(tmp_path / "page.html")
    root = page.locator(".vmx-explorer[data-ready]")
    root.wait_for()
    state = {
        n: root.get_attribute(f"data-{n}") for n in ("frame", "layer", "quantity", "direction")
    }
    assert state == {"frame": "4", "layer": "0", "quantity": "delta", "direction": "backward"}
    assert "clip <b>0</b>.mp4" in root.inner_text()
    assert page.locator("b, i").count() == 0, "HTML in a name became HTML"
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_gif_has_every_frame_at_the_speed_shown(explorer, tmp_path):
    explorer.speed = 0.5
    image = Image.open(io.BytesIO(explorer.to_gif(tmp_path / "a.gif")))
    assert image.n_frames == 6
    assert image.info["duration"] == 250  # 8 frames a second at half speed
    assert (tmp_path / "a.gif").stat().st_size > 1000


def test_a_film_has_every_frame(explorer, tmp_path):
    explorer.to_mp4(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        seconds = float(container.duration) / 1e6
    assert len(frames) % 6 == 0
    assert seconds == pytest.approx(6 / (8 * explorer.speed), rel=0.2)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50


def test_a_png_is_the_present_frame(explorer):
    before = explorer.to_png()
    explorer.frame = 5
    assert explorer.to_png() != before
    assert Image.open(io.BytesIO(before)).format == "PNG"


def test_the_table_has_a_row_for_every_layer_direction_and_token(explorer, make_exploration):
    table = pd.read_csv(io.StringIO(explorer.to_csv()))
    assert len(table) == 2 * 2 * 3 * 2 * 4
    row = table.query(
        "layer == 3 and direction == 'backward' and frame == 2 and row == 1 and col == 3"
    )
    maps = make_exploration(0).maps
    assert row["contribution"].item() == pytest.approx(maps["contribution"].values[1, 1, 2, 1, 3])
    assert row["relevance"].item() == pytest.approx(maps["relevance"].values[2, 1, 3])
    assert row["clip_frame"].item() == 4 and row["seconds"].item() == 0.5
    curves = pd.read_csv(io.StringIO(explorer.to_csv(what="curves")))
    assert list(curves.columns[-2:]) == ["seen_from_the_start", "seen_from_the_end"]
    assert len(curves) == 3


def test_each_side_keeps_its_own_times(make_exploration):
    one, other = make_exploration(0), make_exploration(1)
    later = {
        name: values.assign_coords(seconds=values["seconds"] + 3)
        for name, values in {**other.maps, **other.curves}.items()
    }
    maps, curves = ({name: later[name] for name in part} for part in (other.maps, other.curves))
    pair = Explorer(one, replace(other, maps=maps, curves=curves))
    for what in ("maps", "curves"):
        times = pd.read_csv(io.StringIO(pair.to_csv(what=what))).groupby("side")["seconds"]
        assert times.unique()["A"].tolist() == [0, 0.25, 0.5]
        assert times.unique()["B"].tolist() == [3, 3.25, 3.5]


def test_maps_that_only_one_side_has_are_kept(make_exploration):
    one, other = make_exploration(0), make_exploration(1)
    maps = {name: values for name, values in other.maps.items() if name != "contribution"}
    table = pd.read_csv(io.StringIO(Explorer(one, replace(other, maps=maps)).to_csv()))
    assert table.groupby("side")["contribution"].count().to_dict() == {"A": 96, "B": 0}


def test_a_zarr_store_gives_every_number_back(pair, make_exploration, tmp_path):
    pytest.importorskip("zarr")
    store = pair.to_zarr(tmp_path / "clip.zarr")
    with xr.open_zarr(store, consolidated=False) as back:
        second = back["delta"].isel(side=1).values
        assert back["direction"].attrs["names"] == ["forward", "backward"]
        assert back.attrs["B"] == "clip <b>1</b>.mp4"
    np.testing.assert_array_equal(second, make_exploration(1).maps["delta"].values)


@pytest.mark.parametrize("kind", ["html", "png", "gif", "csv", "zarr"])
def test_what_is_in_the_way_is_named_and_replaced_only_when_told(explorer, tmp_path, kind):
    save, path = getattr(explorer, f"to_{kind}"), tmp_path / f"there.{kind}"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=f"to_{kind}: .* exists already; overwrite=True"):
        save(path)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match=f"to_{kind}: .* the folder .*absent does not exis"):
        save(tmp_path / "absent" / path.name)
    if kind == "zarr":  # a folder of its own; see below
        return
    save(path, overwrite=True)
    assert path.read_bytes()[:4] != b"mine"
    with pytest.raises(IsADirectoryError, match=f"to_{kind}: .* is a folder; name a file"):
        save(tmp_path, overwrite=True)


def test_a_zarr_store_replaces_a_store_and_nothing_else(explorer, tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(FileExistsError, match="is not a Zarr store, so it is not replaced"):
            explorer.to_zarr(path, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    explorer.to_zarr(tmp_path / "store")
    with pytest.raises(FileExistsError, match="exists already; overwrite=True"):
        explorer.to_zarr(tmp_path / "store")
    assert explorer.to_zarr(tmp_path / "store", overwrite=True) == tmp_path / "store"


def test_without_zarr_the_package_to_install_is_named(explorer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vmamba-explore\[extract\]'"):
        explorer.to_zarr(tmp_path / "clip.zarr")


def test_an_unknown_table_is_refused(explorer, unchecked):
    with pytest.raises(ValueError, match="what is 'states', expected 'maps' or 'curves'"):
        explorer.to_csv(what="states")


def test_nothing_is_drawn_for_a_file_that_cannot_be_written(explorer, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "gif", lambda *given: pytest.fail("drawn"))
    with pytest.raises(FileNotFoundError):
        explorer.to_gif(tmp_path / "absent" / "a.gif")
