"""Figures of how a scan computes."""

import numpy as np
import pytest
import torch

from vmamba_explore.studies.teaching.scan_figures import (
    courses,
    scan_rounds,
    states_forming,
    token_step,
)


@pytest.fixture
def channel():
    """Return u, delta, written and h of one channel with 3 states and 6 tokens."""
    u, delta = torch.randn(6), torch.rand(6)
    written = torch.randn(3, 6)
    h = written.cumsum(1)
    return u, delta, written, h


def test_every_line_is_drawn_in_its_panel_with_its_legend():
    u, h = torch.arange(4.0), torch.ones(4)
    figure = courses("<b>", {"u (V)": {"u": u}, "h (no unit)": {"<i>": h, "u": 2 * u}})
    assert [trace.name for trace in figure.data] == ["u", "&lt;i&gt;", "u"]
    assert list(figure.data[2].y) == [0, 2, 4, 6] and list(figure.data[2].x) == [0, 1, 2, 3]
    assert [trace.yaxis for trace in figure.data] == ["y", "y2", "y2"]
    assert [trace.showlegend for trace in figure.data] == [True, True, False]
    assert figure.layout.title.text == "&lt;b&gt;"


def test_a_name_has_one_color_in_all_panels_and_two_names_have_two():
    line = torch.zeros(2)
    first, other, again = courses("", {"a": {"x": line}, "b": {"y": line, "x": line}}).data
    assert first.line.color == again.line.color != other.line.color
    assert first.line.dash != other.line.dash


def test_axes_of_courses_carry_their_units():
    layout = courses("", {"u (V)": {"u": torch.zeros(2)}}, "time (s)").layout
    assert (layout.yaxis.title.text, layout.xaxis.title.text) == ("u<br>(V)", "time (s)")


def test_a_line_may_have_its_own_places():
    figure = courses("", {"a": {"x": (torch.tensor([0.5, 2.5]), torch.tensor([1.0, 2.0]))}})
    assert list(figure.data[0].x) == [0.5, 2.5]


def test_rounds_share_one_scale_that_spans_all_counts():
    known = {"slow": torch.tensor([[1.0, 1, 1], [1, 2, 1], [1, 2, 3]]), "fast": torch.ones(1, 3)}
    figure = scan_rounds(known)
    assert np.array_equal(figure.data[0].z, known["slow"])
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (1, 3)
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["slow: 2 rounds", "fast: 0 rounds"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "round 0 is on top"


def test_states_stand_below_the_input_and_the_step_they_form_from(channel):
    u, delta, _, h = channel
    inputs, steps, states = states_forming(u, delta, h).data
    assert np.allclose(inputs.y, u) and np.allclose(steps.y, delta)
    assert np.allclose(states.z, h)


def test_signed_states_are_centered_on_zero_and_positive_ones_not(channel):
    u, delta, _, h = channel
    axis = states_forming(u, delta, h).layout.coloraxis
    assert axis.cmin == -axis.cmax and axis.colorbar.title.text == "h (no unit)"
    assert states_forming(u, delta, h.abs() + 1).layout.coloraxis.cmin >= 1


def test_kept_and_written_add_up_to_the_state(channel):
    u, _, written, h = channel
    _, kept, new = token_step(u, written, h, 4).data
    assert np.allclose(np.array(kept.y) + np.array(new.y), h[:, 4], atol=1e-6)
    assert np.allclose(new.y, written[:, 4])


def test_the_axis_of_the_steps_holds_every_step(channel):
    u, _, written, h = channel
    low, high = token_step(u, written, h, 0).layout.yaxis2.range
    kept = h - written
    assert low <= min(h.min(), kept.min()) and high >= max(h.max(), kept.max())


def test_the_token_that_is_read_stands_out(channel):
    u, _, written, h = channel
    colors = token_step(u, written, h, 2).data[0].marker.color
    assert len(set(colors)) == 2 and colors.count(colors[2]) == 1


def test_states_that_are_zero_throughout_are_drawn():
    zero = torch.zeros(2, 3)
    low, high = token_step(torch.zeros(3), zero, zero).layout.yaxis2.range
    assert low < high
    axis = states_forming(torch.zeros(3), torch.zeros(3), zero).layout.coloraxis
    assert axis.cmin < axis.cmax
