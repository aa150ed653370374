"""Roll-out by scans, against the product of dense matrices in float64."""

import pytest
import torch

from tests.vmamba_explore.analysis.dense import VARIANTS, dense, dense_rollout, make_trace
from vmamba_explore.analysis.attention import readout_weights
from vmamba_explore.analysis.rollout import attention_rollout


@pytest.fixture(scope="module", params=VARIANTS)
def trace(request):
    return make_trace(**VARIANTS[request.param])[1]


@pytest.mark.parametrize("kind", ["alpha", "beta"])
@pytest.mark.parametrize("token", [None, 4])
def test_it_equals_the_product_of_dense_matrices(trace, kind, token):
    found = attention_rollout(trace, token, kind=kind)
    expected = dense_rollout(trace, readout_weights(trace.config, token), kind)
    assert torch.allclose(found.values[:, 0], expected, atol=1e-12, rtol=1e-9)


def test_the_weights_of_every_layer_are_non_negative_and_sum_to_one(trace):
    found = attention_rollout(trace)
    assert found.values.shape == (2, 2, trace.grid.seqlen)
    assert found.values.min() >= 0
    assert found.residual < 1e-12


def test_at_least_half_of_the_weight_stays_on_the_path_of_residuals():
    _, trace = make_trace()
    found = attention_rollout(trace, "cls")
    assert (found.cls[:, 1] >= 0.5).all()
    assert (found.cls[:, 0] >= 0.25).all()


def test_the_weight_moved_is_shared_out_between_the_directions(trace):
    found = attention_rollout(trace, kind="alpha")
    names = found.directions
    parts = [dense(trace, 1, name, sizes=True) for name in names]
    start = readout_weights(trace.config, None).double()
    moved = [
        (start[:, None] * part / sum(parts).sum(-1, keepdim=True)).sum((-1, -2)).mean(1)
        for part in parts
    ]
    assert torch.allclose(found.through[:, 1], torch.stack(moved, 1), atol=1e-12)


@pytest.mark.parametrize("kind", ["alpha", "beta"])
def test_cancellation_is_the_size_of_the_rows_over_that_of_the_majorant(trace, kind):
    seqlen = trace.grid.seqlen
    found = attention_rollout(trace, kind=kind, sampled=seqlen)
    assert found.sampled == seqlen
    for layer in range(2):
        for i, direction in enumerate(found.directions):
            sizes = dense(trace, layer, direction, kind).abs().sum((1, 2, 3))
            bound = dense(trace, layer, direction, kind, sizes=True).sum((1, 2, 3))
            assert torch.allclose(found.cancellation[:, layer, i], sizes / bound)
            assert (sizes / bound <= 1).all()


@pytest.mark.parametrize("cls_position", ["front", "middle"])
def test_one_sampled_row_is_the_class_token_s_own(cls_position):
    _, trace = make_trace(cls_position=cls_position)
    found = attention_rollout(trace, "cls", sampled=1, kind="alpha")
    cls = trace.grid.cls_index
    sizes = dense(trace, 1, "backward")[:, :, cls].abs().sum((1, 2))
    bound = dense(trace, 1, "backward", sizes=True)[:, :, cls].sum((1, 2))
    assert torch.allclose(found.cancellation[:, 1, 1], sizes / bound)


def test_a_channel_that_reads_nothing_leaves_the_weight_where_it_is():
    _, trace = make_trace(**VARIANTS["forward only"])
    name = "layers.1.mixer.hook_z"
    trace._values[name] = torch.zeros_like(trace[name])  # the gate is shut everywhere
    found = attention_rollout(trace, 5)
    assert torch.equal(found.values[:, 1], readout_weights(trace.config, 5).double().expand(2, -1))


def test_the_labeled_map_has_the_values_at_their_places(trace):
    found = attention_rollout(trace)
    token = trace.grid.index(1, 0, 2)
    assert found.array(1).dims == ("layer", "frame", "row", "col")
    here = found.array(1, layer=1).sel(frame=1)[0, 2]
    assert float(here) == pytest.approx(float(found.values[1, 1, token]))


def test_no_row_to_sample_is_an_error():
    with pytest.raises(ValueError, match="sampled must be at least 1, got 0"):
        attention_rollout(make_trace()[1], sampled=0)
