"""Figures of the hidden states."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures import channel_states, state_norms


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
    assert layout.xaxis.title.text == "start of the token frame (s)"


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
    assert " s<br>" in state_norms(known).data[0].hovertemplate
    assert " s<br>" not in state_norms(unknown).data[0].hovertemplate


def test_norms_of_one_layer_and_one_direction_are_one_line(grid_map):
    figure = state_norms(grid_map().isel(layer=2, direction=0).mean(["row", "col"]))
    assert len(figure.data) == 1 and figure.layout.annotations[0].text == "layer 2"


def test_norms_without_frames_are_refused(grid_map):
    with pytest.raises(ValueError, match="state_norms: got dims"):
        state_norms(grid_map().mean("frame"))


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


def test_a_channel_too_many_is_refused_with_a_remedy(h):
    with pytest.raises(ValueError, match=r"channel_states: .*'channel': 1.*\.sel\("):
        channel_states(h.expand_dims("channel"))


def test_states_that_are_all_missing_are_drawn(h):
    assert channel_states(xr.full_like(h, np.nan)).layout.coloraxis.cmax == 1.0
