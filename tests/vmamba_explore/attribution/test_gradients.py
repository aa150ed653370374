"""Captum's gradient methods give what Captum gives."""

import numpy as np
import pytest
import torch
from captum import attr

from tests.vmamba_explore.toys import Wrapped
from vmamba_explore.attribution.methods import attribute

TARGET = torch.tensor([1, 3])


def ours(model, clips, method, **options):
    return attribute(model, clips, TARGET, method, progress=False, **options)


def close(attribution, expected):
    torch.testing.assert_close(attribution.values, expected.detach(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "captums", "options"),
    [
        ("saliency", attr.Saliency, {}),
        ("saliency", attr.Saliency, {"abs": False}),
        ("input_x_gradient", attr.InputXGradient, {}),
    ],
)
def test_a_gradient_is_captums(model, clips, method, captums, options):
    direct = captums(Wrapped(model)).attribute(clips, target=TARGET, **options)
    close(ours(model, clips, method, **options), direct)


def test_integrated_gradients_are_captums_and_complete(model, clips):
    found = ours(model, clips, "integrated_gradients", n_steps=40)
    direct, gap = attr.IntegratedGradients(Wrapped(model)).attribute(
        clips, torch.zeros_like(clips), TARGET, n_steps=40, return_convergence_delta=True
    )
    close(found, direct)
    torch.testing.assert_close(found.convergence_delta, gap.detach(), rtol=1e-6, atol=1e-10)
    change = found.output - found.baseline_output
    assert float((found.convergence_delta / change).abs().max()) < 0.01
    few = ours(model, clips, "integrated_gradients", n_steps=2, integration="riemann_left")
    assert float(few.convergence_delta.abs().min()) > float(found.convergence_delta.abs().max())


def test_gradient_shap_is_captums_for_the_same_draw(model, clips):
    found = ours(model, clips, "gradient_shap", baselines=("mean",), n_samples=6)
    wrapped = Wrapped(model)
    expected = []
    for clip, target in zip(clips, TARGET, strict=True):
        torch.manual_seed(0)
        np.random.seed(0)
        expected.append(
            attr.GradientShap(wrapped).attribute(
                clip[None], torch.zeros_like(clip[None]), n_samples=6, target=target
            )
        )
    close(found, torch.cat(expected))


def test_noise_tunnel_is_captums_for_the_same_draw(model, clips):
    found = ours(model, clips, "noise_tunnel", nt_samples=3, stdevs=0.2)
    torch.manual_seed(0)
    direct = attr.NoiseTunnel(attr.Saliency(Wrapped(model))).attribute(
        clips, nt_samples=3, stdevs=0.2, target=TARGET, nt_samples_batch_size=16
    )
    close(found, direct)


def test_deep_lift_is_captums_and_says_that_it_does_not_hold(model, clips):
    with pytest.warns(UserWarning, match="no rule for selective scans"):
        found = ours(model, clips, "deep_lift")
    direct = attr.DeepLift(Wrapped(model)).attribute(clips, torch.zeros_like(clips), TARGET)
    close(found, direct)
    gradient = attr.InputXGradient(Wrapped(model)).attribute(clips, target=TARGET)
    close(found, gradient)  # which is all that Captum can do here
    assert float(found.convergence_delta.abs().max()) > 1e-3
