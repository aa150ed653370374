"""Tests of vmamba_kernels.conv.naive: the definition of the convolution."""

import pytest
import torch
import torch.nn.functional as F

from vmamba_kernels import causal_conv1d


@pytest.mark.parametrize("d_conv", [1, 4, 8])
def test_it_is_torchs_padded_depthwise_convolution(d_conv):
    x, weight, bias = (torch.randn(s).double() for s in ((2, 6, 9), (6, d_conv), (6,)))
    torchs = F.conv1d(x, weight[:, None], bias, padding=d_conv - 1, groups=6)[..., :9]
    torch.testing.assert_close(causal_conv1d(x, weight, bias), torchs)
    torch.testing.assert_close(causal_conv1d(x, weight, bias, activation="silu"), F.silu(torchs))


def test_it_is_differentiable_twice():
    tensors = tuple(torch.randn(s).double().requires_grad_() for s in ((1, 2, 4), (2, 3), (2,)))
    for reverse in (False, True):

        def run(*t, reverse=reverse):
            return causal_conv1d(*t, activation="silu", reverse=reverse)

        assert torch.autograd.gradcheck(run, tensors, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, tensors, fast_mode=True)
