"""The hand-built motion detector: what it computes, and which direction it prefers."""

import numpy as np
import pytest
import torch

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.studies.teaching.motion_detector import (
    DELTA,
    GAIN,
    RATES,
    delay_kernel,
    detector_inputs,
    moving_dots,
    opponent,
    rows_of_clips,
    turning_lag,
    while_crossing,
)
from vmamba_kernels import selective_scan

SPEEDS = 2.0 ** torch.arange(-3, 2.5, 0.5)
TURNED = 2.0  # the delta that notebook 01 names


def respond(delta=DELTA, rates=RATES, speeds=SPEEDS):
    both = torch.cat([speeds, -speeds])
    found = answer(detector_inputs(moving_dots(both), delta, rates))
    return while_crossing(found, both).chunk(2)


def answer(inputs):
    return opponent(selective_scan(**inputs, backend="naive"))


def correlator(row, delta, rates):
    """The textbook's sum over pairs, written out: past of one times present of the other."""
    frames = row.shape[1]
    lags = np.arange(frames)
    k = delta * sum(
        sign * r * np.exp(-r * delta * lags) for sign, r in zip((1, -1), rates, strict=True)
    )
    past = np.stack([np.convolve(pixel, k)[:frames] for pixel in row])
    gate = row / (1 + np.exp(-GAIN * row))
    return (past[:-1] * gate[1:] - past[1:] * gate[:-1]).mean(axis=0)


@pytest.mark.parametrize("delta", [DELTA, TURNED])
def test_the_scan_is_the_correlator_written_out(delta):
    rows = torch.rand(3, 5, 40, dtype=torch.float64)
    found = answer(detector_inputs(rows, delta, (0.7, 0.2)))
    expected = np.stack([correlator(row, delta, (0.7, 0.2)) for row in rows.numpy()])
    assert np.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("delta", "rates", "sign"), [(DELTA, RATES, 1), (TURNED, RATES, -1), (DELTA, RATES[::-1], -1)]
)
def test_it_prefers_rightward_motion_unless_delta_is_turned_up_or_the_rates_are_exchanged(
    delta, rates, sign
):
    rightward, leftward = respond(delta, rates)
    assert (sign * rightward > 0).all() and (sign * leftward < 0).all()


def test_slow_speeds_turn_first():
    rightward, _ = respond(0.5)
    turned = (rightward < 0).tolist()
    assert turned == sorted(turned, reverse=True) and any(turned) and not all(turned)


def test_with_equal_rates_it_is_blind():
    assert torch.cat(respond(rates=(0.5, 0.5))).abs().max() == 0


def test_with_one_state_as_in_the_textbook_no_delta_turns_it():
    for delta in (0.05, 0.5, 5.0):
        inputs = detector_inputs(moving_dots(SPEEDS), delta)
        inputs["C"] = torch.tensor([1.0, 0.0])[:, None].expand_as(inputs["C"])
        assert (answer(inputs).sum(1) > 0).all()


def test_mirrored_movies_give_the_opposite_response():
    rows = torch.rand(2, 7, 30)
    forth, back = (answer(detector_inputs(movie)) for movie in (rows, rows.flip(1)))
    assert torch.allclose(forth, -back, atol=1e-6)


def test_a_row_that_stands_still_and_is_symmetric_says_nothing():
    rows = torch.tensor([0.1, 0.5, 1.0, 0.5, 0.1])[None, :, None].expand(1, 5, 50)
    assert answer(detector_inputs(rows)).abs().max() < 1e-6


def test_half_the_speed_with_half_the_delta_is_the_same_motion():
    slow = SPEEDS[SPEEDS < 0.8]
    usual, halved = respond(0.1, speeds=slow)[0], respond(0.05, speeds=slow / 2)[0]
    assert torch.allclose(usual, halved, rtol=0.04)


def test_tokens_with_delta_zero_might_as_well_not_be_there():
    movie, dark = moving_dots([0.5]), torch.zeros(1, 16, 30)
    paused = torch.cat([movie[..., :24], dark, movie[..., 24:]], dim=-1)
    inputs = detector_inputs(paused)
    fixed = answer(inputs)
    inputs["delta"] = inputs["delta"] * (paused.sum(1, keepdim=True) > 0)
    selective, unbroken = answer(inputs), answer(detector_inputs(movie))
    assert torch.allclose(selective.sum(), unbroken.sum(), rtol=1e-6)
    assert fixed.sum() < 0.9 * unbroken.sum() and fixed[0, 54] < 0 < unbroken[0, 24]


def test_the_delay_kernel_is_what_the_scan_keeps_of_a_flash():
    flash = torch.zeros(1, 2, 20)
    flash[0, 0, 0] = 1
    inputs = detector_inputs(flash, 0.3)
    inputs["z"] = None
    y = selective_scan(**inputs, backend="naive")
    kernel = delay_kernel(torch.arange(20.0), 0.3)
    assert torch.allclose(y[0, 0], kernel[2], atol=1e-6)
    assert torch.allclose(kernel[0] - kernel[1], kernel[2])


def test_the_kernel_changes_its_sign_at_the_turning_lag():
    lag = turning_lag(0.1)
    before, after = delay_kernel(torch.tensor([0.99 * lag, 1.01 * lag]), 0.1)[2]
    assert before > 0 > after and lag == pytest.approx(18.48, abs=0.01)
    assert turning_lag(0.2) == pytest.approx(lag / 2)
    assert np.isnan(turning_lag(0.1, (1.0, 1.0)))


def test_a_dot_is_where_its_speed_puts_it():
    right, left = moving_dots([0.5, -0.5])
    assert right.shape == (16, 48)
    where = (right * torch.arange(16)[:, None]).sum(0) / right.sum(0)
    inside = slice(12, 36)
    assert torch.allclose(where[inside].diff(), torch.tensor(0.5), atol=0.02)
    assert torch.allclose(left, right.flip(0), atol=1e-6)
    assert right.max() <= 1 and right[:, [0, -1]].max() < 0.001


@pytest.mark.parametrize("speeds", [[], [0.5, 0.0]])
def test_a_dot_that_stands_still_is_refused(speeds):
    with pytest.raises(ValueError, match="moving_dots: speeds are"):
        moving_dots(speeds)


@pytest.mark.parametrize(("delta", "rates"), [(0.0, (1.0, 0.25)), (0.1, (1.0, -0.25))])
def test_what_is_not_positive_is_refused(delta, rates):
    with pytest.raises(ValueError, match="all must be positive"):
        detector_inputs(torch.zeros(1, 3, 4), delta, rates)


def test_on_generated_clips_it_names_the_direction_and_turned_the_opposite():
    clips = MotionClips(seed=1, distractors="none", backgrounds="test")
    wanted = np.flatnonzero(clips.plan(range(300)).labels < 2)[:40]
    frames, labels = clips.batch(wanted)
    rows = rows_of_clips(torch.from_numpy(frames))
    correct = {}
    for delta in (DELTA, TURNED):
        y = selective_scan(**detector_inputs(rows, delta))
        leftward = opponent(y).sum(1).unflatten(0, (len(labels), -1)).sum(1) < 0
        correct[delta] = float((leftward.numpy() == labels).mean())
    assert correct[DELTA] >= 0.9 and correct[TURNED] <= 0.2, correct


def test_rows_of_clips_are_gray_coarse_and_without_what_stands_still():
    frames = torch.full((2, 5, 8, 12, 3), 50, dtype=torch.uint8)
    frames[1, 2, 4:, 8:] = 101
    rows = rows_of_clips(frames)
    assert rows.shape == (2 * 2, 3, 5)
    expected = torch.zeros(4, 3, 5)
    expected[3, 2, 2] = 0.2
    assert torch.allclose(rows, expected, atol=1e-6)
