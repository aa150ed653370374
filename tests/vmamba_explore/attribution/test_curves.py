"""Areas of curves that can be worked out by hand."""

import pytest
import torch

from vmamba_explore.attribution.curves import Faithfulness, RandomControl, RemovalCurve


def curve(kind, logits, fractions=None, probabilities=None):
    logits = torch.tensor(logits)
    if fractions is None:
        fractions = torch.linspace(0, 1, logits.shape[1]).expand_as(logits)
    return RemovalCurve(kind, "morf", "frames", "blur", fractions, logits, probabilities)


def test_an_area_is_the_mean_height_over_true_fractions():
    uneven = torch.tensor([[0.0, 0.25, 1.0]])
    found = curve("deletion", [[4.0, 2.0, 0.0]], uneven)
    assert found.area().item() == 0.25 * 3 + 0.75 * 1
    shares = torch.tensor([[1.0, 0.5, 0.5]])
    found = curve("deletion", [[4.0, 2.0, 0.0]], uneven, shares)
    assert found.area("probabilities").item() == 0.25 * 0.75 + 0.75 * 0.5


def test_one_is_the_clip_and_zero_the_baseline_both_ways():
    down = curve("deletion", [[6.0, 4.0, 2.0]]).values(normalized=True)
    up = curve("insertion", [[2.0, 4.0, 6.0]]).values(normalized=True)
    assert down.tolist() == [[1, 0.5, 0]] and up.tolist() == [[0, 0.5, 1]]


def test_a_clip_with_nothing_above_its_baseline_has_no_normalized_area():
    found = curve("deletion", [[2.0, 1.0], [1.0, 2.0]])
    area = found.area(normalized=True)
    assert area[0] == 0.5 and area[1].isnan()
    assert found.area().tolist() == [1.5, 1.5]


def test_runs_by_chance_stand_side_by_side():
    runs = tuple(
        Faithfulness(curve("deletion", [[2.0, low, 0.0]]), curve("insertion", [[0.0, 1.0, 2.0]]))
        for low in (0.0, 1.0, 2.0)
    )
    control = RandomControl(runs)
    assert control.area("deletion").tolist() == [[0.5, 1.0, 1.5]]
    assert control.lerf_minus_morf().tolist() == [[0.5, 0.0, -0.5]]
    assert control.area("insertion", normalized=True).tolist() == [[0.5, 0.5, 0.5]]


def test_what_a_curve_does_not_have_is_said(unchecked):
    found = curve("deletion", [[1.0, 0.0]])
    with pytest.raises(ValueError, match="of must be logits or probabilities, got 'odds'"):
        found.area("odds")
    with pytest.raises(ValueError, match="State, which has no probability; use logits"):
        found.area("probabilities")
