"""Figures of removals and of weights drawn anew."""

import pytest
import torch
from figure_examples import make_faithfulness

from vmamba_explore.attribution.removal_scores import RandomControl
from vmamba_explore.attribution.sanity import WeightRandomization
from vmamba_explore.view.figures import faithfulness as scores


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_curves_are_means_over_clips_unless_one_is_asked_for():
    found, chance = {"<i>a": make_faithfulness(1.0)}, RandomControl((make_faithfulness(0.5),) * 3)
    mean = scores.faithfulness_curves(found, chance)
    deletion, insertion = traces(mean, "&lt;i&gt;a: 1.50, 1.50")
    assert list(deletion.y) == [3.0, 1.5, 0.0]
    assert list(insertion.y) == [0.0, 1.5, 3.0]
    assert len(traces(mean, "random orders")) == 6
    one = scores.faithfulness_curves(found, clip=1, of="probabilities")
    assert one.data[0].y == pytest.approx([0.4, 0.2, 0.0])
    assert "mean of" not in one.layout.title.text
    assert "probability" in one.layout.yaxis.title.text


def test_curves_of_nothing_or_of_another_clip_are_errors():
    with pytest.raises(ValueError, match="got no method"):
        scores.faithfulness_curves({})
    with pytest.raises(ValueError, match="no clip 2 in this batch of 2"):
        scores.faithfulness_curves({"a": make_faithfulness(1.0)}, clip=2)


def test_what_is_left_of_a_map_starts_at_the_trained_model():
    each = torch.tensor([[0.5, 0.1], [0.7, torch.nan]]).double()
    figure = scores.sanity([WeightRandomization("a", ("head", "patch_embed"), each, each / 2)])
    assert list(figure.data[0].x) == ["trained", "head", "patch_embed"]
    assert figure.data[0].y == pytest.approx([1, 0.6, 0.1])
    assert figure.data[1].y == pytest.approx([1, 0.3, 0.05])
    with pytest.raises(ValueError, match="got no method"):
        scores.sanity([])
