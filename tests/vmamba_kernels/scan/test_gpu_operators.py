"""Tests of what the GPU kernels do besides y: states, norms, both directions, custom operators."""

import pytest
import torch
from torch.nn import functional as F

import vmamba_kernels as vk
from tests.vmamba_kernels.scan.gpu_runs import HOW, ORDER, SOFTPLUS, TOKENS, double, on
from vmamba_kernels import ScanInputs, selective_scan, selective_scan_with_states
from vmamba_kernels.scan import BACKENDS

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


@how_to_read
@pytest.mark.parametrize(
    "tokens",
    [slice(7, None, 8), [36, 0, 5], [4, 4, 2], [], [31, 15, 36], [16, 0, 32], [36, 32], [27]],
    ids=str,
)
def test_chosen_states_are_those_of_all_states(inputs_for, device, how, tokens):
    how = on(device, how)
    inputs = inputs_for(batch=1, d_state=2)
    y, every = selective_scan_with_states(**inputs, **SOFTPLUS, **how)
    same, some = selective_scan_with_states(**inputs, tokens=tokens, **SOFTPLUS, **how)
    assert torch.equal(some, every[..., tokens]) and torch.equal(same, y)
    assert some.untyped_storage().nbytes() <= max(some.numel() * 4, 1)


def test_gradients_through_chosen_states_equal_naive(inputs_for, agree):
    results = []
    inputs = inputs_for(batch=1, d_inner=33, seqlen=33, d_state=2)
    for backend, given in (("gpu", inputs), ("naive", double(inputs))):
        leaves = {n: x.detach().requires_grad_() for n, x in given.items()}
        options = {"delta_softplus": True, "tokens": [30, 2, 11, 11], "backend": backend}
        y, states = selective_scan_with_states(**leaves, **options)
        weights = torch.arange(1.0, 5.0).to(states)
        loss = y.square().sum() + (states.square() * weights).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        results.append(dict(zip(leaves, grads, strict=True)))
    agree(*results)


@how_to_read
@pytest.mark.parametrize("groups", [1, (2, 4)])
def test_norms_are_those_of_the_states(inputs_for, agree, device, how, groups):
    inputs = inputs_for(groups=groups)
    on_device = on(device, how)
    ours = vk.selective_scan_with_norms(**inputs, **SOFTPLUS, **on_device)._asdict()
    options = {"delta_softplus": True, "backend": "naive", **how}
    true = vk.selective_scan_with_norms(**double(inputs), **options)._asdict()
    agree(ours, true, "scan states")
    assert all(x.dtype == torch.float32 for x in ours.values())


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
    _, states = selective_scan_with_states(**inputs, **SOFTPLUS)
    before = [inputs["initial_state"], states[..., 63], states[..., 127]]
    starts = forward(*tensors, None, True, False, None, True)[3]
    assert torch.equal(starts.transpose(2, 3), torch.stack(before, 1))
    # in reverse, 150 tokens are 192 steps: the first chunk has 22 tokens
    _, states = selective_scan_with_states(**inputs, reverse=True, **SOFTPLUS)
    before = [inputs["initial_state"], states[..., 128], states[..., 64]]
    starts = forward(*tensors, None, True, True, None, True)[3]
    assert torch.equal(starts.transpose(2, 3), torch.stack(before, 1))


def test_a_scan_can_be_cut_anywhere_and_carried_on_bit_for_bit(inputs_for):
    inputs = inputs_for(batch=1, d_inner=32, d_state=2)
    options = {"return_last_state": True, **SOFTPLUS}
    y, last = selective_scan(**inputs, **options)
    for at in (1, 16, 31):
        first = {n: x[..., :at] if n in TOKENS else x for n, x in inputs.items()}
        second = {n: x[..., at:] if n in TOKENS else x for n, x in inputs.items()}
        y1, state = selective_scan(**first, **options)
        y2, end = selective_scan(**(second | {"initial_state": state}), **options)
        assert torch.equal(torch.cat([y1, y2], -1), y) and torch.equal(end, last)


# Both directions.


def directions(inputs_for, *, d_inner=40, seqlen=37, without=(), **shape):
    """Two directions with parameters of their own, and a gate."""
    found = []
    for seed in (1, 2):
        given = inputs_for(1, d_inner, seqlen, **shape, seed=seed, without=without)
        z = given.pop("z")
        found.append(ScanInputs(**{n: given[n] for n in ScanInputs._fields}))
    return *found, z


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


def test_a_step_size_made_outside_gives_the_same_bits_as_inside(inputs_for):
    inputs = inputs_for(batch=1, d_inner=33, seqlen=17, d_state=2)
    y = selective_scan(**inputs, **SOFTPLUS)
    delta = vk.step_size(inputs["delta"], inputs["delta_bias"], backend="gpu")
    outside = inputs | {"delta": delta, "delta_bias": None}
    assert torch.equal(selective_scan(**outside, backend="gpu"), y)


def test_a_gate_outside_gives_the_same_bits_as_inside(inputs_for):
    inputs = inputs_for(batch=1, d_inner=33, seqlen=17, d_state=2)
    y = selective_scan(**inputs, **SOFTPLUS)
    plain = selective_scan(**(inputs | {"z": None}), **SOFTPLUS)
    assert torch.equal(vk.gated_sum(plain, None, inputs["z"], backend="gpu"), y)


def test_softplus_is_good_to_the_last_digits_everywhere(device):
    raw = torch.linspace(-80, 80, 4001, device=device).reshape(1, 1, -1)
    ours = vk.step_size(raw, backend="gpu").cpu().double()
    true = F.softplus(raw.cpu().double(), threshold=1e9)
    # the exponent of exp(-|x|) is itself rounded: 80 * 2**-24 and half an ulp of the rest
    assert ((ours - true).abs() / true).max() < 6e-6
    near = raw.cpu().abs() < 12
    assert ((ours - true).abs() / true)[near].max() < 1.5e-6


@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_step_size_and_gated_sum_equal_naive_with_gradients(
    inputs_for, relative_error, tolerance, dtype, two
):
    inputs = inputs_for(batch=2, d_inner=40, seqlen=17, dtype=dtype)
    given = {
        "delta": inputs["delta"],
        "bias": inputs["delta_bias"].to(dtype),
        "y": inputs["u"],
        "y_backward": inputs["delta"] + 1,
        "z": inputs["z"],
    }
    results = []
    for module, tensors in ((BACKENDS["gpu"], given), (BACKENDS["naive"], double(given))):
        leaves = {n: x.detach().requires_grad_() for n, x in tensors.items()}
        delta = module.step_size(leaves["delta"], leaves["bias"] if two else None)
        y = module.gated_sum(leaves["y"], leaves["y_backward"] if two else None, leaves["z"])
        loss = (delta * delta).sum() + (y * y).sum()
        used = [x for n, x in leaves.items() if two or n not in ("bias", "y_backward")]
        results.append((delta, y, *torch.autograd.grad(loss, used)))
    for i, (ours, true) in enumerate(zip(*results, strict=True)):
        rounded = i > 1 and dtype == torch.bfloat16
        assert ours.dtype == (dtype if i > 1 else torch.float32)
        allowed = tolerance["bfloat16" if rounded else "scan gradient"]
        assert relative_error(ours.cpu(), true) < allowed


# torch.


@pytest.mark.parametrize("missing", [None, "z", "D"])
def test_the_operators_pass_torchs_own_checks(inputs_for, device, missing):
    d_inner, groups = (33, 1) if missing is None else (14, 2)
    inputs = inputs_for(2, d_inner, 5, 3, groups, without=(missing,) if missing else ())
    names = (*ScanInputs._fields, "z")
    tensors = [None if inputs[n] is None else inputs[n].requires_grad_() for n in names]
    order = torch.randperm(5, device=device) if missing == "z" else None
    tokens = None if missing == "D" else torch.tensor([1, 4, 1])
    forward = torch.ops.vmamba_kernels.selective_scan_gpu.default
    rest = (order, True, missing == "D", tokens)
    torch.library.opcheck(forward, (*tensors, *rest, missing != "D"))
    plain = [None if x is None else x.detach() for x in tensors]
    norms = torch.ops.vmamba_kernels.selective_scan_norms_gpu.default
    torch.library.opcheck(norms, (*tensors, *rest[:-1], missing != "D"))
    y, last, states, starts = forward(*plain, *rest, True)
    gradient = torch.ops.vmamba_kernels.selective_scan_gpu_gradient.default
    kept = None if tokens is None else states
    torch.library.opcheck(gradient, (*plain, *rest, starts, y, last, kept))


def test_the_operator_of_both_directions_passes_torchs_own_checks(inputs_for, device):
    forward, backward, z = directions(inputs_for, d_inner=5, seqlen=3, d_state=2)
    tensors = [x.requires_grad_() for x in (*forward, *backward, z)]
    run_both = torch.ops.vmamba_kernels.bidirectional_selective_scan_gpu.default
    torch.library.opcheck(run_both, (*tensors, None, True, True, True))
    plain = [x.detach() for x in tensors]
    order = torch.arange(3, device=device)
    torch.library.opcheck(run_both, (*plain, order, True, False, False))
    y, *kept = run_both(*plain, order, True, False, True)
    gradient = torch.ops.vmamba_kernels.bidirectional_selective_scan_gpu_gradient.default
    torch.library.opcheck(gradient, (*plain, order, True, False, *kept, y))


def test_the_small_operators_pass_torchs_own_checks(inputs_for):
    inputs = inputs_for(1, 5, 3, 2)
    u, delta, z, bias = (inputs[n].requires_grad_() for n in ("u", "delta", "z", "delta_bias"))
    check, ops = torch.library.opcheck, torch.ops.vmamba_kernels
    check(ops.step_size_gpu.default, (delta, bias))
    check(ops.gated_sum_gpu.default, (u, delta, z))
    plain = [x.detach() for x in (u, delta, z)]
    check(ops.step_size_gpu_gradient.default, (plain[0], plain[1], bias.detach()))
    check(ops.gated_sum_gpu_gradient.default, (plain[0], *plain))


def test_it_compiles_into_one_graph_and_gives_the_same_bits(inputs_for):
    given = inputs_for(batch=1, d_inner=32, seqlen=17, d_state=2)
    leaves = {n: x.requires_grad_() for n, x in given.items()}

    def loss(**inputs):
        z = inputs["z"]
        way = ScanInputs(**{n: inputs[n] for n in ScanInputs._fields})
        both = vk.bidirectional_selective_scan(way, way, z, **SOFTPLUS)
        y, last = selective_scan(**inputs, return_last_state=True, **SOFTPLUS)
        return (y * y).sum() + last.sum() + (both * both).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    plain, graph = loss(**leaves), compiled(**leaves)
    assert torch.equal(plain, graph)
    pairs = zip(
        torch.autograd.grad(plain, list(leaves.values())),
        torch.autograd.grad(graph, list(leaves.values())),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_second_gradient_says_that_naive_has_it(inputs_for):
    given = inputs_for(batch=1, d_inner=32, seqlen=17, d_state=2)
    leaves = {n: x.requires_grad_() for n, x in given.items()}
    y = selective_scan(**leaves, **SOFTPLUS)
    (grad,) = torch.autograd.grad(y.sum(), leaves["u"], create_graph=True)
    with pytest.raises(RuntimeError, match='backend="naive"'):
        torch.autograd.grad(grad.sum(), leaves["delta"])
