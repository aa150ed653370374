"""The first number that is not finite, in models that are made to fail at known places."""

import math

import pytest
import torch

from tests.vmamba_explore.toys import KINDS, clips_for, enliven, toy
from vmamba_explore.analysis.nonfinite import LOOKED_AT, first_nonfinite
from vmamba_explore.hooks import attached, hook_names
from vmamba_explore.interventions import freeze_state
from vmamba_explore.trace.gradients import run_with_gradients
from vmamba_explore.trace.record import run_with_trace

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def build(dtype=torch.float32, **changes):
    return toy(dtype=dtype, change=enliven, **changes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("changes", KINDS[:4])
def test_a_sound_model_is_told_how_large_its_numbers_grow(dtype, changes):
    model = build(dtype, **changes)
    clips = clips_for(model)
    report = first_nonfinite(model, clips, progress=False)
    assert report.first is None and not report.weights and len(report.beyond(dtype)) == 0
    with torch.no_grad():
        _, trace = run_with_trace(model, clips, "*")
    rows = report.largest.set_index(["layer", "direction", "quantity"])
    assert rows.index.is_unique
    looked = [n for n in hook_names(model) if n.rpartition("hook_")[2] in LOOKED_AT]
    assert len(rows) == len(looked) + 2 * len(model.layers) + 3
    for name in looked:
        direction = name.split("ssm_")[1].split(".")[0] if ".ssm_" in name else ""
        row = rows.loc[(int(name[7]), direction, name.rpartition("hook_")[2])]
        value = trace[name]
        assert row["largest"] == float(value.abs().max()), name
        assert row["dtype"] == str(value.dtype)[6:]
        assert row["share"] == row["largest"] / torch.finfo(value.dtype).max
    text = str(report)
    assert f"Every number of the run is finite, in {len(rows)} quantities." in text
    assert "float16 holds up to 6.55e+04)." in text and "Nearest to its type's limit: " in text


WEIGHTS = {  # where the weight is spoiled: quantity, layer, direction, other places
    ("layers.1.norm.weight", (5,)): ("normed", 1, None, {"d_model": 5}),
    ("layers.0.mixer.in_proj.weight", (3, 2)): ("x", 0, None, {"d_inner": 3}),
    ("layers.0.mixer.in_proj.weight", (-1, 2)): ("z", 0, None, {"d_inner": -1}),
    ("layers.1.mixer.ssm_backward.conv1d.bias", (7,)): ("u", 1, "backward", {"d_inner": 7}),
    ("layers.0.mixer.ssm_forward.x_proj.weight", (-1, 0)): ("C", 0, "forward", {"d_state": -1}),
    ("layers.1.mixer.ssm_forward.dt_proj.bias", (4,)): ("delta", 1, "forward", {"d_inner": 4}),
    ("layers.1.mixer.ssm_backward.A_log", (6, 1)): (
        "h", 1, "backward", {"d_inner": 6, "d_state": 1}
    ),
    ("layers.0.mixer.ssm_backward.D", (2,)): ("y", 0, "backward", {"d_inner": 2}),
    ("layers.1.mixer.out_proj.weight", (9, 0)): ("out", 1, None, {"d_model": 9}),
    ("norm_f.weight", (1,)): ("norm_f", None, None, {"d_model": 1}),
    ("head.bias", (3,)): ("logits", None, None, {"class": 3}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spoiled", WEIGHTS, ids=lambda at: f"{at[0]}{at[1]}")
def test_a_weight_that_is_nan_is_found_where_it_first_counts(dtype, spoiled):
    (name, place), (quantity, layer, direction, index) = spoiled, WEIGHTS[spoiled]
    model = build(dtype)
    weight = model.get_parameter(name)
    with torch.no_grad():
        weight[place] = math.nan
    report = first_nonfinite(model, clips_for(model))
    first, config = report.first, model.config
    assert report.weights == {name: 1} and f"{name} (1 numbers)" in str(report)
    assert (first.quantity, first.layer, first.direction) == (quantity, layer, direction)
    sizes = {"d_inner": config.d_inner, "d_state": config.d_state}
    assert first.index == {k: v if v >= 0 else sizes[k] + v for k, v in index.items()}
    assert math.isnan(first.value) and first.clip == 0
    last = report.largest.iloc[-1]
    assert (last["quantity"], last["direction"]) == (quantity, direction or "")
    if direction is not None or layer is not None:
        read_first = config.grid.seqlen - 1 if direction == "backward" else 0
        assert first.token == read_first


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_pixel_that_is_infinite_is_found_before_anything_runs(dtype):
    model = build(dtype)
    clips = clips_for(model, 3)
    clips[1, 2, 3, 4, 5] = -math.inf
    first = first_nonfinite(model, clips, progress=False).first
    assert (first.quantity, first.clip, first.value) == ("clips", 1, -math.inf)
    assert list(first.index.values()) == [2, 3, 4, 5]
    assert first.token is None and first.layer is None
    assert "-inf in clips" in str(first) and "clip 1, pixel channel 2, clip frame 3" in str(first)


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal"])
@pytest.mark.parametrize("cls_position", ["front", None])
def test_a_scan_fails_at_the_token_that_it_reads_first(order, cls_position):
    """The steps of two tokens are infinite; the scan meets one of them first."""
    model = build(num_frames=6, backward_order=order, cls_position=cls_position)
    name, grid = "layers.1.mixer.ssm_backward.hook_delta", model.grid
    tokens = [grid.index(1, 0, 1), grid.index(2, 1, 0)]

    def spoil(delta, point):
        delta = delta.clone()
        delta[:, 3, tokens] = math.inf
        return delta

    with attached(model, [(name, spoil)]):
        first = first_nonfinite(model, clips_for(model)).first
    reads = grid.backward_indices(order).tolist()
    wanted = min(tokens, key=reads.index)
    assert (first.quantity, first.layer, first.direction) == ("delta", 1, "backward")
    assert (first.token, first.position) == (wanted, grid.position(wanted))
    assert first.index == {"d_inner": 3} and first.value == math.inf
    assert f"token {wanted} (frame, row, col {grid.position(wanted)}), d_inner 3" in str(first)


def test_a_write_that_overflows_single_precision_is_found_before_the_states():
    model = build()
    with torch.no_grad():
        scan = model.layers[0].mixer.ssm_forward
        scan.dt_proj.bias[4] = 3e38
        scan.x_proj.weight.mul_(100)
    report = first_nonfinite(model, clips_for(model))
    assert (report.first.quantity, report.first.layer) == ("write", 0)
    assert report.first.index["d_inner"] == 4 and not report.weights
    assert report.beyond(torch.float16)["quantity"].tolist() == ["delta", "write"]


HALF = {
    "z": lambda model: model.layers[1].mixer.in_proj.weight[-3:].fill_(6e4),
    "gated": lambda model: model.layers[1].mixer.ssm_backward.D.fill_(6e4),
    "out": lambda model: model.layers[1].mixer.out_proj.weight.fill_(6e4),
    "norm_f": lambda model: model.norm_f.weight.fill_(6e4),
}


@pytest.mark.parametrize("quantity", HALF)
@torch.no_grad()
def test_what_overflows_half_precision_is_found_and_would_not_in_bfloat16(quantity):
    model = build()
    clips = 20 * clips_for(model)
    HALF[quantity](model)
    if quantity == "gated":
        model.layers[1].mixer.in_proj.weight.mul_(20)
    half = first_nonfinite(model.half(), clips.half())
    assert half.first.quantity == quantity and half.first.dtype == "float16"
    assert half.first.layer == (None if quantity == "norm_f" else 1) and not half.weights
    wide = first_nonfinite(model.bfloat16(), clips.bfloat16())
    assert wide.first is None
    assert quantity in wide.beyond(torch.float16)["quantity"].tolist()


@torch.no_grad()
def test_a_residual_that_half_precision_does_not_hold_is_named():
    model = build(torch.float16)
    with attached(model, [("layers.1.hook_block_input", lambda value, point: value * 1e7)]):
        report = first_nonfinite(model, clips_for(model))
    assert (report.first.quantity, report.first.layer) == ("normed", 1)
    assert "Larger than torch.float16 holds: block_input of layer 1 (" in str(report)


@torch.no_grad()
def test_autocast_and_edits_apply_and_the_model_is_left_as_it_was():
    model = build()
    model.layers[1].mixer.in_proj.weight[0].fill_(6e4)
    clips = clips_for(model)
    assert first_nonfinite(model, clips).first is None
    with torch.autocast("cpu", torch.float16):
        first = first_nonfinite(model, clips).first
    assert (first.quantity, first.layer, first.dtype) == ("x", 1, "float16")
    with freeze_state(model, 0, layers=0):
        edited = first_nonfinite(model, clips).largest
    plain = first_nonfinite(model, clips).largest
    assert (edited["largest"] != plain["largest"]).any()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@torch.no_grad()
def test_dropped_tokens_keep_their_numbers():
    model = build()
    kept = [0, 3, 5, 6]
    with (
        model.only_tokens(kept),
        attached(
            model, [("layers.0.mixer.hook_x", lambda x, point: x / torch.tensor([1.0, 1, 0, 1]))]
        ),
    ):
        first = first_nonfinite(model, clips_for(model)).first
    assert (first.quantity, first.token) == ("x", 5)


class Broken(torch.autograd.Function):
    """The value as it is; its gradient times a factor."""

    @staticmethod
    def forward(ctx, value, factor):
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


GRADIENTS = ("block_input", "normed", "x", "z", "u", "delta", "B", "C", "y", "gated", "out")


@pytest.mark.parametrize("changes", KINDS[:4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_are_looked_at_where_the_run_is_finite(dtype, changes):
    model = build(dtype, **changes)
    report = first_nonfinite(model, clips_for(model), [1, 2], progress=False)
    assert report.first is None
    rows = report.largest
    back = rows[rows["quantity"].str.startswith("gradient of ")]
    assert back["quantity"].iloc[0] == "gradient of logits"
    assert back["layer"].dropna().is_monotonic_decreasing
    named = set(back["quantity"].str.removeprefix("gradient of "))
    assert named == {*GRADIENTS, "norm_f", "logits"}
    assert all(weight.grad is None for weight in model.parameters())


def test_a_gradient_is_that_of_the_loss():
    model = build()
    clips = clips_for(model, 1)
    found = first_nonfinite(model, clips, 2, loss_scale=8).largest
    loss = lambda logits: 8 * torch.nn.functional.cross_entropy(logits, torch.tensor([2]))  # noqa: E731
    gradients = run_with_gradients(model, clips, "*.hook_delta", loss)[2]
    for name, value in gradients.items():
        direction = name.split("ssm_")[1].split(".")[0]
        row = found[
            (found["quantity"] == "gradient of delta")
            & (found["layer"] == int(name[7]))
            & (found["direction"] == direction)
        ].iloc[0]
        assert row["largest"] == pytest.approx(float(value.abs().max()), rel=1e-5)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("layers.1.mixer.hook_out", ("gated", 1, None)),
        ("layers.1.mixer.ssm_backward.hook_y", ("delta", 1, "backward")),  # u has more paths
        ("layers.0.mixer.ssm_forward.hook_u", ("x", 0, None)),
        ("layers.1.hook_block_input", ("out", 0, None)),
    ],
)
def test_the_first_gradient_that_is_not_finite_is_found_on_its_way_back(broken, found):
    model = build()
    block = attached(model, [(broken, lambda value, point: Broken.apply(value, math.inf))])
    with block:
        assert first_nonfinite(model, clips_for(model)).first is None
        first = first_nonfinite(model, clips_for(model), 1).first
    assert (first.quantity, first.layer, first.direction) == (f"gradient of {found[0]}", *found[1:])


def test_a_loss_scale_that_half_precision_does_not_hold_is_found_at_the_logits():
    model = build(torch.float16)
    clips = clips_for(model)
    assert first_nonfinite(model, clips, 1, loss_scale=2.0**10).first is None
    first = first_nonfinite(model, clips, 1, loss_scale=2.0**24).first
    assert (first.quantity, first.dtype) == ("gradient of logits", "float16")
    with pytest.raises(ValueError, match="first_nonfinite: labels is 99; this model's classes"):
        first_nonfinite(model, clips, 99)


def test_an_encoder_is_looked_at_too_and_has_no_labels():
    model = build(num_classes=0)
    assert first_nonfinite(model, clips_for(model)).first is None
    with pytest.raises(ValueError, match="first_nonfinite"):
        first_nonfinite(model, clips_for(model), 1)


def test_labels_are_classes_and_not_a_direction():
    model = build()
    direction = torch.randn(model.config.num_classes)
    with pytest.raises(ValueError, match="labels is torch.float32, expected class numbers"):
        first_nonfinite(model, clips_for(model), direction)
