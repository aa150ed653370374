"""Maps as they are drawn: what the colors stand for."""

import numpy as np
import pytest

from vmamba_explore.view.explorer.drawn import FLOOR, DrawnMap

LAYER, BACKWARD = 1, 1


@pytest.fixture
def sides(make_exploration):
    return make_exploration(0), make_exploration(1)


def of(sides, name):
    return DrawnMap.of([side.maps[name] for side in sides])


def test_a_layer_has_one_scale_for_both_directions_and_both_sides(sides):
    drawn = of(sides, "contribution")
    for layer, scale in enumerate(drawn.scales):
        reach = max(abs(side.maps["contribution"].values[layer]).max() for side in sides)
        assert (scale.low, scale.high) == (-reach, reach)


def test_the_difference_of_logarithms_is_a_ratio(sides):
    drawn = of(sides, "delta")
    one, other = (side.maps["delta"].values.astype(np.float64) for side in sides)
    ratio = 10 ** drawn.values["difference"]
    known = np.isfinite(one) & np.isfinite(other)
    np.testing.assert_allclose(ratio[known], (other / one)[known], rtol=1e-9)
    assert drawn.pane("difference", BACKWARD, LAYER)[2]
    assert not drawn.pane(0, BACKWARD, LAYER)[2]


def test_a_clip_beside_itself_differs_nowhere(make_exploration):
    drawn = of((make_exploration(0), make_exploration(0)), "contribution")
    assert (drawn.values["difference"] == 0).all()
    assert (drawn.levels("difference") == 127).all()  # the middle color


def test_zeros_on_a_logarithmic_scale_are_drawn_at_its_floor(make_exploration):
    array = make_exploration().maps["delta"].copy()
    array[1, 1, 2, 1, 3] = 0
    drawn = DrawnMap.of([array])
    assert drawn.values[0][1, 1, 2, 1, 3] == pytest.approx(np.log10(FLOOR * float(array.max())))


def test_the_directions_apart_have_one_symmetric_scale(sides):
    drawn = of(sides, "contribution")
    values, scale, _ = drawn.pane(1, "difference", LAYER)
    array = sides[1].maps["contribution"].values.astype(np.float64)[LAYER]
    np.testing.assert_allclose(values, array[0] - array[1])
    reaches = [
        np.abs(np.diff(side.maps["contribution"].values.astype(np.float64)[LAYER], axis=0)).max()
        for side in sides
    ]
    assert scale.high == pytest.approx(max(reaches)) and scale.low == -scale.high


def test_a_scale_of_all_layers_spans_them(sides):
    drawn = of(sides, "contribution")
    _, one, _ = drawn.pane(0, BACKWARD, LAYER)
    _, every, _ = drawn.pane(0, BACKWARD, LAYER, all_layers=True)
    assert every.high == max(scale.high for scale in drawn.scales) >= one.high


def test_a_map_without_layers_and_directions_is_the_same_in_all_of_them(sides):
    drawn = of(sides, "relevance")
    assert drawn.shape[:2] == (1, 1)
    values, _, _ = drawn.pane(0, BACKWARD, 0)
    np.testing.assert_array_equal(values, sides[0].maps["relevance"].values)
