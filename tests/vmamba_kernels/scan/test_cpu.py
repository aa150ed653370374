"""Tests of the compiled scan: vmamba_kernels.scan.cpu against naive in float64."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import vmamba_kernels.scan.cpu  # noqa: F401  registers the operators
from vmamba_kernels import selective_scan, selective_scan_with_states

OPTIONAL = ("D", "z", "delta_bias", "initial_state")
TOKENS = ("u", "delta", "B", "C", "z")


def results(inputs, backend, *, states, reverse=False, softplus=True, double=False, seed=1):
    """Every output and every gradient, by name, for random upstream gradients."""
    leaves = {
        name: (x.double() if double else x).detach().requires_grad_()
        for name, x in inputs.items()
        if x is not None
    }
    options = {"delta_softplus": softplus, "reverse": reverse, "backend": backend}
    if states:
        outputs = selective_scan_with_states(**leaves, **options)
    else:
        outputs = selective_scan(**leaves, **options, return_last_state=True)
    generator = torch.Generator().manual_seed(seed)
    loss = sum((x * torch.randn(x.shape, generator=generator).to(x.dtype)).sum() for x in outputs)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    named = dict(zip(("y", "states" if states else "last_state"), outputs, strict=True))
    return named | {f"grad_{n}": g for n, g in zip(leaves, grads, strict=True)}


def kind(name):
    return {"y": "scan y", "states": "scan states", "last_state": "scan states"}.get(
        name, "scan gradient"
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
def test_values_and_every_gradient_equal_naive(
    scan_inputs, relative_error, tolerance, shape, reverse, states
):
    inputs = scan_inputs(**shape)
    ours = results(inputs, "cpu", states=states, reverse=reverse)
    true = results(inputs, "naive", states=states, reverse=reverse, double=True)
    for name in true:
        error = relative_error(ours[name], true[name])
        assert error < tolerance[kind(name)], (name, error)


@pytest.mark.parametrize("without", [OPTIONAL, *((name,) for name in OPTIONAL)])
@pytest.mark.parametrize("softplus", [True, False])
def test_each_argument_may_be_left_out(scan_inputs, relative_error, tolerance, without, softplus):
    inputs = scan_inputs(without=without)
    if not softplus:
        inputs["delta"] = inputs["delta"].abs()
        if inputs["delta_bias"] is not None:
            inputs["delta_bias"] = inputs["delta_bias"].abs()
    ours = results(inputs, "cpu", states=False, softplus=softplus)
    true = results(inputs, "naive", states=False, softplus=softplus, double=True)
    assert ours.keys() == true.keys()
    for name in true:
        error = relative_error(ours[name], true[name])
        assert error < tolerance[kind(name)], (name, error)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(
    scan_inputs, relative_error, tolerance, dtype
):
    inputs = scan_inputs(dtype=dtype, d_state=16, seqlen=63)
    ours = results(inputs, "cpu", states=True)
    true = results(inputs, "naive", states=True, double=True)
    assert ours["y"].dtype == dtype and ours["states"].dtype == torch.float32
    for name, x in true.items():
        half = ours[name].dtype == dtype
        assert ours[name].dtype == (dtype if name[5:] in TOKENS or name == "y" else torch.float32)
        # the upstream gradient of y is itself rounded to half precision
        allowed = tolerance[str(dtype)[6:]] if half or "grad" in name else tolerance[kind(name)]
        assert relative_error(ours[name], x) < allowed, name


@pytest.mark.parametrize("d_inner", [40, 64])
def test_asking_for_states_or_gradients_changes_no_bit_of_y(scan_inputs, d_inner):
    inputs = scan_inputs(d_inner=d_inner, seqlen=70, d_state=16)
    y = selective_scan(**inputs, delta_softplus=True, backend="cpu")
    with_states = selective_scan_with_states(**inputs, delta_softplus=True, backend="cpu")
    assert torch.equal(with_states.y, y)
    recorded = results(inputs, "cpu", states=False)
    assert torch.equal(recorded["y"], y)
    assert torch.equal(with_states.states[..., -1], recorded["last_state"])


def test_results_do_not_depend_on_the_number_of_threads(scan_inputs):
    inputs = scan_inputs(batch=3, d_inner=200, seqlen=100, d_state=16)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            runs.append(results(inputs, "cpu", states=True))
    finally:
        torch.set_num_threads(before)
    for name, x in runs[0].items():
        assert all(torch.equal(x, run[name]) for run in runs[1:]), name


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


def test_a_scan_can_be_cut_anywhere_and_carried_on_bit_for_bit(scan_inputs):
    inputs = scan_inputs(seqlen=70, d_state=16)
    options = {"delta_softplus": True, "return_last_state": True, "backend": "cpu"}
    y, last = selective_scan(**inputs, **options)
    for cut in (1, 31, 32, 33, 69):
        first = {n: x[..., :cut] if n in TOKENS else x for n, x in inputs.items()}
        second = {n: x[..., cut:] if n in TOKENS else x for n, x in inputs.items()}
        y1, state = selective_scan(**first, **options)
        y2, end = selective_scan(**(second | {"initial_state": state}), **options)
        assert torch.equal(torch.cat([y1, y2], -1), y) and torch.equal(end, last)


def test_any_strides_give_the_same_bits(scan_inputs):
    inputs = scan_inputs(d_inner=33, groups=1)
    inputs["B"], inputs["C"] = inputs["B"][:, 0], inputs["C"][:, 0]
    true = results(inputs, "cpu", states=True)
    layouts = {
        "channel-major": lambda x: x.contiguous(),
        "half of a wider tensor": lambda x: (
            torch.cat([x, x], 1).mT.contiguous().mT[:, : x.shape[1]]
        ),
        "every second token": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    }
    for layout, change in layouts.items():
        changed = {n: change(x) if n in TOKENS else x for n, x in inputs.items()}
        for name, x in results(changed, "cpu", states=True).items():
            assert torch.equal(x, true[name]), (layout, name)


def test_expanded_tensors_are_read_as_what_they_stand_for(scan_inputs):
    inputs = scan_inputs(without=("initial_state",))
    for name in TOKENS:
        inputs[name] = inputs[name][:1].expand(2, *inputs[name].shape[1:])
    inputs["u"] = inputs["u"][..., :1].expand(-1, -1, 37)
    true = {n: None if x is None else x.clone(memory_format=torch.contiguous_format)
            for n, x in inputs.items()}  # fmt: skip
    run = [selective_scan(**x, delta_softplus=True, backend="cpu") for x in (inputs, true)]
    assert torch.equal(*run)


def test_token_major_input_is_not_copied_and_gives_token_major_output(scan_inputs):
    y, states = selective_scan_with_states(**scan_inputs(), delta_softplus=True, backend="cpu")
    assert y.stride() == (37 * 40, 1, 40)
    assert states.stride(1) == 1


@pytest.mark.parametrize("raw", [-1e3, -60.0, 0.0, 60.0, 1e3, 1e30])
def test_extreme_step_sizes_do_what_the_definition_does(scan_inputs, raw):
    inputs = scan_inputs(without=("delta_bias",))
    inputs["delta"] = torch.full_like(inputs["delta"], raw)
    ours = results(inputs, "cpu", states=True)
    true = results(inputs, "naive", states=True)
    for name, x in true.items():
        torch.testing.assert_close(ours[name], x, rtol=2e-5, atol=1e-6 * x.abs().max().item())


def test_a_step_size_of_zero_keeps_the_state_exactly(scan_inputs):
    inputs = scan_inputs(without=("delta_bias",)) | {"delta": torch.zeros(2, 40, 37)}
    _, states = selective_scan_with_states(**inputs, backend="cpu")
    assert torch.equal(states, inputs["initial_state"][..., None].expand_as(states))


def test_nan_in_one_channel_stays_in_that_channel(scan_inputs):
    inputs = scan_inputs()
    for name in ("u", "delta", "A", "z"):
        spoiled = inputs | {name: inputs[name].clone()}
        (spoiled[name][5] if name == "A" else spoiled[name][:, 5]).fill_(torch.nan)
        bad = selective_scan(**spoiled, delta_softplus=True, backend="cpu").isnan()
        assert bad[:, 5].all() and not bad[:, :5].any() and not bad[:, 6:].any(), name


def test_no_batch_gives_no_output(scan_inputs):
    inputs = scan_inputs(batch=0)
    found = results(inputs, "cpu", states=False)
    assert found["y"].shape == (0, 40, 37) and not found["grad_A"].any()


@pytest.mark.parametrize("missing", [None, "z", "D"])
def test_the_operators_pass_torchs_own_checks(scan_inputs, missing):
    d_inner, groups = (32, 1) if missing is None else (14, 2)
    inputs = scan_inputs(2, d_inner, 5, 3, groups, without=(missing,) if missing else ())
    tensors = [None if x is None else x.requires_grad_() for x in inputs.values()]
    states, starts = missing is None, missing != "D"
    forward = torch.ops.vmamba_kernels.selective_scan_cpu.default
    torch.library.opcheck(forward, (*tensors, True, False, states, starts))
    plain = [None if x is None else x.detach() for x in tensors]
    y, last, _, kept = forward(*plain, True, False, False, True)
    gradient = torch.ops.vmamba_kernels.selective_scan_cpu_gradient.default
    torch.library.opcheck(gradient, (y, last, None, kept, *plain, True, True))


def test_it_compiles_into_one_graph_and_gives_the_same_bits(scan_inputs):
    leaves = {n: x.requires_grad_() for n, x in scan_inputs().items()}

    def loss(**inputs):
        y, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
        states = selective_scan_with_states(**inputs, delta_softplus=True, reverse=True).states
        return (y * y).sum() + last.sum() + (states * states).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    plain, graph = loss(**leaves), compiled(**leaves)
    assert torch.equal(plain, graph)
    pairs = zip(
        torch.autograd.grad(plain, list(leaves.values())),
        torch.autograd.grad(graph, list(leaves.values())),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_two_python_threads_at_once_get_their_own_results(scan_inputs):
    problems = [scan_inputs(d_inner=64 + 32 * i, seqlen=50 + i, seed=i) for i in range(4)]
    alone = [results(p, "cpu", states=True) for p in problems]
    with ThreadPoolExecutor(4) as pool:
        work = [problems[i % 4] for i in range(40)]
        together = list(pool.map(lambda p: results(p, "cpu", states=True), work))
    for i, found in enumerate(together):
        assert all(torch.equal(x, alone[i % 4][name]) for name, x in found.items())


def test_a_second_gradient_says_that_naive_has_it(scan_inputs):
    leaves = {n: x.requires_grad_() for n, x in scan_inputs().items()}
    y = selective_scan(**leaves, delta_softplus=True, backend="cpu")
    (grad,) = torch.autograd.grad(y.sum(), leaves["u"], create_graph=True)
    with pytest.raises(RuntimeError, match='backend="naive"'):
        torch.autograd.grad(grad.sum(), leaves["delta"])


def test_y_may_be_changed_in_place_as_with_naive(scan_inputs, relative_error, tolerance):
    grads = []
    for backend in ("cpu", "naive"):
        leaves = {n: x.detach().requires_grad_() for n, x in scan_inputs().items()}
        y = selective_scan(**leaves, delta_softplus=True, backend=backend)
        y *= 3
        grads.append(torch.autograd.grad(y.sum(), leaves["u"])[0])
    assert relative_error(*grads) < tolerance["scan gradient"]
