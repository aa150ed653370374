"""One curve over the token frames of a clip."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.curves import curve


def test_each_direction_has_its_line_in_its_color(grid_map):
    values = grid_map()[0].mean(["row", "col"])
    figure = curve(values, "delta")
    lines = {line.name: line for line in figure.data}
    assert {name: line.line.color for name, line in lines.items()} == DIRECTION_COLORS
    np.testing.assert_array_equal(lines["backward"].y, values.sel(direction="backward"))
    ticks = figure.layout.xaxis.ticktext[:2]  # a token frame, and below it when it starts
    assert [tick.partition("<br>")[0] for tick in ticks] == ["0", "1"]
    assert ">0.00<" in ticks[0] and ">0.25<" in ticks[1]


def test_a_single_course_has_no_legend_and_its_unit_on_the_axis():
    values = xr.DataArray([1.0, np.nan, 3.0], dims="frame", attrs={"unit": "logits"})
    (line,) = curve(values, "evidence").data
    assert not line.showlegend and list(line.x) == [0, 1, 2]
    assert curve(values, "evidence").layout.yaxis.title.text == "evidence (logits)"
    assert curve(values.rename("h<b>")).layout.title.text == "h&lt;b&gt; over the clip"


def test_layers_are_named_by_number_whatever_the_order_of_the_dims(grid_map):
    values = grid_map(layers=3)[:, 0].mean(["row", "col"])
    names = [line.name for line in curve(values.transpose("frame", "layer")).data]
    assert names == ["layer 0", "layer 1", "layer 2"]


def test_a_window_is_shaded_over_its_token_frames(grid_map):
    (shade,) = curve(grid_map()[0, 0].mean(["row", "col"]), window=(2, 3)).layout.shapes
    assert (shade.x0, shade.x1) == (1.5, 3.5)


@pytest.mark.parametrize("dims", [("row",), ("frame", "row", "col")])
def test_other_dims_are_refused_with_what_to_do(dims):
    values = xr.DataArray(np.zeros([2] * len(dims)), dims=dims)
    with pytest.raises(ValueError, match=r"curve: the values have dims .*Reduce the others first"):
        curve(values)
