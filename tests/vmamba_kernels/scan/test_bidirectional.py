"""Tests of vmamba_kernels.scan.bidirectional: both directions, and their parts."""

import pytest
import torch
from torch.nn import functional as F

import vmamba_kernels as vk
from tests.vmamba_kernels.scan.runs import ORDER, two_ways
from vmamba_kernels import selective_scan, selective_scan_with_states


@pytest.mark.parametrize("backend", ["naive", "cpu"])  # gpu: test_gpu*.py
@pytest.mark.parametrize("order", [None, ORDER], ids=["reversal", "order"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gate", [True, False])
def test_both_directions_are_two_scans_one_sum_and_one_gate_bit_for_bit(
    scan_inputs, backend, order, dtype, gate
):
    forward, backward, z = two_ways(scan_inputs, dtype=dtype, leaves=True)
    z = z if gate else None
    options = {"delta_softplus": True, "order": order, "backend": backend}
    y = vk.bidirectional_selective_scan(forward, backward, z, **options)
    kept = vk.bidirectional_selective_scan_with_states(forward, backward, z, **options)
    few = vk.bidirectional_selective_scan_with_states(forward, backward, z, tokens=[], **options)
    assert y.dtype == dtype
    assert torch.equal(y, kept.y) and torch.equal(y, few.y)
    assert few.forward.states.shape == (2, 40, 4, 0)

    how = {"reverse": True} if order is None else {"order": order}
    for direction, result, read in ((forward, kept.forward, {}), (backward, kept.backward, how)):
        alone = selective_scan_with_states(
            **direction._asdict(), delta_softplus=True, backend=backend, **read
        )
        assert torch.equal(result.y, alone.y) and torch.equal(result.states, alone.states)
    total = sum(x.y.double() for x in (kept.forward, kept.backward))
    true = total * F.silu(z.double()) if gate else total
    limit = 1e-6 if dtype == torch.float32 else 1e-2
    assert ((y - true).norm() / true.norm()).item() < limit


@pytest.mark.parametrize("order", [None, ORDER], ids=["reversal", "order"])
def test_every_gradient_of_both_directions_equals_naive(
    scan_inputs, relative_error, tolerance, order
):
    grads = []
    for backend in ("cpu", "naive"):
        change = torch.Tensor.double if backend == "naive" else torch.Tensor.float
        *directions, z = two_ways(scan_inputs, groups=2, change=change, leaves=True)
        y = vk.bidirectional_selective_scan(
            *directions, z, delta_softplus=True, order=order, backend=backend
        )
        leaves = [z, *directions[0], *directions[1]]
        grads.append(torch.autograd.grad(y.square().sum(), leaves))
    for ours, true in zip(*grads, strict=True):
        assert relative_error(ours, true) < tolerance["scan gradient"]


def test_a_step_size_made_before_the_scan_gives_the_same_bits(small_inputs_for, backend):
    inputs = small_inputs_for()
    y = selective_scan(**inputs, delta_softplus=True, backend=backend)
    inputs["delta"] = vk.step_size(inputs["delta"], inputs.pop("delta_bias"), backend=backend)
    assert torch.equal(selective_scan(**inputs, backend=backend), y)


def test_a_gate_after_the_scan_gives_the_same_bits(small_inputs_for, backend):
    inputs = small_inputs_for()
    options = {"delta_softplus": True, "backend": backend}
    y, z = selective_scan(**inputs, **options), inputs.pop("z")
    before = selective_scan(**inputs, **options)
    assert torch.equal(vk.gated_sum(before, None, z, backend=backend), y)
