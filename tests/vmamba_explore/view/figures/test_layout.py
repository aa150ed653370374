"""What all figures share."""

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from vmamba_explore.view.colors import DIVERGING, SEQUENTIAL, Scale
from vmamba_explore.view.figures import layout
from vmamba_explore.view.figures.layout import (
    add_logarithmic_colors,
    color_axis,
    new_figure,
    small_integers,
    start_times,
    text,
    time_labels,
)


def test_html_in_words_becomes_text():
    assert text("<b>a</b> & b") == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert new_figure("<i>x", 100).layout.title.text == "&lt;i&gt;x"


@pytest.mark.parametrize("on_display", [True, False])
def test_a_figure_is_shown_after_the_style_of_its_ink(on_display, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(layout.pio.renderers, "default", "json")
    monkeypatch.setattr(layout.pio.renderers, "render_on_display", on_display)
    monkeypatch.setattr(layout, "display", lambda output, raw: shown.append(output["text/html"]))
    monkeypatch.setattr(layout.pio, "show", lambda figure, config: shown.append(config))
    new_figure("x", 100)._ipython_display_()
    if on_display:
        assert layout.THEME_CSS in shown[0] and shown[1]["responsive"]
    else:  # the user switched it off
        assert not shown and capsys.readouterr().out.startswith("Figure(")


def test_the_style_finds_the_ink_as_a_browser_writes_it():
    red, green, blue = bytes.fromhex(layout.INK[1:])
    assert f"fill: rgb({red}, {green}, {blue})" in layout.THEME_CSS
    assert f"stroke: rgb({red}, {green}, {blue})" in layout.THEME_CSS


def test_a_long_title_and_a_note_make_room_for_themselves():
    short, long = new_figure("x", 100), new_figure("many words " * 12, 100, "a note")
    assert long.layout.title.text.count("<br>") == 2
    assert "<sup>a note</sup>" in long.layout.title.text
    room = long.layout.margin.t - short.layout.margin.t
    assert room > 0 and room == long.layout.height - short.layout.height


def test_panels_stand_line_by_line_with_titles_that_fit():
    figure, cells = layout.panels("x", ["a", "many words " * 6, "c"], 100, columns=2)
    assert cells == [{"row": 1, "col": 1}, {"row": 1, "col": 2}, {"row": 2, "col": 1}]
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0] == "a" and max(map(len, titles[1].split("<br>"))) <= 42


def test_lines_without_words_for_their_hover_have_none():
    figure = new_figure("x", 100)
    layout.add_line(figure, [1], [2], "<a>")
    layout.add_line(figure, [1], [2], "b", "one", "two")
    assert figure.data[0].hoverinfo == "skip" and figure.data[0].name == "&lt;a&gt;"
    assert figure.data[1].hovertemplate == "one<br>two<extra></extra>"


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


def with_logarithmic_colors(low, high):
    figure = new_figure("", 100)
    figure.add_heatmap(z=[[low, high]], coloraxis="coloraxis")
    add_logarithmic_colors(figure, Scale(low, high, signed=False), "delta (1/token)")
    return figure


def test_logarithmic_colors_are_half_way_at_the_geometric_mean():
    def place(axis):
        return next(at for at, found in axis["colorscale"] if found == middle)

    linear = color_axis(Scale(0.0, 1.0, signed=False), "")
    middle = linear["colorscale"][32][1]
    axis = with_logarithmic_colors(0.01, 1.0).layout.coloraxis
    assert 0.01 + 0.99 * place(axis) == pytest.approx(0.1, rel=0.05)
    assert place(linear) == pytest.approx(0.5, abs=0.01)


def test_a_logarithmic_legend_has_the_color_of_the_value_beside_each_of_its_ticks():
    figure = with_logarithmic_colors(0.0005, 2.0)
    legend, tiles = figure.layout.coloraxis2, figure.layout.coloraxis
    assert list(legend.colorbar.ticktext) == ["0.001", "0.01", "0.1", "1"]
    assert legend.colorbar.title.text == "delta (1/token)" and tiles.showscale is False
    (carrier,) = figure.select_traces({"type": "scatter"})
    assert carrier.marker.coloraxis == "coloraxis2" and carrier.x[0] is None
    places, colors = zip(*tiles.colorscale, strict=True)
    values = tiles.cmin + np.array(places) * (tiles.cmax - tiles.cmin)
    shown = [legend.cmin + at * (legend.cmax - legend.cmin) for at, _ in legend.colorscale]
    assert colors == tuple(color for _, color in legend.colorscale)
    assert np.allclose(np.log10(values), shown, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.02, 0.4, ["0.03", "0.1", "0.3"]),
        (0.9, 6.0, ["1", "2", "5"]),
        (0.021, 0.025, ["0.021", "0.0223", "0.0236", "0.025"]),
        (1e-12, 1.0, ["1e-12", "1e-10", "1e-08", "1e-06", "0.0001", "0.01", "1"]),
    ],
)
def test_a_logarithmic_legend_has_three_to_eight_round_ticks(low, high, ticks):
    assert list(with_logarithmic_colors(low, high).layout.coloraxis2.colorbar.ticktext) == ticks


@pytest.mark.parametrize(("largest", "dtype"), [(7, "int8"), (127, "int8"), (128, "int16")])
def test_numbers_take_the_smallest_type_that_holds_them(largest, dtype):
    assert small_integers(np.array([0, largest])).dtype == dtype


def test_an_axis_of_time_counts_token_frames_with_the_finest_known_time_below():
    coords = {"frame": [0, 1], "seconds": ("frame", [0.0, 0.25]), "clip_frame": ("frame", [0, 2])}
    known = xr.DataArray(np.zeros(2), coords, ("frame",))
    unknown = known.assign_coords(seconds=("frame", [np.nan, np.nan]))
    small = '<br><span style="font-size:10px">%s</span>'
    shown = ["0" + small % "0.00", "1" + small % "0.25"]
    assert time_labels(known) == ("token frame, and its start (s)", shown)
    assert start_times(known) == ["0.00 s", "0.25 s"]
    shown = ["0" + small % "0", "1" + small % "2"]
    assert time_labels(unknown) == ("token frame, and its first clip frame", shown)
    assert start_times(unknown) == []
    same = unknown.assign_coords(clip_frame=("frame", [0, 1]))
    assert time_labels(same) == ("token frame (number)", ["0", "1"])
    assert time_labels(unknown.drop_vars("clip_frame")) == ("token frame (number)", ["0", "1"])


def test_a_figure_of_ones_own_takes_the_style_and_stays_as_it_is():
    own = go.Figure(go.Scatter(y=[1, 2]), layout={"width": 960, "height": 300})
    found = layout.styled(own)
    assert type(found) is layout.Figure and found.data == own.data
    assert (found.layout.width, found.layout.height) == (None, 300)
    assert found.layout.template == layout.TEMPLATE and own.layout.width == 960
