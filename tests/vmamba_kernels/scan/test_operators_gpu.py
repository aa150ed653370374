"""Tests of what the GPU kernels do besides y: states, norms, both directions, custom operators."""

import pytest
import torch
from torch.nn import functional as F

import vmamba_kernels as vk
from tests.vmamba_kernels.scan.runs import HOW, ORDER, SOFTPLUS, double, on, two_ways
from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states

pytestmark = pytest.mark.usefixtures("triton_runs")
how_to_read = pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())


@how_to_read
@pytest.mark.parametrize("tiles", [3, 1], ids=["whole", "split"])
def test_asking_for_more_changes_no_bit_of_y(inputs_for, device, cut_scan, how, tiles):
    cut_scan(tiles)
    how = on(device, how)
    inputs = inputs_for(batch=1)
    y, last = selective_scan(**inputs, return_last_state=True, **SOFTPLUS, **how)
    every = selective_scan_with_states(**inputs, **SOFTPLUS, **how)
    assert torch.equal(every.y, y)
    end = 0 if "reverse" in how else ORDER[-1] if "order" in how else 36
    assert torch.equal(every.states[..., end], last)
    norms = vk.selective_scan_with_norms(**inputs, **SOFTPLUS, **how)
    assert torch.equal(norms.y, y)
    recorded = {n: x.detach().requires_grad_() for n, x in inputs.items()}
    assert torch.equal(selective_scan(**recorded, **SOFTPLUS, **how), y)


def test_norms_of_states_that_take_turns(inputs_for, agree):
    inputs = inputs_for(batch=1, d_inner=40, seqlen=17, d_state=17)
    ours = vk.selective_scan_with_norms(**inputs, **SOFTPLUS)._asdict()
    options = {"delta_softplus": True, "backend": "naive"}
    agree(ours, vk.selective_scan_with_norms(**double(inputs), **options)._asdict(), "scan states")


def test_the_states_before_each_chunk_are_kept_for_the_gradient(inputs_for, cut_scan):
    cut_scan(10)
    inputs = inputs_for(batch=1, d_inner=33, seqlen=150, d_state=2)
    tensors = [inputs[name] for name in (*ScanInputs._fields, "z")]
    forward = torch.ops.vmamba_kernels.selective_scan_gpu
    # in reverse, 150 tokens are 192 steps: the first chunk has 22 tokens
    for reverse, ends in ((False, (63, 127)), (True, (128, 64))):
        _, states = selective_scan_with_states(**inputs, reverse=reverse, **SOFTPLUS)
        before = [inputs["initial_state"], *(states[..., end] for end in ends)]
        starts = forward(*tensors, None, True, reverse, None, True)[3]
        assert torch.equal(starts.transpose(2, 3), torch.stack(before, 1))


# Both directions.


def directions(inputs_for, *, d_inner=40, seqlen=37, **shape):
    """Two directions with parameters of their own, and a gate."""
    return two_ways(inputs_for, 1, d_inner, seqlen, seeds=(1, 2), **shape)


@pytest.mark.parametrize("tiles", [3, 1], ids=["whole", "split"])
@pytest.mark.parametrize("order", [None, ORDER], ids=["reversal", "order"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_launch_gives_the_bits_of_two_scans_and_a_gated_sum(
    inputs_for, relative_error, tolerance, device, cut_scan, tiles, order, dtype
):
    cut_scan(tiles)
    *both_ways, z = directions(inputs_for, dtype=dtype, d_state=3)
    order = None if order is None else order.to(device)
    options = {"order": order, **SOFTPLUS}
    y = vk.bidirectional_selective_scan(*both_ways, z, **options)
    found = vk.bidirectional_selective_scan_with_states(*both_ways, z, tokens=[3], **options)
    assert y.dtype == dtype and torch.equal(found.y, y)
    leaves = [ScanInputs(*(x.detach().requires_grad_() for x in way)) for way in both_ways]
    assert torch.equal(vk.bidirectional_selective_scan(*leaves, z, **options), y)
    doubles = [ScanInputs(*(x.double().cpu() for x in way)) for way in both_ways]
    options |= {"backend": "naive", "order": None if order is None else order.cpu()}
    true = vk.bidirectional_selective_scan(*doubles, z.double().cpu(), **options)
    allowed = tolerance["scan y" if dtype == torch.float32 else str(dtype)[6:]]
    assert relative_error(y.cpu(), true) < allowed


def test_directions_may_differ_in_states_and_groups_and_have_no_gate(
    inputs_for, relative_error, tolerance
):
    forward, _, _ = directions(inputs_for, d_state=2, without=("D", "delta_bias"))
    backward = directions(inputs_for, d_state=3, groups=(2, 4), without=("initial_state",))[1]
    y = vk.bidirectional_selective_scan(forward, backward, **SOFTPLUS)
    doubles = [ScanInputs(*double(way._asdict()).values()) for way in (forward, backward)]
    true = vk.bidirectional_selective_scan(*doubles, delta_softplus=True, backend="naive")
    assert relative_error(y.cpu(), true) < tolerance["scan y"]
    same = vk.bidirectional_selective_scan_with_states(forward, backward, tokens=[], **SOFTPLUS)
    assert torch.equal(same.y, y)


@pytest.mark.parametrize("order", [None, ORDER], ids=["reversal", "order"])
@pytest.mark.parametrize("gate", [True, False])
def test_gradients_of_both_directions_equal_naive(inputs_for, agree, device, cut_scan, order, gate):
    cut_scan(1 if gate else 3)
    forward, backward, z = directions(inputs_for, d_state=2)
    names = [f"{way}.{n}" for way in ("forward", "backward") for n in ScanInputs._fields]
    tensors = dict(zip(names, (*forward, *backward), strict=True)) | ({"z": z} if gate else {})
    results = []
    for backend, given in (("gpu", tensors), ("naive", double(tensors))):
        leaves = {n: x.detach().requires_grad_() for n, x in given.items()}
        ways = [ScanInputs(*list(leaves.values())[i : i + 8]) for i in (0, 8)]
        at = None if order is None else order.to(leaves["forward.u"].device)
        y = vk.bidirectional_selective_scan(
            *ways, leaves.get("z"), order=at, delta_softplus=True, backend=backend
        )
        grads = torch.autograd.grad(y.square().sum(), list(leaves.values()))
        results.append(dict(zip(leaves, grads, strict=True)))
    agree(*results)


# The pieces around a scan.


def test_softplus_is_good_to_the_last_digits_everywhere(device):
    raw = torch.linspace(-80, 80, 4001, device=device).reshape(1, 1, -1)
    ours = vk.step_size(raw, backend="gpu").cpu().double()
    true = F.softplus(raw.cpu().double(), threshold=1e9)
    # the exponent of exp(-|x|) is itself rounded: 80 * 2**-24 and half an ulp of the rest
    assert ((ours - true).abs() / true).max() < 6e-6
    near = raw.cpu().abs() < 12
    assert ((ours - true).abs() / true)[near].max() < 1.5e-6
