"""What all figures share."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.view.colors import DIVERGING, SEQUENTIAL, Scale
from vmamba_explore.view.figures.layout import (
    color_axis,
    mosaic,
    new_figure,
    small_integers,
    text,
    time_labels,
)


def test_a_mosaic_holds_every_tile_at_its_place():
    tiles = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    board = mosaic(tiles)
    assert board.values.shape == (2 * 4 + 1, 3 * 5 + 2)
    assert np.array_equal(board.values[5:9, 12:17], tiles[1, 2].astype(np.float32))
    assert board.places[6, 13].tolist() == [1, 2, 1, 1]
    assert np.isnan(board.values[4]).all() and np.isnan(board.values[:, 5]).all()
    assert board.x.tolist() == [2, 8, 14] and board.y.tolist() == [1.5, 6.5]


def test_html_in_words_becomes_text():
    assert text("<b>a</b> & b") == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert new_figure("<i>x", 100).layout.title.text == "&lt;i&gt;x"


def test_a_color_axis_begins_and_ends_with_the_scale():
    axis = color_axis(Scale(2.0, 8.0, signed=False), "<b>")
    assert (axis["cmin"], axis["cmax"]) == (2.0, 8.0)
    assert axis["colorscale"][0] == [0.0, SEQUENTIAL[0]]
    assert axis["colorscale"][-1] == [1.0, SEQUENTIAL[-1]]
    assert axis["colorbar"]["title"]["text"] == "&lt;b&gt;"


def test_zero_has_the_middle_color_of_a_signed_axis():
    (color,) = [
        color
        for place, color in color_axis(Scale(-3.0, 3.0, signed=True), "")["colorscale"]
        if place == 0.5
    ]
    assert color == DIVERGING[len(DIVERGING) // 2]


def test_logarithmic_colors_are_half_way_at_the_geometric_mean():
    def place(color, logarithmic):
        axis = color_axis(Scale(0.01, 1.0, signed=False), "", logarithmic)
        return next(at for at, found in axis["colorscale"] if found == color)

    middle = color_axis(Scale(0.0, 1.0, signed=False), "")["colorscale"][32][1]
    assert 0.01 + 0.99 * place(middle, logarithmic=True) == pytest.approx(0.1, rel=0.05)
    assert place(middle, logarithmic=False) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("largest", "dtype"), [(7, "int8"), (127, "int8"), (128, "int16")])
def test_numbers_take_the_smallest_type_that_holds_them(largest, dtype):
    assert small_integers(np.array([0, largest])).dtype == dtype


def test_times_that_are_not_known_give_frame_numbers():
    known = xr.DataArray(np.zeros(2), {"seconds": ("frame", [0.0, 0.25])}, ("frame",))
    unknown = known.assign_coords(seconds=("frame", [np.nan, np.nan]))
    assert time_labels(known) == ("start of the token frame (s)", ["0.00", "0.25"])
    assert time_labels(unknown) == ("token frame (number)", ["0", "1"])
