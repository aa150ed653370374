"""Half-lives and retention against their definitions, token by token."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import ORDERS, altered, recorded, retained, vary_steps, without
from vmamba_explore.analysis.decay import decay, frame_tokens
from vmamba_explore.analysis.memory import half_lives, retained_share, retention

NAMES = [f"*.hook_{name}" for name in ("u", "delta", "B", "C")]
# a trace of two random clips of 3 frames of 2 x 2 tokens
SIZES = {"dtype": torch.float64, "change": vary_steps, "depth": 1, "num_frames": 6}
record = partial(recorded, NAMES, **SIZES)


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_half_lives_are_found_by_waiting_until_half_is_gone(kind):
    trace = record(**kind)
    grid = trace.grid
    for direction in ("forward", "backward"):
        found = {q: half_lives(trace, 0, direction, quantile=q, clip=1) for q in (0.2, 0.5, 1.0)}
        steps = trace.ssm(0, direction).steps(grid.seqlen).tolist()
        fading = decay(trace, 0, direction)
        for place, token in enumerate(steps):
            if token in grid.cls_indices:
                continue
            at = dict(zip(("frame", "row", "col"), grid.position(token), strict=True))
            left = len(steps) - place
            rest = [retained(fading, token, later)[1] for later in steps[place:]]
            lasting = (torch.stack(rest) > 0.5).sum(0).flatten().sort().values.tolist()
            for quantile, maps in found.items():
                value = lasting[math.ceil(quantile * len(lasting)) - 1]
                assert maps.tokens[0, 0].sel(at) == value
                assert bool(maps.censored[0, 0].sel(at)) == (value == left)
            share = lasting.count(left) / len(lasting)
            assert math.isclose(maps.share_censored[0, 0].sel(at), share, abs_tol=1e-6)
    assert found[1.0].censored.any() and not found[0.2].censored.all()


def test_half_lives_in_frames_count_the_frames_that_were_opened_meanwhile():
    trace = record(backward_order="temporal")
    found = half_lives(trace, 0, "backward")
    steps = trace.ssm(0, "backward").steps(trace.grid.seqlen).tolist()
    for frame, row, col in ((2, 0, 0), (2, 1, 1), (1, 0, 1), (0, 0, 0)):
        here = {"frame": frame, "row": row, "col": col}
        start = steps.index(trace.grid.index(frame, row, col))
        stop = start + int(found.tokens[0, 0].sel(here))
        seen = [trace.grid.position(token) for token in steps[start : stop + 1]]
        opened = len({place[0] for place in seen if place is not None}) - 1
        assert found.frames[0, 0].sel(here) == opened


def test_a_frozen_half_life_is_ln_2_over_delta_times_a():
    trace = record()
    found = half_lives(trace, 0, "forward", quantile=0.5, channels=[3], frozen=True)
    delta, A = trace["layers.0.mixer.ssm_forward.hook_delta"], trace.ssm(0, "forward").A
    token = trace.grid.index(1, 0, 1)
    expected = sorted((math.log(2) / (delta[0, 3, token] * -A[3])).tolist())[1]
    assert math.isclose(found.tokens[0, 0].sel(frame=1, row=0, col=1), expected, rel_tol=1e-6)
    assert math.isclose(found.frames[0, 0].sel(frame=1, row=0, col=1), expected / 4, rel_tol=1e-6)
    assert not found.censored.any()


def test_with_one_delta_for_all_tokens_the_true_half_life_is_the_frozen_one_rounded_up():
    trace = record()
    values = {name: torch.full_like(v, 0.21) for name, v in trace.items() if "delta" in name}
    same = altered(trace, values)
    true, frozen = (half_lives(same, frozen=frozen) for frozen in (False, True))
    inside = ~true.censored
    assert inside.any() and (true.tokens == np.ceil(frozen.tokens)).where(inside, True).all()
    assert (true.tokens <= frozen.tokens + 1).all()


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_retention_of_a_frame_is_what_removing_it_takes_from_a_later_state(kind):
    """Freeze delta, B, C and put a single frame's u in: its state at frame t over that at k."""
    trace = record(**kind)
    frames = trace.grid.frame_of_tokens()
    for direction in ("forward", "backward"):
        found = retention(trace, 0, direction, weights="written", clip=1)[0, 0]
        at = f"layers.0.mixer.ssm_{direction}.hook_"
        u, delta, B, C = (trace[at + name][1] for name in ("u", "delta", "B", "C"))
        ssm = trace.ssm(0, direction)
        A, steps = ssm.A.detach(), ssm.steps(len(frames)).tolist()
        for k in range(3):
            h, ends = torch.zeros_like(A), {}
            if ssm.starts_from_first and frames[steps[0]] == k:
                h = h + u[:, steps[0], None].abs()
            for t in steps:
                wrote = (delta[:, t] * u[:, t] * (frames[t] == k)).abs()[:, None] * B[:, t].abs()
                h = torch.exp(delta[:, t, None] * A) * h + wrote
                ends[int(frames[t])] = (h * C.square().mean(1).sqrt()).sum()
            order_of = [frame for frame in ends if frame >= 0]
            for t in range(3):
                before = frame_end(steps, frames, t) < frame_end(steps, frames, k)
                value = found.sel(source=k, frame=t)
                assert math.isnan(value) == before
                if not before:
                    assert math.isclose(value, ends[t] / ends[k], rel_tol=1e-9)
            assert len(order_of) == 3


def frame_end(steps, frames, frame):
    """At which step the last token of a frame is read."""
    return max(i for i, token in enumerate(steps) if frames[token] == frame)


def test_equal_weights_need_nothing_but_delta():
    trace = record()
    only = without(trace, "_u", "_B", "_C")
    found = retention(only, weights="equal", channels=[0, 5])
    fading = decay(trace, 0, "forward")
    tokens = frame_tokens(trace.grid, fading.steps)
    expected = retained(fading, int(tokens[0][-1]), int(tokens[2][-1]))
    value = found.sel(layer=0, direction="forward", source=0, frame=2)
    assert math.isclose(value, expected[0, [0, 5]].mean(), rel_tol=1e-12)
    with pytest.raises(KeyError, match="hook_u' was not recorded"):
        retention(only)


def test_the_gauge_between_b_and_c_leaves_the_retention():
    trace = record()
    values = dict(trace)
    scale = torch.tensor([0.01, 1.0, 100.0])[:, None]
    for name in values:
        if name.endswith("hook_B"):
            values[name] = values[name] * scale
        if name.endswith("hook_C"):
            values[name] = values[name] / scale
    again = retention(altered(trace, values))
    assert np.allclose(again, retention(trace), equal_nan=True, rtol=1e-12)


def test_maps_are_stacked_by_layer_and_direction_with_their_times():
    trace = record(depth=2)
    found = half_lives(trace)
    assert found.tokens.dims == ("layer", "direction", "frame", "row", "col")
    assert found.tokens["direction"].values.tolist() == ["forward", "backward"]
    assert found.tokens["clip_frame"].values.tolist() == [0, 2, 4]
    assert (found.tokens.attrs["unit"], found.frames.attrs["unit"]) == ("tokens", "frames")
    one = half_lives(trace, layer=1, direction="backward")
    assert (one.tokens[0, 0] == found.tokens.sel(layer=1, direction="backward")).all()
    held = retention(trace)
    assert held.dims == ("layer", "direction", "source", "frame") and held.sizes["layer"] == 2


@pytest.mark.parametrize("kind", ORDERS, ids=str)
@pytest.mark.parametrize("tokens", [None, 1, 5])
def test_retained_share_is_the_mean_of_what_is_left_so_many_steps_later(kind, tokens):
    trace = record(**kind)
    grid, later = trace.grid, tokens or trace.grid.tokens_per_frame
    for direction in ("forward", "backward"):
        found = retained_share(trace, 0, direction, tokens=tokens, clip=1)
        assert found.dims == ("frame", "row", "col") and found.shape == grid.shape
        steps = trace.ssm(0, direction).steps(grid.seqlen).tolist()
        fading = decay(trace, 0, direction)
        for step, token in enumerate(steps):
            if token in grid.cls_indices:
                continue
            share = float(found[grid.position(token)])
            if step + later >= len(steps):
                assert math.isnan(share)
            else:
                left = retained(fading, token, steps[step + later])[1].mean()
                assert math.isclose(share, float(left), rel_tol=1e-5)


def test_retained_share_of_a_distance_beyond_the_clip_has_no_value():
    trace = record()
    for tokens in (trace.grid.seqlen, 1000):
        assert np.isnan(retained_share(trace, 0, "forward", tokens=tokens).values).all()
    almost = retained_share(trace, 0, "backward", tokens=trace.grid.seqlen - 1)
    first = trace.ssm(0, "backward").steps(trace.grid.seqlen).tolist()[0]
    assert np.isfinite(almost.values).sum() == 1
    assert np.isfinite(almost.values[trace.grid.position(first)])


def test_retained_share_does_not_depend_on_how_much_is_made_at_once(monkeypatch):
    trace = record()
    whole = retained_share(trace, 0, "forward")
    monkeypatch.setattr("vmamba_explore.analysis.memory._ELEMENTS", 1)
    np.testing.assert_allclose(retained_share(trace, 0, "forward").values, whole.values, rtol=1e-6)


forward_share = partial(retained_share, layer=0, direction="forward")


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        (half_lives, {"quantile": 0}, "quantile is 0, expected above 0, at most 1"),
        (half_lives, {"layer": 4}, "no layer 4; the model has 0 to 0"),
        (half_lives, {"direction": "up"}, "no direction 'up'; expected 'forward' or 'backward'"),
        (half_lives, {"clip": 2}, "no clip 2 in this batch of 2"),
        (half_lives, {"channels": [16]}, r"channels are \[16\], expected some of 0 to 15"),
        (half_lives, {"channels": []}, r"channels are \[\], expected some of 0 to 15"),
        (retention, {"weights": "loud"}, "weights is 'loud', expected 'equal' or 'written'"),
        (retention, {"clip": -1}, "no clip -1 in this batch of 2"),
        (forward_share, {"tokens": 0}, "retained_share: tokens is 0, expected at least 1"),
        (forward_share, {"layer": 4}, "no layer 4; the model has 0 to 0"),
        (forward_share, {"direction": "up"}, "no direction 'up'; expected 'forward' or 'backward'"),
        (forward_share, {"clip": 2}, "no clip 2 in this batch of 2"),
    ],
)
def test_a_wrong_argument_gets_its_sentence(call, arguments, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call(record(), **arguments)


def test_a_trace_without_delta_says_what_to_record():
    with pytest.raises(KeyError, match=r"half-lives: delta .* names_filter='\*.hook_delta'"):
        half_lives(without(record(), "hook_delta"))
