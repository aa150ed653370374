"""Tests of the compiled scan: vmamba_kernels.scan.cpu against naive in float64."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.vmamba_kernels.scan.runs import TOKENS, compared, results, two_ways
from vmamba_kernels import (
    ScanInputs,
    bidirectional_selective_scan,
    gated_sum,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
    step_size,
)

SHAPES = {
    "one token": {"d_inner": 7, "seqlen": 1, "d_state": 5},
    "one of everything": {"batch": 1, "d_inner": 1, "seqlen": 1, "d_state": 1},
    "no state to sum over": {"d_inner": 33, "seqlen": 63, "d_state": 1},
    "odd everything": {"d_inner": 45, "seqlen": 63, "d_state": 5},
    "whole blocks, many states": {"batch": 1, "d_inner": 64, "seqlen": 40, "d_state": 64},
    "one and a quarter rounds of sums": {"d_inner": 12, "seqlen": 40, "d_state": 20},
    "groups of odd size": {"d_inner": 66, "seqlen": 33, "d_state": 16, "groups": 2},
    "groups that differ": {"d_inner": 12, "seqlen": 9, "d_state": 3, "groups": (3, 2)},
    "a clip": {"batch": 1, "d_inner": 32, "seqlen": 1569, "d_state": 16},
    "two chunks exactly": {"batch": 3, "d_inner": 96, "seqlen": 64, "d_state": 16},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("states", [False, True], ids=["last state", "all states"])
def test_values_and_every_gradient_equal_naive(scan_inputs, agree, shape, reverse, states):
    agree(*compared(scan_inputs(**shape), "cpu", states=states, reverse=reverse))


def randomly_strided(x, generator):
    """The same numbers in memory of another order of axes, with gaps of NaN."""
    axes = torch.randperm(x.dim(), generator=generator).tolist()
    gaps = torch.randint(1, 4, (x.dim(),), generator=generator).tolist()
    memory = torch.full([x.shape[axis] * gaps[axis] for axis in axes], torch.nan)
    back = [axes.index(axis) for axis in range(x.dim())]
    return memory.permute(back)[tuple(slice(None, None, gap) for gap in gaps)].copy_(x)


@pytest.mark.parametrize("seqlen", [1, 2, 15, 16, 17, 63, 1569, 3137])
def test_it_is_accurate_at_every_length_whatever_the_strides(scan_inputs, agree, seqlen):
    inputs = scan_inputs(batch=1, d_inner=45, seqlen=seqlen, d_state=5)
    generator = torch.Generator().manual_seed(seqlen)
    inputs = {name: randomly_strided(x, generator) for name, x in inputs.items()}
    agree(*compared(inputs, "cpu"))


@pytest.mark.parametrize("given", [TOKENS, ("delta", "C"), ("u", "B", "z")], ids=str)
@pytest.mark.parametrize("d_inner", [45, 64])
def test_bfloat16_is_read_and_written_with_the_bits_of_conversions_around_it(
    scan_inputs, given, d_inner
):
    inputs = scan_inputs(d_inner=d_inner, seqlen=50, d_state=16)
    short = {n: x.bfloat16() if n in given else x for n, x in inputs.items()}
    ours = results(short, "cpu", states=True)
    upstream = torch.Generator().manual_seed(1)
    weights = [torch.randn(ours[n].shape, generator=upstream) for n in ("y", "states")]
    leaves = {n: x.float().requires_grad_() for n, x in short.items()}
    y, states = selective_scan_with_states(**leaves, delta_softplus=True, backend="cpu")
    grad_y = weights[0].to(ours["y"].dtype).float()
    grads = torch.autograd.grad((y, states), list(leaves.values()), (grad_y, weights[1]))
    assert torch.equal(ours["y"], y.to(short["u"].dtype))
    assert torch.equal(ours["states"], states)
    for (name, x), grad in zip(short.items(), grads, strict=True):
        assert torch.equal(ours[f"grad_{name}"], grad.to(x.dtype)), name


@pytest.mark.parametrize("given", [("u", "z"), ("u",), ("z",)], ids=str)
def test_both_directions_in_bfloat16_are_rounded_once(scan_inputs, given):
    *directions, gate = two_ways(scan_inputs, d_inner=64, seqlen=50, d_state=16)
    one = [d._replace(u=d.u.bfloat16()) if "u" in given else d for d in directions]
    z = gate.bfloat16() if "z" in given else gate
    two = [d._replace(u=d.u.float()) for d in one]
    upstream, runs = torch.randn(gate.shape).bfloat16(), []
    for pair, gate in ((one, z), (two, z.float())):
        leaves = [x.detach().requires_grad_() for x in (*pair[0], *pair[1], gate)]
        y = bidirectional_selective_scan(
            ScanInputs(*leaves[:8]), ScanInputs(*leaves[8:16]), leaves[16], delta_softplus=True
        )
        runs.append([y, *torch.autograd.grad(y, leaves, upstream.to(y.dtype))])
    for short, long in zip(*runs, strict=True):
        assert torch.equal(short, long.to(short.dtype))


@pytest.mark.parametrize("d_inner", [40, 64])
def test_asking_for_states_or_gradients_changes_no_bit_of_y(scan_inputs, d_inner):
    inputs = scan_inputs(d_inner=d_inner, seqlen=70, d_state=16)
    y = selective_scan(**inputs, delta_softplus=True, backend="cpu")
    with_states = selective_scan_with_states(**inputs, delta_softplus=True, backend="cpu")
    assert torch.equal(with_states.y, y)
    recorded = results(inputs, "cpu", states=False)
    assert torch.equal(recorded["y"], y)
    assert torch.equal(with_states.states[..., -1], recorded["last_state"])


def test_results_do_not_depend_on_the_number_of_threads(scan_inputs, by_threads):
    inputs = scan_inputs(batch=3, d_inner=200, seqlen=100, d_state=16)
    first, *others = by_threads(lambda: results(inputs, "cpu", states=True))
    for name, x in first.items():
        assert all(torch.equal(x, other[name]) for other in others), name


def test_threads_change_no_bit_of_both_directions_and_of_norms(scan_inputs, by_threads):
    forward, backward, z = two_ways(scan_inputs, 3, 200, 50, 16, leaves=True)

    def run():
        y = bidirectional_selective_scan(forward, backward, z, delta_softplus=True)
        norms = selective_scan_with_norms(**forward._asdict(), z=z, delta_softplus=True)
        return [y, *norms, *torch.autograd.grad(y.square().sum(), [*forward, *backward, z])]

    first, *others = by_threads(run)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_batch_element_is_the_same_whatever_the_batch_around_it(scan_inputs):
    inputs = scan_inputs(batch=5, d_inner=70, seqlen=33, d_state=16)
    per_element = (*TOKENS, "initial_state")
    alone = {n: x[3:4] if n in per_element else x for n, x in inputs.items()}
    whole_y, whole = _gradient_of_sum(inputs)
    y, grads = _gradient_of_sum(alone)
    assert torch.equal(whole_y[3:4], y)
    for name in per_element:
        assert torch.equal(whole[name][3:4], grads[name]), name


def _gradient_of_sum(inputs):
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y = selective_scan(**leaves, delta_softplus=True, backend="cpu")
    grads = torch.autograd.grad((y * y).sum(), list(leaves.values()))
    return y, dict(zip(leaves, grads, strict=True))


def test_a_token_asked_for_twice_gathers_both_gradients(scan_inputs):
    inputs = {n: x.requires_grad_() for n, x in scan_inputs(seqlen=70).items()}
    tokens, order = [69, 3, 3, 0, 64, 3], torch.randperm(70)
    upstream = torch.randn(2, 40, 4, len(tokens))
    grads = []
    for kept in (tokens, None):
        _, states = selective_scan_with_states(
            **inputs, delta_softplus=True, order=order, tokens=kept, backend="cpu"
        )
        states = states if kept else states[..., tokens]
        grads.append(torch.autograd.grad((states * upstream).sum(), list(inputs.values())[:5]))
    for few, every in zip(*grads, strict=True):
        torch.testing.assert_close(few, every, rtol=1e-5, atol=1e-6)


def test_gradients_of_the_fused_kernels_are_those_of_their_parts_bit_for_bit(scan_inputs):
    *directions, z = two_ways(scan_inputs, d_inner=70, seqlen=50, d_state=16, leaves=True)
    biases = [direction.delta_bias for direction in directions]
    leaves = [x for x in (z, *directions[0], *directions[1]) if not any(x is b for b in biases)]
    fused = bidirectional_selective_scan(*directions, z, delta_softplus=True, backend="cpu")
    ys = []
    for direction, reverse in zip(directions, (False, True), strict=True):
        delta = step_size(direction.delta, direction.delta_bias, backend="cpu")
        with_it = direction._replace(delta=delta, delta_bias=None)
        ys.append(selective_scan(**with_it._asdict(), reverse=reverse, backend="cpu"))
    parts = gated_sum(*ys, z, backend="cpu")
    assert torch.equal(fused, parts)
    upstream = torch.randn(fused.shape)
    runs = [torch.autograd.grad(y, [*biases, *leaves], upstream) for y in (fused, parts)]
    for i, (a, b) in enumerate(zip(*runs, strict=True)):
        if i < 2:  # a bias's is a sum over tokens, which the parts add up in another order
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [[0, 1, 1], [0, 1, 3], [-1, 0, 1]], ids=str)
def test_a_compiled_graph_still_says_that_an_order_is_no_permutation(scan_inputs, wrong):
    inputs = scan_inputs(seqlen=3)
    run = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    run(**inputs, order=torch.tensor([2, 0, 1]), backend="cpu")
    with pytest.raises(ValueError, match="order"):
        run(**inputs, order=torch.tensor(wrong), backend="cpu")


def test_two_python_threads_at_once_get_their_own_results(scan_inputs):
    problems = [scan_inputs(d_inner=64 + 32 * i, seqlen=50 + i, seed=i) for i in range(4)]
    alone = [results(p, "cpu", states=True) for p in problems]
    with ThreadPoolExecutor(4) as pool:
        work = [problems[i % 4] for i in range(40)]
        together = list(pool.map(lambda p: results(p, "cpu", states=True), work))
    for i, found in enumerate(together):
        assert all(torch.equal(x, alone[i % 4][name]) for name, x in found.items())


def test_a_plain_call_saves_nothing_for_a_gradient(scan_inputs):
    inputs = scan_inputs(without=("z",))
    given = [inputs[name] for name in ScanInputs._fields]
    for keep in (False, True):
        *_, starts = torch.ops.vmamba_kernels.selective_scan_cpu(
            *given, None, None, True, False, None, keep
        )
        assert starts.numel() == (2 * 64 * 4 * 2 if keep else 0)  # padded to 64, two chunks
