"""The figure of a store's statistics shows their medians, and leaves out what cannot be drawn."""

import numpy as np
import pytest
from figure_examples import made_statistics

from vmamba_explore import figures
from vmamba_explore.view.colors import DIRECTION_COLORS


def lines(figure, panel):
    """The traces of a panel, counted from 0."""
    axis = "y" if panel == 0 else f"y{panel + 1}"
    return [trace for trace in figure.data if trace.yaxis == axis]


def test_each_layer_has_the_median_and_the_middle_of_its_channels_and_states():
    found = made_statistics()
    figure = figures.store_statistics(found)
    forward, backward = lines(figure, 3)
    values = found["half_life"].sel(direction="forward").values.reshape(6, -1)
    np.testing.assert_allclose(forward.y, np.median(values, axis=1))
    high = np.quantile(values, 0.9, axis=1)
    np.testing.assert_allclose(forward.y + forward.error_y.array, high)
    assert forward.line.color == DIRECTION_COLORS["forward"]
    assert backward.line.color == DIRECTION_COLORS["backward"]
    assert figure.layout.yaxis4.type == "log" and figure.layout.yaxis3.range == (0, 1.02)
    ratios = [list(line.y) for line in lines(figure, 0)]
    assert ratios == [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12]]
    assert "at most 79" in figure.layout.annotations[0].text
    assert "h_boundaries of 2,000 clips" in figure.layout.title.text


def test_without_half_lives_there_is_one_panel_less():
    figure = figures.store_statistics(made_statistics(half_lives=False))
    assert len(figure.layout.annotations) == 3 and not lines(figure, 3)


def test_values_that_are_always_0_are_left_out():
    found = made_statistics()
    found["deviation"][0] = 0
    found["sparsity"][0] = np.nan
    figure = figures.store_statistics(found)
    for panel in (1, 2):
        drawn = lines(figure, panel)[0].y
        assert np.isnan(drawn[0]) and np.isfinite(drawn[1:]).all()


def test_without_layers_numbers_are_sorted_and_named():
    found = made_statistics().isel(layer=0, direction=0, state=0, drop=True)
    found["deviation"][3] = 0
    figure = figures.store_statistics(found)
    (deviation,) = lines(figure, 0)
    values = found["deviation"].values
    assert list(deviation.y) == sorted(values[values > 0], reverse=True)
    assert [values[at] for (at,) in deviation.customdata] == list(deviation.y)
    assert "channel %{customdata[0]}" in deviation.hovertemplate
    assert "1.0 directions in use, of at most 79" in figure.layout.title.text


def test_another_dataset_is_refused():
    with pytest.raises(ValueError, match="lacks participation_ratio, ceiling; expected what stat"):
        figures.store_statistics(made_statistics()[["deviation", "sparsity"]])
