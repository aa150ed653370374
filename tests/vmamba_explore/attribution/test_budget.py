"""Limits from a memory budget."""

import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.attribution.budget import GIB, MOST_ROWS, Limits
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.hooks import attached


@pytest.fixture(scope="module")
def model():
    return toy(num_frames=8, img_size=64, depth=8, d_model=48).requires_grad_(False)


def test_a_larger_budget_takes_more_clips_and_stops_recomputing(model):
    budgets = [b / 1024 for b in (11, 30, 60, 400)]
    found = [Limits.within(model, budget) for budget in budgets]
    rows = [limits.gradient_rows for limits in found]
    assert found[0].recompute and not found[-1].recompute
    assert rows[-1] == MOST_ROWS and min(rows) >= 1
    assert [limits.forward_rows for limits in found] == sorted(
        limits.forward_rows for limits in found
    )


@pytest.mark.parametrize("budget_mib", [11, 20, 60])
def test_gradients_stay_within_the_budget(model, budget_mib):
    clips = torch.randn(8, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    problem = make_problem(model, clips, 0, budget_gib=budget_mib / 1024)
    assert peak_bytes(lambda: problem.gradient(clips)) < budget_mib * 2**20


def test_the_estimate_is_near_what_a_gradient_takes(model):
    clips = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    for budget in (11 / 1024, 1.0):
        problem = make_problem(model, clips, 0, budget_gib=budget)
        taken = peak_bytes(lambda problem=problem: problem.gradient(clips))
        assert 0.4 < taken / problem.limits.gradient_bytes < 1.2


def test_limits_do_not_depend_on_who_asks(model, monkeypatch):
    found = []
    for trains in (True, False):
        monkeypatch.setattr("vmamba_explore.attribution.budget._KNOWN", {})
        model.requires_grad_(trains)
        found.append(Limits.within(model))
    model.requires_grad_(False)
    assert found[0] == found[1]


def test_somebodys_hooks_do_not_see_the_measuring(model, monkeypatch):
    monkeypatch.setattr("vmamba_explore.attribution.budget._KNOWN", {})
    seen = []
    with attached(model, [("layers.0.hook_block_input", lambda value, _: seen.append(value))]):
        Limits.within(model)
    assert not seen


def test_a_budget_that_is_too_small_says_what_is_needed(model):
    with pytest.raises(MemoryError, match=r"one clip needs about .* Pass budget_gib="):
        Limits.within(model, 1000 / GIB)
    with pytest.raises(ValueError, match="budget_gib is 0, expected more than 0"):
        Limits.within(model, 0)
