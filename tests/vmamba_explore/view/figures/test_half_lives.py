"""The histogram of half-lives."""

import numpy as np
import pytest
from figure_examples import made_lives

from vmamba_explore.view.figures.half_lives import half_life_histogram
from vmamba_explore.view.figures.memory import CENSORED


def test_every_state_is_in_one_bar_and_those_beyond_the_clip_in_their_own():
    found = made_lives([[0.5, 3, 30, 99, 100, 101, 1e6, 1e9], [0.5, 3, 30, 99, 100, 50, 60, 70]])
    bars = half_life_histogram({"a": found}).data
    inside, beyond, inside_backward, beyond_backward = bars
    assert sum(inside.y) == pytest.approx(100 * 5 / 8) and list(beyond.y) == [100 * 3 / 8]
    assert sum(inside_backward.y) == pytest.approx(100) and list(beyond_backward.y) == [0]
    assert beyond.marker.color == CENSORED != inside.marker.color


def test_bars_are_equally_wide_on_a_logarithmic_axis_and_end_at_the_clip():
    bar = half_life_histogram({"a": made_lives([[2.0, 20, 200]])}).data[0]
    assert np.allclose(bar.width, bar.width[0])
    ends = np.asarray(bar.x) + np.asarray(bar.width) / 2
    assert ends[-1] == pytest.approx(2)  # log10 of 100 tokens
    assert bar.x[0] - bar.width[0] / 2 <= np.log10(2)
    assert bar.customdata[-1] == "75 to 100 tokens"


def test_a_frame_and_the_clip_are_marked_in_both_directions():
    figure = half_life_histogram({"a": made_lives([[5.0, 7], [5.0, 7]])})
    lines = sorted(shape.x0 for shape in figure.layout.shapes)
    assert lines == pytest.approx([1, 1, 2, 2])
    words = [note.text for note in figure.layout.annotations]
    assert words.count("a frame") == words.count("the clip") == 2
    assert figure.layout.xaxis2.title.text == "half-life (tokens)"


def test_a_second_clip_is_a_line_over_the_bars_with_the_same_borders():
    first, second = made_lives([[5.0, 7]]), made_lives([[0.01, 200]])
    bars, _, line = half_life_histogram({"a": first, "<b>": second}).data
    assert list(line.x[: len(bars.x)]) == list(bars.x) and line.name == "&lt;b&gt;"
    assert line.y[-1] == 50 and sum(y for y in line.y[:-2]) == 50 and line.y[-2] is None


def test_states_that_all_outlast_the_clip_are_drawn():
    inside, beyond = half_life_histogram({"a": made_lives([[500.0, 900]])}).data
    assert sum(inside.y) == 0 and list(beyond.y) == [100]


def test_half_lives_of_other_models_or_three_clips_are_refused():
    a, b = made_lives([[5.0, 7]]), made_lives([[5.0, 7, 8]])
    for wrong in ({"a": a, "b": b}, {"a": a, "b": a, "c": a}, {}):
        with pytest.raises(ValueError, match="one or two clips in the same layer"):
            half_life_histogram(wrong)
