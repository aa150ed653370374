"""Figures of timelines: drawn where, hatched where, small however long the video is."""

import numpy as np
import pytest
from figure_examples import made_camera_timeline, made_timeline, named, of_type

from vmamba_explore.view.figures.timeline import MAX_COLUMNS, timeline


def titles(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def clock(values):
    """Milliseconds of the figure's day as seconds."""
    return (np.asarray(values, float) - 946_684_800_000) / 1000


def test_every_panel_has_a_column_for_each_window_at_its_time():
    figure = timeline(made_timeline(5))
    maps = of_type(figure, "heatmap")
    assert len(maps) == 3  # classes, delta forward and backward
    for drawn in maps:
        assert clock(drawn.x).tolist() == [0, 1, 2, 3, 4, 5]
        assert np.asarray(drawn.z).shape[1] == 5
    (line,) = of_type(figure, "scatter")
    assert clock(line.x).tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_what_was_measured_of_the_camera_stands_in_the_rows_of_the_classes():
    found = made_camera_timeline(8)
    figure = timeline(found)
    classes, measured = of_type(figure, "heatmap")[:2]
    assert "the camera, measured without learning" in titles(figure)
    rows = [*found.probabilities.columns]
    for row in range(8):
        label = found.table["camera"][row]
        drawn = np.asarray(measured.z)[: len(rows), row]
        assert drawn.tolist() == [float(name == label) for name in rows]
    ticks = figure.layout[f"yaxis{measured.yaxis[1:]}"].ticktext
    assert list(ticks)[: len(rows)] == list(figure.layout.yaxis.ticktext)
    assert set(ticks) - set(rows) == set(found.table["camera"]) - set(rows) - {""}


def test_the_cameras_speed_is_its_move_over_the_windows_length():
    found = made_camera_timeline(8)
    found.table["end"] = found.table["start"] + 0.5
    figure = timeline(found)
    (line,) = [trace for trace in of_type(figure, "scatter") if "zoom (in" in trace.name]
    assert list(line.y) == pytest.approx(list(2 * found.table["camera_zoom"]), rel=1e-5)


def test_measured_cuts_are_lines_in_three_panels_and_counted_in_the_title():
    figure = timeline(made_camera_timeline(8))
    lines = named(figure, "cut")
    assert len(lines) == 3
    for line in lines:
        x = [place for place in line.x if place is not None]
        assert clock(x).tolist() == [2.25, 2.25, 6.5, 6.5]
    assert "2 cuts measured (orange)" in figure.layout.title.text
    assert not named(timeline(made_timeline(8)), "cut")


def test_more_cuts_than_can_be_told_apart_are_counted_only():
    found = made_camera_timeline(600, cuts=[row + 0.5 for row in range(600)])
    figure = timeline(found)
    assert "600 cuts measured" in figure.layout.title.text and not named(figure, "cut")


def test_evidence_by_frame_has_a_panel_where_it_was_asked_for():
    assert "evidence by the window's token frames" not in titles(timeline(made_timeline(5)))
    figure = timeline(made_timeline(5, frames=4))
    assert "evidence by the window's token frames" in titles(figure)
    assert len(of_type(figure, "heatmap")) == 4


def test_windows_that_failed_are_hatched_with_their_reason_as_text_and_else_blank():
    figure = timeline(made_timeline(6, failed=[2, 3]))
    bars = of_type(figure, "bar")
    assert len(bars) == 4  # every panel
    for bar in bars:
        assert clock(bar.x).tolist() == [3.0]
        assert list(bar.width) == [2000]
        assert bar.marker.pattern.shape == "/"
        assert bar.hovertext[0].startswith("damaged &lt;b&gt;here")
    for drawn in of_type(figure, "heatmap"):
        assert np.isnan(np.asarray(drawn.z)[:, 2:4]).all()
    name = "&lt;i&gt;video.mp4"
    assert figure.layout.title.text == f"{name}: 6 windows, 2 failed (hatched)"


def test_delta_is_drawn_against_its_layers_median_and_told_as_it_is():
    found = made_timeline(3)
    found.table["delta_1_forward"] = [1.0, 2.0, 4.0]
    drawn = of_type(timeline(found), "heatmap")[1]
    assert np.asarray(drawn.z)[1].tolist() == [-1, 0, 1]
    assert np.asarray(drawn.customdata)[1].tolist() == [1, 2, 4]


def test_many_windows_are_drawn_as_means_in_less_than_a_megabyte():
    found = made_timeline(20_000, layers=24, frames=8, failed=range(7, 20_000, 50), classes=400)
    figure = timeline(found)
    assert len(figure.to_json()) < 1_000_000
    shown = of_type(figure, "heatmap")[0]
    assert np.asarray(shown.z).shape[1] <= MAX_COLUMNS
    group = found.probabilities.iloc[:50, 0]
    assert np.asarray(shown.z)[0, 0] == pytest.approx(float(group.mean()), rel=1e-5)


def test_the_margin_is_named_for_what_it_is():
    named = made_timeline(3)
    named.settings.update({"class_names": ["a<", "b", "c"], "target": 0, "minus": "b"})
    assert "evidence: logit of a&lt; less logit of b" in titles(timeline(named))
    assert "evidence: logit of the most probable class less logit of the runner-up" in titles(
        timeline(made_timeline(3))
    )


def test_where_nothing_can_be_drawn_words_say_why():
    assert "No window was watched yet." in titles(timeline(made_timeline(0, finished=False)))
    (words,) = titles(timeline(made_timeline(3, failed=[0, 1, 2])))
    assert words == "Every window failed: damaged &lt;b&gt;here&lt;/b&gt;."


def test_a_part_of_a_video_says_that_it_is_one():
    assert "not finished" in timeline(made_timeline(3, finished=False)).layout.title.text
