"""Captum's layer methods on the residual stream."""

import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.attribution.methods import attribute


@pytest.fixture(params=["front", "middle", None])
def model(request):
    return toy(dtype=torch.float64, cls_position=request.param)


@pytest.mark.parametrize("layer", [0, -1])
def test_grad_cam_is_its_definition(model, clips, layer):
    found = attribute(model, clips, [1, 3], "layer_grad_cam", layer=layer)
    blocks = list(model.layers)
    residual = model.tokens(clips)
    for block in blocks[: len(blocks) * -layer - 1 if layer else 0]:
        residual = block(residual)
    residual = residual.detach().requires_grad_()
    out = residual
    for block in blocks[1 if layer else 0 :]:
        out = block(out)
    logit = model.read_out(out)[[0, 1], [1, 3]].sum()
    (gradient,) = torch.autograd.grad(logit, residual)
    expected = (gradient.mean(1, keepdim=True) * residual).sum(2).relu().detach()
    torch.testing.assert_close(found.values, expected)
    assert float(found.values.max()) > 0


def test_layer_integrated_gradients_are_complete_and_leave_the_class_token_out(model, clips):
    found = attribute(model, clips, [1, 3], "layer_integrated_gradients", n_steps=40)
    change = found.output - found.baseline_output
    torch.testing.assert_close(found.values.sum(1), change + found.convergence_delta)
    assert float((found.convergence_delta / change).abs().max()) < 0.01
    if found.cls is not None:  # the class token is the same in the baseline
        assert float(found.cls.abs().max()) < 1e-12


def test_at_the_embedding_it_is_integrated_gradients_on_pixels(model, clips):
    tokens = attribute(model, clips, 1, "layer_integrated_gradients", n_steps=8)
    pixels = attribute(model, clips, 1, "integrated_gradients", n_steps=8)
    torch.testing.assert_close(tokens.tokens(), pixels.tokens(), rtol=1e-8, atol=1e-12)
