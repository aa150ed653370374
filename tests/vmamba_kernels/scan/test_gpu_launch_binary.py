"""Tests of what the compiler makes of the scan kernels: no GPU needed, nothing runs.

Instructions are counted per token and channel, over one turn of the main loop: a tile of 16 tokens
of 32 channels, 16 states, with D, z, delta_bias and softplus. An H200 can issue 128 a clock and SM,
and 16 of the special function unit, of which there are 19: above 152 the issue slots bind.
"""

import functools
import re
from importlib.util import find_spec

import pytest

from tests.vmamba_kernels.binary import Binary, launches, launches_of

TILE = 16 * 32  # tokens x channels in a turn of the loop
INPUTS = """
import torch
from vmamba_kernels.scan import gpu_launch
from vmamba_kernels.types import ScanInputs, ScanOptions

def inputs(batch, d_inner, seqlen, d_state, dtype):
    def tokens(*shape):
        return torch.empty(*shape[:-1], seqlen, shape[-1], dtype=dtype).mT
    A, D, bias = torch.empty(d_inner, d_state), torch.empty(d_inner), torch.empty(d_inner)
    B, C = tokens(batch, 1, d_state), tokens(batch, 1, d_state)
    return ScanInputs(tokens(batch, d_inner), tokens(batch, d_inner), A, B, C, D, bias)

def scan(given, reverse=False, order=None, tokens=None):
    gpu_launch.scan(given, given.u, ScanOptions(order, True, reverse), tokens, False)

def both(given):
    gpu_launch.bidirectional(given, given, given.u, ScanOptions(None, True, True), False)
"""
CASES = {
    "single": "scan(inputs(64, 768, 1569, 16, DTYPE))",
    "split": "scan(inputs(1, 768, 1569, 16, DTYPE))",
    "both": "both(inputs(64, 768, 1569, 16, DTYPE))",
    "reverse": "scan(inputs(64, 768, 1569, 16, DTYPE), reverse=True)",
    "order": "scan(inputs(64, 768, 1569, 16, DTYPE), order=torch.arange(1569))",
    "boundaries": "scan(inputs(64, 768, 1569, 16, DTYPE), tokens=torch.arange(63, 1569, 64))",
    "more states": "scan(inputs(64, 768, 1569, 64, DTYPE))",
    "uneven channels": "scan(inputs(64, 771, 1569, 16, DTYPE))",
}
# (kernel, case): most instructions allowed; measured with Triton 3.9.0, bfloat16, sm_80 / 90 / 120
LIMITS = {
    ("scan_kernel", "single"): 156,  # 146.8 / 148.3 / 143.1; float32 140.1 / 144.0 / 138.1
    ("scan_kernel", "split"): 156,  # 147.1 / 148.4 / 142.9; float32 140.1 / 143.9 / 137.9
    ("summary_kernel", "split"): 106,  # 96.6 / 100.4 / 95.2; float32 94.2 / 98.0 / 92.1
    ("scan_kernel", "both"): 165,  # 147.6 / 157.1 / 152.1; float32 142.2 / 150.1 / 145.8
    ("scan_kernel", "reverse"): 160,  # - / 151.4 / -
    ("scan_kernel", "order"): 176,  # - / 167.3 / -
    ("scan_kernel", "boundaries"): 166,  # - / 159.1 / -; one tile in four stores
    ("scan_kernel", "uneven channels"): 156,  # - / 148.6 / -
}
MOST_SPILLS = 5  # loads and stores; 4.2 with an order, else up to 1.6 (3.7 in Triton 3.7.1)
MAIN = ("single", "split", "both")


@pytest.fixture(autouse=True, scope="module")
def compiler(require):
    if find_spec("triton") is None:
        require("triton", "triton is not installed")


@functools.cache
def all_compiled(dtype: str, capability: int) -> dict[str, list[Binary]]:
    everything = (dtype, capability) == ("bfloat16", 90)
    cases = {case: INPUTS + CASES[case] for case in (CASES if everything else MAIN)}
    dtype = f"torch.{dtype}"
    return launches_of({case: x.replace("DTYPE", dtype) for case, x in cases.items()}, capability)


def compiled(case: str, dtype: str, capability: int) -> dict[str, Binary]:
    return {kernel.name: kernel for kernel in all_compiled(dtype, capability)[case]}


def each(kernel: Binary) -> float:
    return kernel.each(TILE)


@pytest.mark.parametrize(
    ("dtype", "capability"),
    [("bfloat16", 80), ("bfloat16", 90), ("bfloat16", 120), ("float32", 90)],
)
@pytest.mark.parametrize("case", MAIN)
def test_kernels_keep_to_their_number_of_instructions(case, dtype, capability):
    check(case, compiled(case, dtype, capability))


@pytest.mark.parametrize("case", ["reverse", "order", "boundaries", "uneven channels"])
def test_other_ways_to_read_cost_little_more(case):
    check(case, compiled(case, "bfloat16", 90))


def check(case, kernels):
    checked = 0
    for name, kernel in kernels.items():
        if (name, case) in LIMITS:
            assert each(kernel) < LIMITS[name, case], (name, kernel)
            assert kernel.spills / 16 < MOST_SPILLS, (name, kernel)
            assert kernel.exp2 == 16 * (18 if name == "scan_kernel" else 17)  # all in this loop
            assert not kernel.kinds.keys() & {"shuffle", "shared", "atomic"}, kernel
            checked += 1
    assert checked == sum(limit == case for _, limit in LIMITS)


@pytest.mark.parametrize("capability", [80, 90, 120])
@pytest.mark.parametrize("case", ["single", "split"])
def test_channels_lie_on_lanes_and_tokens_within_threads(case, capability):
    for name, kernel in compiled(case, "bfloat16", capability).items():
        if name == "selection_kernel":
            continue
        assert kernel.warps == 1
        tiles = [x for x in kernel.layouts if re.search(r"order = \[\d, \d\]", x)]
        assert tiles
        for layout in tiles:
            assert "sizePerThread = [1, 1], threadsPerWarp = [1, 32]" in layout, layout


def test_both_directions_do_the_arithmetic_of_two_scans():
    single, both = (
        compiled(case, "bfloat16", 90)["scan_kernel"].kinds for case in ("single", "both")
    )
    assert both["mufu"] == single["mufu"]
    assert both["float"] == single["float"] + 16  # one addition a token: the sum


def test_many_states_take_turns_in_the_same_registers():
    kernel = compiled("more states", "bfloat16", 90)["scan_kernel"]
    assert kernel.exp2 == 16 * 16  # one group of 16 states a turn
    assert each(kernel) < 110  # measured 101.4, four times, and about 40 around it
    assert kernel.spills == 0


def test_other_sizes_compile_nothing_new():
    code = """
from vmamba_kernels.scan import gpu_kernels
for batch, d_inner, seqlen in ((64, 768, 1569), (63, 768, 1600), (1, 33792, 17), (2, 33792, 64)):
    scan(inputs(batch, d_inner, seqlen, 16, torch.bfloat16))
(found, *_), = gpu_kernels.scan_kernel.device_caches.values()
assert len(found) == 1, len(found)
"""
    assert {kernel.name for kernel in launches(INPUTS + code)} == {
        "selection_kernel",
        "scan_kernel",
    }
