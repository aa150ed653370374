"""The figure of channels, sorted."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.analysis.channels import Channels
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.channels import channel_browser


@pytest.fixture
def found():
    """Return three statistics of 40 channels over 4 frames."""
    generator = np.random.default_rng(0)
    frames = {"frame": np.arange(4), "seconds": ("frame", np.arange(4) / 4)}
    values, courses = {}, {}
    for name, unit in (("delta", ""), ("contribution", "logits"), ("half-life", "tokens")):
        numbers = generator.normal(size=(40, 4))
        numbers = 10**numbers if name == "half-life" else numbers
        courses[name] = xr.DataArray(numbers, frames, ("channel", "frame"), attrs={"unit": unit})
        values[name] = xr.DataArray(numbers.sum(1), dims="channel", attrs={"unit": unit})
    number = {"channel": np.arange(40)}
    return Channels(3, "backward", xr.Dataset(values, number), xr.Dataset(courses, number))


def test_bars_are_the_largest_in_order_and_the_first_is_chosen(found):
    figure = channel_browser(found, "contribution", top=5)
    bars, median, course = figure.data
    ranked = found.ranked("contribution")
    assert list(bars.x) == [str(n) for n in ranked[:5]]
    assert np.allclose(bars.y, found.values["contribution"].values[ranked[:5]])
    assert list(bars.marker.line.width) == [3, 0, 0, 0, 0]
    assert np.allclose(course.y, found.courses["contribution"].values[ranked[0]])
    assert bars.marker.color == DIRECTION_COLORS["backward"]


def test_a_chosen_channel_that_is_not_among_them_comes_last(found):
    smallest = int(found.ranked("delta")[-1])
    bars, _, course = channel_browser(found, "delta", smallest, top=5).data
    assert bars.x[-1] == str(smallest) and len(bars.x) == 6
    assert bars.marker.line.width[-1] == 3
    assert course.name == f"channel {smallest}"


def test_the_median_is_that_of_all_channels_and_missing_frames_stay_missing(found):
    found.courses["delta"][:, 0] = np.nan
    _, median, _ = channel_browser(found, "delta").data
    assert np.isnan(median.y[0])
    assert np.allclose(median.y[1:], np.median(found.courses["delta"].values[:, 1:], axis=0))


def test_titles_have_the_unit_and_the_frame_is_marked(found):
    figure = channel_browser(found, "contribution", frame=2)
    assert figure.layout.yaxis.title.text == "contribution (logits)"
    assert figure.layout.xaxis2.title.text == "start of the token frame (s)"
    assert [shape.x0 for shape in figure.layout.shapes] == [2]


def test_a_channel_that_there_is_not_is_refused(found):
    with pytest.raises(ValueError, match="no channel 40; there are 0 to 39"):
        channel_browser(found, "delta", 40)


def test_what_spans_orders_of_magnitude_is_dots_on_a_logarithmic_axis(found):
    figure = channel_browser(found, "half-life", top=5)
    assert figure.layout.yaxis.type == figure.layout.yaxis2.type == "log"
    assert figure.data[0].mode == "markers"
    assert channel_browser(found, "delta").layout.yaxis.type is None
