"""Figures of motion and of the motion detector."""

import numpy as np
import torch

from vmamba_explore.studies.teaching.detector_figures import (
    LAGS,
    LEFT,
    RIGHT,
    detector_tuning,
    space_time,
)
from vmamba_explore.studies.teaching.motion_detector import delay_kernel


def test_each_movie_is_a_picture_of_frames_by_pixels_with_time_downwards():
    rows = torch.rand(2, 3, 5)
    figure = space_time(rows, ["a", "<b>"])
    assert np.allclose(figure.data[1].z, rows[1].T)
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"
    assert [note.text for note in figure.layout.annotations] == ["a", "&lt;b&gt;"]
    assert figure.layout.xaxis.title.text == "pixel (number)"
    assert figure.layout.yaxis.title.text == "frame (number)"


def test_movies_share_one_scale_centered_on_zero_where_they_are_signed():
    axis = space_time(torch.stack([torch.zeros(2, 2), torch.full((2, 2), -3.0)])).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-3, 3)


def test_the_memory_is_drawn_beside_the_response():
    speeds = torch.tensor([0.5, 1.0])
    figure = detector_tuning(0.2, (1.0, 0.5), speeds, torch.ones(2), -torch.ones(2))
    kernel = delay_kernel(LAGS, 0.2, (1.0, 0.5))
    assert np.allclose([trace.y for trace in figure.data[:3]], kernel)
    assert [list(trace.y) for trace in figure.data[3:]] == [[1, 1], [-1, -1]]
    assert list(figure.data[4].x) == [0.5, 1.0]


def test_directions_differ_in_color_and_in_dash_and_axes_carry_units():
    response = torch.ones(1)
    figure = detector_tuning(0.1, (1.0, 0.25), response, response, -response)
    rightward, leftward = figure.data[3:]
    assert (rightward.line.color, leftward.line.color) == (RIGHT, LEFT)
    assert rightward.line.dash != leftward.line.dash
    titles = [figure.layout[axis].title.text for axis in ("xaxis", "xaxis2", "yaxis", "yaxis2")]
    assert all(title.endswith(")") for title in titles), titles
