"""What stands in for what is taken away."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution.baselines import BASELINES, make_baselines
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.clips.clip import normalize


def problem(**config):
    model = toy(dtype=torch.float64, num_frames=6, **config)
    return make_problem(model, clips_for(model), 0)


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_are_clips_like_the_given_ones(name):
    asked = problem()
    found = make_baselines(asked, name)
    assert found.shape == asked.inputs.shape and found.dtype == asked.inputs.dtype
    assert not torch.equal(found, asked.inputs)


def test_mean_and_black_are_the_colors_that_they_say():
    asked = problem()
    gray = np.full((6, 32, 32, 3), np.round(255 * np.array([0.485, 0.456, 0.406])), np.uint8)
    assert (
        float((make_baselines(asked, "mean")[0] - normalize(gray)).abs().max()) < 0.5 / 255 / 0.22
    )
    expected = normalize(np.zeros_like(gray)).double().expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(make_baselines(asked, "black"), expected, rtol=1e-6, atol=0)


def test_the_clip_mean_stands_still():
    asked = problem()
    found = make_baselines(asked, "clip_mean")
    torch.testing.assert_close(found[:, :, 3], asked.inputs.mean(2))
    assert torch.equal(found[:, :, 0], found[:, :, 5])


@pytest.mark.parametrize(
    ("size", "held"), [(2, [0, 0, 1, 1, 3, 3]), (3, [0, 0, 0, 2, 2, 2]), (1, [0, 0, 1, 2, 3, 4])]
)
def test_held_tokens_show_the_frame_before_them(size, held):
    asked = problem(tubelet_size=size)
    assert torch.equal(make_baselines(asked, "held"), asked.inputs[:, :, held])


def test_blur_is_a_gaussian_mean_of_the_same_frame():
    asked = problem()
    found = make_baselines(asked, "blur")
    row, col = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    weight = (-((row - 3) ** 2 + (col - 20) ** 2) / 2 / 8**2).exp().double()
    expected = (asked.inputs[1, 2, 4] * weight).sum() / weight.sum()
    torch.testing.assert_close(found[1, 2, 4, 3, 20], expected, rtol=1e-6, atol=1e-8)


def test_own_clips_are_taken_for_each_or_for_all():
    asked = problem()
    each = torch.randn(2, 3, 6, 32, 32).double()
    assert torch.equal(make_baselines(asked, each), each)
    for one in (each[0], each[:1]):
        assert torch.equal(make_baselines(asked, one.float())[1], each[0].float().double())


@pytest.mark.parametrize(
    ("baselines", "config", "message"),
    [
        ("blurred", {}, "baselines is 'blurred'; expected one of blur, mean, clip_mean, held"),
        (torch.zeros(3, 4, 32, 32), {}, r"baselines is \(3, 4, 32, 32\); expected clips like"),
        (torch.zeros(3, 3, 6, 32, 32), {}, r"one for all of them, \(3, 6, 32, 32\)"),
        ("dropped", {}, "puts nothing in place"),
        ("black", {"in_channels": 1}, "known for 3 colors, the clips have 1 channels"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_baselines_are_named(baselines, config, message):
    with pytest.raises(ValueError, match=message):
        make_baselines(problem(**config), baselines)
