"""Tests of the compiled convolution: vmamba_kernels.conv.cpu against naive in float64."""

import pytest
import torch

from vmamba_kernels import causal_conv1d


def make(batch, d_inner, seqlen, d_conv, bias=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, seqlen, d_inner), (d_inner, d_conv), *([(d_inner,)] if bias else [])]
    x, *rest = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x.mT, *rest]


def results(tensors, backend, double=False, **options):
    leaves = [(x.double() if double else x).detach().requires_grad_() for x in tensors]
    out = causal_conv1d(*leaves, **options, backend=backend)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, leaves, upstream)]


@pytest.mark.parametrize("backend", ["naive", "cpu"])
def test_reverse_is_flip_convolve_flip(backend):
    x, *rest = make(2, 40, 9, 4)
    flipped = causal_conv1d(x.flip(-1), *rest, activation="silu", backend=backend).flip(-1)
    backward = causal_conv1d(x, *rest, activation="silu", reverse=True, backend=backend)
    torch.testing.assert_close(backward, flipped, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["naive", "cpu"])
def test_an_order_is_permute_convolve_permute_back(backend):
    tensors = make(2, 40, 70, 4)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(2))
    options = {"activation": "silu", "backend": backend}
    leaves = [x.requires_grad_() for x in tensors]
    ordered = causal_conv1d(*leaves, order=order, **options)
    permuted = causal_conv1d(leaves[0][..., order], *leaves[1:], **options)[..., order.argsort()]
    assert torch.equal(ordered, permuted)
    upstream = torch.randn(ordered.shape)
    runs = [torch.autograd.grad(out, leaves, upstream) for out in (ordered, permuted)]
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [[0, 1, 1], [0, 1, 3]], ids=str)
def test_a_compiled_graph_still_says_that_an_order_is_no_permutation(wrong):
    run = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match="order"):
        run(*make(1, 4, 3, 2), order=torch.tensor(wrong), backend="cpu")


@pytest.mark.parametrize(
    "shape", [(1, 7, 1, 4), (2, 45, 2, 4), (2, 64, 63, 4), (3, 40, 5, 8), (1, 32, 1569, 2),
              (2, 33, 9, 1)],
)  # fmt: skip
@pytest.mark.parametrize("silu", ["silu", None])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_every_gradient_equal_naive(
    relative_error, tolerance, shape, silu, reverse, bias
):
    tensors = make(*shape, bias)
    options = {"activation": silu, "reverse": reverse}
    ours = results(tensors, "cpu", **options)
    true = results(tensors, "naive", double=True, **options)
    for i, (x, reference) in enumerate(zip(ours, true, strict=True)):
        error = relative_error(x, reference)
        assert error < tolerance["conv gradient" if i else "conv"], (i, error)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(relative_error, tolerance, dtype):
    tensors = [x.to(dtype) for x in make(2, 40, 20, 4)]
    ours = results(tensors, "cpu", activation="silu")
    true = results(tensors, "naive", double=True, activation="silu")
    for x, reference in zip(ours, true, strict=True):
        assert x.dtype == dtype
        assert relative_error(x, reference) < tolerance[str(dtype)[6:]]


@pytest.mark.parametrize("d_inner", [45, 64])
def test_bfloat16_is_read_and_written_with_the_bits_of_conversions_around_it(d_inner):
    x, weight, bias = make(2, d_inner, 50, 4)
    short = results([x.bfloat16(), weight, bias], "cpu", activation="silu")
    leaves = [t.float().requires_grad_() for t in (x.bfloat16(), weight, bias)]
    out = causal_conv1d(*leaves, activation="silu", backend="cpu")
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    grads = torch.autograd.grad(out, leaves, upstream.float())
    for ours, long in zip(short, (out, *grads), strict=True):
        assert torch.equal(ours, long.to(ours.dtype))


def test_threads_batch_and_strides_change_no_bit():
    x, *rest = make(3, 100, 30, 4)
    options = {"activation": "silu", "reverse": True}
    whole = results([x, *rest], "cpu", **options)
    before = torch.get_num_threads()
    try:
        for threads in (1, 5):
            torch.set_num_threads(threads)
            again = results([x, *rest], "cpu", **options)
            assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    finally:
        torch.set_num_threads(before)
    copied = results([x.contiguous(), *rest], "cpu", **options)
    assert all(torch.equal(a, b) for a, b in zip(whole, copied, strict=True))
    alone = causal_conv1d(x[1:2], *rest, **options, backend="cpu")
    assert torch.equal(alone, whole[0][1:2])


@pytest.mark.parametrize("bias", [False, True])
def test_the_operators_pass_torchs_own_checks(bias):
    x, weight, *rest = make(2, 33, 6, 4, bias)
    tensors = [x.requires_grad_(), weight.requires_grad_(), rest[0] if rest else None]
    order = torch.tensor([3, 1, 0, 5, 4, 2]) if bias else None
    forward = torch.ops.vmamba_kernels.causal_conv1d_cpu.default
    torch.library.opcheck(forward, (*tensors, order, True, False))
    plain = [None if t is None else t.detach() for t in tensors]
    gradient = torch.ops.vmamba_kernels.causal_conv1d_cpu_gradient.default
    torch.library.opcheck(gradient, (plain[0].clone(), *plain, order, True, True))


def test_it_compiles_into_one_graph_and_gives_the_same_bits():
    tensors = [x.requires_grad_() for x in make(2, 40, 9, 4)]
    compiled = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    order = torch.arange(9).roll(4)
    plain, graph = (run(*tensors, order=order) for run in (causal_conv1d, compiled))
    assert torch.equal(plain, graph)
    for a, b in zip(*(torch.autograd.grad(o.sum(), tensors) for o in (plain, graph)), strict=True):
        assert torch.equal(a, b)


def test_the_output_may_be_changed_in_place():
    x = torch.randn(2, 40, 9, requires_grad=True)
    out = causal_conv1d(x, torch.ones(40, 1), backend="cpu")
    out *= 3
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full_like(x, 3))
