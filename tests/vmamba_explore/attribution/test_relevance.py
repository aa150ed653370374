"""Relevance of directions, frames and states against autograd through a written-out model."""

import functools

import numpy as np
import pytest

from tests.vmamba_explore.attribution.written_out import VARIANTS, make_model, write_out
from tests.vmamba_explore.toys import clips_for
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.attribution.relevance import relevance_flow


@functools.cache
def flows(variant):
    """A model, its flow, the same written out, and the number that is explained."""
    model = make_model(variant)
    clips = clips_for(model)
    flow = relevance_flow(model, clips, [2, 1], minus=[0, 0], progress=False)
    run = write_out(model, clips)
    return model, flow, run, run.logits[[0, 1], [2, 1]] - run.logits[:, 0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_each_direction_gives_out_by_frame(variant):
    model, flow, run, number = flows(variant)
    assert flow.directions == model.config.directions
    for (layer, name), o in run.o.items():
        at = layer, flow.directions.index(name)
        video, cls = model.grid.split(run.relevance(number, o).sum(-1))
        frames = video.sum((-2, -1))
        if model.config.cls_position == "every_frame":  # a class token belongs to its frame
            frames, cls = frames + cls, None
        assert (flow.frames[:, *at] - frames).abs().max() <= 1e-12
        assert (flow.cls is None) == (cls is None)
        if cls is not None:
            assert (flow.cls[:, *at] - cls).abs().max() <= 1e-12


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_state_holds_and_hands_on_is_its_gradient(variant):
    model, flow, run, number = flows(variant)
    largest = 0.0
    for (layer, name), states in run.h.items():
        at = layer, flow.directions.index(name)
        _, ends = frame_ends(model, name)
        steps = model.layers[0].mixer.directions[name].steps(model.grid.seqlen).tolist()
        of_y, of_u, *of_h = run.relevance(number, [run.y[at[0], name], run.u[at[0], name], *states])
        for frame, token in enumerate(ends.tolist()):
            held = of_h[token].sum((1, 2))
            assert (flow.state[:, *at, frame] - held).abs().max() <= 1e-12
            later = steps[steps.index(token) + 1 :]
            # what later tokens gave out and did not get from what they themselves were given
            handed = (of_y.sum(-1) - of_u.sum(-1))[:, later].sum(1)
            assert (flow.handed_on[:, *at, frame] - handed).abs().max() <= 1e-12
            largest = max(largest, float(handed.abs().max()))
    assert largest > 1e-3 or model.grid.frames == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_directions_and_the_way_past_them_add_up_layer_by_layer(variant):
    _, flow, _, _ = flows(variant)
    assert flow.conservation.gap.max() <= 1e-9
    past = flow.by_direction.sum(-1) + flow.skipped
    assert (past - flow.conservation.by_layer[:, 1:]).abs().max() <= 1e-12
    last = [order[-1] for order in flow.orders.values()]
    assert list(flow.orders) == list(flow.directions)
    if flow.labels.grid.cls_index is None:  # then nothing is read after the last frame
        for direction, frame in enumerate(last):
            assert flow.handed_on[:, :, direction, frame].abs().max() <= 1e-12


def test_with_the_class_token_in_front_only_the_backward_scan_reaches_it():
    _, flow, _, _ = flows("front")
    assert (flow.frames[:, -1] == 0).all()  # the last layer is read at the class token alone
    assert (flow.handed_on[:, -1, 0].abs() <= 1e-12).all()
    assert (flow.handed_on[:, -1, 1].abs() > 1e-9).all()


def test_it_is_labeled():
    _, flow, _, _ = flows("front")
    array = flow.array(1)
    assert list(array.sizes.items()) == [("layer", 2), ("direction", 2), ("frame", 3)]
    assert list(array.direction.values) == ["forward", "backward"]
    assert list(array.clip_frame.values) == [0, 2, 4]
    assert array.attrs == {"unit": "logits"}
    for name in ("frames", "handed_on", "state"):
        wanted = getattr(flow, name)[1].float().numpy()
        assert np.array_equal(array[name].values, wanted)
