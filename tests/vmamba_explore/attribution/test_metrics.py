"""Completeness, infidelity and sensitivity, against a direct call of Captum and by hand."""

import pytest
import torch
from captum import metrics as captum_metrics

from tests.vmamba_explore.attribution.cases import explained, unmix
from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.metrics import (
    completeness_gap,
    infidelity,
    sensitivity_max,
    shift_sensitivity,
)
from vmamba_explore.attribution.removal_scores import problem_of
from vmamba_explore.hooks import hook_points


@pytest.fixture(scope="module")
def model():
    return toy(patch_size=8)


@pytest.fixture(scope="module")
def clips(model):
    return clips_for(model, 3)


@pytest.fixture(scope="module")
def problem(model, clips):
    return make_problem(model, clips, [0, 3, 4])


def shifts_by_hand(model, clips, attribution):
    """How far the maps move when the clips begin one token frame later."""
    later = torch.cat([clips[:, :, :1]] * 2 + [clips[:, :, :2]], 2)
    again = attribution.call | {"target": attribution.target}
    after = attribute(model, later, **again).tokens()[:, 1]
    before = attribution.tokens()[:, 0]
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


def test_more_steps_close_the_gap_of_integrated_gradients(problem):
    coarse = completeness_gap(explained(problem, "integrated_gradients", n_steps=2))
    fine = explained(problem, "integrated_gradients", n_steps=60)
    assert (completeness_gap(fine) < coarse).all() and completeness_gap(fine).max() < 0.02
    whole = fine.output - fine.baseline_output
    by_hand = (fine.values.sum((1, 2, 3, 4)) - whole).abs() / whole.abs()
    torch.testing.assert_close(completeness_gap(fine), by_hand)


def test_a_method_without_a_promise_has_no_gap(problem):
    with pytest.raises(ValueError, match="saliency does not promise that its values add up"):
        completeness_gap(explained(problem, "saliency"))


@pytest.fixture(scope="module")
def additive():
    """A model whose logit is a sum over tubelets: no mixing, no norm's interaction."""
    how = {"patch_size": 8, "cls_position": None, "pos_embed": "none"}
    model = toy(dtype=torch.float64, change=unmix, **how)
    return make_problem(model, clips_for(model), [0, 1])


def test_the_true_effects_have_no_infidelity_and_others_have(additive):
    shown = torch.eye(32).view(1, 32, 1, 2, 4, 4)  # one tubelet alone, each in turn
    shown = shown.repeat_interleave(2, 3).repeat_interleave(8, 4).repeat_interleave(8, 5)
    alone = (additive.inputs.unsqueeze(1) * shown).flatten(0, 1)
    effects = additive(alone, additive.which.repeat_interleave(32)).view(2, 2, 4, 4)
    how = {"baselines": "mean", "n_perturb_samples": 20}
    scale = float(additive(additive.inputs).square().mean())
    for normalize in (True, False):
        assert infidelity(additive, effects, normalize=normalize, **how).max() < 1e-14 * scale
    assert infidelity(additive, 3 * effects, **how).max() < 1e-14 * scale
    assert infidelity(additive, 3 * effects, normalize=False, **how).min() > 1e-3 * scale
    wrong = infidelity(additive, effects.flip(1, 2, 3), **how)
    assert (wrong > 1e-4 * scale).all()


def test_infidelity_is_captum_s_for_pixels_that_go_by_tubelets(problem):
    attribution = explained(problem, "input_x_gradient")
    ours = infidelity(problem, attribution, baselines="mean", n_perturb_samples=6)
    generator = torch.Generator().manual_seed(problem.seed)

    def take_away(clips):
        gone = torch.rand((len(clips), 32), generator=generator) < 0.2
        gone = gone.view(-1, 1, 2, 4, 4).float().repeat_interleave(2, 2)
        gone = gone.repeat_interleave(8, 3).repeat_interleave(8, 4).expand_as(clips)
        return gone, clips * (1 - gone)

    direct = captum_metrics.infidelity(
        problem.model,
        take_away,
        problem.inputs,
        attribution.values,
        target=problem.target,
        n_perturb_samples=6,
        normalize=True,
    )
    torch.testing.assert_close(ours, direct.detach(), rtol=1e-4, atol=1e-8)


def test_infidelity_repeats_itself_and_leaves_the_global_generator_alone(problem):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = (infidelity(problem, torch.ones(3, 2, 4, 4)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "attention_x_gradient"])
def test_sensitivity_is_the_largest_move_of_the_map(problem, method):
    attribution = explained(problem, method)
    ours = sensitivity_max(problem, attribution, perturb_radius=0.1, n_perturb_samples=3)
    generator = torch.Generator().manual_seed(problem.seed)
    before, moves = attribution.tokens(), []
    for _ in range(3):
        noise = torch.rand(problem.inputs.shape, generator=generator) * 2 - 1
        clips = problem.inputs + 0.1 * noise
        after = attribute(problem.model, clips, problem.target, method).tokens()
        moves.append((after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1))
    torch.testing.assert_close(ours, torch.stack(moves).amax(0), rtol=1e-4, atol=1e-6)
    assert (ours > 0).all()
    assert not any(point.functions for point in hook_points(problem.model).values())


def test_what_does_not_look_at_the_clip_is_not_sensitive(problem):
    for method in ("center_prior", "random"):
        assert (sensitivity_max(problem, explained(problem, method)) == 0).all()


def test_more_noise_moves_a_map_further(problem):
    attribution = explained(problem, "edge_energy")
    near, far = (sensitivity_max(problem, attribution, perturb_radius=r) for r in (0.01, 0.3))
    assert (0 < near).all() and (near < far).all()


def test_a_map_that_moves_with_the_clip_is_not_sensitive_to_a_shift(problem, model):
    still = problem.inputs[:, :, :1].expand_as(problem.inputs).clone()
    still[:, :, 2:] *= 2
    # edges of each frame are where the frame is; the center stays in the middle of the clip
    moving = explained(problem, "edge_energy", still=False)
    assert (shift_sensitivity(problem, moving) == 0).all()
    fixed = make_problem(model, still, problem.target)
    there = explained(fixed, "edge_energy")  # the mean over the frames, shown in every frame
    assert (shift_sensitivity(fixed, there) > 0.05).all()


def test_a_shift_is_one_token_frame_holds_the_first_and_keeps_the_target(model, clips):
    attribution = attribute(model, clips, None, "saliency", minus=1)
    problem = problem_of(model, clips, attribution)
    assert torch.equal(problem.target, attribution.target)
    expected = shifts_by_hand(model, clips, attribution)
    torch.testing.assert_close(shift_sensitivity(problem, attribution), expected)


def test_what_cannot_be_scored_is_said(problem, unchecked):
    with pytest.raises(ValueError, match="removed is 0, expected between 0 and 1"):
        infidelity(problem, torch.ones(3, 2, 4, 4), removed=0)
    short = toy(num_frames=2)
    single = make_problem(short, clips_for(short, 1), 0)
    with pytest.raises(ValueError, match="the clip has one token frame; expected two or more"):
        shift_sensitivity(single, explained(single, "saliency"))
