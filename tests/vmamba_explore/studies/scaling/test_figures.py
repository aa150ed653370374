"""Figures of cost."""

import numpy as np

from vmamba_explore.studies.scaling.figures import cost_curves
from vmamba_explore.studies.scaling.fit import Curve

FRAMES = (8, 16, 32, 64)


def curve(model="ours", exponent=1.0, quantity="time", unit="s", factor=0.001):
    values = tuple(factor * n**exponent for n in FRAMES)
    return Curve(model, quantity, unit, FRAMES, values)


def test_each_quantity_gets_a_panel_with_its_unit():
    memory = curve(quantity="peak memory", unit="bytes", factor=2**20)
    figure = cost_curves([curve(), memory])
    assert figure.layout.yaxis.title.text == "time (ms), log scale"
    assert figure.layout.yaxis2.title.text == "peak memory (MiB), log scale"
    assert np.allclose(figure.data[0].y, np.array(FRAMES))
    assert np.allclose(figure.data[1].y, np.array(FRAMES))
    assert [trace.xaxis for trace in figure.data] == ["x", "x2"]


def test_both_axes_are_logarithmic_and_frames_are_labeled_as_they_are():
    layout = cost_curves([curve()]).layout
    assert (layout.xaxis.type, layout.yaxis.type) == ("log", "log")
    assert layout.xaxis.ticktext == ("8", "16", "32", "64")
    assert layout.xaxis.title.text == "frames of the clip (log scale)"


def test_a_short_scale_is_labeled_in_between_and_a_long_one_at_powers_of_ten():
    short = cost_curves([curve(factor=0.00005)]).layout.yaxis
    assert {"0.5", "1", "2"} <= set(short.ticktext)
    long = cost_curves([curve(exponent=4)]).layout.yaxis
    assert {"1", "10", "1,000"} <= set(long.ticktext) and "2" not in long.ticktext


def test_a_fit_is_a_line_whose_exponent_stands_in_the_legend():
    points, line = cost_curves([curve(exponent=1.5)], fit_from=8).data
    assert points.name == "ours, exponent 1.50 ± 0.00"
    assert (line.mode, line.line.dash) == ("lines", "solid")
    assert np.allclose(line.y, [8**1.5, 64**1.5]) and np.allclose(line.x, [8, 64])


def test_what_is_extrapolated_is_dotted_and_begins_where_the_measuring_ends():
    _, fit, beyond = cost_curves([curve()], fit_from=8, reach=256).data
    assert (fit.line.dash, beyond.line.dash) == ("solid", "dot")
    assert np.allclose(beyond.x, [64, 256]) and np.allclose(beyond.y, [64, 256])


def test_too_few_lengths_are_drawn_without_a_fit():
    (points,) = cost_curves([curve()], fit_from=32).data
    assert points.name == "ours"


def test_models_differ_in_color_and_in_symbol_and_keep_them_across_panels():
    curves = [curve(m, quantity=q) for q in ("time", "ratio") for m in ("ours", "theirs")]
    markers = [(t.marker.color, t.marker.symbol) for t in cost_curves(curves).data]
    assert markers[0] != markers[1] and markers[:2] == markers[2:]
    assert markers[0][0] != markers[1][0] and markers[0][1] != markers[1][1]


def test_html_in_a_name_becomes_text():
    (points,) = cost_curves([curve("<b>ours</b>")]).data
    assert points.name == "&lt;b&gt;ours&lt;/b&gt;"
