"""Questions of notebook 06: the truth is computed from what is passed, and never shown."""

import pytest
import torch

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.attribution.removal_scores import Faithfulness, RemovalCurve
from vmamba_explore.studies.lessons import attribution as check
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels


def make_conservation():
    entries = {"tokens": 6.0, "class token": 1.0, "head.bias": 4.0, "b": -1.0}
    return Conservation(
        {name: torch.tensor([value]) for name, value in entries.items()},
        torch.tensor([10.0]), torch.tensor([12.0]), torch.zeros(1, 2),
    )  # fmt: skip


def make_faithfulness(*heights):
    values = torch.tensor([heights], dtype=torch.float32)
    fractions = torch.linspace(0, 1, len(heights))[None]
    kinds = ("deletion", "insertion")
    return Faithfulness(
        *(RemovalCurve(k, "morf", "tubelets", "blur", fractions, values, None) for k in kinds)
    )


def test_the_map_with_the_largest_share_finds_it():
    shares = {"a": 0.2, "b": 0.7, "c": 0.1}
    assert check.finds_it("B", shares).right
    assert check.finds_it("a", shares).right is False
    assert check.finds_it("d", shares).right is None
    assert check.finds_it(..., shares).right is None


def test_biases_are_what_the_inputs_leave_of_the_logit():
    assert check.bias_share(0.3, make_conservation()).right
    assert check.bias_share(0.4, make_conservation()).right is False


def test_the_layer_that_hands_on_is_found_by_size_over_both_directions():
    handed_on = torch.zeros(1, 3, 2, 4)
    handed_on[0, 1] = -1.0
    handed_on[0, 2, 0] = 1.5
    flow = RelevanceFlow(
        torch.zeros(1, 3, 2, 4), None, handed_on, handed_on,
        {"forward": (0, 1, 2, 3), "backward": (3, 2, 1, 0)}, make_conservation(),
        TokenLabels(TokenGrid(4, 1, 1, None), 2),
    )  # fmt: skip
    assert check.hands_on(1, flow).right
    assert check.hands_on(2, flow).right is False


def test_the_lowest_deletion_is_an_area_not_an_end():
    curves = {"late": make_faithfulness(9, 9, -1), "early": make_faithfulness(9, 1, 1)}
    assert check.lowest_deletion("early", curves).right
    assert check.lowest_deletion("late", curves).right is False


def test_the_hardest_control_is_the_best_of_the_controls_only(score_summary):
    assert check.hardest_control("frame_difference", score_summary, "average_precision").right
    assert check.hardest_control("random", score_summary, "share").right is False
    assert check.hardest_control("high", score_summary, "share").right is None


def test_a_model_follows_what_it_names():
    logits = torch.tensor([0.0, 3.0, 1.0])
    assert check.follows("mark", logits, motion=2, mark=1).right
    assert check.follows("motion", logits, motion=2, mark=1).right is False
    with pytest.raises(ValueError, match="names class 1, neither motion nor mark"):
        check.follows("mark", logits, motion=2, mark=0)


@pytest.mark.parametrize(("share", "truth"), [(0.5, "yes"), (0.01, "no")])
def test_a_map_reaches_a_region_above_its_area(share, truth):
    assert check.reaches(truth, share, 0.02).right
    assert check.reaches({"yes": "no", "no": "yes"}[truth], share, 0.02).right is False
