"""What an exploration promises about its maps, how it refuses others; and what is shown of it."""

import numpy as np
import pytest

from vmamba_explore.analysis.camera_motion import CameraMotion
from vmamba_explore.analysis.controls import Answer, Controls
from vmamba_explore.view.explorer import ClipPlayer, Exploration, Explorer
from vmamba_explore.view.explorer.exploration import Viewed
from vmamba_explore.view.explorer.vocabulary import STATE


def test_layers_directions_and_first_frames_are_those_of_the_maps(make_exploration):
    exploration = make_exploration()
    assert exploration.layers == (0, 3)
    assert exploration.directions == ("forward", "backward")
    assert exploration.first_clip_frames.tolist() == [0, 2, 4]


def test_it_is_called_by_its_name_or_else_by_its_clip(make_exploration):
    assert make_exploration().title == "clip <b>0</b>.mp4"
    assert make_exploration(name="muted").title == "muted"


def test_a_map_of_the_model_as_a_whole_has_no_layers(make_exploration):
    maps = {"relevance": make_exploration().maps["relevance"]}
    assert make_exploration(maps=maps).layers == ()


def test_the_dataset_has_every_map_and_curve_with_its_labels(make_exploration):
    exploration = make_exploration()
    dataset = exploration.dataset()
    for name, values in {**exploration.maps, **exploration.curves}.items():
        found = dataset[name.replace(" ", "_")]
        assert found.dims == values.dims and found.attrs == values.attrs
        np.testing.assert_array_equal(found.values, values.values)
    assert dataset.attrs == {
        "clip": "clip <b>0</b>.mp4", "model": "test model", "target": "right",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (lambda delta: {"maps": {}}, "maps is empty, expected at least one"),
        (lambda delta: {"steps": {}}, "steps is empty, expected those of every direction"),
        (
            lambda delta: {"maps": {"delta": delta.isel(direction=0)}},
            "map 'delta' has dims .*expected layer, direction, frame",
        ),
        (
            lambda delta: {"maps": {"delta": delta.isel(layer=[])}},
            "map 'delta' has dims .*none empty",
        ),
        (
            lambda delta: {"steps": {"forward": np.arange(6).reshape(3, 2, 1)}},
            r"grids of \[\(3, 2, 1\), \(3, 2, 4\)\] tokens",
        ),
    ],
)
def test_what_does_not_fit_together_is_an_error(make_exploration, changes, words):
    with pytest.raises(ValueError, match=f"Exploration: .*{words}"):
        make_exploration(**changes(make_exploration().maps["delta"]))


def test_a_clip_alone_has_a_token_for_each_frame_and_maps_need_no_scan(make_exploration):
    clip, maps = make_exploration().clip, make_exploration().maps
    alone, mapped = Exploration(clip, {}), Exploration(clip, {"relevance": maps["relevance"]})
    assert alone.grid == (6, 1, 1) and alone.token_frames == [0, 1, 2, 3, 4, 5]
    assert mapped.grid == (3, 2, 4) and mapped.token_frames == [0, 0, 1, 1, 2, 2]
    assert alone.directions == mapped.directions == mapped.layers == ()


def test_a_view_has_every_trait_of_the_state_and_stays_as_it_was(make_exploration):
    explorer = Explorer(make_exploration(0), make_exploration(1))
    assert isinstance(explorer, Viewed)
    explorer.frame, explorer.query, explorer.speed = 3, [2, 1, 0], 2.0
    view = explorer.view
    explorer.frame = 5
    assert view.frame == 3 and view.token_frame == 1 and explorer.view.token_frame == 2
    assert view.query == (2, 1, 0) and view.frames_per_second == 16
    for name in set(STATE) - {"frame", "query"}:
        assert getattr(view, name) == getattr(explorer, name)
    assert view.sides == explorer.explorations and view.directions == ("forward", "backward")


def test_only_one_direction_is_the_one_that_is_shown(make_exploration):
    explorer = Explorer(make_exploration())
    shown = []
    for explorer.direction in ("both", "difference", "backward"):
        shown.append(explorer.view.one_direction)
    assert shown == [None, None, "backward"]


def test_a_clip_alone_has_a_view_without_directions(clip):
    view = ClipPlayer(clip).view
    assert view.directions == () and view.one_direction is None and view.quantity == ""


# Controls and the camera's motion in the page

DRAWN = "() => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))"
INSIDE = """() => [...document.querySelectorAll(".vmx-trust *")].filter(node => {
    const box = node.getBoundingClientRect();
    const page = document.documentElement.clientWidth;
    return box.right > page + 1 || node.scrollWidth > node.clientWidth + 1;
}).map(node => node.outerHTML.slice(0, 80))"""


@pytest.fixture
def trusted(make_exploration):
    """Return a function that makes an exploration with controls and a measured camera."""

    def make(seed=0):
        names = {"original": "<i>pan</i> right", "frozen": "static", "reversed": "pan left",
                 "shuffled": "<i>pan</i> right"}  # fmt: skip
        answers = {kind: Answer(kind, name, 0.7, 0.2) for kind, name in names.items()}
        controls = Controls(model="camera-nano", clip="a.mp4", note="no <ring>", **answers)
        moves = np.zeros((5, 4))
        moves[:, 0], moves[3] = 0.02, np.nan
        applies = np.array([True, True, True, False, True])
        camera = CameraMotion(moves, np.ones(5), applies, np.array([], int), np.arange(6) / 8)
        return make_exploration(seed, controls=controls, camera=camera)

    return make


def test_the_answers_the_note_and_the_measured_camera_are_read_in_the_page(
    trusted, tmp_path, open_offline
):
    Explorer(trusted()).to_html(tmp_path / "a.html")
    page = open_offline(tmp_path / "a.html")
    page.wait_for_selector(".vmx-explorer[data-ready]")
    rows = page.locator(".vmx-trust tr").all_inner_texts()
    assert [row.split("\t")[1] for row in rows] == [
        "<i>pan</i> right", "static", "pan left", "<i>pan</i> right",
    ]  # fmt: skip
    assert page.locator(".vmx-survives").all_inner_texts() == ["<i>pan</i> right"]
    assert page.locator(".vmx-note").inner_text() == "no <ring>"
    assert page.locator(".vmx-measured").inner_text() == 'Measured without learning: "pan right".'
    timeline = page.locator(".vmx-timeline canvas").get_attribute("aria-label")
    assert timeline.startswith("timeline: camera, measured without learning (sides of the picture)")
    assert page.locator(".vmx-trust i").count() == 0, "HTML in a name became HTML"
    assert page.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_two_clips_fit_from_640_to_1400_pixels(trusted, tmp_path, open_offline, theme):
    Explorer(trusted(), trusted(1)).to_html(tmp_path / "a.html")
    page = open_offline(tmp_path / "a.html", theme)
    page.wait_for_selector(".vmx-explorer[data-ready]")
    for width in (640, 848, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(DRAWN)
        assert page.locator(".vmx-controls-of").count() == 2
        assert page.evaluate(INSIDE) == []


def test_an_explorer_without_controls_has_no_place_for_them(
    make_exploration, tmp_path, open_offline
):
    Explorer(make_exploration()).to_html(tmp_path / "a.html")
    page = open_offline(tmp_path / "a.html")
    page.wait_for_selector(".vmx-explorer[data-ready]")
    assert page.locator(".vmx-trust").count() == 0
    timeline = page.locator(".vmx-timeline canvas").get_attribute("aria-label")
    assert timeline.startswith("timeline: evidence for")
