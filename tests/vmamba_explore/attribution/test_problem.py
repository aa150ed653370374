"""What is explained, row by row, within the memory budget."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from tests.vmamba_explore.attribution.cases import sliced
from tests.vmamba_explore.toys import clips_for
from vmamba_explore import run_with_trace
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.attribution.problem import State


@pytest.fixture
def clips(model):
    return clips_for(model, 3)


def test_rows_know_which_clip_they_stand_for(model, clips):
    problem = make_problem(model, clips, [0, 1, 2], minus=[1, 2, 3])
    which = torch.tensor([2, 0])
    logits = model(clips[[1, 1]])
    expected = torch.stack([logits[0, 2] - logits[0, 3], logits[1, 0] - logits[1, 1]])
    torch.testing.assert_close(problem(clips[[1, 1]], which), expected.detach())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_gradients_in_slices_are_autograds(model, clips, rows, recompute):
    limits = {"forward_rows": rows, "gradient_rows": rows, "recompute": recompute}
    problem = sliced(make_problem(model, clips, 1), **limits)
    inputs = clips.clone().requires_grad_()
    scale = torch.tensor([1.0, -2.0, 0.5]).double()
    (ours,) = torch.autograd.grad((problem(inputs) * scale).sum(), inputs)
    (theirs,) = torch.autograd.grad((model(inputs)[:, 1] * scale).sum(), inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    assert (problem.cost.forward, problem.cost.backward) == (3, 3)


def test_a_state_can_be_what_is_explained(model, clips):
    state = State(1, "backward", 5, 7, 2)
    problem = sliced(make_problem(model, clips, state), forward_rows=2, gradient_rows=2)
    _, trace = run_with_trace(model, clips, state.hook)
    torch.testing.assert_close(problem(clips), trace[state.hook][:, 7, 2, 5].detach())
    inputs = clips.clone().requires_grad_()
    (ours,) = torch.autograd.grad(problem(inputs).sum(), inputs)
    _, trace = run_with_trace(model, inputs, state.hook)
    (theirs,) = torch.autograd.grad(trace[state.hook][:, 7, 2, 5].sum(), inputs)
    torch.testing.assert_close(ours, theirs)
    assert float(ours.abs().max()) > 0


def test_groups_keep_their_targets_and_share_the_cost(model, clips):
    problem = make_problem(model, clips, [0, 1, 2])
    whole = problem(clips)
    parts = list(problem.parts(2))
    assert [part.batch for part in parts] == [2, 1]
    torch.testing.assert_close(torch.cat([part(part.inputs) for part in parts]), whole)
    assert problem.cost.forward == 6


def test_global_generators_are_put_back(model, clips):
    problem = make_problem(model, clips, 0, seed=5)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    with problem.seeded():
        first = torch.rand(3)
    with problem.seeded():
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_inference_mode_is_no_obstacle_to_a_problem(model, clips, monkeypatch):
    monkeypatch.setattr("vmamba_explore.attribution.budget._KNOWN", {})
    with torch.inference_mode():
        assert make_problem(model, clips, 0)(clips).shape == (3,)


def test_a_bar_moves_with_the_gradients(model, clips):
    with tqdm(file=io.StringIO()) as bar:
        problem = replace(sliced(make_problem(model, clips, 0), gradient_rows=2), bar=bar)
        problem.gradient(clips)
        assert bar.n == 3 == problem.cost.backward


def test_rows_without_their_clip_are_refused(model, clips):
    problem = make_problem(model, clips, 0)
    with pytest.raises(ValueError, match="got 2 clips and 3 numbers"):
        problem(clips[:2])
