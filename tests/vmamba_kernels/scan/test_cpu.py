"""Tests of the compiled scan: vmamba_kernels.scan.cpu against naive in float64."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vmamba_kernels import (
    ScanInputs,
    bidirectional_selective_scan,
    gated_sum,
    selective_scan,
    selective_scan_with_norms,
    selective_scan_with_states,
    step_size,
)

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


def randomly_strided(x, generator):
    """The same numbers in memory of another order of axes, with gaps of NaN."""
    axes = torch.randperm(x.dim(), generator=generator).tolist()
    gaps = torch.randint(1, 4, (x.dim(),), generator=generator).tolist()
    memory = torch.full([x.shape[axis] * gaps[axis] for axis in axes], torch.nan)
    back = [axes.index(axis) for axis in range(x.dim())]
    return memory.permute(back)[tuple(slice(None, None, gap) for gap in gaps)].copy_(x)


@pytest.mark.parametrize("seqlen", [1, 2, 15, 16, 17, 63, 1569, 3137])
def test_it_is_accurate_at_every_length_whatever_the_strides(
    scan_inputs, relative_error, tolerance, seqlen
):
    inputs = scan_inputs(batch=1, d_inner=45, seqlen=seqlen, d_state=5)
    generator = torch.Generator().manual_seed(seqlen)
    inputs = {name: randomly_strided(x, generator) for name, x in inputs.items()}
    ours = results(inputs, "cpu", states=False)
    true = results(inputs, "naive", states=False, double=True)
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
    directions, gates = [], []
    for seed in (0, 1):
        made = scan_inputs(d_inner=64, seqlen=50, d_state=16, seed=seed)
        gates.append(made.pop("z"))
        directions.append(ScanInputs(*(made[name] for name in ScanInputs._fields)))
    one = [d._replace(u=d.u.bfloat16()) if "u" in given else d for d in directions]
    z = gates[0].bfloat16() if "z" in given else gates[0]
    two = [d._replace(u=d.u.float()) for d in one]
    upstream, runs = gates[1].bfloat16(), []
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


def test_threads_change_no_bit_of_both_directions_and_of_norms(scan_inputs):
    forward, backward = (scan_inputs(3, 200, 50, 16, seed=seed) for seed in (0, 1))
    leaves = [x.requires_grad_() for x in (*forward.values(), *backward.values())]
    z = forward.pop("z")
    backward.pop("z")
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y = bidirectional_selective_scan(
                ScanInputs(**forward), ScanInputs(**backward), z, delta_softplus=True
            )
            norms = selective_scan_with_norms(**forward, z=z, delta_softplus=True)
            grads = torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)
            runs.append([y, *norms, *(g for g in grads if g is not None)])
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


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


def test_an_order_that_falls_is_reverse_bit_for_bit(scan_inputs):
    inputs = scan_inputs(d_inner=33, groups=3, d_state=16)
    order = torch.arange(37).flip(0)
    runs = [
        selective_scan_with_states(**inputs, delta_softplus=True, **how, backend="cpu")
        for how in ({"reverse": True}, {"order": order}, {"order": order.repeat_interleave(2)[::2]})
    ]
    for run in runs[1:]:
        assert torch.equal(run.y, runs[0].y) and torch.equal(run.states, runs[0].states)


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
    directions = []
    for seed in (0, 1):
        made = scan_inputs(d_inner=70, seqlen=50, d_state=16, seed=seed)
        z = made.pop("z").requires_grad_()
        directions.append(ScanInputs(*(made[n].requires_grad_() for n in ScanInputs._fields)))
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
    names = (*ScanInputs._fields, "z")
    tensors = [None if inputs[n] is None else inputs[n].requires_grad_() for n in names]
    plain = [None if x is None else x.detach() for x in tensors]
    order = None if missing == "D" else torch.tensor([3, 1, 0, 4, 2])
    tokens = torch.tensor([2, 4, 2]) if missing is None else None
    operators = torch.ops.vmamba_kernels
    forward = operators.selective_scan_cpu.default
    torch.library.opcheck(forward, (*tensors, order, True, False, tokens, missing != "D"))
    norms = operators.selective_scan_norms_cpu.default
    torch.library.opcheck(norms, (*tensors, order, True, False, missing != "D"))
    y, last, states, starts = forward(*plain, order, True, True, tokens, True)
    upstream = (y, last, None if tokens is None else states)
    gradient = operators.selective_scan_cpu_gradient.default
    torch.library.opcheck(gradient, (*plain, order, True, True, tokens, starts, *upstream))


@pytest.mark.parametrize("gate", [True, False])
def test_the_operators_of_both_directions_pass_torchs_own_checks(scan_inputs, gate):
    directions = []
    for seed, without in ((0, ()), (1, ("D", "delta_bias", "initial_state"))):
        made = scan_inputs(2, 33, 5, 3, seed=seed, without=without)
        z = made.pop("z").requires_grad_() if gate else None
        directions += [made[name] for name in ScanInputs._fields]
    tensors = [x if x is None else x.requires_grad_() for x in directions]
    plain = [x if x is None else x.detach() for x in (*tensors, z)]
    order = torch.tensor([3, 1, 0, 4, 2]) if gate else None
    operators = torch.ops.vmamba_kernels
    forward = operators.bidirectional_scan_cpu.default
    torch.library.opcheck(forward, (*tensors, z, order, True, not gate, gate))
    y, *kept = forward(*plain, order, True, not gate, True)
    gradient = operators.bidirectional_scan_cpu_gradient.default
    torch.library.opcheck(gradient, (*plain, order, True, not gate, *kept, y))


@pytest.mark.parametrize("whole", [True, False])
def test_the_operators_of_step_size_and_gate_pass_torchs_own_checks(whole):
    y, other, z, bias = torch.randn(2, 33, 5), torch.randn(2, 33, 5), torch.randn(2, 33, 5), None
    if whole:
        bias = torch.randn(33, requires_grad=True)
    operators = torch.ops.vmamba_kernels
    given = [x.requires_grad_() for x in (y, other, z)]
    torch.library.opcheck(operators.step_size_cpu.default, (given[0], bias))
    other = given[1] if whole else None
    torch.library.opcheck(operators.gated_sum_cpu.default, (given[0], other, given[2]))
    plain = [None if x is None else x.detach() for x in (y, bias, other, z)]
    torch.library.opcheck(operators.step_size_cpu_gradient.default, (plain[3], *plain[:2]))
    grads = operators.gated_sum_cpu_gradient.default
    torch.library.opcheck(grads, (plain[3].clone(), plain[0], plain[2], plain[3]))


def test_it_compiles_into_one_graph_and_gives_the_same_bits(scan_inputs):
    leaves = {n: x.requires_grad_() for n, x in scan_inputs().items()}

    def loss(**inputs):
        y, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
        states = selective_scan_with_states(**inputs, delta_softplus=True, reverse=True).states
        order = torch.arange(37).roll(5)
        norms = selective_scan_with_norms(**inputs, delta_softplus=True, order=order)
        one = ScanInputs(*(inputs[name] for name in ScanInputs._fields))
        both = bidirectional_selective_scan(one, one, inputs["z"], delta_softplus=True)
        sums = last.sum() + norms.y.sum() + norms.readout.sum() + both.sum()
        return (y * y).sum() + (states * states).sum() + sums

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
    one = ScanInputs(*(leaves[name] for name in ScanInputs._fields))
    runs = [y, bidirectional_selective_scan(one, one, backend="cpu")]
    runs += [step_size(leaves["u"], backend="cpu"), gated_sum(leaves["u"], None, leaves["z"])]
    for run in runs:
        (grad,) = torch.autograd.grad(run.sum(), leaves["u"], create_graph=True)
        with pytest.raises(RuntimeError, match='backend="naive"'):
            torch.autograd.grad(grad.sum(), leaves["u"])


def test_a_plain_call_saves_nothing_for_a_gradient(scan_inputs):
    inputs = scan_inputs(without=("z",))
    given = [inputs[name] for name in ScanInputs._fields]
    for keep in (False, True):
        *_, starts = torch.ops.vmamba_kernels.selective_scan_cpu(
            *given, None, None, True, False, None, keep
        )
        assert starts.numel() == (2 * 64 * 4 * 2 if keep else 0)  # padded to 64, two chunks


def test_y_may_be_changed_in_place_as_with_naive(scan_inputs, relative_error, tolerance):
    grads = []
    for backend in ("cpu", "naive"):
        leaves = {n: x.detach().requires_grad_() for n, x in scan_inputs().items()}
        y = selective_scan(**leaves, delta_softplus=True, backend=backend)
        y *= 3
        grads.append(torch.autograd.grad(y.sum(), leaves["u"])[0])
    assert relative_error(*grads) < tolerance["scan gradient"]
