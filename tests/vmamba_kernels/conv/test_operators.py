"""Tests of vmamba_kernels.conv.operators: the compiled backends, each, against naive in float64.

Without a GPU its kernels run in Triton's interpreter. What is special to one backend is in
test_cpu.py and test_gpu.py.
"""

import pytest
import torch

from vmamba_kernels import causal_conv1d


def order_of(seqlen):
    return torch.randperm(seqlen, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def compared(make, results, relative_error, tolerance):
    """Return a function: hold the output and every gradient to naive's, and give them."""

    def compare(tensors, order=None, **options):
        there = None if order is None else order.to(tensors[0].device)
        found = results(tensors, order=there, **options)
        doubles = [x.double().cpu() for x in tensors]
        dtype = tensors[0].dtype
        true = results(doubles, backend="naive", rounded=dtype, order=order, **options)
        for i, (x, reference) in enumerate(zip(found, true, strict=True)):
            half = str(x.dtype)[6:] in ("float16", "bfloat16")
            kind = str(x.dtype)[6:] if half else "conv gradient" if i else "conv"
            error = relative_error(x.cpu(), reference)
            assert error < tolerance[kind], (i, error)
        return found

    return compare


@pytest.mark.parametrize(
    "shape", [(1, 7, 1, 4), (2, 45, 2, 4), (2, 64, 16, 3), (1, 64, 17, 4), (3, 40, 5, 8),
              (1, 66, 65, 4), (2, 33, 9, 1)],
)  # fmt: skip
@pytest.mark.parametrize("silu", ["silu", None])
@pytest.mark.parametrize("how", ["forward", "reverse", "order"])
def test_values_and_every_gradient_equal_naive(make, compared, shape, silu, how):
    order = order_of(shape[2]) if how == "order" else None
    compared(make(*shape), activation=silu, reverse=how == "reverse", order=order)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_bias_may_be_left_out(make, compared, reverse):
    compared(make(2, 40, 20, 4, bias=False), activation="silu", reverse=reverse)


@pytest.mark.parametrize("d_conv", range(1, 9))
def test_every_width_is_possible(make, compared, d_conv):
    compared(make(1, 34, 19, d_conv), activation="silu", reverse=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(make, compared, dtype):
    x, weight, bias = make(2, 40, 20, 4)
    compared([x.to(dtype), weight, bias], activation="silu")
    found = compared([t.to(dtype) for t in (x, weight, bias)], activation="silu")
    assert all(t.dtype == dtype for t in found)


def test_reverse_is_flip_convolve_flip_and_the_order_that_counts_down(make, convolve, device):
    x, *rest = make(2, 40, 20, 4)
    backward = convolve(x, *rest, reverse=True)
    torch.testing.assert_close(backward, convolve(x.flip(-1), *rest).flip(-1), rtol=0, atol=0)
    assert torch.equal(backward, convolve(x, *rest, order=torch.arange(20, device=device).flip(0)))


def test_an_order_is_permute_convolve_permute_back(make, convolve, device):
    leaves = [x.requires_grad_() for x in make(2, 40, 70, 4)]
    order = order_of(70).to(device)
    ordered = convolve(*leaves, order=order)
    permuted = convolve(leaves[0][..., order], *leaves[1:])[..., order.argsort()]
    assert torch.equal(ordered, permuted)
    upstream = torch.randn(ordered.shape, device=device)
    runs = [torch.autograd.grad(out, leaves, upstream) for out in (ordered, permuted)]
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_token_sees_nothing_after_it(make, convolve):
    x, *rest = make(1, 40, 40, 4)
    changed = x.clone()
    changed[..., 17:] = torch.nan
    before, after = (convolve(t, *rest) for t in (x, changed))
    assert torch.equal(before[..., :17], after[..., :17]) and after[..., 17:20].isnan().all()


def test_two_runs_batch_and_strides_change_no_bit(make, results, convolve):
    tensors = make(2, 66, 66, 4)
    options = {"activation": "silu", "reverse": True}
    first, second = results(tensors, **options), results(tensors, **options)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    x, *rest = tensors
    for other in (x.contiguous(), torch.cat([x, x], 1).mT.contiguous().mT[:, :66]):
        changed = results([other, *rest], **options)
        assert all(torch.equal(a, b) for a, b in zip(first, changed, strict=True))
    assert torch.equal(convolve(x[1:2], *rest, reverse=True), first[0][1:2])


def test_the_output_and_its_gradient_are_token_major(make, results):
    for tensors in (make(2, 40, 9, 4), [t.contiguous() for t in make(2, 40, 9, 4)]):
        out, grad_x, *_ = results(tensors, activation="silu")
        assert out.stride() == grad_x.stride() == (9 * 40, 1, 40)


def test_no_batch_gives_no_output(make, results):
    out, grad_x, grad_weight, grad_bias = results(make(0, 40, 9, 4), activation="silu")
    assert out.shape == grad_x.shape == (0, 40, 9)
    assert not grad_weight.any() and not grad_bias.any()


@pytest.mark.parametrize("bias", [False, True])
def test_the_operators_pass_torchs_own_checks(make, backend, device, bias):
    x, weight, *rest = make(2, 33, 6, 4, bias)
    tensors = [x.requires_grad_(), weight.requires_grad_(), rest[0] if rest else None]
    order = order_of(6).to(device) if bias else None
    forward = getattr(torch.ops.vmamba_kernels, f"causal_conv1d_{backend}").default
    torch.library.opcheck(forward, (*tensors, order, True, False))
    plain = [None if t is None else t.detach() for t in tensors]
    gradient = getattr(torch.ops.vmamba_kernels, f"causal_conv1d_{backend}_gradient").default
    torch.library.opcheck(gradient, (plain[0].clone(), *plain, order, True, True))


def test_it_compiles_into_one_graph_and_gives_the_same_bits(make, backend, device):
    tensors = [x.requires_grad_() for x in make(2, 40, 9, 4)]
    compiled = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    order = torch.arange(9, device=device).roll(4)
    plain, graph = (f(*tensors, order=order, backend=backend) for f in (causal_conv1d, compiled))
    assert torch.equal(plain, graph)
    for a, b in zip(*(torch.autograd.grad(o.sum(), tensors) for o in (plain, graph)), strict=True):
        assert torch.equal(a, b)


def test_the_output_may_be_changed_in_place(make, backend):
    x, weight = make(2, 40, 9, 1, bias=False)
    out = causal_conv1d(x.requires_grad_(), torch.ones_like(weight), backend=backend)
    out *= 3
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full_like(x, 3))


def test_a_second_gradient_says_that_naive_has_it(make, convolve):
    x, weight, bias = (t.requires_grad_() for t in make(2, 40, 9, 4))
    (grad,) = torch.autograd.grad(convolve(x, weight, bias).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='backend="naive"'):
        torch.autograd.grad(grad.sum(), weight)
