"""Tests of the scan on a GPU: vmamba_kernels.scan.gpu against naive in float64.

Without a GPU the same kernels run in Triton's interpreter, which takes up to a second for each, so
shapes are small. What is kept on the way, both directions at once and torch's own checks are in
test_operators_gpu.py; what the compiler makes of the kernels is in test_gpu_launch_binary.py.
"""

import pytest
import torch

from tests.vmamba_kernels.scan.runs import HOW, SOFTPLUS, both, double, run, to
from vmamba_kernels import ScanInputs, selective_scan
from vmamba_kernels.types import ScanOptions

pytestmark = pytest.mark.usefixtures("triton_runs")
how_to_read = pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture
def gpu_forward():
    from vmamba_kernels.scan import gpu_forward

    return gpu_forward


SHAPES = {
    "one of everything": {"batch": 1, "d_inner": 1, "seqlen": 1, "d_state": 1},
    "two tokens": {"d_inner": 7, "seqlen": 2, "d_state": 5},
    "a tile less one": {"d_inner": 32, "seqlen": 15, "d_state": 2},
    "a tile": {"d_inner": 32, "seqlen": 16, "d_state": 2},
    "a tile and one": {"d_inner": 32, "seqlen": 17, "d_state": 3},
    "odd everything": {"d_inner": 45, "seqlen": 37, "d_state": 3},
    "states of the models": {"batch": 1, "d_inner": 32, "seqlen": 37, "d_state": 16},
    "states that take turns": {"batch": 1, "d_inner": 32, "seqlen": 33, "d_state": 20},
    "turns with one state left over": {"batch": 1, "d_inner": 32, "seqlen": 17, "d_state": 17},
    "a chunk less one": {"batch": 1, "d_inner": 32, "seqlen": 63, "d_state": 2},
    "more than a chunk": {"batch": 1, "d_inner": 32, "seqlen": 70, "d_state": 2},
    "a clip": {"batch": 1, "d_inner": 32, "seqlen": 1569, "d_state": 2},
    "a long clip": {"batch": 1, "d_inner": 8, "seqlen": 3137, "d_state": 1},
    "groups": {"batch": 1, "d_inner": 66, "seqlen": 17, "d_state": 2, "groups": 2},
    "groups that differ": {"d_inner": 12, "seqlen": 9, "d_state": 3, "groups": (3, 2)},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_y_and_states_equal_naive(inputs_for, agree, shape, reverse):
    agree(*both(inputs_for(**shape), reverse=reverse))


def test_arguments_may_be_of_different_types(inputs_for):
    inputs = inputs_for(batch=1, d_inner=32, seqlen=17, d_state=2)
    mixed = {n: x if n == "u" else x.bfloat16() for n, x in inputs.items()}
    same = {n: x.float() for n, x in mixed.items()}
    assert all(torch.equal(x, run(same)[name]) for name, x in run(mixed).items())


# More than one split: the sequence is cut and its pieces run at once.


@pytest.mark.parametrize("tiles", [1, 2])
@how_to_read
def test_splits_change_rounding_only(inputs_for, agree, cut_scan, tiles, how):
    inputs = inputs_for(d_state=3)
    whole = run(inputs, **how)
    cut_scan(tiles)
    split = run(inputs, **how)
    agree(split, {name: x.double() for name, x in whole.items()})
    agree(split, run(double(inputs), "naive", **how))
    assert not torch.equal(split["y"], whole["y"])  # it really was cut


@pytest.mark.parametrize(
    "shape",
    ["odd everything", "groups that differ", "more than a chunk", "states that take turns"],
)
def test_splits_equal_naive_for_all_shapes(inputs_for, agree, cut_scan, shape):
    cut_scan(1)
    agree(*both(inputs_for(**SHAPES[shape]), reverse=True))


def test_short_sequences_and_many_channels_are_not_split(gpu_forward):
    channels = gpu_forward.FULL_GPU
    for seqlen in (1, 16, 63, 64, 65, 1569, 100_001):
        tiles = -(-seqlen // 16)
        assert gpu_forward.tiles_in_split(channels, seqlen) == tiles
        assert -(-tiles // gpu_forward.tiles_in_split(1, seqlen)) <= gpu_forward.MOST_SPLITS
    assert gpu_forward.tiles_in_split(1, 64) == 4
    for channels in (768, 2 * 768, 8 * 768):  # enough for every scheduler of a large GPU
        splits = -(-99 // gpu_forward.tiles_in_split(channels, 1569))
        assert channels // 32 * splits >= 528


def test_splits_do_not_depend_on_groups_so_that_two_scans_have_those_of_one_launch(gpu_forward):
    u, A = torch.empty(100, 12, 1569, device="meta"), torch.empty(12, 2, device="meta")
    B, C = (torch.empty(100, groups, 2, 1569, device="meta") for groups in (1, 3))
    assert gpu_forward.Sizes(u, A, B, B).splits == gpu_forward.Sizes(u, A, B, C).splits == 25


# Memory.


def test_an_order_on_the_cpu_must_be_a_permutation(inputs_for):
    inputs = inputs_for(batch=1, d_inner=2, seqlen=17, d_state=2)
    order = torch.arange(17)
    order[3] = 4
    with pytest.raises(ValueError, match="order must name each of the 17 tokens once"):
        selective_scan(**inputs, order=order, **SOFTPLUS)


def test_an_order_that_is_none_reads_and_writes_no_foreign_memory(inputs_for, device, gpu_forward):
    inputs = inputs_for(batch=1, d_inner=32, seqlen=17, d_state=2)
    z = inputs.pop("z")
    order = torch.arange(17, device=device)
    order[3], order[7] = -1_000_000, 1_000_000
    one = ScanInputs(**inputs), ScanOptions(order, delta_softplus=True)
    y = gpu_forward.scan([one], z).y
    assert y[..., [3, 7]].isnan().all() and not y[..., 8:].isnan().any()


# What the interpreter is too slow for.


@needs_a_gpu
@pytest.mark.parametrize("seqlen", [1569, 3137])
@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("reverse", [False, True])
def test_whole_clips_equal_the_cpu(scan_inputs, relative_error, tolerance, seqlen, batch, reverse):
    inputs = scan_inputs(batch=batch, d_inner=768, seqlen=seqlen, d_state=16)
    on_gpu = {n: to(x, "cuda") for n, x in inputs.items()}
    options = {"delta_softplus": True, "reverse": reverse}
    y = selective_scan(**on_gpu, backend="gpu", **options).cpu()
    true = selective_scan(**inputs, backend="cpu", **options)
    assert relative_error(y, true) < 2 * tolerance["scan y"]  # both round


@needs_a_gpu
def test_more_than_2_to_the_31_elements(relative_error, tolerance):
    batch, d_inner, seqlen = 3, 1024, 2**21 // 3 * 2 + 5000  # 4.3e9 numbers in u
    torch.set_deterministic_debug_mode("default")  # do not fill 100 GB with NaN
    make = torch.Generator("cuda").manual_seed(0)
    half = {"dtype": torch.bfloat16, "device": "cuda"}
    x = torch.empty(batch, seqlen, d_inner, **half).normal_(generator=make).mT
    assert x.numel() > 2**31 and x[0].numel() > 2**30
    A = -torch.rand(d_inner, 4, device="cuda", generator=make) - 0.05
    B = torch.randn(batch, 4, seqlen, device="cuda", generator=make)
    y, last = selective_scan(x, x, A, B, B, delta_softplus=True, return_last_state=True)
    first = seqlen - 500  # memory of a state is shorter than this
    end = [t[-1:, ..., first:].cpu() for t in (x, x, B, B)]
    options = {"delta_softplus": True, "return_last_state": True, "backend": "cpu"}
    true, true_last = selective_scan(end[0], end[1], A.cpu(), end[2], end[3], **options)
    assert relative_error(y[-1:, :, -100:].cpu(), true[..., -100:]) < tolerance["bfloat16"]
    assert relative_error(last[-1:].cpu(), true_last) < 2 * tolerance["scan states"]
