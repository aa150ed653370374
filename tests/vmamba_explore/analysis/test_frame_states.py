"""States handed on at the end of each token frame, against a full recording."""

import pytest
import torch

from tests.vmamba_explore.analysis.planted_states import PICTURES, reader
from vmamba_explore.analysis.frame_states import collect, cut_stops, frame_ends
from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.trace.record import TraceBudgetError, run_with_trace

CLIPS = MotionClips(seed=1, **PICTURES)
KINDS = {
    "front, spatiotemporal": {},
    "front, spatial": {"backward_order": "spatial"},
    "none, temporal": {"backward_order": "temporal", "cls_position": None},
    "middle": {"cls_position": "middle"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_after_the_last_token_that_the_direction_reads(kind):
    model = reader(**KINDS[kind])
    kept = collect(model, CLIPS, range(5), inputs=(0, 1), batch_size=2)
    with torch.no_grad():
        _, trace = run_with_trace(model, normalize(CLIPS.batch(range(5))[0]))
    for layer, direction in kept.states:
        name = f"layers.{layer}.mixer.ssm_{direction}.hook_"
        order = trace.ssm(layer, direction).steps(model.grid.seqlen).tolist()
        elapsed = trace[name + "delta"][..., order].double().cumsum(-1)
        for frame in range(4):
            tokens = {model.grid.index(frame, row, col) for row in (0, 1) for col in (0, 1)}
            step = max(order.index(token) for token in tokens)
            state = kept.states[layer, direction][:, frame]
            assert torch.allclose(state, trace[name + "h"][..., order[step]], atol=1e-6)
            times = kept.elapsed[layer, direction][:, frame]
            assert torch.allclose(times, elapsed[..., step])
        rms = trace[name + "C"].square().mean(dim=(0, 2)).sqrt()
        assert torch.allclose(kept.reading[layer, direction], rms, rtol=1e-5)
        video, _ = model.grid.split(trace[f"layers.{layer}.hook_block_input"], dim=1)
        assert torch.equal(kept.inputs[layer], video.flatten(2))


def test_the_backward_scan_ends_the_last_frame_first():
    orders = collect(reader(), CLIPS, [0]).orders
    assert orders == {"forward": (0, 1, 2, 3), "backward": (3, 2, 1, 0)}
    spatial = reader(backward_order="spatial")
    assert collect(spatial, CLIPS, [0]).orders["backward"] == (0, 1, 2, 3)
    ends, tokens = frame_ends(reader(), "backward")
    assert ends.tolist() == [15, 11, 7, 3] and tokens.tolist() == [1, 5, 9, 13]


def test_a_forward_only_model_has_forward_states_only():
    kept = collect(reader(backward_order=None), CLIPS, [0, 1])
    assert kept.directions == ("forward",) and kept.layers == (0, 1)


def test_features_do_not_depend_on_the_scale_between_b_and_c():
    model, changed = reader(), reader()
    gauge = torch.linspace(0.1, 10, model.config.d_state)
    with torch.no_grad():
        for layer in changed.layers:
            for ssm in layer.mixer.directions.values():
                _, b, c = ssm.x_proj.weight.split(ssm.split_sizes)
                b *= gauge[:, None]
                c /= gauge[:, None]
    ours, theirs = (collect(each, CLIPS, range(3)) for each in (model, changed))
    for layer, direction in ours.states:
        assert not torch.allclose(
            ours.states[layer, direction], theirs.states[layer, direction], rtol=0.1
        )
        assert torch.allclose(
            ours.features(layer, direction, 2), theirs.features(layer, direction, 2), rtol=1e-3
        )


def test_features_of_a_frame_do_not_know_later_tokens():
    """Frame 0 of the forward scan: a change in the last frame must not reach its features."""
    model, other = reader(), MotionClips(seed=9, **PICTURES)
    reference = collect(model, CLIPS, range(4))
    first, second = collect(model, CLIPS, [0]), collect(model, other, [0])
    for kept in (first, second):
        kept.states[0, "forward"][:, 0] = reference.states[0, "forward"][:1, 0]
    a, b = (kept.features(0, "forward", 0, like=reference) for kept in (first, second))
    assert torch.equal(a, b)


def test_stops_after_a_boundary_are_counted_in_the_order_of_the_scan():
    stops = cut_stops(reader(), boundary=2, lags=(0, 1, 4, 9))
    # forward: 0 is the class token, frame 1 ends at token 8; backward: frame 2 ends at token 9
    assert stops == {"forward": (8, 9, 12), "backward": (9, 8, 5, 0)}
    kept = collect(reader(), CLIPS, range(3), stops=stops)
    assert kept.states[1, "forward"].shape[1] == 3 and kept.states[1, "backward"].shape[1] == 4
    whole = collect(reader(), CLIPS, range(3))
    assert torch.equal(kept.states[1, "forward"][:, 2], whole.states[1, "forward"][:, 2])
    assert torch.equal(kept.states[1, "backward"][:, 0], whole.states[1, "backward"][:, 2])


def test_too_much_is_refused_before_anything_runs():
    model = reader()
    model.encode = None  # would be called
    with pytest.raises(TraceBudgetError, match=r"10000 clips at 4 places would take 0\.0\d GiB"):
        collect(model, CLIPS, range(10000), budget_gib=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": [2]}, "There is no layer 2; the model has 0 to 1"),
        ({"inputs": [-1]}, "There is no layer -1"),
        ({"layers": []}, "0 layers, expected at least one"),
        ({"indices": []}, "got 0 clips"),
        ({"stops": {"forward": [17]}}, r"stops are \[17\] of direction 'forward'; .* 0 to 16"),
        ({"stops": {"sideways": [1]}}, "'forward' or 'backward'"),
        ({"stops": {}}, "stops name no direction, expected at least one"),
    ],
)
def test_what_does_not_exist_gets_a_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        collect(reader(), CLIPS, **{"indices": range(2)} | given)


@pytest.mark.parametrize(
    ("boundary", "lags", "message"),
    [(0, (0, 1), "expected 1 to 3"), (4, (0,), "is 4"), (2, (1, 2), "expected 0 and then")],
)
def test_boundaries_and_lags_are_checked(boundary, lags, message):
    with pytest.raises(ValueError, match=message):
        cut_stops(reader(), boundary, lags)


def test_stops_of_one_direction_are_states_of_that_direction():
    kept = collect(reader(), CLIPS, [0, 1], stops={"forward": [4, 8]})
    assert kept.directions == ("forward",) and list(kept.orders) == ["forward"]
    both = collect(reader(), CLIPS, [0], stops={"backward": [9], "forward": [8]})
    assert both.directions == ("forward", "backward")
