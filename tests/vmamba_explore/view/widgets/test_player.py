"""The player: in Python, through a kernel, and alone in a browser without a network."""

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import traitlets
from PIL import Image

from vmamba_explore.view.pictures import Overlay
from vmamba_explore.view.widgets import ClipPlayer
from vmamba_explore.view.widgets import player as player_module

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture
def maps(grid_map):
    return {"delta": grid_map()[0, 0], EVIL: grid_map(signed=True)[1, 0].assign_attrs(unit="<i>")}


def test_the_frames_that_are_sent_are_the_clips_own(clip):
    player = ClipPlayer(clip)
    start, end = player.offsets[5:7]
    sent = np.asarray(Image.open(io.BytesIO(player.frames[start:end])))
    assert (sent == clip.frames[5]).all() and len(player.offsets) == 17


def test_all_maps_travel_in_one_deflated_stream(clip, maps):
    player = ClipPlayer(clip, maps)
    levels = np.frombuffer(zlib.decompress(player.levels), np.uint8).reshape(2, 8, 4, 4)
    delta = maps["delta"].values
    assert levels[0].max() == 254 and levels[0].argmax() == delta.argmax()
    assert (levels[1] < 127).any() and (levels[1] > 127).any()
    assert [item["shape"] for item in player.maps] == [[8, 4, 4]] * 2


def test_a_signed_map_is_centered_on_zero_and_a_positive_one_spans_its_values(clip, maps):
    delta, signed = ClipPlayer(clip, maps).maps
    assert (delta["low"], delta["signed"]) == (float(maps["delta"].min()), False)
    assert signed["low"] == -signed["high"] and signed["signed"]
    assert (delta["label"], signed["label"]) == ("delta (no unit)", f"{EVIL} (<i>)")


def test_the_first_map_is_shown_unless_another_is_named(clip, maps):
    assert ClipPlayer(clip, maps).overlay == "delta"
    assert ClipPlayer(clip, maps, overlay=EVIL).overlay == EVIL
    assert ClipPlayer(clip, maps, overlay="").overlay == ""
    assert ClipPlayer(clip).overlay == ""


def test_a_map_that_is_not_there_is_refused_with_what_is(clip, maps):
    with pytest.raises(ValueError, match=r"no overlay 'delat'. It has: 'delta'"):
        ClipPlayer(clip, maps, overlay="delat")


def test_a_frame_outside_the_clip_becomes_the_nearest_inside(clip):
    player = ClipPlayer(clip)
    player.frame = 99
    assert player.frame == 15
    player.frame = -1
    assert player.frame == 0


def test_opacity_outside_its_range_is_refused(clip):
    with pytest.raises(traitlets.TraitError):
        ClipPlayer(clip, opacity=1.5)


def test_bytes_on_load_count_frames_maps_and_code(clip, maps):
    player = ClipPlayer(clip, maps)
    least = len(player.frames) + len(player.levels) + len(player.tables)
    assert least < player.bytes_on_load() < least + 20_000


def test_the_png_shows_every_frame_and_is_written_where_asked(clip, maps, tmp_path):
    path = tmp_path / "sheet.png"
    data = ClipPlayer(clip, maps).to_png(path)
    assert path.read_bytes() == data
    assert Image.open(io.BytesIO(data)).width > 8 * 32


def test_the_page_holds_names_as_data_only(clip, maps):
    page = ClipPlayer(clip, maps).to_html()
    assert EVIL not in page and "<img src" not in page
    data = page.split('show("player-')[1].split('", ', 1)[1].split(");\n</script>")[0]
    state = json.loads(data)
    assert state["source"] == clip.source and state["maps"][1]["name"] == EVIL
    assert base64.b64decode(state["frames"]["base64"]) == ClipPlayer(clip).frames


CELLS = """
import numpy as np, xarray as xr
from vmamba_explore.clips import Clip
from vmamba_explore.view.widgets import ClipPlayer
t = np.arange(4)
clip = Clip(np.zeros((4, 8, 8, 3), np.uint8), t / 4.0, "clip.mp4", t)
player = ClipPlayer(clip, {"delta": xr.DataArray(np.ones((2, 1, 1)), dims=("frame", "row", "col"))})
player
"""


def test_what_the_browser_sets_reaches_the_kernel(kernel):
    view = kernel.run(CELLS)[0].data["application/vnd.jupyter.widget-view+json"]
    state = {"frame": 3, "overlay": ""}
    kernel.send(view["model_id"], method="update", state=state, buffer_paths=[])
    assert kernel.says("player.frame, repr(player.overlay)") == "3 ''"


@pytest.fixture
def opened(clip, maps, tmp_path, open_offline):
    """Return the player's page, opened without a network and ready."""
    path = tmp_path / "player.html"
    ClipPlayer(clip, maps).to_html(path)
    page = open_offline(path)
    page.wait_for_selector(".vmx-player[data-ready='16']")
    yield page
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "blob:"))] == []


def pixel(page, x, y):
    """Return the red, green and blue of one point of the picture, given as shares of it."""
    return page.locator(".vmx-player canvas").first.evaluate(
        """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
            Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data.slice(0, 3)]""",
        [x, y],
    )


def test_arrow_keys_step_through_the_clip_and_around_its_ends(opened):
    player = opened.locator(".vmx-player")
    player.focus()
    for key, frame in (("ArrowRight", "1"), ("ArrowLeft", "0"), ("ArrowLeft", "15")):
        player.press(key)
        assert player.get_attribute("data-frame") == frame


def test_keys_stay_inside_the_player(opened):
    opened.evaluate("() => addEventListener('keydown', () => (window.leaked = true))")
    opened.locator(".vmx-player").press("ArrowRight")
    opened.locator(".vmx-player").press("j")
    assert opened.evaluate("window.leaked") is None


def test_space_plays_and_stops(opened):
    player = opened.locator(".vmx-player")
    player.press(" ")
    opened.wait_for_selector(".vmx-player:not([data-frame='0'])")
    assert opened.get_by_label("pause").count() == 1
    player.press(" ")
    frame = player.get_attribute("data-frame")
    opened.wait_for_timeout(400)
    assert player.get_attribute("data-frame") == frame


def test_the_overlay_can_be_chosen_and_left_out(opened, clip):
    player, menu = opened.locator(".vmx-player"), opened.get_by_label("overlay", exact=True)
    assert player.get_attribute("data-overlay") == "delta"
    with_map = pixel(opened, 0.9, 0.1)
    menu.select_option("")
    assert player.get_attribute("data-overlay") == "none"
    assert pixel(opened, 0.9, 0.1) == clip.frames[0, 3, 28].tolist() != with_map
    assert not opened.locator(".vmx-legend").is_visible()
    menu.select_option(EVIL)
    assert player.get_attribute("data-overlay") == EVIL


@pytest.mark.parametrize("name", ["delta", EVIL])
def test_the_browser_blends_as_python_does(opened, clip, maps, name):
    opened.get_by_label("overlay", exact=True).select_option(name)
    opened.get_by_label("frame", exact=True).fill("6")
    expected = Overlay.from_map(name, maps[name], 16).over(clip, 6, 0.55)
    for x, y in ((0.1, 0.1), (0.4, 0.5), (0.9, 0.7)):
        found = np.array(pixel(opened, x, y))
        assert abs(found - expected[int(y * 32), int(x * 32)]).max() <= 3


def test_opacity_fades_the_map(opened):
    opened.get_by_label("overlay opacity").fill("0")
    gray = pixel(opened, 0.9, 0.1)
    assert max(gray) - min(gray) <= 1


def test_the_legend_has_the_limits_and_the_unit(opened, maps):
    opened.get_by_label("overlay", exact=True).select_option(EVIL)
    legend = opened.locator(".vmx-legend").inner_text()
    reach = float(abs(maps[EVIL]).max())
    assert legend.split("\n")[-1] == f"{EVIL} (<i>)"
    low, zero, high = (float(end) for end in opened.locator(".vmx-ends span").all_inner_texts())
    assert (low, zero, high) == pytest.approx((-reach, 0, reach), rel=0.01)


def test_the_time_label_names_frame_seconds_and_token_frame(opened):
    opened.get_by_label("frame", exact=True).fill("5")
    assert opened.locator(".vmx-time").inner_text() == "frame 5 of 0–15 · 0.63 s · token frame 2"


def test_names_with_html_show_as_text(opened, clip):
    assert opened.locator(".vmx-source").inner_text() == clip.source
    assert opened.locator(".vmx-player img, .vmx-player script").count() == 0


REOPEN = """
const { model: state } = JSON.parse(document.getElementById("state").textContent);
window.reopen = async (times) => {
  const model = standaloneModel(state);
  let listeners = 0;
  const counted = {
    ...model,
    on: (event, f) => { listeners += 1; model.on(event, f); },
    off: (event, f) => { listeners -= 1; model.off(event, f); },
  };
  for (let i = 0; i < times; i++) {
    const close = await render({ model: counted, el: document.body });
    document.querySelector(".vmx-player button").click();  // plays
    close();
  }
  const frame = model.get("frame");
  await new Promise((done) => setTimeout(done, 500));
  return [listeners, document.querySelectorAll(".vmx-player").length, model.get("frame") - frame];
};
"""


def test_ten_openings_leave_no_listener_no_element_and_no_timer(clip, maps, tmp_path, open_offline):
    folder = Path(player_module.__file__).parent
    page = ClipPlayer(clip, maps).to_html()
    data = page.split('show("player-')[1].split('", ', 1)[1].split(");\n</script>")[0]
    files = ("drawing.js", "player.js", "standalone.js")
    code = "".join((folder / name).read_text("utf-8") for name in files)
    path = tmp_path / "reopen.html"
    path.write_text(
        f'<meta charset="utf-8"><script id="state" type="application/json">{{"model": {data}}}'
        f'</script><script type="module">{code}{REOPEN}</script>'
    )
    opened = open_offline(path)
    assert opened.evaluate("reopen(10)") == [0, 0, 0]
    assert opened.errors == []
