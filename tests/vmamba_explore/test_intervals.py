"""Intervals: coverage, missing scores, paired differences, and the textbook forms."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from vmamba_explore.intervals import (
    Interval,
    drawn_counts,
    mean_interval,
    mean_intervals,
    proportion,
    t_interval,
)


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    generator = np.random.default_rng(0)
    scores = generator.exponential(1.0, (400, 200))  # skewed, as scores are; 400 experiments
    found = [mean_interval(row, resamples=500) for row in scores]
    covered = np.mean([each.low <= 1 <= each.high for each in found])
    assert 0.90 <= covered <= 0.98


def test_the_width_is_that_of_the_normal_interval_where_that_holds():
    scores = np.random.default_rng(1).normal(5, 2, 1000)
    found = mean_interval(scores)
    half = 1.96 * scores.std() / np.sqrt(1000)
    assert found.value == pytest.approx(scores.mean())
    assert found.low == pytest.approx(scores.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.05 * half)


def test_pairing_sees_a_small_difference_that_two_intervals_do_not():
    generator = np.random.default_rng(2)
    clips = generator.normal(0, 1, 100)  # easy and hard ones
    ours, theirs = clips + 0.1, clips + generator.normal(0, 0.05, 100)
    assert mean_interval(ours).low < mean_interval(theirs).high
    assert mean_interval(ours - theirs).low > 0


def test_clips_without_a_score_are_left_out_and_not_counted():
    scores = np.array([1.0, np.nan, 3.0, np.nan])
    found = mean_interval(scores)
    assert (found.value, found.n) == (2.0, 2)
    assert 1 <= found.low <= found.high <= 3
    nothing = mean_interval(np.full(3, np.nan))
    assert nothing.n == 0 and np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_several_scores_get_what_each_would_get_alone():
    scores = np.random.default_rng(3).normal(size=(30, 3))
    scores[4, 1] = np.nan
    scores[:, 2] = np.nan
    together = mean_intervals(scores)
    for column in range(2):
        alone = mean_interval(scores[:, column])
        assert asdict(together[column]) == pytest.approx(asdict(alone), rel=1e-12)
    assert together[2].n == 0


def test_the_seed_decides_the_draws_and_none_are_refused():
    scores = np.random.default_rng(4).normal(size=40)
    assert mean_interval(scores, 200, seed=1) == mean_interval(scores, 200, seed=1)
    assert mean_interval(scores, 200, seed=1) != mean_interval(scores, 200, seed=2)
    with pytest.raises(ValueError, match="resamples is 0, expected at least 1"):
        mean_interval(scores, resamples=0)
    with pytest.raises(ValueError, match="seed is -1, expected at least 0"):
        mean_interval(scores, seed=-1)


def test_an_interval_prints_short_and_becomes_plain_values():
    found = Interval(0.123456, 0.1, 0.2, 7)
    assert str(found) == "0.123 [0.100, 0.200]"
    assert found.to_dict() == {"value": 0.1235, "low": 0.1, "high": 0.2, "n": 7}


def test_a_statistic_of_the_draws_covers_the_truth_about_as_often_as_it_says():
    """200 lots of 100 clips with noise of known size; R^2 is 1 - 1 / 5 in the long run."""
    generator, inside = np.random.default_rng(0), 0
    for lot in range(200):
        noise, signal = generator.normal(size=100), 2 * generator.normal(size=100)
        counts = drawn_counts(100, 400, seed=lot)
        draws = 1 - (counts @ noise**2) / (counts @ (signal + noise) ** 2)
        found = Interval.of_draws(draws, 100)
        assert found.value == pytest.approx(1 - (noise**2).sum() / ((signal + noise) ** 2).sum())
        inside += found.low <= 0.8 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_share_has_wilsons_interval():
    share = proportion(np.arange(100) < 95)
    assert (share.value, share.n) == (0.95, 100)
    assert share.low == pytest.approx(0.8882, abs=1e-4)  # statsmodels: proportion_confint(95, 100)
    assert share.high == pytest.approx(0.9785, abs=1e-4)
    assert proportion(np.ones(10, bool)).high == 1.0
    # z is 1.96 and not 1.95996, with which the last digit would be another
    assert proportion(np.arange(50) < 6).to_dict()["low"] == 0.0562
    assert proportion(np.arange(50) < 21).to_dict()["low"] == 0.2937
    with pytest.raises(ValueError, match="no answers"):
        proportion(np.ones(0, bool))
    with pytest.raises(ValueError, match=r"the shape \(2, 3\), expected one axis"):
        proportion(np.ones((2, 3), bool))


def test_a_few_runs_have_students_interval():
    found = t_interval([0.9, 0.93, 0.91])
    half = stats.t.ppf(0.975, 2) * np.std([0.9, 0.93, 0.91], ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(0.91333333)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    same = t_interval([0.5, 0.5, 0.5])
    assert (same.low, same.high) == (0.5, 0.5)
    for values in ([], [0.5]):
        alone = t_interval(values)
        assert alone.n == len(values) and np.isnan([alone.low, alone.high]).all()
