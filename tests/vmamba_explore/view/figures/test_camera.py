"""The figure of the camera's motion: what is drawn where, and what is left blank."""

import numpy as np
import pytest
from figure_examples import made_camera_motion, named

from vmamba_explore.view.figures.camera import camera_motion


def lines(figure, name):
    (line,) = [trace for trace in figure.data if trace.name.startswith(name)]
    return np.array(line.x, float), np.array(line.y, float)


def test_each_component_is_the_sum_of_its_moves_so_far():
    motion = made_camera_motion()
    x, y = lines(camera_motion(motion), "zoom")
    assert x[np.isfinite(y)].tolist() == np.delete(motion.seconds, 4).tolist()
    assert y[-1] == pytest.approx(np.nansum(motion.moves[:, 2]))


def test_lines_are_broken_and_gray_where_nothing_was_measured():
    figure = camera_motion(made_camera_motion())
    _, y = lines(figure, "pan")
    assert np.isnan(y).nonzero()[0].tolist() == [4, 5, 6]
    shades = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [(shade.x0, shade.x1) for shade in shades] == [(3 / 8, 5 / 8)] * 2
    assert "gray: not measured" in figure.layout.title.text


def test_a_cut_is_a_line_between_its_frames_and_stands_in_the_title():
    figure = camera_motion(made_camera_motion(cut=6))
    cuts = [shape for shape in figure.layout.shapes if shape.line.dash == "dot"]
    assert [cut.x0 for cut in cuts] == [5.5 / 8] * 2
    assert "cut at 0.75 s" in figure.layout.title.text


def test_a_camera_that_hardly_moves_is_drawn_small():
    still = made_camera_motion(applies=[])
    low, high = camera_motion(still).layout.yaxis.range
    assert low < -0.05 and high > 0.05


def test_the_share_that_follows_is_drawn_between_the_frames():
    motion = made_camera_motion()
    (line,) = named(camera_motion(motion), "follows the camera")
    assert list(line.x) == list(motion.seconds[:-1] + 1 / 16)
    assert list(line.y) == list(motion.inliers)


def test_the_name_of_a_file_shows_as_text():
    assert "<i>" not in camera_motion(made_camera_motion()).layout.title.text
