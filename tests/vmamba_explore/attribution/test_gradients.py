"""Captum's gradient methods give what Captum gives."""

import pytest
import torch
from captum import attr
from torch import nn

from tests.vmamba_explore.toys import Wrapped
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.problem import State
from vmamba_explore.hooks import attached


def ours(model, clips, method, **options):
    return attribute(model, clips, torch.tensor([1, 3]), method, progress=False, **options)


TARGET = torch.tensor([1, 3])


def close(attribution, expected):
    torch.testing.assert_close(attribution.values, expected.detach(), rtol=1e-9, atol=1e-13)


def test_saliency_is_captums(model, clips):
    direct = attr.Saliency(Wrapped(model))
    close(ours(model, clips, "saliency"), direct.attribute(clips, TARGET))
    close(ours(model, clips, "saliency", abs=False), direct.attribute(clips, TARGET, abs=False))


def test_input_x_gradient_is_captums(model, clips):
    close(
        ours(model, clips, "input_x_gradient"),
        attr.InputXGradient(Wrapped(model)).attribute(clips, target=TARGET),
    )


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


def test_integrated_gradients_in_slices_are_the_same(model, clips):
    whole = ours(model, clips, "integrated_gradients", n_steps=5)
    small = ours(model, clips, "integrated_gradients", n_steps=5, budget_gib=0.008)
    torch.testing.assert_close(whole.values, small.values, rtol=1e-9, atol=1e-13)


def test_gradient_shap_is_captums_for_the_same_draw(model, clips):
    found = ours(model, clips, "gradient_shap", baselines=("mean",), n_samples=6)
    wrapped = Wrapped(model)
    expected = []
    for clip, target in zip(clips, TARGET, strict=True):
        torch.manual_seed(0)
        torch_state = torch.get_rng_state()
        import numpy as np

        np.random.seed(0)
        torch.set_rng_state(torch_state)
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


def test_a_state_is_explained_as_captums_neuron_methods_do(model, clips):
    state = State(1, "forward", 4, 3, 1)

    class UpToState(nn.Module):
        def __init__(self):
            super().__init__()
            self.states = nn.Identity()

        def forward(self, inputs):
            residual = model.layers[0](model.embed(inputs))
            ssm = model.layers[1].mixer.ssm_forward
            found = []
            with attached(ssm, [("hook_h", lambda h, _: found.append(h))]):
                model.layers[1](residual)
            return self.states(found[0])

    wrapped = UpToState()
    for method, neuron in (
        ("saliency", attr.NeuronGradient),
        ("integrated_gradients", attr.NeuronIntegratedGradients),
    ):
        expected = neuron(wrapped, wrapped.states).attribute(clips, (3, 1, 4))
        options = {"abs": False} if method == "saliency" else {}
        found = attribute(model, clips, state, method, progress=False, **options)
        close(found, expected)
