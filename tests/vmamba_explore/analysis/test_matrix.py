"""The channel mean laid out over all pairs of tokens, against the dense definition."""

import pytest
import torch

from tests.vmamba_explore.analysis.dense import VARIANTS, dense, make_trace
from vmamba_explore.analysis import scan_operator
from vmamba_explore.analysis.matrix import attention_matrix
from vmamba_explore.analysis.scan_operator import ScanOperator


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


def test_a_direction_the_model_does_not_have_gets_its_sentence():
    _, trace = make_trace(**VARIANTS["forward only"])
    with pytest.raises(ValueError, match="no direction 'backward'; expected 'forward'"):
        attention_matrix(trace, 0, "backward")
