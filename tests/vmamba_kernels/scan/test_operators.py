"""Tests of vmamba_kernels.scan.operators: what the compiled backends, each, must do.

Sizes are small for the GPU, whose kernels run in Triton's interpreter where there is none. What is
special to one backend is in test_cpu.py and test_gpu*.py.
"""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import vmamba_kernels as vk
from tests.vmamba_kernels.scan.runs import LAYOUTS, TOKENS, compared, double, kind_of, results
from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states
from vmamba_kernels.scan import BACKENDS

OPTIONAL = ("D", "z", "delta_bias", "initial_state")
FIELDS = (*ScanInputs._fields, "z")
BOTH = {"cpu": "bidirectional_scan_cpu", "gpu": "bidirectional_selective_scan_gpu"}


def operator(name):
    return getattr(torch.ops.vmamba_kernels, name).default


def same(ours, true):
    """Whether results agree to the last bit."""
    return all(torch.equal(x, true[name]) for name, x in ours.items())


@pytest.mark.parametrize("groups", [1, 2])
def test_an_order_reads_as_naive_reads(small_inputs_for, agree, backend, groups):
    inputs = small_inputs_for(d_inner=40, groups=groups)
    order = torch.randperm(inputs["u"].shape[2], generator=torch.Generator().manual_seed(4))
    ours, true = (
        results(x, b, states=True, order=order.to(x["u"].device))
        for x, b in ((inputs, backend), (double(inputs), "naive"))
    )
    agree(ours, true)


def test_reverse_is_the_order_that_counts_down(small_inputs_for, backend, device):
    inputs = small_inputs_for(d_inner=33, groups=3, d_state=3)
    down = torch.arange(inputs["u"].shape[2], device=device).flip(0)
    orders = ({"order": down}, {"order": down.repeat_interleave(2)[::2]}, {"reverse": True})
    *others, reverse = (results(inputs, backend, states=True, **how) for how in orders)
    for other in others:
        assert torch.equal(other["y"], reverse["y"])
        assert torch.equal(other["states"], reverse["states"])
        for name, x in other.items():  # the GPU pads another end: sums over tokens round apart
            torch.testing.assert_close(x, reverse[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("without", [OPTIONAL, *((name,) for name in OPTIONAL)])
@pytest.mark.parametrize("softplus", [True, False])
def test_each_argument_may_be_left_out(small_inputs_for, agree, backend, without, softplus):
    inputs = small_inputs_for(without=without)
    if not softplus:  # a negative step size would let the state grow without limit
        for name in ("delta", "delta_bias"):
            inputs[name] = None if inputs[name] is None else inputs[name].abs()
    agree(*compared(inputs, backend, softplus=softplus))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(
    small_inputs_for, relative_error, tolerance, backend, dtype
):
    inputs = small_inputs_for(dtype=dtype, d_state=16)
    ours, true = compared(inputs, backend, states=True)
    for name, x in true.items():
        half = name == "y" or name[5:] in TOKENS
        assert ours[name].dtype == (dtype if half else torch.float32)
        # the upstream gradient of y is itself rounded to half precision
        allowed = str(dtype)[6:] if half or "grad" in name else kind_of(name)
        assert relative_error(ours[name].cpu(), x) < tolerance[allowed], name
    exact = results({n: x.float() for n, x in inputs.items()}, backend, states=True)
    assert torch.equal(ours["y"], exact["y"].to(dtype))
    assert torch.equal(ours["states"], exact["states"])


def test_any_strides_give_the_same_bits(small_inputs_for, backend):
    inputs = small_inputs_for(d_inner=33)
    inputs["B"], inputs["C"] = inputs["B"][:, 0], inputs["C"][:, 0]
    true = results(inputs, backend, states=True)
    for layout, change in LAYOUTS.items():
        changed = {n: change(x) if n in TOKENS else x for n, x in inputs.items()}
        changed["A"] = inputs["A"].t().contiguous().t()
        changed["initial_state"] = inputs["initial_state"].mT.contiguous().mT
        changed["D"] = inputs["D"].repeat_interleave(2)[::2]
        assert same(results(changed, backend, states=True), true), layout


def test_expanded_tensors_are_read_as_what_they_stand_for(small_inputs_for, backend):
    inputs = small_inputs_for(batch=2, without=("initial_state",))
    for name in TOKENS:
        inputs[name] = inputs[name][:1].expand(2, *inputs[name].shape[1:])
    inputs["u"] = inputs["u"][..., :1].expand_as(inputs["z"])
    true = {n: None if x is None else x.clone(memory_format=torch.contiguous_format)
            for n, x in inputs.items()}  # fmt: skip
    assert torch.equal(results(inputs, backend)["y"], results(true, backend)["y"])


def test_token_major_input_gives_token_major_output(small_inputs_for, backend):
    inputs = small_inputs_for(batch=2)
    _, d_inner, seqlen = inputs["u"].shape
    found = results(inputs, backend, states=True)
    for name in ("y", "grad_u", "grad_delta", "grad_z"):
        assert found[name].stride() == (seqlen * d_inner, 1, d_inner), name
    assert found["states"].stride(1) == 1


@pytest.mark.parametrize("raw", [-1e3, -60.0, 0.0, 60.0, 1e3, 1e30])
def test_extreme_step_sizes_do_what_the_definition_does(small_inputs_for, backend, raw):
    inputs = small_inputs_for(without=("delta_bias",))
    inputs["delta"] = torch.full_like(inputs["delta"], raw)
    on_cpu = {n: None if x is None else x.cpu() for n, x in inputs.items()}
    ours, true = results(inputs, backend, states=True), results(on_cpu, "naive", states=True)
    for name, x in true.items():
        atol = 1e-6 * x.abs().max().item()
        torch.testing.assert_close(ours[name].cpu(), x, rtol=2e-5, atol=atol)


def test_a_step_size_of_zero_keeps_the_state_exactly(small_inputs_for, backend):
    inputs = small_inputs_for(without=("delta_bias",))
    inputs["delta"] = torch.zeros_like(inputs["delta"])
    _, states = selective_scan_with_states(**inputs, backend=backend)
    assert torch.equal(states, inputs["initial_state"][..., None].expand_as(states))


def test_nan_in_one_channel_stays_in_that_channel(small_inputs_for, backend):
    inputs = small_inputs_for()
    for name in ("u", "delta", "A", "z"):
        spoiled = inputs | {name: inputs[name].clone()}
        (spoiled[name][5] if name == "A" else spoiled[name][:, 5]).fill_(torch.nan)
        bad = selective_scan(**spoiled, delta_softplus=True, backend=backend).isnan()
        assert bad[:, 5].all() and not bad[:, :5].any() and not bad[:, 6:].any(), name


def test_no_batch_gives_no_output_and_no_gradient(small_inputs_for, backend):
    found = results(small_inputs_for(batch=0, d_inner=40, seqlen=37), backend, states=True)
    assert found["y"].shape == (0, 40, 37) and found["states"].shape[::3] == (0, 37)
    assert found["grad_u"].shape == (0, 40, 37) and not found["grad_A"].any()


def test_a_scan_can_be_cut_anywhere_and_carried_on_bit_for_bit(small_inputs_for, backend):
    inputs = small_inputs_for(d_inner=32, seqlen=70 if backend == "cpu" else 37)
    options = {"delta_softplus": True, "return_last_state": True, "backend": backend}
    y, last = selective_scan(**inputs, **options)
    for at in (1, 31, 32, 33, 69) if backend == "cpu" else (1, 16, 31):
        first = {n: x[..., :at] if n in TOKENS else x for n, x in inputs.items()}
        second = {n: x[..., at:] if n in TOKENS else x for n, x in inputs.items()}
        y1, state = selective_scan(**first, **options)
        y2, end = selective_scan(**(second | {"initial_state": state}), **options)
        assert torch.equal(torch.cat([y1, y2], -1), y) and torch.equal(end, last)


@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_step_size_and_gated_sum_equal_naive_with_gradients(
    inputs_for, relative_error, tolerance, backend, dtype, two
):
    inputs = inputs_for(batch=2, d_inner=40, seqlen=17, dtype=dtype)
    given = {
        "delta": inputs["delta"],
        "bias": inputs["delta_bias"].to(dtype),
        "y": inputs["u"],
        "y_backward": inputs["delta"] + 1,
        "z": inputs["z"],
    }
    runs = []
    for name, tensors in ((backend, given), ("naive", double(given))):
        leaves = {n: x.detach().requires_grad_() for n, x in tensors.items()}
        run = BACKENDS[name]
        delta = run.step_size(leaves["delta"], leaves["bias"] if two else None)
        y = run.gated_sum(leaves["y"], leaves["y_backward"] if two else None, leaves["z"])
        loss = (delta * delta).sum() + (y * y).sum()
        used = [x for n, x in leaves.items() if two or n not in ("bias", "y_backward")]
        runs.append((delta, y, *torch.autograd.grad(loss, used)))
    for i, (ours, true) in enumerate(zip(*runs, strict=True)):
        rounded = i > 1 and dtype == torch.bfloat16
        assert ours.dtype == (dtype if i > 1 else torch.float32)
        allowed = tolerance["bfloat16" if rounded else "scan gradient"]
        assert relative_error(ours.cpu(), true) < allowed


# torch.


def in_order(inputs):
    """The tensors of the operators, leaves, and without a gradient."""
    tensors = [None if inputs[n] is None else inputs[n].requires_grad_() for n in FIELDS]
    return tensors, [None if x is None else x.detach() for x in tensors]


@pytest.mark.parametrize("missing", [None, "z", "D"])
def test_the_operators_pass_torchs_own_checks(inputs_for, backend, device, missing):
    d_inner, groups = (33, 1) if missing is None else (14, 2)
    made = inputs_for(2, d_inner, 5, 3, groups, without=(missing,) if missing else ())
    tensors, plain = in_order(made)
    order = None if missing == "D" else torch.tensor([3, 1, 0, 4, 2], device=device)
    tokens = torch.tensor([2, 4, 2]) if missing is None else None
    how, keep = (order, True, missing == "D"), missing != "D"
    forward = operator(f"selective_scan_{backend}")
    torch.library.opcheck(forward, (*tensors, *how, tokens, keep))
    torch.library.opcheck(operator(f"selective_scan_norms_{backend}"), (*tensors, *how, keep))
    y, last, states, starts = forward(*plain, *how, tokens, True)
    upstream = (y, last, None if tokens is None else states)
    gradient = operator(f"selective_scan_{backend}_gradient")
    torch.library.opcheck(gradient, (*plain, *how, tokens, starts, *upstream))


@pytest.mark.parametrize("gate", [True, False])
def test_the_operators_of_both_directions_pass_torchs_own_checks(inputs_for, backend, device, gate):
    ways = [inputs_for(2, 33, 5, 3), inputs_for(2, 33, 5, 3, without=OPTIONAL, seed=1)]
    ways[1]["z"] = ways[0]["z"] if gate else None
    (forward, plain_forward), (backward, plain_backward) = (in_order(way) for way in ways)
    tensors, plain = [*forward[:-1], *backward], [*plain_forward[:-1], *plain_backward]
    order = torch.tensor([3, 1, 0, 4, 2], device=device) if gate else None
    run = operator(BOTH[backend])
    torch.library.opcheck(run, (*tensors, order, True, not gate, gate))
    y, *kept = run(*plain, order, True, not gate, True)
    gradient = operator(f"{BOTH[backend]}_gradient")
    torch.library.opcheck(gradient, (*plain, order, True, not gate, *kept, y))


@pytest.mark.parametrize("whole", [True, False])
def test_the_operators_of_step_size_and_gate_pass_torchs_own_checks(backend, device, whole):
    y, other, z = (torch.randn(2, 33, 5, device=device, requires_grad=True) for _ in range(3))
    bias = torch.randn(33, device=device, requires_grad=True) if whole else None
    other = other if whole else None
    torch.library.opcheck(operator(f"step_size_{backend}"), (y, bias))
    torch.library.opcheck(operator(f"gated_sum_{backend}"), (y, other, z))
    y, other, z, bias = (None if x is None else x.detach() for x in (y, other, z, bias))
    torch.library.opcheck(operator(f"step_size_{backend}_gradient"), (z, y, bias))
    torch.library.opcheck(operator(f"gated_sum_{backend}_gradient"), (z.clone(), y, other, z))


def test_it_compiles_into_one_graph_and_gives_the_same_bits(small_inputs_for, backend, device):
    leaves = {n: x.requires_grad_() for n, x in small_inputs_for().items()}
    order = torch.arange(leaves["u"].shape[2], device=device).roll(5)
    options = {"delta_softplus": True, "backend": backend}

    def loss(**inputs):
        y, last = selective_scan(**inputs, return_last_state=True, **options)
        states = selective_scan_with_states(**inputs, reverse=True, **options).states
        norms = vk.selective_scan_with_norms(**inputs, order=order, **options)
        one = ScanInputs(*(inputs[name] for name in ScanInputs._fields))
        both = vk.bidirectional_selective_scan(one, one, inputs["z"], **options)
        sums = last.sum() + norms.y.sum() + norms.readout.sum() + both.sum()
        return (y * y).sum() + (states * states).sum() + sums

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    plain, graph = loss(**leaves), compiled(**leaves)
    assert torch.equal(plain, graph)
    pairs = (torch.autograd.grad(x, list(leaves.values())) for x in (plain, graph))
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


def test_a_second_gradient_says_that_naive_has_it(small_inputs_for, backend):
    leaves = {n: x.requires_grad_() for n, x in small_inputs_for().items()}
    one = ScanInputs(*(leaves[name] for name in ScanInputs._fields))
    runs = [
        selective_scan(**leaves, delta_softplus=True, backend=backend),
        vk.bidirectional_selective_scan(one, one, backend=backend),
        vk.step_size(leaves["u"], backend=backend),
        vk.gated_sum(leaves["u"], None, leaves["z"], backend=backend),
    ]
    for run in runs:
        (grad,) = torch.autograd.grad(run.sum(), leaves["u"], create_graph=True)
        with pytest.raises(RuntimeError, match='backend="naive"'):
            torch.autograd.grad(grad.sum(), leaves["u"])


def test_y_may_be_changed_in_place_as_with_naive(small_inputs_for, agree, backend):
    inputs, grads = small_inputs_for(), []
    for name, given in ((backend, inputs), ("naive", double(inputs))):
        leaves = {n: x.detach().requires_grad_() for n, x in given.items()}
        y = selective_scan(**leaves, delta_softplus=True, backend=name)
        y *= 3
        grads.append({"grad_u": torch.autograd.grad(y.sum(), leaves["u"])[0]})
    agree(*grads)


def test_a_checkpoint_may_recompute_a_scan(scan_inputs):
    given = scan_inputs()
    u = given.pop("u").requires_grad_()

    def run(u):
        return selective_scan(u, **given, delta_softplus=True, backend="cpu")

    plain, again = run(u), checkpoint(run, u, use_reentrant=False)
    for one, other in zip(*(torch.autograd.grad(y.sum(), u) for y in (plain, again)), strict=True):
        assert torch.equal(one, other)


def test_importing_the_operators_loads_no_backend(run_python):
    code = "import sys, vmamba_kernels as vk; print([m for m in sys.modules if 'launch' in m])"
    assert run_python(code).strip() == "[]"


def test_a_first_call_does_not_wait_for_torchs_compiler(run_python):
    code = """
import sys, torch, vmamba_kernels as vk
x = torch.rand(1, 2, 2, requires_grad=True)
vk.causal_conv1d(vk.selective_scan(x, x, -x[0], x, x, backend="cpu"), x[0], backend="cpu")
print("torch._dynamo" in sys.modules)
"""
    assert run_python(code).strip() == "False"


def test_the_package_can_be_imported_again_in_the_same_process(run_python):
    code = """
import sys, torch, vmamba_kernels
x = torch.randn(1, 64, 10)
before = vmamba_kernels.step_size(x, backend="cpu")
for name in [name for name in sys.modules if name.split(".")[0] == "vmamba_kernels"]:
    del sys.modules[name]
import vmamba_kernels
print(torch.equal(before, vmamba_kernels.step_size(x, backend="cpu")))
"""
    assert run_python(code).split() == ["True"]
