"""Figures of memory, on results whose numbers are known."""

import numpy as np
import pytest
from figure_examples import made_lives

from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.reach import LookBackCourse
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures import memory


def test_a_censored_half_life_is_gray_and_says_at_least(lives, clip):
    figure = memory.half_life_maps(lives, clip)
    tiles = list(figure.select_traces({"type": "heatmap"}))
    known, unknown = tiles[:2], tiles[2:]
    assert len(unknown) == 2
    for trace, gray in zip(known, unknown, strict=True):
        drawn, hidden = np.isfinite(trace.z), np.isfinite(gray.z)
        assert drawn.sum() == 3 * 6 * 16 and hidden.sum() == 3 * 2 * 16
        assert not (drawn & hidden).any()
        assert "at least %{z" in gray.hovertemplate and "at least" not in trace.hovertemplate
        assert {color for _, color in gray.colorscale} == {memory.CENSORED}
        assert gray.x0 == trace.x0 and set(np.asarray(gray.customdata)[hidden][:, 1]) == {6, 7}
    assert "gray: beyond the end of the scan" in figure.layout.title.text
    legend = figure.layout.coloraxis2.colorbar
    assert "90 % quantile of the half-life<br>(tokens)" in legend.title.text


def test_half_lives_in_frames_say_so_and_nothing_gray_is_drawn_without_need(lives):
    known = HalfLives(**(vars(lives) | {"censored": lives.censored & False, "quantile": 0.5}))
    figure = memory.half_life_maps(known, unit="frames")
    assert figure.layout.coloraxis.colorbar.title.text == "median half-life (frames)"
    assert len(list(figure.select_traces({"type": "heatmap"}))) == 2
    assert "gray" not in figure.layout.title.text


def test_the_look_back_stands_below_its_dotted_ceiling(course):
    figure = memory.look_back(course)
    solid = [t for t in figure.data if t.line.dash != "dot"]
    dotted = [t for t in figure.data if t.line.dash == "dot" and t.x[0] is not None]
    assert len(solid) == 3 * 2 * 2 and len(dotted) == 3 * 2
    expected = course.distance.sel(layer=0, direction="forward", group=0)
    assert np.allclose(solid[0].y, expected) and solid[0].line.color == DIRECTION_COLORS["forward"]
    assert solid[1].opacity < solid[0].opacity
    assert np.allclose(dotted[0].y, course.ceiling.sel(layer=0, direction="forward").mean("group"))
    assert figure.layout.yaxis.title.text == "look-back (tokens)"
    assert sorted(t.name for t in figure.data if t.showlegend is not False) == [
        "backward", "dotted: without decay", "forward",
    ]  # fmt: skip


def test_one_group_of_channels_is_not_called_a_group(course):
    whole = LookBackCourse(course.distance.isel(group=[0]), course.ceiling.isel(group=[0]))
    figure = memory.look_back(whole)
    assert "group" not in figure.data[0].hovertemplate and "paler" not in figure.layout.title.text


def test_what_is_left_of_a_frame_falls_away_on_both_sides(retention):
    figure = memory.retention_from(retention, 3)
    forward, backward = figure.data[:2]
    assert np.allclose(forward.y[3:], [100, 50, 25, 12.5, 6.25]) and np.isnan(forward.y[:3]).all()
    assert np.allclose(backward.y[:4], [12.5, 25, 50, 100]) and np.isnan(backward.y[4:]).all()
    assert figure.layout.yaxis.title.text == "left in the state (%)"


def test_every_cell_of_the_retention_tiles_says_which_two_frames_it_means(retention):
    board = memory.retention_tiles(retention).data[0]
    values, places = np.asarray(board.z), np.asarray(board.customdata)
    drawn = np.isfinite(values)
    assert drawn.sum() == 3 * 2 * 36
    lag = np.abs(places[drawn][:, 3] - places[drawn][:, 2])
    assert np.allclose(values[drawn], 0.5**lag)
    assert set(np.asarray(board.text)[drawn]) == {"forward", "backward"}


def test_likeness_stands_beside_the_band_of_the_shifted_ones(similarity):
    figure = memory.state_similarity(similarity)
    band, same = figure.data[:2]
    assert list(same.y) == [0.5, 0.1] and list(same.customdata) == [1 / 42, 22 / 42]
    assert np.allclose(band.y, 0.1) and np.allclose(band.error_y.array, 0.095)
    assert "at most 127" in figure.layout.annotations[1].text
    assert [trace.name for trace in figure.data[2:]] == ["forward", "backward"]


def test_dimensions_alone_are_drawn_for_a_model_with_one_direction(similarity):
    values = vars(similarity) | {"cka": None, "null": None}
    alone = StateSimilarity(**(values | {"participation": similarity.participation[:, :1]}))
    figure = memory.state_similarity(alone)
    assert [trace.name for trace in figure.data] == ["forward"]


def test_the_contrast_is_drawn_by_layer_with_one_as_its_middle_line(contrast):
    figure = memory.delta_contrast(contrast)
    forward, backward = figure.data[:2]
    assert np.allclose(forward.y, [1, 2, 3]) and np.allclose(backward.y, [1, 2, 3])
    assert forward.error_y.array.max() < 1e-9
    assert np.allclose(figure.data[2].y, [0.5, 1, 1.5])
    assert np.allclose(figure.data[4].y, 0.5)
    assert [shape.y0 for shape in figure.layout.shapes] == [1, 1, 1]
    assert figure.layout.yaxis.title.text == "ratio of mean deltas (no unit)"


def test_every_state_is_in_one_bar_and_those_beyond_the_clip_in_their_own():
    found = made_lives([[0.5, 3, 30, 99, 100, 101, 1e6, 1e9], [0.5, 3, 30, 99, 100, 50, 60, 70]])
    bars = memory.half_life_histogram({"a": found}).data
    inside, beyond, inside_backward, beyond_backward = bars
    assert sum(inside.y) == pytest.approx(100 * 5 / 8) and list(beyond.y) == [100 * 3 / 8]
    assert sum(inside_backward.y) == pytest.approx(100) and list(beyond_backward.y) == [0]
    assert beyond.marker.color == memory.CENSORED != inside.marker.color


def test_bars_are_equally_wide_on_a_logarithmic_axis_and_end_at_the_clip():
    bar = memory.half_life_histogram({"a": made_lives([[2.0, 20, 200]])}).data[0]
    assert np.allclose(bar.width, bar.width[0])
    ends = np.asarray(bar.x) + np.asarray(bar.width) / 2
    assert ends[-1] == pytest.approx(2)  # log10 of 100 tokens
    assert bar.x[0] - bar.width[0] / 2 <= np.log10(2)
    assert bar.customdata[-1] == "75 to 100 tokens"


def test_a_frame_and_the_clip_are_marked_in_both_directions():
    figure = memory.half_life_histogram({"a": made_lives([[5.0, 7], [5.0, 7]])})
    lines = sorted(shape.x0 for shape in figure.layout.shapes)
    assert lines == pytest.approx([1, 1, 2, 2])
    words = [note.text for note in figure.layout.annotations]
    assert words.count("a frame") == words.count("the clip") == 2
    assert figure.layout.xaxis2.title.text == "half-life (tokens)"


def test_a_second_clip_is_a_line_over_the_bars_with_the_same_borders():
    first, second = made_lives([[5.0, 7]]), made_lives([[0.01, 200]])
    bars, _, line = memory.half_life_histogram({"a": first, "<b>": second}).data
    assert list(line.x[: len(bars.x)]) == list(bars.x) and line.name == "&lt;b&gt;"
    assert line.y[-1] == 50 and sum(y for y in line.y[:-2]) == 50 and line.y[-2] is None


def test_states_that_all_outlast_the_clip_are_drawn():
    inside, beyond = memory.half_life_histogram({"a": made_lives([[500.0, 900]])}).data
    assert sum(inside.y) == 0 and list(beyond.y) == [100]
