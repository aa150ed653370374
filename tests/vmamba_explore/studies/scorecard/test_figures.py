"""Figures of scores: dots stand at their method and value, and are filled where they are better."""

import json

import numpy as np
import pytest

from vmamba_explore import resources
from vmamba_explore.studies.scorecard import figures as scores


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_methods_stand_best_first_and_controls_last(score_summary):
    figure = scores.score_card(score_summary)
    order = ["high", "low&lt;b&gt;", "random", "frame_difference"]
    assert list(figure.layout.yaxis.categoryarray) == order
    assert figure.layout.yaxis.range == (3.5, -0.5)  # the first one on top
    assert figure.layout.yaxis.ticktext[2:] == ("<i>random</i>", "<i>frame_difference</i>")


def test_a_dot_is_filled_where_a_method_beats_every_control(score_summary):
    figure = scores.score_card(score_summary)
    good, bad, control = (
        traces(figure, name)[0]
        for name in ("better than every control", "not shown to be", "control")
    )
    assert (list(good.y), list(good.x), good.marker.symbol) == (["high"], [0.8], "circle")
    assert (list(bad.y), list(bad.x), bad.marker.symbol) == (["low&lt;b&gt;"], [0.3], "circle-open")
    assert list(control.x) == [0.2, 0.6]
    assert good.error_x.array == pytest.approx([0.1])
    assert good.error_x.arrayminus == pytest.approx([0.1])


def test_controls_are_bands_of_their_intervals(score_summary):
    shapes = scores.score_card(score_summary).layout.shapes
    bands = {(round(s.x0, 3), round(s.x1, 3)) for s in shapes if s.xref == "x"}
    assert bands == {(0.1, 0.3), (0.5, 0.7)}


def test_the_cost_has_its_own_logarithmic_axis(score_summary):
    figure = scores.score_card(score_summary)
    assert figure.layout.xaxis3.type == "log"
    assert list(figure.data[-1].x) == [0.25] * 4
    assert list(figure.data[-1].customdata[0]) == [3, 1]


def test_a_card_is_sorted_by_the_score_asked_for(score_summary):
    low = score_summary["methods"]["low<b>"]["truth"]["positive"]
    low["share"] = {"value": 0.99, "low": 0.9, "high": 1.0}
    figure = scores.score_card(score_summary, sort_by="share")
    assert figure.layout.yaxis.categoryarray[0] == "low&lt;b&gt;"


def test_removals_are_compared_with_random_orders(score_summary):
    figure = scores.removal_scores(score_summary)
    assert list(traces(figure, "better than random")[0].y) == ["high"]
    bands = [(shape.x0, shape.x1) for shape in figure.layout.shapes]
    assert bands == [pytest.approx((0.3, 0.5))] * 4


def test_a_shortcut_shows_both_models_and_random_weights(score_summary):
    figure = scores.shortcut(score_summary)
    reads, ignores, weights = figure.data
    assert list(reads.x) == [0.8, 0.3, 0.2, 0.6]
    assert set(ignores.x) == {0.02}
    assert weights.x == pytest.approx([0.2, 0.075, 0.05, 0.15])
    assert [shape.x0 for shape in figure.layout.shapes] == [0.02, 0.2]


def test_classes_have_a_cell_for_each_method(score_summary):
    figure = scores.scores_by_class(score_summary, "average_precision")
    assert np.allclose(figure.data[0].z[0], [0.8, 0.8 / 3])
    assert list(figure.data[0].x) == ["right", "left"]


def test_a_bundled_figure_is_that_of_its_bundled_card():
    found = sorted(resources.data_dir().glob("scorecard_figure*.json"))
    assert resources.path("scorecard_figure.json") in found
    for figure in found:
        card = figure.with_name(figure.name.replace("scorecard_figure", "scorecard"))
        summary = json.loads(card.read_text("utf-8"))
        drawn = json.loads(scores.for_explorer(summary).to_json())
        assert json.loads(figure.read_text("utf-8")) == drawn


def test_parts_have_a_panel_for_each_kind_and_a_color_for_each_part(parts_summary):
    figure = scores.parts(parts_summary)
    assert figure.layout.title.text.startswith("What the maps show of recall-nano: 4 clips")
    panels = [each.text for each in figure.layout.annotations]
    assert panels == ["share of the map on it", "share of what moves<br>(low is good)"]
    sample = traces(figure, "sample: better than knowing nothing")
    assert [list(each.y) for each in sample] == [["high", "frame_difference"]] * 2
    assert list(sample[0].x) == [0.7, 0.4] and sample[0].marker.symbol == "circle"
    test = traces(figure, "test: not shown to be")[0]
    assert list(test.x) == [0.1, 0.05] and test.marker.symbol == "circle-open"
    assert test.marker.color != sample[0].marker.color
    assert [shape.x0 for shape in figure.layout.shapes] == [0.1] * 4  # what chance gives


def test_a_part_with_a_panel_of_its_own_is_named_there_and_in_the_legend(parts_summary):
    kept = ["sample: share of the map on it", "test: share of what moves"]
    parts_summary["measures"] = {key: parts_summary["measures"][key] for key in kept}
    figure = scores.parts(parts_summary)
    panels = [each.text.replace("<br>", " ") for each in figure.layout.annotations]
    assert panels == [
        "sample: share of the map on it", "test: share of what moves (low is good)"
    ]  # fmt: skip
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert len(named) == 4 and len(set(named)) == 4


def test_without_a_planted_model_the_weights_are_checked_alone(parts_summary):
    figure = scores.shortcut(parts_summary)
    assert figure.layout.annotations[0].text.startswith("size of the rank")
    assert len(figure.data) == 1 and list(figure.data[0].x)[-2:] == [0.05, 0.15]


def test_a_card_without_measures_has_no_parts(score_summary):
    with pytest.raises(ValueError, match="no measures of parts of the truth"):
        scores.parts(score_summary)
