"""The picture that stands in a saved notebook for an explorer that cannot run there."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from vmamba_explore.clips import Clip
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.still import still

CELL = """
import numpy as np, xarray as xr
from vmamba_explore import Clip, ClipPlayer
frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
values = xr.DataArray(np.arange(64.0).reshape(4, 4, 4), dims=("frame", "row", "col"))
ClipPlayer(Clip(frames, np.arange(4) / 8, "a <b>clip</b>.mp4", np.arange(4)), {"age": values})
"""
VIEW = "application/vnd.jupyter.widget-view+json"


def picture(text):
    """Return the picture in a base64 text."""
    return Image.open(io.BytesIO(base64.b64decode(text)))


def in_style(bundle):
    """Return the pictures that a bundle's HTML holds: the one for dark pages, then the light."""
    return re.findall(r"data:image/png;base64,([\w+/=]+)", bundle["text/html"])


def test_both_themes_are_there_in_their_own_colors(make_exploration):
    explorer = Explorer(make_exploration())
    bundle = still(explorer.view, explorer.key)
    dark, light = in_style(bundle)
    assert bundle["image/png"] == light
    corners = [picture(each).convert("RGB").getpixel((0, 0)) for each in (dark, light)]
    assert corners == [(17, 17, 17), (255, 255, 255)]
    assert picture(light).size == picture(dark).size
    assert "clip &lt;b&gt;0&lt;/b&gt;.mp4" in bundle["text/html"]


def test_it_is_the_present_frame_and_map(make_exploration):
    explorer = Explorer(make_exploration())
    before = still(explorer.view, "k")["image/png"]
    explorer.frame = 5
    after = still(explorer.view, "k")["image/png"]
    explorer.quantity = "delta"
    assert len({before, after, still(explorer.view, "k")["image/png"]}) == 3


@pytest.mark.parametrize("sides", [1, 2])
def test_a_picture_that_does_not_compress_stays_below_150_kb(sides, make_exploration):
    noise = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), dtype=np.uint8)
    clip = Clip(noise, np.arange(6) / 8, "noise", np.arange(6))
    explorer = Explorer(*[make_exploration(n, clip=clip) for n in range(sides)])
    explorer.opacity = 0.1
    bundle = still(explorer.view, explorer.key)
    assert sum(map(len, bundle.values())) < 150_000
    assert picture(bundle["image/png"]).width > 150


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a notebook with a player in it that was executed, its widgets lost."""
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, kernel_name="python3", store_widget_state=False).execute()
    assert "widgets" not in notebook.metadata
    return notebook


def test_a_cell_has_the_widget_and_then_its_picture(executed):
    widget, shown = executed.cells[0].outputs
    assert set(widget.data) == {VIEW, "text/plain"}
    assert widget.data["text/plain"] == "ClipPlayer: a <b>clip</b>.mp4"
    assert set(shown.data) == {"text/html", "image/png", "text/plain"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_notebook_without_widget_state_shows_the_picture_of_its_theme(
    theme, executed, tmp_path, open_offline
):
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(theme=theme).from_notebook_node(executed)
    (tmp_path / "page.html").write_text(page, "utf-8")
    opened = open_offline(tmp_path / "page.html", "light")
    image = opened.get_by_role("img", name="explorer: a <b>clip</b>.mp4")
    assert image.is_visible() and image.bounding_box()["width"] == 480
    shown = Image.open(io.BytesIO(image.screenshot())).convert("RGB")
    assert (sum(shown.getpixel((470, 5))) > 600) == (theme == "light")
    assert opened.get_by_text("ClipPlayer: ").filter(visible=True).count() == 0


def test_a_page_of_unknown_theme_shows_the_picture_that_its_reader_prefers(
    make_exploration, tmp_path, open_offline
):
    explorer = Explorer(make_exploration())
    page = f"<!doctype html>{still(explorer.view, explorer.key)['text/html']}"
    (tmp_path / "page.html").write_text(page, "utf-8")
    for scheme in ("light", "dark"):
        image = open_offline(tmp_path / "page.html", scheme).get_by_role("img")
        shown = Image.open(io.BytesIO(image.screenshot())).convert("RGB")
        assert (sum(shown.getpixel((470, 5))) > 600) == (scheme == "light")


def test_the_picture_gives_way_to_its_own_explorer_and_to_no_other(
    make_exploration, tmp_path, open_offline
):
    one, other = Explorer(make_exploration()), Explorer(make_exploration(1))
    parts = [one.to_fragment(), *(still(each.view, each.key)["text/html"] for each in (one, other))]
    (tmp_path / "page.html").write_text("\n".join(["<!doctype html>", *parts]), "utf-8")
    page = open_offline(tmp_path / "page.html")
    page.locator(".vmx-explorer[data-ready]").wait_for()
    assert not page.locator(f".vmx-still-{one.key}").is_visible()
    assert page.locator(f".vmx-still-{other.key}").is_visible()
    page.evaluate("document.querySelector('.vmx-explorer').remove()")
    assert page.locator(f".vmx-still-{one.key}").is_visible()
