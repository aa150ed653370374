"""The stepper, without a browser."""

import numpy as np
import pytest
import torch

from vmamba_explore.studies.teaching.scan_figures import token_step
from vmamba_explore.studies.teaching.stepper import StateStepper


@pytest.fixture
def parts():
    written = torch.randn(4, 9)
    return torch.randn(9), written, written.cumsum(1)


def shown(stepper):
    return [np.array(bars.y) for bars in stepper.figure.data[1:]]


def test_the_slider_moves_the_bars_the_mark_and_the_title(parts):
    stepper = StateStepper(*parts)
    stepper.slider.value = 5
    expected = token_step(*parts, 5)
    assert stepper.token == 5
    assert np.allclose(shown(stepper), [bars.y for bars in expected.data[1:]])
    assert stepper.figure.data[0].marker.color == expected.data[0].marker.color
    assert stepper.figure.layout.title.text == expected.layout.title.text
    assert "Token 5 of 0–8" in stepper.figure.layout.title.text


def test_the_token_moves_the_slider(parts):
    stepper = StateStepper(*parts, token=3)
    assert stepper.slider.value == 3
    stepper.token = 8
    assert stepper.slider.value == 8
    assert np.allclose(sum(shown(stepper)), parts[2][:, 8], atol=1e-6)


@pytest.mark.parametrize(("asked", "given"), [(99, 8), (-1, 0)])
def test_a_token_outside_becomes_the_nearest_inside(parts, asked, given):
    assert StateStepper(*parts, token=asked).token == given
    stepper = StateStepper(*parts)
    stepper.token = asked
    assert stepper.token == stepper.slider.value == given


def test_the_axis_does_not_move_while_stepping(parts):
    stepper = StateStepper(*parts)
    before = stepper.figure.layout.yaxis2.range
    stepper.token = 7
    assert stepper.figure.layout.yaxis2.range == before
