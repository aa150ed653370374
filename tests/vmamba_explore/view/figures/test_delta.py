"""Small multiples of maps over the token grid."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.view.figures import delta_maps


def test_every_value_stands_where_its_hover_says(grid_map):
    delta = grid_map()
    for trace in delta_maps(delta).select_traces({"type": "heatmap"}):
        values, places = np.asarray(trace.z), np.asarray(trace.customdata)
        drawn = np.isfinite(values)
        assert drawn.sum() == delta.sel(direction=trace.name).size
        layer, frame, row, col = places[drawn].T
        expected = delta.sel(direction=trace.name).values[layer, frame, row, col]
        assert np.array_equal(values[drawn], expected)


def test_one_color_scale_spans_all_tiles_and_its_legend_has_a_unit(grid_map):
    delta = grid_map().assign_attrs(unit="1/token")
    figure = delta_maps(delta)
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (float(delta.min()), float(delta.max()))
    tiles = figure.select_traces({"type": "heatmap"})
    assert [trace.coloraxis for trace in tiles] == ["coloraxis"] * 2
    assert figure.layout.coloraxis2.colorbar.title.text == "delta (1/token)"


def test_signed_values_are_centered_on_zero(grid_map):
    axis = delta_maps(grid_map(signed=True)).layout.coloraxis
    assert axis.cmin == -axis.cmax


def test_cells_are_square_and_the_first_row_is_on_top(grid_map):
    axis = delta_maps(grid_map()).layout.yaxis
    assert axis.scaleanchor == "x" and axis.range[0] > axis.range[1]


def test_axis_titles_carry_their_unit(grid_map):
    layout = delta_maps(grid_map()).layout
    assert layout.xaxis.title.text == "token frame, and its start (s)"
    times = [label.split(">")[2].split("<")[0] for label in layout.xaxis.ticktext]
    assert [label.split("<")[0] for label in layout.xaxis.ticktext] == ["0", "2", "4", "6"] * 2
    assert times == ["0.00", "0.50", "1.00", "1.50"] * 2
    assert (layout.yaxis.title.text, list(layout.yaxis.ticktext)) == ("layer", ["0", "1", "2"])


def test_channels_are_averaged(grid_map):
    delta = xr.concat([grid_map(), 3 * grid_map()], "channel").transpose(..., "channel")
    figure = delta_maps(delta)
    assert figure.layout.coloraxis.cmax == pytest.approx(2 * float(grid_map().max()))
    assert figure.layout.coloraxis2.colorbar.title.text == "mean delta (no unit)"


def test_without_frames_the_layers_stand_side_by_side(grid_map):
    figure = delta_maps(grid_map().mean("frame"))
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "2"]
    assert list(figure.layout.yaxis.ticktext) == ["forward", "backward"]
    assert np.asarray(figure.data[0].z).shape == (4, 3 * 4 + 2)


def test_the_clip_stands_above_its_columns_once_per_direction(clip, grid_map):
    figure = delta_maps(grid_map(), clip)
    assert len(figure.layout.images) == 16
    assert figure.layout.images[0].source == figure.layout.images[8].source
    assert figure.layout.images[0].y + figure.layout.images[0].sizey <= -1


@pytest.mark.parametrize("fill", [np.nan, 0.0, 0.3])
def test_maps_without_contrast_are_drawn(grid_map, fill):
    axis = delta_maps(xr.full_like(grid_map(), fill)).layout.coloraxis
    assert axis.cmin < axis.cmax


def test_one_layer_and_direction_without_labels_is_enough(grid_map):
    figure = delta_maps(grid_map()[0, 0].drop_vars(["layer", "direction"]))
    (tiles,) = figure.select_traces({"type": "heatmap"})
    assert "layer" not in tiles.hovertemplate


def test_a_figure_of_24_layers_of_14_x_14_tokens_weighs_about_a_megabyte():
    values = np.random.default_rng(0).random((24, 2, 8, 14, 14), np.float32)
    delta = xr.DataArray(values, dims=("layer", "direction", "frame", "row", "col"))
    figure = delta_maps(delta)
    assert len(figure.to_json()) < 1_100_000
