"""Numbers of single channels, against the same taken from all states and from whole logits."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from tests.vmamba_explore import toys
from tests.vmamba_explore.toys import SMALL, toy
from vmamba_explore.analysis.channels import (
    STATISTICS,
    Channels,
    channel_names,
    channel_statistics,
    clip_half_lives,
)
from vmamba_explore.analysis.evidence import logit_readout
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.trace.interventions import cut_edges
from vmamba_explore.trace.record import run_with_trace

DIRECTIONS = ("forward", "backward")


def record(seed=0, change=None, **changes):
    """Return a trace of two random clips of 4 frames of 4 x 4 tokens, with all that is needed."""
    model = toy(seed=seed, change=change, **SMALL | {"num_frames": 8, "img_size": 16} | changes)
    return toys.record(model, [*LogitParts.names(model), *channel_names(), "*.hook_h"])


@pytest.fixture(scope="module")
def trace():
    return record()


@pytest.fixture(scope="module")
def found(trace):
    readout = logit_readout(trace, 1, 2)
    return {d: channel_statistics(trace, 1, d, readout, clip=1) for d in DIRECTIONS}


def h_as_read(trace, direction, clip=1):
    at = f"layers.1.mixer.ssm_{direction}.hook_"
    return trace[f"{at}h"][clip] * trace[f"{at}C"][clip].square().mean(-1).sqrt()[:, None]


def by_frame(trace, values):
    """(..., seqlen) to (..., frame, token)."""
    return trace.grid.split(values)[0].flatten(-2).numpy()


def test_every_statistic_has_a_number_and_a_course(found):
    for each in found.values():
        assert set(each.statistics) == set(STATISTICS) == set(each.courses)
        assert dict(each.courses.sizes) == {"channel": 16, "frame": 4}
        assert np.isfinite(each.values.to_array()).all()


@pytest.mark.parametrize("layer", [0, 1])
def test_contributions_of_channels_sum_to_those_of_tokens(trace, layer):
    with torch.no_grad():
        tokens = logit_parts(trace, 1, 2, progress=False).tokens[1, layer]
        readout = logit_readout(trace, 1, 2)
    assert tokens.abs().max() > 1e-4
    for direction, expected in zip(DIRECTIONS, tokens, strict=True):
        each = channel_statistics(trace, layer, direction, readout, clip=1)
        assert np.isclose(each.values["contribution"].sum(), float(expected.sum()), atol=1e-6)
        frames = by_frame(trace, expected).sum(-1)
        assert np.allclose(each.courses["contribution"].sum("channel"), frames, atol=1e-6)


def test_a_recording_that_keeps_gradients_has_numbers_too(trace):
    torch.manual_seed(0)
    again = run_with_trace(trace.model, torch.randn(2, 3, 8, 16, 16), channel_names())[1]
    assert again["layers.1.mixer.ssm_forward.hook_delta"].requires_grad
    found = channel_statistics(again, 1, "forward").statistics
    assert "delta" in found and "contribution" not in found  # without a read-out


def test_delta_and_its_spread_are_those_of_the_recording(trace, found):
    delta = trace["layers.1.mixer.ssm_backward.hook_delta"][1].double()
    each = found["backward"]
    assert np.allclose(each.values["delta"], delta.mean(-1))
    assert np.allclose(each.courses["delta"], by_frame(trace, delta).mean(-1))
    spread = delta.numpy().std(-1) / delta.numpy().mean(-1)
    assert np.allclose(each.values["delta spread"], spread)


def test_after_a_half_life_at_the_mean_step_half_of_a_state_is_left(trace, found):
    for direction in DIRECTIONS:
        A = trace.ssm(1, direction).A.detach().double()
        delta = trace[f"layers.1.mixer.ssm_{direction}.hook_delta"][1].double().mean(-1)
        lives = torch.from_numpy(clip_half_lives(trace, 1, clip=1).sel(direction=direction).values)
        assert torch.allclose(torch.exp(A * delta[:, None] * lives), torch.full_like(A, 0.5))
        middle = lives.quantile(0.5, dim=1)
        assert np.allclose(found[direction].values["half-life"], middle, rtol=1e-6)


def test_a_state_beyond_the_clip_keeps_more_than_half_of_its_first_token(trace):
    def slow(model):
        for block in model.layers:
            for ssm in block.mixer.directions.values():
                ssm.dt_proj.bias.data -= 3

    for recording in (trace, record(change=slow)):
        lives = clip_half_lives(recording, 1)
        total = recording["layers.1.mixer.ssm_forward.hook_delta"][0].double().sum(-1)
        left = torch.exp(recording.ssm(1, "forward").A.detach().double() * total[:, None])
        beyond = lives.sel(direction="forward").values > lives.attrs["clip"]
        assert np.array_equal(beyond, (left > 0.5).numpy())
    assert beyond.any() and lives.attrs["frame"] == 16 and lives.attrs["clip"] == 65


def test_state_norms_are_those_of_all_states(trace, found):
    for direction in DIRECTIONS:
        norms = h_as_read(trace, direction).norm(dim=1)
        assert np.allclose(found[direction].values["state norm"], norms.mean(-1), rtol=1e-4)
        frames = by_frame(trace, norms).mean(-1)
        assert np.allclose(found[direction].courses["state norm"], frames, rtol=1e-4)


def test_the_change_is_from_the_frame_read_before_and_the_first_has_none(trace, found):
    course = found["backward"].courses["change between frames"].values
    assert np.isnan(course[:, 3]).all() and np.isfinite(course[:, :3]).all()
    h = h_as_read(trace, "backward")
    ends = [trace.grid.index(frame, 0, 0) for frame in range(4)]  # read last in its frame
    after = h[..., ends]
    size = after.square().sum(1).mean(-1).sqrt()
    change = (after[..., 1] - after[..., 2]).norm(dim=1) / size
    assert np.allclose(course[:, 1], change, rtol=1e-4)
    assert np.isnan(found["forward"].courses["change between frames"].values[:, 0]).all()


def test_a_factor_that_b_and_c_trade_changes_no_number():
    def trade(model):
        for block in model.layers:
            for ssm in block.mixer.directions.values():
                rank, states = model.config.dt_rank, model.config.d_state
                ssm.x_proj.weight.data[rank : rank + states] *= 8
                ssm.x_proj.weight.data[rank + states :] /= 8

    plain, traded = record(), record(change=trade)
    numbers = [
        channel_statistics(each, 1, "forward", logit_readout(each, 0)) for each in (plain, traded)
    ]
    for name in STATISTICS:
        mine, theirs = (each.values[name].values for each in numbers)
        assert np.allclose(mine, theirs, rtol=1e-3, atol=1e-8), name


def test_channels_are_ranked_by_value_signed_ones_by_size_and_nan_last(found):
    each = found["forward"]
    norms = each.values["state norm"].values[each.ranked("state norm")]
    assert (np.diff(norms) <= 0).all()
    sizes = np.abs(each.values["contribution"].values)[each.ranked("contribution")]
    assert (np.diff(sizes) <= 0).all()
    values = each.values[["delta"]].copy(deep=True)
    values["delta"][5] = math.nan
    assert Channels(1, "forward", values, each.courses).ranked("delta")[-1] == 5


def test_an_unknown_statistic_is_refused_with_those_there_are(found):
    with pytest.raises(ValueError, match="statistic is 'size', expected 'delta' or 'delta spr"):
        found["forward"].ranked("size")


def test_a_run_whose_parts_do_not_sum_has_no_contributions_and_a_coarse_one_has(trace):
    names = [*LogitParts.names(trace.model), *channel_names()]
    clips = torch.randn(2, 3, 8, 16, 16)
    with torch.no_grad(), cut_edges(trace.model, 1, "forward", range(20), range(30, 60)):
        cut = run_with_trace(trace.model, clips, names)[1]
        found = channel_statistics(cut, 1, "forward", logit_readout(cut, 0))
    assert "contribution" not in found.statistics and "delta" in found.statistics
    model = deepcopy(trace.model).bfloat16()
    with torch.no_grad():
        coarse = run_with_trace(model, clips.bfloat16(), names)[1]
    found = channel_statistics(coarse, 0, "backward", logit_readout(coarse, 0))
    assert "contribution" in found.statistics


def test_a_model_with_one_direction_and_one_frame_has_numbers_but_no_change():
    trace = record(backward_order=None, num_frames=2)
    found = channel_statistics(trace, 0, "forward")
    assert np.isnan(found.values["change between frames"]).all()
    assert np.isfinite(found.values["state norm"]).all()
    assert clip_half_lives(trace, 0).sizes["direction"] == 1
