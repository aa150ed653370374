"""Scales: what is centered, what is missing, what a constant looks like."""

import numpy as np
import pytest

from vmamba_explore.view.colors import (
    DIRECTION_COLORS,
    DIVERGING,
    MISSING,
    SEQUENTIAL,
    THEMES,
    color_table,
    scale_of,
    with_unit,
)


def luminance(rgb):
    linear = (np.asarray(rgb) / 255) ** 2.2
    return linear @ [0.2126, 0.7152, 0.0722]


def test_a_scale_of_signed_values_is_centered_on_zero():
    scale = scale_of([-1.0, 4.0])
    assert (scale.low, scale.high, scale.signed) == (-4.0, 4.0, True)
    assert scale.levels([-4.0, 0.0, 4.0]).tolist() == [0, 127, 254]


def test_a_scale_of_positive_values_spans_them():
    scale = scale_of([2.0, 3.0, 5.0])
    assert (scale.low, scale.high, scale.signed) == (2.0, 5.0, False)
    assert scale.levels([2.0, 5.0]).tolist() == [0, 254]


def test_positive_values_of_a_signed_quantity_are_still_centered():
    assert scale_of([1.0, 2.0], signed=True).low == -2.0


@pytest.mark.parametrize("values", [[], [np.nan, np.inf], [0.0, 0.0], [3.0], [-2.0]])
def test_empty_and_constant_values_have_a_scale_with_some_width(values):
    scale = scale_of(values)
    assert np.isfinite([scale.low, scale.high]).all() and scale.low < scale.high


def test_values_that_are_not_finite_are_missing_and_nothing_else_is():
    levels = scale_of([0.0, 1.0]).levels([np.nan, np.inf, -np.inf, 0.0, 1.0, 99.0])
    assert (levels == MISSING).tolist() == [True, True, True, False, False, False]


def test_the_table_begins_and_ends_with_the_stops_that_figures_use():
    for signed, stops in ((False, SEQUENTIAL), (True, DIVERGING)):
        table = color_table(signed)
        assert table.shape == (255, 3)
        assert bytes(table[0]).hex() == stops[0][1:] and bytes(table[-1]).hex() == stops[-1][1:]


def test_the_sequential_scale_grows_lighter_all_the_way():
    assert (np.diff(luminance(color_table(signed=False))[::6]) > 0).all()


def test_the_diverging_scale_is_lightest_at_zero_and_grows_darker_both_ways():
    light = luminance(color_table(signed=True))
    assert light.argmax() == 127
    assert (np.diff(light[:128]) > 0).all() and (np.diff(light[127:]) < 0).all()


def test_direction_colors_stand_out_on_white_and_on_black():
    for color in DIRECTION_COLORS.values():
        light = luminance([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert 1.05 / (light + 0.05) > 3 and (light + 0.05) / 0.05 > 3


def test_a_label_without_unit_says_so():
    assert (with_unit("time", "s"), with_unit("delta")) == ("time (s)", "delta (no unit)")


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_words_can_be_read_in_both_themes(theme):
    ground, *words = (
        luminance(list(bytes.fromhex(color[1:])))
        for color in (theme.background, theme.ink, theme.muted)
    )  # fmt: skip
    for word in words:
        dark, light = sorted((ground, word))
        assert (light + 0.05) / (dark + 0.05) > 4.5
