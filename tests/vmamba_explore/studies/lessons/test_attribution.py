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


def make_flow():
    """Layer 1 hands on most by size over both directions, layer 2 most in one."""
    handed_on = torch.zeros(1, 3, 2, 4)
    handed_on[0, 1] = -1.0
    handed_on[0, 2, 0] = 1.5
    return RelevanceFlow(
        torch.zeros(1, 3, 2, 4), None, handed_on, handed_on,
        {"forward": (0, 1, 2, 3), "backward": (3, 2, 1, 0)}, make_conservation(),
        TokenLabels(TokenGrid(4, 1, 1, None), 2),
    )  # fmt: skip


SHARES = {"a": 0.2, "b": 0.7, "c": 0.1}
# the lowest deletion is an area, not an end
CURVES = {"late": make_faithfulness(9, 9, -1), "early": make_faithfulness(9, 1, 1)}
LOGITS = torch.tensor([0.0, 3.0, 1.0])


@pytest.mark.parametrize(
    ("question", "given", "right", "wrong"),
    [
        (check.finds_it, (SHARES,), "B", "a"),
        # biases are what the inputs leave of the logit
        (check.bias_share, (make_conservation(),), 0.3, 0.4),
        (check.hands_on, (make_flow(),), 1, 2),
        (check.lowest_deletion, (CURVES,), "early", "late"),
        (check.follows, (LOGITS, 2, 1), "mark", "motion"),
        # a map reaches a region above its area
        (check.reaches, (0.5, 0.02), "yes", "no"),
        (check.reaches, (0.01, 0.02), "no", "yes"),
    ],
)
def test_the_truth_is_in_what_is_passed(question, given, right, wrong):
    assert question(right, *given).right is True
    assert question(wrong, *given).right is False
    assert question(..., *given).right is None


def test_the_hardest_control_is_the_best_of_the_controls_only(score_summary):
    assert check.hardest_control("frame_difference", score_summary, "average_precision").right
    assert check.hardest_control("random", score_summary, "share").right is False
    assert check.hardest_control("high", score_summary, "share").right is None


def test_what_is_neither_of_two_is_said():
    assert check.finds_it("d", SHARES).right is None
    with pytest.raises(ValueError, match="names class 1, neither motion nor mark"):
        check.follows("mark", LOGITS, motion=2, mark=0)
