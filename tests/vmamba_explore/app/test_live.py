"""Whom a patch reads, asked live, against the rows and columns of the frozen scan."""

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.hooks import attached
from vmamba_explore.trace.record import run_with_trace

DELTA = Question(quantities=["delta"], progress=False)
KINDS = [
    {}, {"cls_position": "middle"}, {"cls_position": None}, {"backward_order": "spatial"},
    {"backward_order": "temporal", "cls_position": None}, {"backward_order": None},
    {"num_frames": 2},
]  # fmt: skip


def slowed(model):
    """Edit the very layer that is asked: halve the step size of its backward scan."""
    name = "layers.1.mixer.ssm_backward.hook_delta"
    return attached(model, [(name, lambda delta, point: delta / 2)])


def operators(model, clip, layer):
    with torch.no_grad():
        trace = run_with_trace(model, clip, list(ScanOperator.names(layer)))[1]
        return {
            direction: ScanOperator.from_trace(trace, layer=layer, direction=direction)
            for direction in model.config.directions
        }


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_the_asked_row_and_column_are_those_of_the_scan(small_model, noise_clip, changes):
    model = small_model(**changes)
    clip = noise_clip(model)
    grid, live = model.grid, gather(model, clip, DELTA).live
    place = (grid.frames - 1, 1, 2)
    answer = live.attention(1, place)
    for direction, operator in operators(model, clip, 1).items():
        for name, weights in (
            ("reads", operator.row(grid.index(*place))),
            ("read_by", operator.column(grid.index(*place))),
        ):
            wanted = grid.split(weights.by_direction[direction].abs().mean(1))[0][0].numpy()
            found = answer[name].sel(direction=direction).values
            known = ~np.isnan(found)
            np.testing.assert_allclose(found[known], wanted[known], rtol=1e-4, atol=1e-9)
            assert (wanted[~known] == 0).all()


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_there_is_no_value_exactly_where_the_order_of_the_scan_forbids_one(
    small_model, noise_clip, changes
):
    model = small_model(**changes)
    found = gather(model, noise_clip(model), DELTA)
    for place in ((0, 0, 0), (model.grid.frames - 1, 2, 1)):
        answer = found.live.attention(0, place)
        for direction, steps in found.steps.items():
            missing = {n: np.isnan(answer[n].sel(direction=direction).values) for n in answer}
            np.testing.assert_array_equal(missing["reads"], steps > steps[place])
            np.testing.assert_array_equal(missing["read_by"], steps < steps[place])


def test_no_token_asks_the_class_token_which_has_no_column(small_model, noise_clip):
    model = small_model(cls_position="middle")
    found = gather(model, noise_clip(model), Question(progress=False))
    answer = found.live.attention(1, None)
    assert list(answer) == ["reads"]
    attended = found.maps["hidden attention"].sel(layer=1)
    np.testing.assert_array_equal(answer["reads"].values, attended.values)
    for direction, steps in found.steps.items():
        missing = np.isnan(answer["reads"].sel(direction=direction).values)
        np.testing.assert_array_equal(missing, steps > found.cls_steps[direction])


def test_without_a_class_token_the_logits_read_every_token(small_model, noise_clip):
    model = small_model(cls_position=None)
    answer = gather(model, noise_clip(model), DELTA).live.attention(1, None)
    assert np.isfinite(answer["reads"].values).all()


def test_an_edited_run_is_asked_in_its_block_and_the_model_stays_as_it_was(small_model, noise_clip):
    model = small_model()
    clip = noise_clip(model)
    plain = gather(model, clip, DELTA).live
    muted = gather(model, clip, DELTA, edit=slowed).live
    first = plain.attention(1, (1, 2, 3))
    with slowed(model):
        wanted = operators(model, clip, 1)["backward"].row(model.grid.index(1, 2, 3))
    wanted = model.grid.split(wanted.by_direction["backward"].abs().mean(1))[0][0].numpy()
    found = muted.attention(1, (1, 2, 3))["reads"].sel(direction="backward").values
    known = ~np.isnan(found)
    np.testing.assert_allclose(found[known], wanted[known], rtol=1e-4, atol=1e-9)
    assert plain.attention(1, (1, 2, 3)).identical(first), "the edit has stayed"
    other = first["reads"].sel(direction="backward").values
    assert not np.allclose(found[known], other[known])


def test_it_keeps_no_graph_and_leaves_gradients_as_they_were(small_model, noise_clip):
    model = small_model()
    live = gather(model, noise_clip(model), DELTA).live
    with torch.enable_grad():
        live.attention(0, (0, 0, 0))
        assert torch.is_grad_enabled()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(value.requires_grad for value in live.trace.values())


@pytest.mark.parametrize(
    ("layer", "token", "error", "words"),
    [
        (2, None, ValueError, "2"),
        (0, (9, 0, 0), IndexError, "frame 9 is outside 0..3 of this grid"),
        (0, (0, 0, -1), IndexError, "col -1 is outside 0..3 of this grid"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(
    small_model, noise_clip, layer, token, error, words
):
    model = small_model()
    with pytest.raises(error, match=words):
        gather(model, noise_clip(model), DELTA).live.attention(layer, token)
