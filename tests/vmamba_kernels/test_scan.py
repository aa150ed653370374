"""Tests of what every backend's scan can do: any order, chosen states, norms.

Against the definition by other means: permute, scan, permute back; keep all states and choose.
"""

import pytest
import torch

from vmamba_kernels import selective_scan, selective_scan_with_norms, selective_scan_with_states

BACKENDS = ["naive", "cpu"]  # gpu: tests/vmamba_kernels/scan/test_gpu*.py
TOKENS = ("u", "delta", "B", "C", "z")
ORDER = torch.randperm(37, generator=torch.Generator().manual_seed(4))
HOW = {"forward": {}, "reverse": {"reverse": True}, "order": {"order": ORDER}}
how_to_read = pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


def permuted(inputs, order):
    return {k: x[..., order] if k in TOKENS and x is not None else x for k, x in inputs.items()}


@on_each_backend
@pytest.mark.parametrize("groups", [1, 2])
def test_an_order_is_permute_scan_permute_back(scan_inputs, backend, groups):
    inputs = scan_inputs(groups=groups)
    options = {"delta_softplus": True, "return_last_state": True, "backend": backend}
    y, last = selective_scan(**inputs, order=ORDER, **options)
    other, other_last = selective_scan(**permuted(inputs, ORDER), **options)
    torch.testing.assert_close(y, other[..., ORDER.argsort()])
    torch.testing.assert_close(last, other_last)
    reverse, _ = selective_scan(**inputs, reverse=True, **options)
    flipped, _ = selective_scan(**inputs, order=torch.arange(37).flip(0), **options)
    assert torch.equal(reverse, flipped)


@on_each_backend
@how_to_read
@pytest.mark.parametrize(
    "tokens",
    [slice(7, None, 8), range(3), [36, 0, 5], [-1], [4, 4, 2], torch.tensor([11]), []],
    ids=str,
)
def test_chosen_states_are_those_of_all_states(scan_inputs, backend, how, tokens):
    options = {"delta_softplus": True, "backend": backend, **how}
    inputs = scan_inputs()
    y, every = selective_scan_with_states(**inputs, **options)
    same, some = selective_scan_with_states(**inputs, tokens=tokens, **options)
    index = tokens if isinstance(tokens, slice) else torch.tensor(list(tokens), dtype=torch.long)
    assert torch.equal(some, every[..., index])
    assert torch.equal(same, y) and torch.equal(y, selective_scan(**inputs, **options))


@on_each_backend
@how_to_read
def test_memory_grows_with_the_states_that_are_kept(scan_inputs, backend, how):
    _, states = selective_scan_with_states(**scan_inputs(), tokens=[5, 20], backend=backend, **how)
    assert states.untyped_storage().nbytes() <= 2 * states.numel() * 4


@how_to_read
def test_gradients_through_chosen_states_equal_naive(scan_inputs, relative_error, tolerance, how):
    tokens = [30, 2, 11, 11]
    grads = []
    for backend in ("cpu", "naive"):
        double = backend == "naive"
        leaves = {
            n: (x.double() if double else x).detach().requires_grad_()
            for n, x in scan_inputs().items()
        }
        y, states = selective_scan_with_states(
            **leaves, delta_softplus=True, tokens=tokens, backend=backend, **how
        )
        weights = torch.arange(1.0, 5.0).to(states.dtype)
        loss = y.square().sum() + (states.square() * weights).sum()
        grads.append(torch.autograd.grad(loss, list(leaves.values())))
    for ours, true in zip(*grads, strict=True):
        assert relative_error(ours, true) < tolerance["scan gradient"]


@on_each_backend
@how_to_read
@pytest.mark.parametrize("groups", [1, (2, 4)])
def test_norms_are_those_of_the_states(scan_inputs, backend, how, groups):
    inputs = scan_inputs(groups=groups)
    options = {"delta_softplus": True, "backend": backend, **how}
    y, over_states, over_channels, readout = selective_scan_with_norms(**inputs, **options)
    same, h = selective_scan_with_states(**inputs, **options)
    assert torch.equal(y, same)
    torch.testing.assert_close(over_states, h.norm(dim=2))
    torch.testing.assert_close(over_channels, h.norm(dim=1))
    C = inputs["C"] if inputs["C"].dim() == 4 else inputs["C"][:, None]
    C = C.repeat_interleave(40 // C.shape[1], dim=1)
    torch.testing.assert_close(readout, (C * h).sum(2))


@on_each_backend
def test_y_beside_norms_has_its_gradient_and_norms_have_none(scan_inputs, backend):
    inputs = scan_inputs()
    u = inputs["u"].requires_grad_()
    options = {"delta_softplus": True, "backend": backend}
    result = selective_scan_with_norms(**inputs, **options)
    (ours,) = torch.autograd.grad(result.y.sum(), u)
    (true,) = torch.autograd.grad(selective_scan(**inputs, **options).sum(), u)
    assert torch.equal(ours, true)
    assert not any(x.requires_grad for x in result[1:])
