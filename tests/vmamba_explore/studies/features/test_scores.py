import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from vmamba_explore.intervals import drawn_counts
from vmamba_explore.studies.features.factors import Factor, Rows
from vmamba_explore.studies.features.scores import (
    RESAMPLES,
    auroc_draws,
    held_out,
    r2_draws,
    train_scores,
)

RNG = np.random.default_rng(0)
CLIPS = np.repeat(np.arange(12), 5)
TRUTH = (RNG.random(60) < 0.4).astype(float)
VALUES = np.round(TRUTH + RNG.normal(size=60), 1)  # some of them equal


def auroc(values, truth):
    yes, no = values[truth > 0], values[truth == 0]
    return mannwhitneyu(yes, no).statistic / (len(yes) * len(no))


def rows(values, valid=None, binary=True):
    valid = np.ones(len(values), bool) if valid is None else valid
    factor = Factor("it", "it", values, valid, is_binary=binary)
    return Rows(np.arange(len(values)), CLIPS[: len(values)], 12, {"it": factor})


def test_auroc_is_the_share_of_pairs_won_ties_counting_half():
    assert auroc_draws(VALUES, TRUTH, CLIPS, 12)[0] == pytest.approx(auroc(VALUES, TRUTH))


def test_a_draw_of_clips_is_scored_as_if_its_rows_were_there_as_often():
    draws = auroc_draws(VALUES, TRUTH, CLIPS, 12)
    for draw in (1, 2, 500):
        often = drawn_counts(12, RESAMPLES)[draw].astype(int)[CLIPS]
        expected = auroc(np.repeat(VALUES, often), np.repeat(TRUTH, often))
        assert draws[draw] == pytest.approx(expected)


def test_training_scores_are_signed_and_a_constant_number_scores_nothing():
    factor = Factor("it", "it", TRUTH, np.ones(60, bool))
    numbers = np.column_stack([VALUES, -VALUES, np.ones(60)])
    scores = train_scores(numbers, [factor])[:, 0]
    better = auroc(VALUES, TRUTH) - 0.5
    np.testing.assert_allclose(scores, [better, -better, 0], atol=1e-12)


def test_rows_in_which_a_factor_is_not_defined_do_not_count():
    valid = CLIPS < 6
    factor = Factor("it", "it", TRUTH, valid)
    inside = auroc(VALUES[valid], TRUTH[valid]) - 0.5
    assert train_scores(VALUES[:, None], [factor])[0, 0] == pytest.approx(inside)
    known = rows(TRUTH, valid)
    assert held_out((VALUES, known), (VALUES, known), "it", 1.0)[0] == pytest.approx(inside + 0.5)


def test_a_number_that_is_small_where_the_factor_is_true_is_turned_round():
    known = rows(TRUTH)
    turned = held_out((-VALUES, known), (-VALUES, known), "it", -0.2)[0]
    assert turned == pytest.approx(auroc(VALUES, TRUTH))


def test_r2_is_one_of_a_line_and_below_zero_where_the_line_does_not_hold():
    x = RNG.normal(size=60)
    train, good, bad = (rows(y, binary=False) for y in (2 * x + 1, 2 * x + 1, 1 - 2 * x))
    assert held_out((x, train), (x, good), "it", 1.0)[0] == pytest.approx(1)
    assert held_out((x, train), (x, bad), "it", 1.0)[0] < -1


def test_r2_of_a_draw_counts_each_clip_as_often_as_it_was_drawn():
    guess, truth = RNG.normal(size=60), RNG.normal(size=60)
    draws = r2_draws(guess, truth, 0.3, CLIPS, 12)
    weights = drawn_counts(12, RESAMPLES)[7][CLIPS]
    expected = 1 - (weights * (truth - guess) ** 2).sum() / (weights * (truth - 0.3) ** 2).sum()
    assert draws[7] == pytest.approx(expected)
