"""The scan as an operator against matrices written out from its definition, in float64."""

import pytest
import torch
from torch.nn import functional as F

from tests.vmamba_explore import toys
from tests.vmamba_explore.analysis.dense import SIZES, VARIANTS, dense, make_trace
from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.analysis.scan_operator import DenseBudgetError, ScanOperator
from vmamba_explore.hooks import attached
from vmamba_explore.trace.record import run_with_trace

GRIDS = ["front", "middle", "spatial", "temporal"]
SHORT = {"num_frames": 6}  # 3 x 3 x 3 tokens, and the class


def record(batch=2, dtype=torch.float64, names=None, **changes):
    names = ScanOperator.names(kind="beta") if names is None else names
    return make_trace(batch, dtype, names, **SHORT | changes)[1]


@pytest.fixture(scope="module", params=GRIDS)
def trace(request):
    return record(**VARIANTS[request.param])


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_the_operator_is_the_matrix_of_its_definition(trace, kind):
    for layer in (0, 1):
        both = 0
        for direction in ("forward", "backward"):
            op = ScanOperator.from_trace(trace, layer=layer, direction=direction, kind=kind)
            wanted = dense(trace, layer, direction, kind)
            assert (op.dense() - wanted).abs().max() <= 1e-10
            assert (op.T.dense() - wanted.mT).abs().max() <= 1e-10
            both = both + wanted
        op = ScanOperator.from_trace(trace, layer=layer, kind=kind)
        assert (op.dense() - both).abs().max() <= 1e-10


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_applied_to_what_it_read_it_gives_what_the_run_gave(trace, kind):
    op = ScanOperator.from_trace(trace, layer=1, kind=kind)
    assert op.residual <= 1e-12
    frames = op.frames()
    assert (frames.values.sum(1) - op.recorded).abs().max() <= 1e-12
    wanted = ["offset"] * (kind == "beta")
    cls = ["cls"] if trace.grid.cls_index is not None else []
    assert list(frames.names) == [0, 1, 2, *cls, *wanted]
    torch.testing.assert_close(frames.shares().sum(-1), torch.ones_like(frames.shares()[..., 0]))


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_a_row_and_a_column_are_those_of_the_matrix(trace, kind):
    op = ScanOperator.from_trace(trace, layer=0, kind=kind)
    matrix = op.dense()
    for token in (0, 13, op.seqlen - 1):
        row = op.row(token)
        assert (row.weights - matrix[:, :, token]).abs().max() <= 1e-12
        assert (row.total - op.recorded[..., token]).abs().max() <= 1e-12
        column = op.column(token)
        assert (column.weights - matrix[..., token]).abs().max() <= 1e-12
        held = [part.source[..., token, None] for part in op.parts]
        parts = [part.dense()[..., token] for part in op.parts]
        brought = sum(m * u for m, u in zip(parts, held, strict=True))
        assert (column.contributions - brought).abs().max() <= 1e-12


def test_a_row_of_one_direction_reads_only_what_its_scan_has_met(trace):
    op = ScanOperator.from_trace(trace, layer=0, direction="backward")
    steps = trace.ssm(0, "backward").steps(op.seqlen)
    weights = op.row(int(steps[10])).weights
    assert (weights[..., steps[11:]] == 0).all()
    assert (weights[..., steps[:11]] != 0).any(0).any(0).all()


def test_without_a_token_is_the_scan_from_which_it_was_deleted(trace):
    tokens = [3, 4, 11]
    for direction in ("forward", "backward"):
        op = ScanOperator.from_trace(trace, layer=1, direction=direction)
        wanted = dense(trace, 1, direction, "alpha", without=tokens)
        assert (op.without(tokens[:1]).without(tokens[1:]).dense() - wanted).abs().max() <= 1e-10
        kept = [t for t in range(op.seqlen) if t not in tokens]
        rest = wanted[..., kept, :][..., kept]
        full = dense(trace, 1, direction, "alpha")
        assert (rest - full[..., kept, :][..., kept]).abs().max() > 1e-3  # the others do change


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_cut_edges_are_zero_and_no_other_entry_changes(trace, kind):
    op = ScanOperator.from_trace(trace, layer=0, kind=kind)
    wanted = op.dense()
    wanted[..., [[2], [7], [8]], [1, 2]] = 0
    wanted[..., [[7], [9]], [2, 3]] = 0  # overlaps the first
    cut = op.cut([1, 2], [2, 7, 8]).cut([2, 3], [7, 9])
    assert (cut.dense() - wanted).abs().max() <= 1e-12
    assert (cut.T.dense() - wanted.mT).abs().max() <= 1e-12
    assert (
        op.T.cut([2, 7, 8], [1, 2]).dense() - op.cut([1, 2], [2, 7, 8]).dense().mT
    ).abs().max() <= 1e-12


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_after_a_restart_only_the_new_state_is_remembered(trace, kind):
    for direction in ("forward", "backward"):
        op = ScanOperator.from_trace(trace, layer=1, direction=direction, kind=kind)
        ssm = trace.ssm(1, direction)
        state = torch.randn(op.batch, *ssm.A.shape).double()
        restarted = op.restart(9, state)
        if kind == "alpha":
            wanted = dense(trace, 1, direction, kind, restart=9)
            assert (restarted.dense() - wanted).abs().max() <= 1e-10

        # the model with this state put in gives the same
        def put(h, hook, state=state):
            h = h.clone()
            h[..., 9] = state
            return h

        y = scan_with_edit(trace, 1, direction, put)
        if kind == "beta":
            z = trace["layers.1.mixer.hook_z"]
            y = y * F.silu(z) * trace.mixer(1).scale
        assert (restarted.output() - y).abs().max() <= 1e-10
        zero = op.restart(9)
        assert (zero.output() - restarted.output()).abs().max() > 1e-3


def scan_with_edit(trace, layer, direction, edit):
    """y of the model's own scan while its states are edited."""
    ssm, at = trace.ssm(layer, direction), f"layers.{layer}.mixer"
    with torch.no_grad(), attached(ssm, [("hook_h", edit)]):
        return ssm(trace[f"{at}.hook_x"])


def test_two_restarts_in_any_order_are_both_kept(trace):
    op = ScanOperator.from_trace(trace, layer=0, direction="forward")
    shape = trace.ssm(0, "forward").A.shape
    early, late = (torch.randn(op.batch, *shape).double() for _ in range(2))
    one, two = op.restart(5, early).restart(14, late), op.restart(14, late).restart(5, early)
    assert (one.output() - two.output()).abs().max() <= 1e-12
    after = one.output()[..., 14:] - op.restart(14, late).output()[..., 14:]
    assert after.abs().max() <= 1e-12  # what came before the second is forgotten


def test_the_majorant_bounds_every_entry_and_is_nowhere_negative(trace):
    for kind in ("alpha", "beta"):
        op = ScanOperator.from_trace(trace, layer=0, kind=kind)
        bound = op.majorant().dense()
        assert (bound >= 0).all()
        assert (bound - op.dense().abs()).min() >= -1e-12


def test_gradients_reach_what_it_acts_on_and_what_selected():
    model = toy(**SIZES | SHORT)
    clips = clips_for(model, 1).requires_grad_()
    _, trace = run_with_trace(model, clips, ScanOperator.names(kind="beta"))
    op = ScanOperator.from_trace(trace, layer=1, kind="beta")
    v = torch.randn(1, op.d_inner, op.seqlen, requires_grad=True)
    for result in (op @ v, op.T @ v):
        found = torch.autograd.grad(result.square().sum(), [v, clips], retain_graph=True)
        assert all(grad.abs().sum() > 0 for grad in found)
    read = op.row(3).contributions.square().sum()
    (grad,) = torch.autograd.grad(read, clips, retain_graph=True)
    assert grad.abs().sum() > 0
    (grad,) = torch.autograd.grad((op @ v).sum(), v, retain_graph=True)
    torch.testing.assert_close(grad, (op.T @ torch.ones_like(v)).detach(), rtol=1e-4, atol=1e-5)


def test_float32_on_the_fast_kernels_agrees_with_float64():
    model = toy(num_frames=16, img_size=96, backward_order="spatial")
    trace = toys.record(model, ScanOperator.names(0, "beta"), batch=1)
    with torch.no_grad():
        for kind in ("alpha", "beta"):
            op = ScanOperator.from_trace(trace, layer=0, kind=kind)
            assert op.residual < 1e-6
            v = torch.randn(1, op.d_inner, op.seqlen)
            exact = op.double()
            for fast, slow in ((op @ v, exact @ v), (op.T @ v, exact.T @ v)):
                assert (fast - slow).norm() / slow.norm() < 1e-6
            dropped, slow = op.without([0, 5]), exact.without([0, 5])  # delta is exactly zero there
            assert (dropped.T @ v - slow.T @ v).norm() / (slow.T @ v).norm() < 1e-6


def test_one_clip_acts_on_any_number_of_inputs():
    trace = record(batch=1)
    op = ScanOperator.from_trace(trace, layer=0, kind="beta")
    v = torch.randn(3, op.d_inner, op.seqlen).double()
    for whole in (op @ v, op.T @ v):
        assert whole.shape == v.shape
    assert ((op @ v)[1:2] - op @ v[1:2]).abs().max() <= 1e-12


def test_labeled_weights_stand_in_natural_order_with_the_residual():
    trace = record()
    with torch.no_grad():
        op = ScanOperator.from_trace(trace, layer=1)
    row = op.row(trace.grid.cls_index)
    array = row.array(clip=1, reduce="sum", of="contributions")
    assert array.dims == ("direction", "frame", "row", "col")
    token = trace.grid.index(2, 1, 0)
    wanted = row.contributions_by_direction["backward"][1, :, token].sum()
    assert array.sel(direction="backward").values[2, 1, 0] == pytest.approx(float(wanted), rel=1e-5)
    assert array.attrs["residual"] == row.residual < 1e-12
    assert set(array.attrs["cls"]) == {"forward", "backward"}
    shares = op.frames().array(clip=0)
    assert shares.dims == ("target", "source")
    assert float(shares.sel(target="cls").sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda op: op.row(28), ValueError, "there is no token 28; there are 28, 0 to 27"),
        (lambda op: op.row((0, 0, 0)), ValueError, "expected one natural index"),
        (lambda op: op.row(1.5), ValueError, "got 1.5, expected one natural index"),
        (lambda op: op.row(0).tokens(of="sum"), ValueError, "of is 'sum', expected 'weights' or"),
        (lambda op: op.without([1, -29]), ValueError, "there is no token -29"),
        (lambda op: op.without(torch.ones(28, dtype=torch.bool)), ValueError, "mask.nonzero"),
        (lambda op: op.cut([0.5], [1]), ValueError, "expected natural indices"),
        (lambda op: op @ torch.ones(2, 3, 28), ValueError, r"v is \(2, 3, 28\), expected"),
        (lambda op: op @ 3.0, TypeError, "expected a tensor"),
        (lambda op: op.restart(3), ValueError, "restart one of op.parts"),
        (
            lambda op: op.parts[0].restart(3, torch.zeros(2, 5, 16)),
            ValueError,
            r"state is \(2, 5, 16\), expected \(batch, d_inner, d_state\)",
        ),
        (lambda op: op.dense(budget_gib=1e-5), DenseBudgetError, "the budget is 0.00 GiB"),
        (lambda op: op.source, ValueError, "take it from one of op.parts"),
        (lambda op: op.T.recorded, ValueError, "never ran"),
        (lambda op: op.row(0).tokens("max"), ValueError, "reduce is 'max', expected 'mean' or"),
        (lambda op: op.row(0).tokens(direction="up"), ValueError, "direction is 'up', expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_sentence(call, error, words, unchecked):
    op = ScanOperator.from_trace(record(), layer=0)
    with pytest.raises(error, match=words):
        call(op)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"layer": 2}, ValueError, "There is no layer 2; the model has 0 to 1"),
        ({"layer": 0, "direction": "up"}, ValueError, "no direction 'up'"),
        ({"layer": 0, "kind": "gamma"}, ValueError, "kind is 'gamma', expected 'alpha' or"),
        ({"layer": 0, "kind": "beta"}, KeyError, r"lacks hook_x, hook_z of layer 0. Record with"),
    ],
)
def test_what_a_trace_cannot_give_is_named(how, error, words, unchecked):
    with pytest.raises(error, match=words):
        ScanOperator.from_trace(record(names=ScanOperator.names(0)), **how)


def test_the_block_input_alone_gives_the_same_operator():
    small, large = (
        record(dtype=torch.float32, names="*.hook_block_input"),
        record(dtype=torch.float32),
    )
    with torch.no_grad():
        for layer in (0, 1):
            few = ScanOperator.from_trace(small, layer=layer, kind="beta")
            assert torch.equal(
                few.output(), ScanOperator.from_trace(large, layer=layer, kind="beta").output()
            )
            assert few.residual < 1e-6


def test_no_tokens_are_no_edit():
    op = ScanOperator.from_trace(record(), layer=0)
    v = torch.randn(2, op.d_inner, op.seqlen).double()
    assert torch.equal(op.without([]).cut([], [3]) @ v, op @ v)


def test_what_was_recorded_in_inference_mode_gives_gradients():
    model = toy(**SIZES | SHORT)
    with torch.inference_mode():
        _, trace = run_with_trace(model, clips_for(model, 1), ScanOperator.names(0))
    op = ScanOperator.from_trace(trace, layer=0)
    v = torch.randn(1, op.d_inner, op.seqlen, requires_grad=True)
    (grad,) = torch.autograd.grad((op @ v).sum(), v)
    assert grad.abs().sum() > 0
