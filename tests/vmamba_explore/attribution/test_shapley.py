"""Shapley values are the definition's, and they add up."""

import itertools
import math

import pytest
import torch
from captum import attr

from tests.vmamba_explore.toys import Wrapped, toy
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.shapley import _LeastSquares

TARGET = torch.tensor([1, 3])
FRAMES = 4


@pytest.fixture
def model():
    return toy(dtype=torch.float64, num_frames=8, change=lambda model: model.head.weight.mul_(20))


def ours(model, clips, method, **options):
    return attribute(model, clips, TARGET, method, progress=False, **options)


def gains(model, clips, baselines):
    """The target's logit for every set of token frames, {frozenset: (batch,)}."""
    found = {}
    for size in range(FRAMES + 1):
        for there in itertools.combinations(range(FRAMES), size):
            if baselines == "dropped":
                kept = [0, *(1 + 4 * t + i for t in there for i in range(4))]
                with model.only_tokens(kept), torch.no_grad():
                    logits = model(clips)
            else:
                mask = torch.tensor([t // 2 in there for t in range(8)]).view(1, 1, 8, 1, 1)
                with torch.no_grad():
                    logits = model(clips * mask)
            found[frozenset(there)] = logits.gather(1, TARGET[:, None])[:, 0]
    return found


def added(gain, order):
    """What each frame adds when they come in this order, (batch, frames)."""
    result = torch.zeros(2, FRAMES).double()
    for place, frame in enumerate(order):
        result[:, frame] = gain[frozenset(order[: place + 1])] - gain[frozenset(order[:place])]
    return result


def in_every_order(gain):
    return torch.stack([added(gain, order) for order in itertools.permutations(range(FRAMES))])


@pytest.mark.parametrize("baselines", ["mean", "dropped"])
def test_sampling_is_the_mean_over_the_orders_drawn(model, clips, baselines):
    found = ours(model, clips, "shapley_value_sampling", n_samples=6, baselines=baselines, seed=3)
    gain = gains(model, clips, baselines)
    torch.manual_seed(3)
    orders = [torch.randperm(FRAMES).tolist() for _ in range(6)]
    expected = torch.stack([added(gain, order) for order in orders]).mean(0)
    torch.testing.assert_close(found.details.values.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.frames().double(), expected, rtol=1e-5, atol=1e-6)


def test_sampling_is_captums_for_the_same_draw(model, clips):
    found = ours(model, clips, "shapley_value_sampling", n_samples=4, baselines="mean", seed=7)
    mask = (torch.arange(8) // 2).view(1, 1, 8, 1, 1)  # Captum reads every entry in a loop
    torch.manual_seed(7)
    direct = attr.ShapleyValueSampling(Wrapped(model)).attribute(
        clips, torch.zeros_like(clips), TARGET, feature_mask=mask, n_samples=4
    )
    torch.testing.assert_close(found.details.values, direct[:, 0, ::2, 0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("baselines", ["mean", "dropped"])
def test_both_come_near_the_definition(model, clips, baselines):
    all_orders = in_every_order(gains(model, clips, baselines))
    exact, spread = all_orders.mean(0), all_orders.std(0)
    sampled = ours(
        model, clips, "shapley_value_sampling", n_samples=60, baselines=baselines
    ).details.values
    assert bool(((sampled - exact).abs() < 4 * spread / math.sqrt(60) + 1e-5).all())
    fitted = ours(model, clips, "kernel_shap", n_samples=300, baselines=baselines).details.values
    assert float((fitted - exact).abs().max()) < 0.25 * float(exact.abs().max())


def test_the_fit_over_all_coalitions_is_the_definition(model, clips):
    gain = gains(model, clips, "mean")
    exact = in_every_order(gain).mean(0)
    rows = torch.tensor([[float(t in there) for t in range(FRAMES)] for there in gain])
    kernel = [
        1e6 if n in (0, FRAMES) else (FRAMES - 1) / (math.comb(FRAMES, n) * n * (FRAMES - n))
        for n in map(len, gain)
    ]
    for clip in range(2):
        fit = _LeastSquares()
        fit.fit([(rows, torch.stack(list(gain.values()))[:, clip], torch.tensor(kernel))])
        torch.testing.assert_close(fit.representation()[0], exact[clip], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("baselines", ["mean", "held", "dropped"])
@pytest.mark.parametrize("unit", ["frames", "tubelets"])
@pytest.mark.parametrize("method", ["shapley_value_sampling", "kernel_shap"])
def test_values_sum_to_the_change_from_the_baseline(model, clips, method, unit, baselines):
    few = 2 if method == "shapley_value_sampling" else 40
    found = ours(model, clips, method, n_samples=few, unit=unit, baselines=baselines)
    change = found.output - found.baseline_output
    torch.testing.assert_close(
        found.values.sum(1).double(), change + found.convergence_delta, rtol=1e-5, atol=1e-5
    )
    allowed = 1e-6 if method == "shapley_value_sampling" else 1e-4
    assert float((found.convergence_delta / change).abs().max()) < allowed


def test_clips_with_fewer_tubes_have_nothing_on_those_they_lack(model):
    clips = torch.full((2, 3, 8, 32, 32), 0.3).double()
    clips[1] = torch.randn(3, 1, 2, 2).double().repeat_interleave(16, 2).repeat_interleave(16, 3)
    for method, n_samples in (("shapley_value_sampling", 2), ("kernel_shap", 80)):
        found = ours(model, clips, method, unit="tubes", n_samples=n_samples, baselines="mean")
        sizes, values = found.details.units.sizes, found.details.values
        assert int((sizes == 0).sum()) > 0
        assert float(values[sizes == 0].abs().max()) == 0
        assert float((values[0, sizes[0] > 0]).abs().min()) > 0


def test_the_seed_decides(model, clips):
    for method, n_samples in (("shapley_value_sampling", 2), ("kernel_shap", 9)):
        first, again, other = (
            ours(model, clips, method, seed=seed, n_samples=n_samples).values for seed in (5, 5, 6)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)
    before = torch.get_rng_state()
    ours(model, clips, "kernel_shap", n_samples=9)
    assert torch.equal(before, torch.get_rng_state())


def test_kernel_shap_is_captums_for_the_same_draw(model, clips):
    found = ours(model, clips[:1].expand(2, -1, -1, -1, -1), "kernel_shap", n_samples=12,
                 baselines="mean", seed=2)  # fmt: skip
    mask = (torch.arange(8) // 2).view(1, 1, 8, 1, 1).expand(1, 3, 8, 32, 32)
    direct = attr.KernelShap(Wrapped(model))
    direct.interpretable_model = _LeastSquares()  # Captum's own wants scikit-learn
    torch.manual_seed(2)
    expected = direct.attribute(
        clips[:1], torch.zeros_like(clips[:1]), 1, feature_mask=mask, n_samples=12
    )
    torch.testing.assert_close(
        found.details.values[0], expected[0, 0, ::2, 0, 0].float(), rtol=1e-4, atol=1e-5
    )


def test_the_fit_solves_the_weighted_normal_equations():
    generator = torch.Generator().manual_seed(0)
    rows, target, weight = (
        torch.rand(shape, generator=generator) for shape in ((30, 4), (30,), (30,))
    )
    fit = _LeastSquares()
    fit.fit([(rows[:11], target[:11], weight[:11]), (rows[11:], target[11:], weight[11:])])
    design = torch.cat([rows, torch.ones(30, 1)], 1).double()
    weighted = design.T * weight.double()
    expected = torch.linalg.solve(weighted @ design, weighted @ target.double())
    torch.testing.assert_close(fit.representation()[0], expected[:-1])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("shapley_value_sampling", {"n_samples": 0}, "n_samples is 0, expected at least 1"),
        ("kernel_shap", {"n_samples": 4}, "has 4 samples for 4 to 4 units; expected"),
        ("kernel_shap", {"unit": torch.zeros(16, dtype=torch.long)}, "at least two units"),
        ("kernel_shap", {"unit": "voxels"}, "unit is 'voxels'; expected one of tubelets"),
    ],
)
def test_what_cannot_be_drawn_is_named(model, clips, method, options, message):
    with pytest.raises(ValueError, match=message):
        ours(model, clips, method, **options)
