"""The controls and the camera's motion in the page of an explorer."""

import numpy as np
import pytest

from vmamba_explore.analysis.camera_motion import CameraMotion
from vmamba_explore.analysis.controls import Answer, Controls
from vmamba_explore.view.explorer import Explorer

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
