"""The figure of paths of states."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.analysis.trajectories import Trajectory
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.trajectory import state_trajectories


def one(paths):
    return Trajectory(paths.points[:1], paths.explained)


def test_a_line_goes_in_the_order_in_which_the_scan_reads(paths):
    forward, backward = state_trajectories(one(paths)).data
    assert list(forward.text) == ["0", "1", "2", "3"]
    assert list(backward.text) == ["3", "2", "1", "0"]
    assert np.allclose(backward.x, paths.points.values[0, 1, ::-1, 0])
    assert [forward.line.color, backward.line.color] == list(DIRECTION_COLORS.values())


def test_axes_say_how_much_of_the_variance_they_explain_and_share_one_scale(paths):
    layout = state_trajectories(one(paths)).layout
    assert layout.xaxis.title.text == "component 1 (70 % of the variance)"
    assert layout.yaxis2.title.text == "component 2 (25 % of the variance)"
    assert (layout.yaxis.scaleanchor, layout.yaxis2.scaleanchor) == ("x", "x2")


def test_the_marked_frame_is_that_frame_in_both_directions(paths):
    figure = state_trajectories(one(paths), frame=2)
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    for mark, points in zip(marks, paths.points.values[0], strict=True):
        assert np.allclose([mark.x[0], mark.y[0]], points[2])


def test_two_clips_differ_in_dash_and_symbol_and_are_in_the_legend_once(paths):
    figure = state_trajectories(paths, names=["<b>one", "two"])
    first, second, *others = figure.data
    assert first.line.dash != second.line.dash and first.marker.symbol != second.marker.symbol
    assert first.name == "&lt;b&gt;one"
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]


def test_a_long_clip_has_sixteen_numbers_at_most_and_all_of_them_in_the_hover(paths):
    long = xr.concat([paths.points] * 16, "frame").assign_coords(
        frame=np.arange(64),
        seconds=("frame", np.arange(64) / 4),
        step=(("direction", "frame"), np.stack([np.arange(64), np.arange(64)[::-1]])),
    )
    backward = state_trajectories(Trajectory(long, paths.explained)).data[2]
    assert [label for label in backward.text if label] == [str(n) for n in range(60, -1, -4)]
    assert [frame for frame, _ in backward.customdata] == list(range(63, -1, -1))


def test_names_must_be_as_many_as_clips(paths):
    with pytest.raises(ValueError, match="1 names for 2 clips"):
        state_trajectories(paths, names=["one"])
