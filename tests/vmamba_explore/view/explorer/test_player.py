"""The player: the explorer with a clip and its maps, and nothing else."""

import base64
import io
import json
import re

import numpy as np
import pytest
import traitlets
from PIL import Image

from vmamba_explore.view.explorer import ClipPlayer
from vmamba_explore.view.pictures import Overlay

EVIL = "</script><script>alert(1)</script>"
STATE = re.compile(r'show\(render, "explorer-[^"]+", (.*)\);\n</script>')


@pytest.fixture
def maps(grid_map):
    return {"delta": grid_map()[0, 0], EVIL: grid_map(signed=True)[1, 0].assign_attrs(unit="<i>")}


def test_the_first_map_is_shown_unless_another_is_named(clip, maps):
    assert ClipPlayer(clip, maps).overlay == ClipPlayer(clip, maps).quantity == "delta"
    for name in (EVIL, ""):
        assert ClipPlayer(clip, maps, overlay=name).overlay == name
    player = ClipPlayer(clip)
    assert player.overlay == "" and player.token_frames == list(range(16))
    with pytest.raises(ValueError, match="quantity is 'delat', expected one of 'delta'"):
        ClipPlayer(clip, maps, overlay="delat")
    with pytest.raises(traitlets.TraitError):
        ClipPlayer(clip, opacity=1.5)


def test_dims_in_any_order_mean_the_same_and_others_are_refused(clip, maps):
    turned = {name: values.transpose("col", "frame", "row") for name, values in maps.items()}
    assert ClipPlayer(clip, turned).levels == ClipPlayer(clip, maps).levels
    for values in (maps["delta"].expand_dims("channel"), maps["delta"][:0]):
        with pytest.raises(ValueError, match="overlay 'd' has dims .* expected frame, row and col"):
            ClipPlayer(clip, {"d": values})


def test_a_map_is_over_the_clip_frames_that_its_coordinate_says(clip, maps):
    values = maps["delta"].assign_coords(clip_frame=("frame", [1, 2, 3, 4, 5, 6, 7, 12]))
    assert ClipPlayer(clip, {"a": values}).token_frames == [0, 0, 1, 2, 3, 4, 5, *[6] * 5, *[7] * 4]


def test_maps_over_different_grids_are_drawn_cell_by_cell_as_alone(clip, maps):
    coarse = maps["delta"].coarsen(frame=2, row=2, col=4).mean().drop_vars("clip_frame")
    player = ClipPlayer(clip, {**maps, "coarse": coarse})
    alone = ClipPlayer(clip, {"coarse": coarse})
    player.overlay = "coarse"
    assert player.grid == [16, 4, 4] and alone.grid == [4, 2, 1]
    assert player.to_png() == alone.to_png()


def test_the_png_shows_every_frame_in_either_theme_and_is_written_where_asked(clip, maps, tmp_path):
    path = tmp_path / "sheet.png"
    pictures = [
        ClipPlayer(clip, maps).to_png(path, theme=t, overwrite=True) for t in ("light", "dark")
    ]
    assert path.read_bytes() == pictures[1]
    light, dark = (np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures)
    assert light.shape == dark.shape and light.shape[1] > 8 * 224
    assert (light[0, 0] == 255).all() and (dark[0, 0] < 40).all()
    assert (light[8:232, 8:232] == dark[8:232, 8:232]).all(), "a map's colors follow no theme"


@pytest.fixture
def opened(clip, maps, tmp_path, open_offline):
    """Return the player's page, opened without a network and ready."""
    path = tmp_path / "player.html"
    ClipPlayer(clip, maps).to_html(path)
    page = open_offline(path)
    page.wait_for_selector(".vmx-compact[data-ready='1']")
    yield page
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "blob:"))] == []


def pixel(page, x, y):
    """Return the red, green and blue of one point of the picture, given as shares of it."""
    return page.locator("canvas.vmx-pane").evaluate(
        """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
            Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data.slice(0, 3)]""",
        [x, y],
    )


def test_the_map_can_be_chosen_and_left_out_and_pointing_tells_its_values(opened, clip, maps):
    menu, legend = opened.get_by_label("quantity"), opened.locator(".vmx-legend")
    for name in (EVIL, "", "delta"):
        menu.select_option(name)
        opened.wait_for_function(
            "name => document.querySelector('.vmx-explorer').dataset.quantity === name", arg=name
        )
        assert legend.is_visible() == bool(name)
        if name:
            overlay = Overlay.from_map(maps[name], 16)
            expected = overlay.over(clip, 0, 0.55)
            ends = [float(end) for end in opened.locator(".vmx-ends span").all_inner_texts()]
            assert (ends[0], ends[-1]) == pytest.approx(
                (overlay.scale.low, overlay.scale.high), rel=0.01
            )
        else:
            expected = clip.frames[0]
        for x, y in ((0.1, 0.1), (0.4, 0.5), (0.9, 0.7)):
            found = np.array(pixel(opened, x, y))
            assert abs(found - expected[int(y * 32), int(x * 32)]).max() <= 3
    assert f"{EVIL} (<i>)" not in legend.inner_text() and "delta (no unit)" in legend.inner_text()
    box = opened.locator("canvas.vmx-pane").bounding_box()
    opened.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.1 * box["height"])
    readout = opened.locator(".vmx-readout")
    opened.wait_for_function(
        "() => document.querySelector('.vmx-readout').innerText.includes('row')"
    )
    shown = re.search(r"row 0, col 2 · delta: ([-\d.e]+)", readout.inner_text())[1]
    assert float(shown) == pytest.approx(float(maps["delta"][0, 0, 2]), abs=0.01)
    opened.mouse.click(box["x"] + 5, box["y"] + 5)  # there is nothing to ask
    opened.get_by_label("opacity").fill("0")
    opened.wait_for_timeout(100)
    gray = pixel(opened, 0.9, 0.1)
    assert max(gray) - min(gray) <= 1
    assert opened.locator(".vmx-explorer").get_attribute("data-query") == ""


def test_there_is_only_what_a_clip_with_maps_has(opened, clip):
    assert opened.locator(".vmx-source").inner_text() == clip.source
    assert opened.locator(".vmx-explorer :is(img, script)").count() == 0, "HTML became HTML"
    seen = [
        n
        for n in ("quantity", "opacity", "speed", "frame")
        if opened.get_by_label(n, exact=True).is_visible()
    ]
    assert len(seen) == 4
    for label in ("layer", "direction", "scale", "scan path", "ask the read-out"):
        assert not opened.get_by_label(label, exact=True).is_visible()
    others = ".vmx-timeline, .vmx-strip, .vmx-query, .vmx-classes, .vmx-navigator, .vmx-tabs"
    assert opened.locator(others).count() == 0
    opened.get_by_label("frame", exact=True).fill("5")
    opened.wait_for_selector(".vmx-explorer[data-frame='5']")
    words = opened.locator(".vmx-readout").inner_text()
    assert words.startswith("token frame 2 · clip frame 5, 0.63 s")
    opened.evaluate("() => addEventListener('keydown', () => (window.leaked = true))")
    for key in ("j", "p", "d", "ArrowUp", "Shift+ArrowUp"):  # nothing to move
        opened.locator(".vmx-explorer").press(key)
    assert opened.evaluate("window.leaked") is None, "a key reached the page"
    opened.locator(".vmx-explorer").press("?")
    rows = opened.get_by_role("dialog").locator("th").all_inner_texts()
    assert rows == ["Space", "← →", "Home, End", "q", "?"]


def test_the_page_holds_names_as_data_only(clip, maps):
    page = ClipPlayer(clip, maps).to_html()
    assert EVIL not in page and "<img src" not in page
    state = json.loads(STATE.search(page)[1])
    assert state["heading"] == clip.source and state["maps"][1]["name"] == EVIL
    frames = base64.b64decode(state["sides"][0]["frames"]["base64"])
    assert frames == ClipPlayer(clip).sides[0]["frames"]
