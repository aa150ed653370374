"""Tests of the compiled convolution on the CPU: vmamba_kernels.conv.cpu."""

import pytest
import torch

from vmamba_kernels import causal_conv1d

on_the_cpu = pytest.mark.parametrize("backend", ["cpu"])


@on_the_cpu
@pytest.mark.parametrize("wrong", [[0, 1, 1], [0, 1, 3]], ids=str)
def test_a_compiled_graph_still_says_that_an_order_is_no_permutation(make, backend, wrong):
    run = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match="order"):
        run(*make(1, 4, 3, 2), order=torch.tensor(wrong), backend=backend)


@on_the_cpu
@pytest.mark.parametrize("shape", [(2, 64, 63, 4), (1, 32, 1569, 2)])
@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_every_gradient_of_many_tokens_equal_naive(
    make, results, relative_error, tolerance, shape, reverse
):
    tensors, options = make(*shape), {"activation": "silu", "reverse": reverse}
    ours = results(tensors, **options)
    true = results([x.double() for x in tensors], backend="naive", **options)
    for i, (x, reference) in enumerate(zip(ours, true, strict=True)):
        assert relative_error(x, reference) < tolerance["conv gradient" if i else "conv"], i


@on_the_cpu
@pytest.mark.parametrize("d_inner", [45, 64])
def test_bfloat16_is_read_and_written_with_the_bits_of_conversions_around_it(
    make, results, d_inner
):
    x, weight, bias = make(2, d_inner, 50, 4)
    short = results([x.bfloat16(), weight, bias], activation="silu")
    leaves = [t.float().requires_grad_() for t in (x.bfloat16(), weight, bias)]
    out = causal_conv1d(*leaves, activation="silu", backend="cpu")
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    grads = torch.autograd.grad(out, leaves, upstream.float())
    for ours, long in zip(short, (out, *grads), strict=True):
        assert torch.equal(ours, long.to(ours.dtype))


@on_the_cpu
def test_threads_change_no_bit(make, results, by_threads):
    tensors = make(3, 100, 30, 4)
    first, *others = by_threads(lambda: results(tensors, activation="silu", reverse=True))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
