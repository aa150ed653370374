"""The slider panel, without a browser."""

import numpy as np
import pytest
import torch

from vmamba_explore.studies.teaching.detector import DetectorPanel
from vmamba_explore.studies.teaching.detector_figures import LAGS
from vmamba_explore.studies.teaching.motion_detector import (
    DELTA,
    RATES,
    delay_kernel,
    detector_inputs,
    moving_dots,
    opponent,
    while_crossing,
)
from vmamba_kernels import selective_scan

SPEEDS = torch.tensor([0.25, 0.5, 1.0, 2.0])
BOTH = torch.cat([SPEEDS, -SPEEDS])


def respond(delta, rates):
    y = selective_scan(**detector_inputs(moving_dots(BOTH), delta, rates))
    return while_crossing(opponent(y), BOTH).chunk(2)


@pytest.fixture
def panel():
    return DetectorPanel(respond, SPEEDS)


def lines(panel):
    return [np.array(trace.y) for trace in panel.figure.data]


def test_it_begins_as_built_and_prefers_right(panel):
    assert (panel.delta, panel.first, panel.second) == (DELTA, *RATES)
    assert panel.verdict == "prefers right at 4 of 4 speeds"
    assert np.allclose(lines(panel)[3], respond(DELTA, RATES)[0])


def test_turning_deltas_slider_up_makes_it_prefer_left(panel):
    panel.sliders["delta"].value = 2.0
    assert panel.delta == 2.0
    assert panel.verdict == "prefers left at 4 of 4 speeds"
    assert np.allclose(lines(panel)[3], respond(2.0, RATES)[0])
    assert np.allclose(lines(panel)[4], respond(2.0, RATES)[1])
    assert np.allclose(lines(panel)[:3], delay_kernel(LAGS, 2.0))


def test_exchanging_the_rates_makes_it_prefer_left(panel):
    panel.sliders["first"].value, panel.sliders["second"].value = 0.25, 1.0
    assert panel.verdict == "prefers left at 4 of 4 speeds"


def test_half_turned_it_says_at_how_many_speeds_it_prefers_which(panel):
    panel.delta = 1.0
    assert panel.sliders["delta"].value == 1.0
    assert panel.verdict == "prefers right at 2 and left at 2 of 4 speeds"


def test_with_equal_rates_it_says_that_it_is_blind(panel):
    panel.second = 1.0
    assert panel.verdict == "answers nothing at any speed"


def test_the_button_brings_the_first_setting_back(panel):
    before = lines(panel)
    panel.delta, panel.first = 3.0, 0.5
    (button,) = [box for box in walk(panel) if type(box).__name__ == "Button"]
    button.click()
    assert (panel.delta, panel.first, panel.second) == (DELTA, *RATES)
    assert all(np.array_equal(a, b) for a, b in zip(before, lines(panel), strict=True))


@pytest.mark.parametrize(("asked", "given"), [(0.0, 0.05), (99.0, 5.0)])
def test_a_value_beyond_a_slider_becomes_its_end(panel, asked, given):
    panel.delta = asked
    assert panel.delta == pytest.approx(given)
    assert panel.sliders["delta"].value == pytest.approx(given)


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)
