"""Hidden attention from scans, against the matrices of its definition in float64."""

import pytest
import torch

from tests.vmamba_explore.analysis.dense import NAMES, SIZES, VARIANTS, dense, make_trace
from tests.vmamba_explore.toys import record, toy
from vmamba_explore.analysis import scan_operator
from vmamba_explore.analysis.attention import (
    attention_matrix,
    hidden_attention,
    logit_attention,
    readout_weights,
)
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.analysis.rollout import attention_rollout
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.model.config import VideoMambaConfig


@pytest.fixture(scope="module", params=VARIANTS)
def trace(request):
    return make_trace(**VARIANTS[request.param])[1]


@pytest.mark.parametrize("kind", ["alpha", "beta"])
@pytest.mark.parametrize("reduce", ["mean", "abs", "positive"])
def test_rows_and_columns_are_those_of_the_dense_matrix(trace, kind, reduce):
    token = trace.grid.index(1, 0, 2)
    size = {"mean": lambda x: x, "abs": torch.abs, "positive": lambda x: x.clamp_min(0)}[reduce]
    row = hidden_attention(trace, token, kind=kind, reduce=reduce)
    column = hidden_attention(trace, (1, 0, 2), side="reaches", kind=kind, reduce=reduce)
    assert row.values.dtype == torch.float64
    for layer in range(2):
        for i, direction in enumerate(row.directions):
            matrix = size(dense(trace, layer, direction, kind)).mean(1)
            assert torch.allclose(row.values[:, layer, i], matrix[:, token], atol=1e-10)
            assert torch.allclose(column.values[:, layer, i], matrix[..., token], atol=1e-10)


def test_contributions_sum_to_the_recorded_output(trace):
    token = trace.grid.index(0, 2, 1)
    row = hidden_attention(trace, token, of="contributions", reduce="mean")
    for layer in range(2):
        for i, direction in enumerate(row.directions):
            y = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_y"].mean(1)
            assert torch.allclose(row.values[:, layer, i].sum(-1), y[:, token], atol=1e-10)
    assert row.residual < 1e-12


def test_a_column_of_contributions_is_what_the_token_brings_everywhere(trace):
    token = trace.grid.index(1, 1, 1)
    column = hidden_attention(trace, token, side="reaches", of="contributions", reduce="mean")
    name = column.directions[-1]
    u = trace[f"layers.1.mixer.ssm_{name}.hook_u"]
    expected = (dense(trace, 1, name) * u[:, :, None])[..., token].mean(1)
    assert torch.allclose(column.values[:, 1, -1], expected, atol=1e-10)


def test_norms_are_the_lengths_of_vectors_in_the_residual_stream(trace):
    token = trace.grid.index(0, 0, 0)
    row = hidden_attention(trace, token, kind="beta", of="norms")
    x, out_proj = trace["layers.1.mixer.hook_x"], trace.mixer(1).out_proj.weight
    parts = (dense(trace, 1, "forward", "beta") * x[:, :, None])[:, :, token]
    expected = torch.linalg.vector_norm(torch.einsum("md,bds->bms", out_proj, parts), dim=1)
    assert torch.allclose(row.values[:, 1, 0], expected, atol=1e-10)


def test_by_default_it_is_read_where_the_logits_are(trace):
    """The class token's row, or the mean of several, or of all rows where there is none."""
    found = hidden_attention(trace, reduce="mean").values[:, 0, 0]
    read = list(trace.grid.cls_indices) or list(range(trace.grid.seqlen))
    expected = dense(trace, 0, "forward")[:, :, read].mean(2).mean(1)
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("minus", [None, 0])
def test_contributions_to_a_logit_with_what_is_left_are_the_logit(variant, minus):
    """The rest: the embedding and the head's bias, read with the final RMS frozen."""
    logits, trace = make_trace(**VARIANTS[variant])
    found = logit_attention(trace, 2, minus)
    model = trace.model
    last = trace["layers.1.hook_block_input"] + trace["layers.1.mixer.hook_out"]
    scale = model.norm_f.weight / (last.square().mean(-1, keepdim=True) + model.norm_f.eps).sqrt()
    head, bias = model.head.weight[2].clone(), model.head.bias[2].clone()
    wanted = logits[:, 2].clone()
    if minus is not None:
        head, bias, wanted = head - model.head.weight[0], bias - model.head.bias[0], (
            wanted - logits[:, 0]
        )  # fmt: skip
    embedded = (trace["layers.0.hook_block_input"] * scale * head).sum(-1)
    embedded = embedded[:, list(trace.grid.cls_indices) or slice(None)].mean(1)
    total = found.values.sum((1, 2, 3)) + found.offset.sum(1) + embedded + bias
    assert torch.allclose(total, wanted, atol=1e-9)


def test_shares_of_the_directions_sum_to_one_and_follow_the_sizes():
    _, trace = make_trace()
    row = hidden_attention(trace)
    shares = row.shares()
    assert torch.allclose(shares.sum(-1), torch.ones(2, 2, dtype=torch.float64))
    backward = row.values[0, 1, 1].sum() / row.values[0, 1].sum()
    assert torch.allclose(shares[0, 1, 1], backward)
    front = make_trace(**VARIANTS["forward only"])[1]
    assert torch.equal(hidden_attention(front).shares(), torch.ones(2, 2, 1, dtype=torch.float64))


def test_the_labeled_map_has_the_values_at_their_places(trace):
    row = hidden_attention(trace, layers=[1])
    array = row.array(clip=1)
    assert array.dims == ("layer", "direction", "frame", "row", "col")
    assert array["layer"].values.tolist() == [1]
    token = trace.grid.index(1, 2, 0)
    assert float(array.values[0, 0, 1, 2, 0]) == pytest.approx(float(row.values[1, 0, 0, token]))
    assert ("cls" in array.attrs) == (trace.grid.cls_position is not None)


@pytest.mark.parametrize("call", [hidden_attention, attention_rollout])
def test_it_takes_memory_in_proportion_to_the_tokens(call):
    """No matrix: four times as many tokens, about four times the memory (not sixteen)."""
    peaks = []
    for side in (16, 32):
        model = toy(**SIZES | {"img_size": side, "d_model": 4, "d_state": 2})
        trace = record(model, NAMES, batch=1)
        call(trace)
        peaks.append(peak_bytes(lambda trace=trace: call(trace)))
    assert peaks[1] / peaks[0] < 1.3 * (2 * 64 + 1) / (2 * 16 + 1)


def test_readout_weights_are_a_one_or_a_mean():
    sizes = {"num_frames": 4, "img_size": 32, "tubelet_size": 2}  # 2 frames of 2 x 2 tokens
    front, none, every, both = (
        VideoMambaConfig(**sizes, cls_position=cls, pool_norm=pool_norm)
        for cls, pool_norm in (
            ("front", False), (None, False), ("every_frame", False), ("front", True),
        )
    )  # fmt: skip
    assert readout_weights(front, None).tolist() == [1] + [0] * 8
    assert readout_weights(front, (0, 0, 1)).tolist() == [0, 0, 1] + [0] * 6
    assert readout_weights(none, None).tolist() == [1 / 8] * 8
    assert readout_weights(every, None).tolist() == [0, 0, 0.5, 0, 0, 0, 0, 0.5, 0, 0]
    assert readout_weights(both, None).tolist() == [1] + [1 / 8] * 8
    with pytest.raises(ValueError, match="class token in every frame"):
        readout_weights(every, "cls")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"token": 99}, IndexError, "index 99 is outside 0..18"),
        ({"token": (0, 3, 0)}, IndexError, "row 3 is outside 0..2"),
        ({"layers": [7]}, ValueError, "no layer 7; the model has 0 to 1"),
        ({"layers": []}, ValueError, "layers is empty"),
        ({"kind": "gamma"}, ValueError, "kind is 'gamma', expected 'alpha' or 'beta'"),
        ({"of": "sizes"}, ValueError, "of is 'sizes', expected 'weights' or 'contrib.* or 'norms'"),
        ({"of": "norms"}, ValueError, 'pass kind="beta"'),
        ({"reduce": "max"}, ValueError, "reduce is 'max', expected 'mean' or 'abs' or 'positive'"),
        ({"side": "left"}, ValueError, "side is 'left', expected 'reads' or 'reaches'"),
    ],
)
def test_what_does_not_exist_gets_its_sentence(arguments, error, message, unchecked):
    with pytest.raises(error, match=message):
        hidden_attention(make_trace()[1], **arguments)


def test_without_a_class_token_asking_for_it_says_what_is_read_instead():
    _, trace = make_trace(cls_position=None)
    with pytest.raises(ValueError, match=r'"cls", but this model has no class token.*mean of all'):
        hidden_attention(trace, "cls")
    with pytest.raises(ValueError, match=r'side="reaches" starts from one token'):
        hidden_attention(trace, side="reaches")


def test_what_was_not_recorded_is_named():
    _, trace = make_trace(names=["*.hook_u"])
    with pytest.raises(UnknownNameError, match=r"hook_delta.*of layer 0.*ScanOperator\.names"):
        hidden_attention(trace)


# ---------------------------------------------------------------- the matrix of all rows


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_matrix_has_the_dense_channel_mean(direction, batch):
    _, trace = make_trace(batch, backward_order="spatial")
    found = attention_matrix(trace, 1, direction, reduce="abs")
    names = ["forward", "backward"] if direction == "both" else [direction]
    expected = sum(dense(trace, 1, name) for name in names).abs().mean(1)
    assert torch.allclose(found.values, expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_rows_made_side_by_side_are_those_made_one_by_one(batch, monkeypatch):
    _, trace = make_trace(batch)
    whole = attention_matrix(trace, 1).values
    operator = ScanOperator.from_trace(trace, layer=1)
    for rows in (1, 4):  # 19 tokens: the last tile is not full
        monkeypatch.setattr(
            scan_operator, "_TILE", rows * batch * operator.d_inner * operator.seqlen
        )
        assert operator.columns_at_once == rows
        assert torch.allclose(attention_matrix(trace, 1).values, whole, atol=1e-6)


def test_frames_of_the_matrix_sum_over_sources_and_average_over_readers():
    _, trace = make_trace(1, cls_position="middle")
    matrix = attention_matrix(trace, 0)
    by_frame, grid = matrix.by_frame(), trace.grid
    assert by_frame.shape == (1, 3, 3)
    reader = [grid.index(0, r, c) for r in range(3) for c in range(3)]
    source = [grid.index(1, r, c) for r in range(3) for c in range(3)]
    block = matrix.values[0][reader][:, source]
    assert torch.allclose(by_frame[0, 0, 1], block.sum(1).mean())
    assert torch.allclose(by_frame[0, 2, 2], matrix.values[0, grid.cls_index, grid.cls_index])


def test_a_matrix_over_its_budget_is_refused_before_anything_runs():
    _, trace = make_trace(1)
    with pytest.raises(MemoryError, match=r"1 x 19 x 19 .* budget is 0\.00 GiB.*hidden_attention"):
        attention_matrix(trace, 0, budget_gib=1e-6)


def test_a_matrix_of_a_direction_the_model_does_not_have_gets_its_sentence():
    trace = record(toy(backward_order=None), NAMES)
    with pytest.raises(ValueError, match="no direction 'backward'; expected 'forward'"):
        attention_matrix(trace, 0, "backward")
