"""The tensors of a convolution, on the device of the backend, and its results."""

import pytest
import torch

from vmamba_kernels import causal_conv1d


@pytest.fixture
def make(device):
    """Return a function that makes the tensors of a convolution, x token-major."""

    def tensors(batch, d_inner, seqlen, d_conv, bias=True):
        generator = torch.Generator().manual_seed(0)
        shapes = [(batch, seqlen, d_inner), (d_inner, d_conv), *([(d_inner,)] if bias else [])]
        x, *rest = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
        return [x.mT, *rest]

    return tensors


@pytest.fixture
def convolve(backend):
    """Return the convolution with its SiLU, by the backend."""
    return lambda *tensors, **how: causal_conv1d(
        *tensors, activation="silu", backend=backend, **how
    )


@pytest.fixture
def results(backend):
    """Return a function that gives the output and all gradients.

    `rounded` is the type to which the upstream gradient is rounded first.
    """

    def run(tensors, backend=backend, rounded=None, **options):
        leaves = [x.detach().requires_grad_() for x in tensors]
        out = causal_conv1d(*leaves, **options, backend=backend)
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        upstream = upstream.to(rounded or out.dtype).to(out)
        return [out, *torch.autograd.grad(out, leaves, upstream)]

    return run
