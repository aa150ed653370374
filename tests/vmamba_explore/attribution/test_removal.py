"""Captum's perturbation methods: what a loop written by hand and Captum alone give."""

import itertools

import pytest
import torch
from captum import attr

from tests.vmamba_explore.toys import Wrapped, toy
from vmamba_explore.attribution import problem
from vmamba_explore.attribution.methods import attribute

TARGET = torch.tensor([1, 3])
GAP = torch.tensor([2, 0])


def ours(model, clips, method, **options):
    return attribute(model, clips, TARGET, method, progress=False, **options)


def without(clips, base, frames, rows, cols):
    """The clips with one box of pixels replaced."""
    clips = clips.clone()
    clips[:, :, frames, rows, cols] = base[:, :, frames, rows, cols]
    return clips


def logit(model, clips):
    with torch.no_grad():
        return model(clips).gather(1, TARGET[:, None])[:, 0]


def test_ablation_is_a_loop_over_the_tokens_and_occlusion_the_same_on_every_pixel(model, clips):
    base = torch.randn_like(clips)
    ablation = ours(model, clips, "feature_ablation", baselines=base)
    occlusion = ours(model, clips, "occlusion", baselines=base)
    expected = torch.zeros(2, 2, 2, 2).double()
    for place in itertools.product(range(2), repeat=3):
        box = (slice(n * s, (n + 1) * s) for n, s in zip(place, (2, 16, 16), strict=True))
        fall = logit(model, clips) - logit(model, without(clips, base, *box))
        expected[:, *place] = fall
    torch.testing.assert_close(ablation.tokens(), expected, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(ablation.details.values, expected.flatten(1))
    assert float(ablation.cls.abs().max()) == 0
    everywhere = (expected * 3 * 2 * 16 * 16).float()  # Captum's Occlusion averages in float32
    torch.testing.assert_close(occlusion.tokens(), everywhere, rtol=1e-5, atol=1e-5)
    assert float(occlusion.values[:, :, 0, :16, :16].flatten(1).std(1).max()) < 1e-6


@pytest.mark.parametrize("strides", [None, (1, 10, 7)])
def test_occlusion_is_captums(model, clips, strides):
    window = (2, 12, 9)
    found = ours(
        model, clips, "occlusion", sliding_window_shapes=window, strides=strides, baselines="mean"
    )
    direct = attr.Occlusion(Wrapped(model)).attribute(
        clips, (3, *window), (3, *(strides or window)), torch.zeros_like(clips), TARGET
    )
    torch.testing.assert_close(found.values, direct, rtol=1e-9, atol=1e-13)


def test_ablation_of_frames_is_captums_with_a_feature_mask(model, clips):
    found = ours(model, clips, "feature_ablation", unit="frames", baselines="mean")
    mask = (torch.arange(4) // 2).view(1, 1, 4, 1, 1).expand(1, 3, 4, 32, 32)
    direct = attr.FeatureAblation(Wrapped(model)).attribute(
        clips, torch.zeros_like(clips), TARGET, feature_mask=mask
    )
    torch.testing.assert_close(found.details.values, direct[:, 0, ::2, 0, 0])
    torch.testing.assert_close(found.frames(), found.details.values)  # shared out, the sum stays
    assert float(found.tokens().flatten(2).std(2).max()) < 1e-12


@pytest.mark.parametrize("cls_position", ["front", None])
@pytest.mark.parametrize("unit", ["tubelets", "frames"])
def test_dropped_tokens_are_those_that_only_tokens_leaves_out(clips, unit, cls_position):
    model = toy(dtype=torch.float64, cls_position=cls_position)
    found = ours(model, clips, "drop_tokens", unit=unit)
    first = int(cls_position is not None)
    size = 4 if unit == "frames" else 1
    expected = []
    for start in range(first, model.grid.seqlen, size):
        kept = [t for t in range(model.grid.seqlen) if not start <= t < start + size]
        with model.only_tokens(kept):
            expected.append(logit(model, clips))
    expected = logit(model, clips)[:, None] - torch.stack(expected, 1)
    torch.testing.assert_close(found.details.values, expected)
    again = ours(model, clips, "feature_ablation", unit=unit, baselines="dropped")
    assert torch.equal(found.values, again.values)
    assert found.cost.forward == 2 * (8 // size + 1) + 2  # the last two: the output


def test_a_difference_of_classes_is_explained(model, clips):
    both, first, second = (
        attribute(model, clips, target, "feature_ablation", minus=minus, progress=False)
        for target, minus in ((TARGET, GAP), (TARGET, None), (GAP, None))
    )
    torch.testing.assert_close(both.values, first.values - second.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sliding_window_shapes": (5, 8, 8)}, r"\(5, 8, 8\); expected \(frames, height, width\)"),
        ({"sliding_window_shapes": (8, 8)}, r"each from 1 to \(4, 32, 32\)"),
        ({"strides": (2, 0, 16)}, r"strides is \(2, 0, 16\); expected"),
        ({"strides": (2, 17, 16)}, r"each from 1 to \(2, 16, 16\)"),
        ({"baselines": "dropped"}, "this method needs pixels there"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_window_that_does_not_fit_is_named(model, clips, options, message):
    with pytest.raises(ValueError, match=message):
        ours(model, clips, "occlusion", **options)


def test_an_interruption_leaves_the_model_as_it_was(model, clips, monkeypatch):
    class Stop(Exception):
        pass

    def stop(residual):
        raise Stop

    monkeypatch.setattr(model.layers[1], "forward", stop)
    with pytest.raises(Stop):
        ours(model, clips, "drop_tokens")
    monkeypatch.undo()
    assert model.kept_tokens is None
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("method", ["feature_ablation", "occlusion", "kernel_shap"])
def test_a_bar_counts_every_clip_to_its_end(model, clips, monkeypatch, method):
    bars = []

    class Bar(problem.tqdm):
        def close(self):
            bars.append((self.desc, self.n, self.total))
            super().close()

    monkeypatch.setattr(problem, "tqdm", Bar)
    options = {"n_samples": 9, "unit": "tubelets"} if method == "kernel_shap" else {}
    attribute(model, clips, TARGET, method, progress=True, **options)
    assert bars[0] == (method, 18, 18)
