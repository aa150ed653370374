"""Tests of what every backend's scan can do: any order, chosen states, norms.

Against the definition by other means: permute, scan, permute back; keep all states and choose.
"""

import pytest
import torch

from tests.vmamba_kernels.scan.runs import HOW, ORDER, TOKENS, double, on
from vmamba_kernels import selective_scan, selective_scan_with_norms, selective_scan_with_states

BACKENDS = ["naive", "cpu", "gpu"]
how_to_read = pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
on_each_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


def permuted(inputs, order):
    return {k: x[..., order] if k in TOKENS and x is not None else x for k, x in inputs.items()}


@on_each_backend
@pytest.mark.parametrize("groups", [1, 2])
def test_an_order_is_permute_scan_permute_back(inputs_for, backend, device, groups):
    inputs, order = inputs_for(groups=groups), ORDER.to(device)
    options = {"delta_softplus": True, "return_last_state": True, "backend": backend}
    y, last = selective_scan(**inputs, order=order, **options)
    other, other_last = selective_scan(**permuted(inputs, order), **options)
    torch.testing.assert_close(y, other[..., order.argsort()])
    torch.testing.assert_close(last, other_last)
    reverse, _ = selective_scan(**inputs, reverse=True, **options)
    down = torch.arange(37, device=device).flip(0)
    flipped, _ = selective_scan(**inputs, order=down, **options)
    assert torch.equal(reverse, flipped)


@on_each_backend
@how_to_read
@pytest.mark.parametrize(
    "tokens",
    [
        *(slice(7, None, 8), range(3), [36, 0, 5], [4, 4, 2], [], [-10]),
        *([31, 15, 36], [16, 0, 32], torch.tensor([36, 32])),  # ends of tiles, and others
    ],
    ids=str,
)
def test_chosen_states_are_those_of_all_states_and_take_no_more_memory(
    small_inputs_for, backend, device, how, tokens
):
    options = {"delta_softplus": True, "backend": backend, **on(device, how)}
    inputs = small_inputs_for(seqlen=37)
    y, every = selective_scan_with_states(**inputs, **options)
    same, some = selective_scan_with_states(**inputs, tokens=tokens, **options)
    index = tokens if isinstance(tokens, slice) else torch.tensor(list(tokens), dtype=torch.long)
    assert torch.equal(some, every[..., index])
    assert torch.equal(same, y) and torch.equal(y, selective_scan(**inputs, **options))
    assert some.untyped_storage().nbytes() <= max(2 * some.numel() * 4, 1)


@how_to_read
def test_gradients_through_chosen_states_equal_naive(small_inputs_for, agree, backend, device, how):
    runs, inputs = [], small_inputs_for(seqlen=37)
    for name, given in ((backend, inputs), ("naive", double(inputs))):
        leaves = {n: x.detach().requires_grad_() for n, x in given.items()}
        options = {"delta_softplus": True, "tokens": [30, 2, 11, 11], "backend": name}
        options |= on(given["u"].device, how)
        y, states = selective_scan_with_states(**leaves, **options)
        weights = torch.arange(1.0, 5.0).to(states)
        loss = y.square().sum() + (states.square() * weights).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        runs.append({f"grad_{n}": x for n, x in zip(leaves, grads, strict=True)})
    agree(*runs)


@on_each_backend
@how_to_read
@pytest.mark.parametrize("groups", [1, (2, 4)])
def test_norms_are_those_of_the_states(inputs_for, backend, device, how, groups):
    inputs = inputs_for(groups=groups)
    options = {"delta_softplus": True, "backend": backend, **on(device, how)}
    y, over_states, over_channels, readout = selective_scan_with_norms(**inputs, **options)
    same, h = selective_scan_with_states(**inputs, **options)
    assert torch.equal(y, same)
    torch.testing.assert_close(over_states, h.norm(dim=2))
    torch.testing.assert_close(over_channels, h.norm(dim=1))
    C = inputs["C"] if inputs["C"].dim() == 4 else inputs["C"][:, None]
    C = C.repeat_interleave(40 // C.shape[1], dim=1)
    torch.testing.assert_close(readout, (C * h).sum(2))
    assert all(x.dtype == torch.float32 for x in (over_states, over_channels, readout))


@on_each_backend
def test_y_beside_norms_has_its_gradient_and_norms_have_none(small_inputs_for, backend):
    inputs = small_inputs_for()
    u = inputs["u"].requires_grad_()
    options = {"delta_softplus": True, "backend": backend}
    result = selective_scan_with_norms(**inputs, **options)
    (ours,) = torch.autograd.grad(result.y.sum(), u)
    (true,) = torch.autograd.grad(selective_scan(**inputs, **options).sum(), u)
    assert torch.equal(ours, true)
    assert not any(x.requires_grad for x in result[1:])
