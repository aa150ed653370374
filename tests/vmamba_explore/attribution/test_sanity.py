"""Maps against those of models that learned nothing, of other classes and of other methods."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.vmamba_explore.attribution.cases import explained
from tests.vmamba_explore.toys import clips_for, shake, toy
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.attribution.sanity import (
    agreement,
    random_logit,
    randomized,
    rank_correlation,
    ssim,
    stages,
    weight_randomization,
)
from vmamba_explore.model.videomamba import VideoMamba


def trained(**changes):
    """A model as if it had been trained: no weight is where it began."""
    model = toy(patch_size=8, change=lambda model: shake(model, 0.05), **changes)
    model.class_names = tuple("abcde")[: model.config.num_classes]
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def problem(model):
    return make_problem(model, clips_for(model, 3), [0, 3, 4])


@pytest.mark.parametrize("cls_position, pos_embed", [("front", "spatial_temporal"), (None, "none")])
def test_a_part_is_drawn_anew_and_no_other(cls_position, pos_embed):
    model = trained(cls_position=cls_position, pos_embed=pos_embed)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = set()
    for part in stages(model):
        twin = randomized(model, [part])
        changed = {n for n, value in twin.state_dict().items() if not torch.equal(value, before[n])}
        start = {"head": ("head", "norm_f"), "patch_embed": ("patch_embed", "pos", "temp", "cls")}
        assert changed and all(name.startswith(start.get(part, part)) for name in changed)
        seen |= changed
    assert seen == set(before)  # the parts make up the model
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_model_drawn_anew_is_one_before_training(model):
    twin = randomized(model, seed=3)
    torch.manual_seed(3)
    fresh = VideoMamba(model.config)
    for (name, value), other in zip(
        twin.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    assert not twin.training and twin.class_names == model.class_names


def test_drawing_anew_leaves_the_global_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    randomized(model.double(), ["head"])
    assert torch.equal(torch.rand(3), expected)
    assert randomized(model, ["head"]).head.weight.dtype == torch.float64
    model.float()


def test_the_cascade_goes_from_the_head_to_the_tokenizer(problem):
    found = weight_randomization(problem, explained(problem, "saliency"))
    assert found.stages == ("head", "layers.1", "layers.0", "patch_embed")
    assert found.spearman.shape == found.ssim.shape == (3, 4)
    # a stage is the trained model with all parts up to it drawn anew
    twin = randomized(problem.model, ["head", "layers.1"])
    again = attribute(twin, problem.inputs, problem.target, "saliency").tokens()
    before = explained(problem, "saliency").tokens()
    for clip in range(3):
        by_hand = spearmanr(before[clip].flatten(), again[clip].flatten()).statistic
        assert found.spearman[clip, 1] == pytest.approx(by_hand, abs=1e-12)


def test_only_a_map_that_does_not_look_at_the_model_survives_the_loss_of_its_weights(problem):
    found = weight_randomization(problem, explained(problem, "frame_difference"))
    torch.testing.assert_close(found.spearman, torch.ones_like(found.spearman))
    torch.testing.assert_close(found.ssim, torch.ones_like(found.ssim))
    found = weight_randomization(problem, explained(problem, "input_x_gradient"), cascade=False)
    assert found.stages == ("patch_embed",)
    assert (found.twin < 0.9).all()


def test_the_model_keeps_its_weights_and_the_map_its_options(problem):
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    attribution = explained(problem, "occlusion", sliding_window_shapes=(2, 16, 16))
    found = weight_randomization(problem, attribution, cascade=False, seed=2)
    for name, value in problem.model.state_dict().items():
        assert torch.equal(value, before[name])
    twin = randomized(problem.model, seed=2)
    target, window = problem.target, {"sliding_window_shapes": (2, 16, 16)}
    again = attribute(twin, problem.inputs, target, "occlusion", **window).tokens()
    torch.testing.assert_close(found.twin, rank_correlation(attribution.tokens(), again))


def test_the_map_of_another_class_is_another_class_s(problem):
    attribution = explained(problem, "input_x_gradient")
    found = random_logit(problem, attribution)
    assert (found.other != problem.target).all()
    other = attribute(problem.model, problem.inputs, found.other, "input_x_gradient").tokens()
    expected = rank_correlation(attribution.tokens(), other)
    torch.testing.assert_close(found.spearman, expected, rtol=0, atol=1e-12)
    same = random_logit(problem, attribution, other=problem.target)
    torch.testing.assert_close(same.spearman, torch.ones(3).double())


def test_the_other_class_is_neither_the_target_nor_the_one_subtracted(model):
    clips = torch.randn(2, 3, 4, 32, 32)
    problem = make_problem(model, clips, [0, 3], minus=[1, 2])
    attribution = explained(problem, "saliency")
    drawn = torch.stack([random_logit(problem, attribution, seed=s).other for s in range(12)])
    assert set(drawn[:, 0].tolist()) == {2, 3, 4} and set(drawn[:, 1].tolist()) == {0, 1, 4}


def test_another_direction_is_as_long_as_the_one_that_was_explained():
    model = toy(num_classes=0)
    clips, direction = clips_for(model), torch.randn(2, 32)
    asked = make_problem(model, clips, direction)
    found = random_logit(asked, attribute(model, clips, direction, "mamba_lrp", progress=False))
    assert found.other.shape == (2, 32) and not torch.allclose(found.other, direction)
    torch.testing.assert_close(found.other.norm(dim=1), direction.norm(dim=1))


def test_agreement_is_scipy_s_spearman_clip_by_clip(problem):
    names = ("saliency", "input_x_gradient", "edge_energy", "random")
    maps = [explained(problem, name) for name in names]
    found = agreement(maps)
    assert found.methods == names
    for clip in range(3):
        columns = torch.stack([each.tokens()[clip].flatten() for each in maps], 1)
        np.testing.assert_allclose(found.spearman[clip], spearmanr(columns).statistic, atol=1e-12)
    np.testing.assert_allclose(found.mean(), found.spearman.mean(0))
    pair = found.intervals(500)[0][1]
    assert pair.value == pytest.approx(float(found.spearman[:, 0, 1].mean()))
    assert pair.low <= pair.value <= pair.high and pair.n == 3


def test_a_map_that_is_the_same_everywhere_agrees_with_none():
    flat, random = torch.ones(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    assert rank_correlation(flat, random).isnan().all()


def test_ties_share_their_rank():
    first, second = torch.tensor([[1.0, 1, 2, 3]]), torch.tensor([[4.0, 4, 5, 5]])
    expected = spearmanr(first[0], second[0]).statistic
    assert rank_correlation(first, second).item() == pytest.approx(expected)


def test_similarity_of_structure_sees_places_and_signs_and_not_scale():
    maps = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ssim(maps, 5 * maps), torch.ones(2).double())
    assert (ssim(maps, -maps) < 0).all()
    assert (ssim(maps, torch.randn(2, 3, 8, 8)).abs() < 0.3).all()
    assert ssim(torch.rand(2, 3, 2, 8), torch.rand(2, 3, 2, 8)).isnan().all()
    assert ssim(torch.rand(1, 3, 4, 8), torch.zeros(1, 3, 4, 8)).isfinite().all()


def test_what_cannot_be_compared_is_said(model, problem, unchecked):
    one, fewer = (attribute(model, problem.inputs[:n], 0, "random") for n in (3, 2))
    state = make_problem(model, problem.inputs, State(0, "forward", 0, 0, 0))
    pair = make_problem(trained(num_classes=2), problem.inputs, 0, minus=1)
    for call, given, message in (
        (randomized, (model, ["layers.7"]), "no part 'layers.7'; there are head, layers.1, layer"),
        (agreement, [[one]], "got maps of random; expected two or more"),
        (agreement, [[one, one]], "maps of random, random; .*give a dict"),
        (agreement, [{"one": one, "few": fewer}], r"the map of few is \(2, 2, 4, 4\)"),
        (random_logit, (state, one), "random_logit: the target is a State; expected a class"),
        (random_logit, (pair, one), "no other class to ask for"),
    ):
        with pytest.raises(ValueError, match=message):
            call(*given)
