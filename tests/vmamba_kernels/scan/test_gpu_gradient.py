"""Tests of the scan's gradient on a GPU: vmamba_kernels.scan.gpu_gradient against naive in float64.

Without a GPU the kernels run in Triton's interpreter, so shapes are small; what the compiler makes
of them is read from the binary. The saved states come from naive: only the gradient is tested here.
"""

import numpy as np
import pytest
import torch

from tests.vmamba_kernels.binary import launches_of
from tests.vmamba_kernels.scan.runs import TOKENS, to
from vmamba_kernels.scan import naive
from vmamba_kernels.types import ScanInputs, ScanOptions

pytest.importorskip("triton")
from vmamba_kernels.scan import gpu_gradient
from vmamba_kernels.scan.gpu_forward import token_major

CHUNK = 64
pytestmark = pytest.mark.usefixtures("triton_runs")
HOWS = ["forward", "reverse", "order"]


@pytest.fixture
def cut(monkeypatch):
    """Return a function: give every thread so many channels, and every split so many chunks."""

    def into(pair: int, split: int) -> None:
        monkeypatch.setattr(gpu_gradient, "cut", lambda *sizes: (pair, split))

    return into


@pytest.fixture
def problem(scan_inputs, device):
    """Return a function that makes a scan, what its gradient is given, and the true gradients."""

    def make(how="forward", softplus=True, upstream=("y", "last"), kept=None, **shape):
        inputs = scan_inputs(**shape)
        batch, d_inner, seqlen = inputs["u"].shape
        generator = torch.Generator().manual_seed(1)
        order = torch.randperm(seqlen, generator=generator) if how == "order" else None
        if not softplus:  # a negative step size would let the state grow without limit
            for name in ("delta", "delta_bias"):
                inputs[name] = None if inputs[name] is None else inputs[name].abs()

        leaves = {n: x.double().requires_grad_() for n, x in inputs.items() if x is not None}
        z, options = leaves.get("z"), ScanOptions(order, softplus, how == "reverse")
        scanned = ScanInputs(**{n: leaves.get(n) for n in ScanInputs._fields})
        y, last, states = naive.scan(scanned, z, options, torch.arange(seqlen))
        outputs, given = [], dict.fromkeys(("grad_y", "grad_last", "grad_states", "slots"))
        if "y" in upstream:
            given["grad_y"] = torch.randn(y.shape, generator=generator).to(inputs["u"].dtype)
            outputs.append((y, given["grad_y"]))
        if "last" in upstream:
            given["grad_last"] = torch.randn(last.shape, generator=generator)
            outputs.append((last, given["grad_last"]))
        if kept is not None:
            shape = batch, len(kept), *states.shape[2:0:-1]
            given["grad_states"] = torch.randn(shape, generator=generator)
            given["slots"] = torch.full((seqlen,), -1, dtype=torch.int32)
            given["slots"][kept] = torch.arange(len(kept), dtype=torch.int32)
            outputs.append((states[..., kept], given["grad_states"].permute(0, 3, 2, 1)))
        loss = sum((x * weight.double()).sum() for x, weight in outputs)
        true = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)

        def on_device(x):
            return None if x is None else to(x, device)

        starts = starts_of(states.detach(), leaves.get("initial_state"), how, order)
        tensors = inputs | {"starts": starts} | given
        arguments = {name: on_device(x) for name, x in tensors.items()}
        arguments["options"] = options._replace(order=on_device(order))
        return arguments, dict(zip(leaves, true, strict=True))

    return make


def starts_of(states, initial, how, order):
    """The states before each chunk of steps, as the forward kernel keeps them."""
    batch, d_inner, d_state, seqlen = states.shape
    chunks = -(-seqlen // CHUNK)
    token = {"forward": torch.arange(seqlen), "reverse": torch.arange(seqlen).flip(0)}.get(
        how, order
    )
    padding = chunks * CHUNK - seqlen if how == "reverse" else 0
    first = states.new_zeros(batch, d_inner, d_state) if initial is None else initial.detach()
    before = [CHUNK * chunk - padding for chunk in range(chunks)]
    starts = [first if step <= 0 else states[..., token[step - 1]] for step in before]
    return torch.stack(starts, 1).mT.float().contiguous()


def named(arguments):
    """The gradients that the kernels give, by the name of their tensor."""
    found = gradients(arguments)
    assert all((x is None) == (arguments[n] is None) for n, x in found.items())
    return {n: x.cpu() for n, x in found.items() if x is not None}


def gradients(arguments):
    """What `gpu_gradient.gradient` gives, by the name of the tensor."""
    rest = dict(arguments)
    given = ScanInputs(**{n: rest.pop(n) for n in ScanInputs._fields})
    rest["grad_last_state"] = rest.pop("grad_last")
    return dict(zip((*given._fields, "z"), gpu_gradient.gradient(given, **rest), strict=True))


@pytest.fixture
def agree(relative_error, tolerance):
    """Return a function: hold every gradient to naive's."""

    def check(arguments, true):
        found = named(arguments)
        assert found.keys() == true.keys()
        for name, x in true.items():
            kind = str(found[name].dtype)[6:].replace("float32", "scan gradient")
            error = relative_error(found[name], x)
            assert error < tolerance[kind], (name, error)

    return check


SHAPES = {
    "one of everything": {"batch": 1, "d_inner": 1, "seqlen": 1, "d_state": 1},
    "two tokens": {"d_inner": 7, "seqlen": 2, "d_state": 5},
    "a tile less one": {"d_inner": 32, "seqlen": 7, "d_state": 2},
    "a tile": {"d_inner": 32, "seqlen": 8, "d_state": 2},
    "a tile and one": {"d_inner": 32, "seqlen": 9, "d_state": 3},
    "odd everything": {"d_inner": 45, "seqlen": 37, "d_state": 2},
    "states of the models": {"batch": 1, "d_inner": 32, "seqlen": 17, "d_state": 16},
    "no power of two": {"batch": 1, "d_inner": 40, "seqlen": 9, "d_state": 20},
    "many states": {"batch": 1, "d_inner": 3, "seqlen": 3, "d_state": 64},
    "a chunk and one": {"batch": 1, "d_inner": 32, "seqlen": 65, "d_state": 1},
    "groups": {"batch": 1, "d_inner": 66, "seqlen": 17, "d_state": 2, "groups": 2},
    "groups that differ": {"d_inner": 12, "seqlen": 9, "d_state": 3, "groups": (3, 2)},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("how", HOWS)
def test_every_gradient_equals_naive(problem, agree, shape, how):
    agree(*problem(how, **shape))


@pytest.mark.parametrize("how", HOWS)
def test_gradients_of_kept_states_reach_everything_before_them(problem, agree, how):
    shape = {"batch": 1, "d_inner": 33, "seqlen": 70, "d_state": 1}
    agree(*problem(how, upstream=(), kept=[0, 8, 40, 69], **shape))
    agree(*problem(how, kept=[69, 1, 39], **shape))


def test_gradients_of_states_may_have_any_strides(problem, device):
    arguments, _ = problem(batch=1, seqlen=17, d_state=2, kept=[3, 16, 5])
    true = named(arguments)
    grads = arguments["grad_states"]
    strided = grads.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)
    found = named(arguments | {"grad_states": strided})
    assert all(torch.equal(x, true[name]) for name, x in found.items())
    expanded = torch.ones((), device=device).expand_as(grads)  # what sum() sends back
    runs = [named(arguments | {"grad_states": x}) for x in (expanded, torch.ones_like(grads))]
    assert all(torch.equal(x, runs[1][name]) for name, x in runs[0].items())


@pytest.mark.parametrize("upstream", [("y",), ("last",), ()])
def test_an_upstream_gradient_may_be_left_out(problem, agree, upstream):
    shape = {"batch": 1, "d_inner": 33, "seqlen": 17, "d_state": 2}
    agree(*problem(upstream=upstream, kept=None if upstream else [16], **shape))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("pair", "split"), [(1, 1), (2, 2), (1, 4)])
def test_gradients_are_right_however_the_work_is_cut(problem, agree, cut, how, pair, split):
    cut(pair, split)
    agree(*problem(how, batch=1, d_inner=40, seqlen=194, d_state=1, kept=[100]))


def test_two_channels_in_a_thread_change_no_bit_but_of_sums_over_channels(problem, cut):
    arguments, _ = problem(batch=1, d_inner=100, seqlen=17, d_state=2, kept=[7])
    found = []
    for pair in (1, 2):
        cut(pair, 1)
        found.append(named(arguments))
    for name, x in found[0].items():
        assert torch.equal(x, found[1][name]) == (name not in ("B", "C")), name


def test_two_runs_give_the_same_bits(problem):
    arguments, _ = problem("order", batch=1, d_inner=70, seqlen=66, d_state=2, kept=[7, 65])
    first, second = named(arguments), named(arguments)
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_a_batch_element_is_the_same_whatever_the_batch_around_it(problem, cut):
    cut(2, 1)
    arguments, _ = problem(batch=3, d_inner=40, seqlen=9, d_state=2)
    whole = named(arguments)
    batched = (*TOKENS, "initial_state", "starts", "grad_y", "grad_last")
    alone = {n: x[1:2] if n in batched else x for n, x in arguments.items()}
    for name, x in named(alone).items():
        if name in (*TOKENS, "initial_state"):
            assert torch.equal(x, whole[name][1:2]), name


def test_gradients_have_the_memory_of_a_token_major_model(problem):
    arguments, _ = problem(seqlen=5, d_state=3)
    for name, x in gradients(arguments).items():
        wanted = (5 * 40, 1, 40) if name in ("u", "delta", "z") else x.contiguous().stride()
        assert x.stride() == wanted, name


def test_tokens_may_lie_further_apart_than_32_bits_count(problem, device):
    arguments, _ = problem(batch=1, d_inner=8, seqlen=25, d_state=1, dtype=torch.float16)
    true = named(arguments)
    stride = 2**27 - 8  # 25 of them are more than 2**31 numbers
    if device == "cpu":
        room = torch.from_numpy(np.zeros(25 * stride, np.float16))  # untouched pages take no memory
    else:
        room = torch.zeros(25 * stride, dtype=torch.float16, device=device)
    u = room.as_strided((1, 8, 25), (25 * stride, 1, stride)).copy_(arguments["u"])
    arguments["u"] = u
    assert token_major(u) is u, "a copy would hide what is tested"
    for name, x in named(arguments).items():
        assert torch.equal(x, true[name]), name


def test_nan_in_one_channel_stays_in_that_channel(problem):
    arguments, _ = problem(batch=1, d_inner=33, seqlen=9, d_state=1)
    for i in ("grad_y", "u", "delta", "A", "z"):
        spoiled = arguments | {i: arguments[i].clone()}
        (spoiled[i][5] if i == "A" else spoiled[i][:, 5]).fill_(torch.nan)
        found = named(spoiled)
        for name in ("u", "delta", "z", "A", "D", "delta_bias", "initial_state"):
            x = found[name] if name in ("A", "D", "delta_bias") else found[name].transpose(0, 1)
            bad = x.isnan().flatten(1).any(1) if x.dim() > 1 else x.isnan()
            assert not bad[:5].any() and not bad[6:].any(), (i, name)
        assert found["delta"][:, 5].isnan().any(), i


def test_two_channels_share_a_thread_only_where_the_gpu_stays_full():
    assert gpu_gradient.cut(32, 1, 768, 25) == (2, 9)  # 384 programs, 3 splits
    assert gpu_gradient.cut(128, 1, 768, 25) == (2, 25)  # enough without splits
    assert gpu_gradient.cut(1, 1, 768, 25) == (1, 1)  # every chunk by itself
    assert gpu_gradient.cut(1, 1, 768, 1600)[1] * gpu_gradient.MOST_SPLITS >= 1600
    assert gpu_gradient.cut(1000, 1, 32, 25)[0] == 1  # half of the lanes would have none


CODE = """
import torch
from vmamba_kernels.scan.gpu_gradient import gradient
from vmamba_kernels.types import ScanInputs, ScanOptions
batch, d_inner, seqlen, d_state = {shape}
dtype = torch.{dtype}

def tokens(*axes):
    return torch.zeros(*axes[:-1], seqlen, axes[-1], dtype=dtype).mT

x, vector = tokens(batch, d_inner), torch.zeros(d_inner)
B = tokens(batch, 1, d_state)
starts = torch.zeros(batch, -(-seqlen // 64), d_state, d_inner)
A = torch.zeros(d_inner, d_state)
given = ScanInputs(x, x, A, B, B, vector, vector)
gradient(given, x, ScanOptions(None, True, {reverse}), starts, x, None, None, None)
"""
MANY, FEW = (32, 768, 1569, 16), (1, 768, 1569, 16)
CASES = {
    "bfloat16": CODE.format(shape=MANY, dtype="bfloat16", reverse=False),
    "float32": CODE.format(shape=MANY, dtype="float32", reverse=False),
    "reverse": CODE.format(shape=MANY, dtype="bfloat16", reverse=True),
    "one channel": CODE.format(shape=FEW, dtype="bfloat16", reverse=False),
    "odd sizes": CODE.format(shape=(32, 769, 1569, 16), dtype="bfloat16", reverse=False),
    "everything": CODE.format(shape=FEW, dtype="float16", reverse=False)
    + """
kept, slots = torch.zeros(batch, 3, d_state, d_inner), torch.zeros(seqlen, dtype=torch.int32)
order, state = torch.arange(seqlen), torch.zeros(batch, d_inner, d_state)
C = tokens(batch, 3, d_state)
given = given._replace(C=C, initial_state=state)
gradient(given, x, ScanOptions(order, True), starts, x, state, kept, slots)
""",
    "next to nothing": CODE.format(shape=(32, 40, 100, 20), dtype="float32", reverse=True)
    + """
kept, slots = torch.zeros(batch, 3, d_state, d_inner), torch.zeros(seqlen, dtype=torch.int32)
gradient(
    ScanInputs(x, x, A, B, B), None, ScanOptions(reverse=True), starts, None, None, kept, slots
)
""",
}


@pytest.fixture(scope="module")
def binaries():
    """Return a function: the kernels of one of CASES, by their names."""
    found = {}

    def compiled(case, capability=90):
        if capability not in found:
            cases = CASES if capability == 90 else {"bfloat16": CASES["bfloat16"]}
            found[capability] = launches_of(cases, capability)
        return {binary.name: binary for binary in found[capability][case]}

    return compiled


def costs(binary, channels, d_state=16):
    """Instructions per token and channel of the loops over tiles that walk through all states."""
    found, elements = [], 8 * channels
    for tiles in binary.loops:
        inside = [x for x in binary.loops if tiles.start <= x.start and x.end < tiles.end]
        if len(inside) == 1 and inside[0].exp2 == elements:
            (states,) = inside
            assert not states.kinds.get("spill"), "registers are spilled in the innermost loop"
            once = tiles.instructions - states.instructions
            found.append((once + d_state * states.instructions) / elements)
    return found


# Both walks, and the one back alone. The states before the first tile of eight are there already.
@pytest.mark.parametrize(
    ("case", "channels", "most", "most_back"),
    [
        ("bfloat16", 2, 545, 435),  # measured: 529.0, 422.9
        ("float32", 2, 535, 425),  # 518.8, 414.6
        ("reverse", 2, 545, 435),  # 530.6, 423.9
        ("one channel", 1, 675, 550),  # 657.0, 536.1
        ("odd sizes", 2, 560, 448),  # 544.4, 435.4
    ],
)
def test_a_gradient_takes_few_instructions(binaries, case, channels, most, most_back):
    binary = binaries(case)["gradient_kernel"]
    assert binary.constants["PAIR"] == channels
    assert binary.stack <= 512  # 472: what waits in memory while a tile goes through its states
    forward, back = costs(binary, channels)
    assert back < most_back and forward * 7 / 8 + back < most


def test_the_summary_of_a_split_takes_few_instructions_and_registers(binaries):
    binary = binaries("one channel")["adjoint_summary_kernel"]
    (cost,) = costs(binary, 1)
    assert cost < 158  # 152.4
    assert binary.registers <= 80 and binary.stack == 0  # 64


@pytest.mark.parametrize("case", ["bfloat16", "float32", "odd sizes"])
def test_every_channel_stays_on_its_lane(binaries, case):
    binary = binaries(case)["gradient_kernel"]
    for layout in binary.layouts:
        assert layout.startswith(
            ("sizePerThread = [1, 1], threadsPerWarp = [1, 32]", "sizePerThread = [1], ")
        ), layout
    assert binary.shared == 0 and binary.kinds.get("shared", 0) == 0
    assert binary.kinds.get("atomic", 0) == 0
    # 16 sums over 32 lanes in 16 exchanges, once for two channels
    assert {loop.kinds.get("shuffle", 0) for loop in binary.loops} == {0, 16}


@pytest.mark.parametrize("case", ["everything", "next to nothing"])
def test_kernels_with_other_options_compile_and_use_as_little(binaries, case):
    binary = binaries(case)["gradient_kernel"]
    assert binary.shared == 0 and binary.kinds.get("atomic", 0) == 0
    assert binary.constants["SOFTPLUS"] == (case == "everything")


@pytest.mark.parametrize("capability", [80, 120])
def test_other_gpus_get_as_good_a_kernel(binaries, capability):
    binary = binaries("bfloat16", capability)["gradient_kernel"]
    forward, back = costs(binary, 2)
    assert forward * 7 / 8 + back < 565  # 548.7 and 529.2
