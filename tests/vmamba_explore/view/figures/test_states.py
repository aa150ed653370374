"""Figures of the hidden states."""

import numpy as np
import xarray as xr

from vmamba_explore.analysis.trajectories import Trajectory
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.states import (
    channel_browser,
    channel_states,
    state_norms,
    state_trajectories,
)


def test_norms_are_averaged_over_the_tokens_of_a_frame(grid_map):
    norms = grid_map()
    figure = state_norms(norms)
    assert len(figure.data) == 6
    backward = figure.data[3]
    assert backward.name == "backward"
    assert np.allclose(backward.y, norms[1, 1].mean(["row", "col"]))


def test_directions_differ_in_color_and_in_dash(grid_map):
    forward, backward = state_norms(grid_map()).data[:2]
    assert [forward.line.color, backward.line.color] == list(DIRECTION_COLORS.values())
    assert forward.line.dash != backward.line.dash
    assert [trace.showlegend for trace in state_norms(grid_map()).data] == [True] * 2 + [False] * 4


def test_axes_of_norms_have_titles_with_units(grid_map):
    layout = state_norms(grid_map()).layout
    assert layout.yaxis.title.text == "state norm (no unit)"
    assert layout.xaxis.title.text == "token frame, and its start (s)"


def test_each_layer_has_its_own_axis_that_begins_at_zero(grid_map):
    norms = grid_map(layers=4)
    norms[3] *= 1000
    layout = state_norms(norms).layout
    axes = ["yaxis", "yaxis2", "yaxis3", "yaxis4"]
    assert [layout[axis].rangemode for axis in axes] == ["tozero"] * 4
    assert [layout[axis].matches for axis in axes] == [None] * 4


def test_hover_names_seconds_only_where_they_are_known(grid_map):
    known = grid_map()
    unknown = known.assign_coords(seconds=("frame", [np.nan] * 8))
    trace = state_norms(known).data[0]
    assert " at %{customdata}<br>" in trace.hovertemplate and trace.customdata[1] == "0.25 s"
    assert "customdata" not in state_norms(unknown).data[0].hovertemplate


def test_norms_of_one_layer_and_one_direction_are_one_line(grid_map):
    figure = state_norms(grid_map().isel(layer=2, direction=0).mean(["row", "col"]))
    assert len(figure.data) == 1 and figure.layout.annotations[0].text == "layer 2"


def test_one_patch_gives_states_by_frames(h):
    figure = channel_states(h[:, :, 1, 2], relative=False)
    assert np.array_equal(np.asarray(figure.data[1].z), h[1, :, 1, 2].values.T)
    assert [trace.name for trace in figure.data] == ["forward", "backward"]


def test_all_tokens_give_states_by_tokens_with_their_places(h):
    trace = channel_states(h, relative=False).data[0]
    values, places = np.asarray(trace.z), np.asarray(trace.customdata)
    assert values.shape == (5, 8 * 4 * 4)
    frame, row, col = places[3, 77]
    assert values[3, 77] == h.values[0, frame, row, col, 3]


def test_the_arbitrary_scale_of_a_state_does_not_show(h):
    scaled = h * [0.001, 1.0, 1.0, 50.0, 1e6]
    for before, after in zip(channel_states(h).data, channel_states(scaled).data, strict=True):
        assert np.allclose(before.z, after.z, rtol=1e-5)
        assert np.allclose(abs(np.asarray(before.z)).max(axis=1), 1)


def test_states_that_are_zero_throughout_stay_zero(h):
    assert (np.asarray(channel_states(h * 0).data[0].z) == 0).all()


def test_states_are_centered_on_zero_even_where_all_are_positive(h):
    axis = channel_states(abs(h), relative=False).layout.coloraxis
    assert axis.cmin == -axis.cmax == -float(abs(h).max())
    assert axis.colorbar.title.text == "delta (no unit)"


def test_states_that_are_all_missing_are_drawn(h):
    assert channel_states(xr.full_like(h, np.nan)).layout.coloraxis.cmax == 1.0


def test_bars_are_the_largest_in_order_and_the_first_is_chosen(channels):
    figure = channel_browser(channels, "contribution", top=5)
    bars, median, course = figure.data
    ranked = channels.ranked("contribution")
    assert list(bars.x) == [str(n) for n in ranked[:5]]
    assert np.allclose(bars.y, channels.values["contribution"].values[ranked[:5]])
    assert list(bars.marker.line.width) == [3, 0, 0, 0, 0]
    assert np.allclose(course.y, channels.courses["contribution"].values[ranked[0]])
    assert bars.marker.color == DIRECTION_COLORS["backward"]


def test_a_chosen_channel_that_is_not_among_them_comes_last(channels):
    smallest = int(channels.ranked("delta")[-1])
    bars, _, course = channel_browser(channels, "delta", smallest, top=5).data
    assert bars.x[-1] == str(smallest) and len(bars.x) == 6
    assert bars.marker.line.width[-1] == 3
    assert course.name == f"channel {smallest}"


def test_the_median_is_that_of_all_channels_and_missing_frames_stay_missing(channels):
    channels.courses["delta"][:, 0] = np.nan
    _, median, _ = channel_browser(channels, "delta").data
    assert np.isnan(median.y[0])
    assert np.allclose(median.y[1:], np.median(channels.courses["delta"].values[:, 1:], axis=0))


def test_titles_have_the_unit_and_the_frame_is_marked(channels):
    figure = channel_browser(channels, "contribution", frame=2)
    assert figure.layout.yaxis.title.text == "contribution (logits)"
    assert figure.layout.xaxis2.title.text == "token frame, and its start (s)"
    assert [shape.x0 for shape in figure.layout.shapes] == [2]


def test_what_spans_orders_of_magnitude_is_dots_on_a_logarithmic_axis(channels):
    figure = channel_browser(channels, "half-life", top=5)
    assert figure.layout.yaxis.type == figure.layout.yaxis2.type == "log"
    assert figure.data[0].mode == "markers"
    assert channel_browser(channels, "delta").layout.yaxis.type is None


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
