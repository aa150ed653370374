"""Figures of probes: what is drawn is what was measured, intervals and controls included."""

import dataclasses

import numpy as np
import pytest
from figure_examples import named

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.probes import after_cut, probe_scores


@pytest.mark.parametrize("target", ["velocity", "label"])
def test_each_layer_shows_both_directions_with_their_scores(probed, target):
    figure, array = probe_scores(probed, target), probed.array(target)
    for direction in ("forward", "backward"):
        traces = named(figure, f"state, {direction}")
        assert len(traces) == 4
        assert {trace.line.color for trace in traces} == {DIRECTION_COLORS[direction]}
        for layer, trace in zip(array["layer"].values, traces, strict=True):
            measured = array.sel(source="state", layer=layer, direction=direction)
            assert np.array_equal(trace.y, measured.values, equal_nan=True)
            assert np.array_equal(trace.customdata[:, 0], measured.low.values, equal_nan=True)
    assert {trace.line.dash for trace in named(figure, "state, backward")} == {"dash"}
    assert ("share right" if target == "label" else "R²") in figure.layout.yaxis.title.text
    assert "frame" in figure.layout.xaxis4.title.text


def test_controls_are_drawn_and_left_out_where_they_were_not_measured(probed):
    figure = probe_scores(probed, "label")
    assert len(named(figure, "input tokens")) == len(named(figure, "state, shuffled answers")) == 4
    values = probed.values.copy()
    values[:, 2:] = np.nan
    bare = probe_scores(dataclasses.replace(probed, values=values), "label")
    assert not named(bare, "input tokens") and len(named(bare, "state, shuffled answers")) == 4


def test_the_decodable_and_the_predicted_share_stand_on_one_axis(jump):
    figure = after_cut(jump)
    drawn = named(figure, "decodable share (R²)")
    predicted, squared = named(figure, "retention, predicted"), named(figure, "its square")
    assert len(drawn) == len(predicted) == len(squared) == 4
    share, retention = jump.array("share"), jump.array("retention")
    places = [(layer, name) for name in ("forward", "backward") for layer in (0, 3)]
    for (layer, direction), ours, theirs, square in zip(
        places, drawn, predicted, squared, strict=True
    ):
        at = {"layer": layer, "direction": direction}
        assert np.array_equal(ours.y, share.sel(at).values, equal_nan=True)
        assert np.array_equal(theirs.y, retention.sel(at).values, equal_nan=True)
        assert np.array_equal(square.y, np.square(theirs.y), equal_nan=True)
        assert ours.yaxis == theirs.yaxis and list(ours.x) == list(theirs.x)


def test_the_control_by_input_tokens_is_a_part_of_the_same_r2(jump):
    inputs = named(after_cut(jump), "block's input tokens")
    assert np.isnan(inputs[0].y[0])  # at the jump the frame shows the old position
    assert inputs[0].y[1] == pytest.approx(0.02 * 0.6 / 0.5)
    nothing = dataclasses.replace(jump, inputs=np.full_like(jump.inputs, np.nan))
    assert not named(after_cut(nothing), "block's input tokens")


def test_the_ticks_are_the_lags_in_tokens(jump):
    figure = after_cut(jump)
    assert list(figure.layout.xaxis.ticktext) == ["0", "8", "64", "128"]
    assert "64 are a frame" in figure.layout.title.text
    assert "R² at the jump 0.50" in figure.layout.annotations[0].text
