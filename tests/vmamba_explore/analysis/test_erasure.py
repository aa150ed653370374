"""What is left of the old position: on states that forget in a known way, and on a model."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.vmamba_explore.analysis.planted_states import (
    CHANNELS,
    PICTURES,
    STATES,
    frame_states,
    reader,
)
from vmamba_explore.analysis.clip_targets import circle, cut_clips
from vmamba_explore.analysis.erasure import after_cut, collect_after_cut, fading
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.motion_plan import TURN

LAGS = (0, 2, 6, 10)
RATES = -torch.linspace(0.05, 3, STATES).expand(CHANNELS, STATES)


def forgetting(clips, seed, noise=0.05):
    """Return states that hold the old position, fade by exp(A t), and take up noise at each lag."""
    series = MotionClips(seed=seed)
    chosen = cut_clips(series, clips, boundary=4, tubelet_size=2)
    plan = series.plan(chosen)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(
        4, CHANNELS, STATES, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    )
    states = {}
    for direction, frame in (("forward", 7), ("backward", 8)):
        place = torch.from_numpy(circle(plan.target.poses[:, frame, :2] / TURN))
        first = torch.einsum("bc,cdn->bdn", place, weights) + 1
        steps = []
        for lag in LAGS:
            drawn = torch.randn(first.shape, generator=generator, dtype=torch.float64)
            steps.append(first * torch.exp(RATES.double() * lag) + noise * drawn)
        states[0, direction] = torch.stack(steps, dim=1).float()
    elapsed = torch.tensor(LAGS).double()[None, :, None].expand(clips, len(LAGS), CHANNELS)
    inputs = torch.randn(clips, 8, 6, generator=generator)
    stops = {"forward": (16, 18, 22, 26), "backward": (17, 15, 11, 7)}
    return frame_states(plan, stops, states, dict.fromkeys(states, elapsed), RATES, inputs)


@pytest.fixture
def lots():
    """Return training and test clips whose states forget."""
    return [forgetting(150, seed=1), forgetting(100, seed=2)]


@pytest.fixture(scope="module")
def found():
    """Return what is left of the old position in the states that forget."""
    return after_cut(forgetting(150, seed=1), forgetting(100, seed=2), 4, LAGS, resamples=100)


def test_the_decodable_share_starts_at_one_and_falls(found):
    share = found.array("share").sel(layer=0)
    assert (share.sel(lag=0) == 1).all() and (share.low.sel(lag=0) == 1).all()
    assert (share.diff("lag") < 0.05).all()
    assert (found.array("r2").sel(lag=0) > 0.95).all()
    assert (share.low <= share).all() and (share <= share.high).all()


def test_each_direction_looks_for_the_pose_on_its_own_side(lots):
    """With the sides exchanged the planted position is another one, and is not found."""
    crossed = [
        dataclasses.replace(
            lot, states=dict(zip(lot.states, list(lot.states.values())[::-1], strict=True))
        )
        for lot in lots
    ]
    assert (after_cut(*crossed, 4, LAGS, resamples=20).array("r2") < 0.2).all()


def test_predicted_retention_is_the_weighted_mean_of_what_fades(found, lots):
    train, test = lots
    weight = test.states[0, "forward"][:, 0].double().abs()
    for at, lag in enumerate(LAGS):
        left = (torch.exp(RATES.double() * lag) * weight).sum((1, 2)) / weight.sum((1, 2))
        retention = found.array("retention").sel(layer=0, direction="forward", lag=lag)
        assert float(retention) == pytest.approx(float(left.mean()), rel=1e-6)
        assert fading(test, 0, "forward", at).shape == (100, CHANNELS * STATES)
    assert len(train) == found.train


def test_inputs_that_do_not_know_the_old_position_say_so(found):
    assert (found.array("inputs") < 0.1).all()
    assert found.array("inputs").frames.values.tolist() == [0, 0.5, 1.5, 2.5]


def test_inputs_that_bring_the_old_position_are_caught(lots):
    for lot in lots:
        old = torch.from_numpy(circle(lot.plan.target.poses[:, 7, :2] / TURN)).float()
        lot.inputs[0][:, 5, :4] += 3 * old  # read at lags 6 of the forward scan
    inputs = after_cut(*lots, 4, LAGS, resamples=20).array("inputs").sel(layer=0)
    assert float(inputs.sel(direction="forward", lag=6)) > 0.8
    assert (inputs.sel(direction="forward", lag=[0, 2, 10]) < 0.1).all()


def test_a_model_is_read_in_both_directions_and_up_to_the_end_of_the_clip():
    model, lags = reader(), (0, 3, 8, 9)
    lots = [
        collect_after_cut(model, MotionClips(seed=seed, **PICTURES), 40, 2, inputs=(1,), lags=lags)
        for seed in (1, 2)
    ]
    found = after_cut(*lots, 2, lags, resamples=20)
    r2 = found.array("r2")
    assert r2.dims == ("layer", "direction", "lag") and r2.shape == (2, 2, 4)
    # forward: 8 tokens after the jump; backward: 8 and the class token
    assert np.isnan(r2.values).tolist() == [[[False] * 3 + [True], [False] * 4]] * 2
    inputs = found.array("inputs")
    assert np.isnan(inputs.sel(layer=0)).all() and np.isfinite(inputs.sel(layer=1, lag=3)).all()


def test_what_does_not_fit_together_gets_a_sentence(found, lots):
    with pytest.raises(ValueError, match=r"not every clip jumps before clip frame 6 \(token fr"):
        after_cut(*lots, 3, LAGS)
    with pytest.raises(ValueError, match=r"got 2 lags for \[4, 4\] stops"):
        after_cut(*lots, 4, LAGS[:2])
    with pytest.raises(ValueError, match="quantity is 'rest', expected 'r2' or 'share' or"):
        found.array("rest")


def test_the_states_of_one_direction_are_read_alone(lots):
    alone = []
    for lot in lots:
        stops = {"forward": lot.stops["forward"]}
        states = {(0, "forward"): lot.states[0, "forward"]}
        alone.append(dataclasses.replace(lot, stops=stops, states=states))
    found = after_cut(*alone, 4, LAGS, resamples=10)
    assert found.directions == ("forward",) and np.isfinite(found.r2).all()
