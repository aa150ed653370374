"""The figure of channels, sorted."""

import numpy as np
import pytest

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.channels import channel_browser


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
    assert figure.layout.xaxis2.title.text == "start of the token frame (s)"
    assert [shape.x0 for shape in figure.layout.shapes] == [2]


def test_a_channel_that_there_is_not_is_refused(channels):
    with pytest.raises(ValueError, match="no channel 40; there are 0 to 39"):
        channel_browser(channels, "delta", 40)


def test_what_spans_orders_of_magnitude_is_dots_on_a_logarithmic_axis(channels):
    figure = channel_browser(channels, "half-life", top=5)
    assert figure.layout.yaxis.type == figure.layout.yaxis2.type == "log"
    assert figure.data[0].mode == "markers"
    assert channel_browser(channels, "delta").layout.yaxis.type is None
