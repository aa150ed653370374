"""Fits against power laws that are known."""

import dataclasses
import math

import numpy as np
import pytest

from vmamba_explore.studies.scaling.fit import Curve, fit_exponent, make_curve


def curve(exponent, factor=3.0, noise=0.0, frames=(8, 16, 32, 64, 128)):
    wobble = np.random.default_rng(0).normal(size=len(frames)) * noise
    values = factor * np.array(frames, dtype=float) ** exponent * np.exp(wobble)
    return Curve("model", "time", "s", tuple(frames), tuple(values.tolist()))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_an_exact_power_law_is_found_with_no_error(exponent):
    law = fit_exponent(curve(exponent))
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.factor == pytest.approx(3.0)
    assert law.standard_error < 1e-12
    assert law.at(1000) == pytest.approx(3.0 * 1000**exponent)


def test_the_standard_error_covers_the_truth_as_often_as_it_should():
    """With five points (3 degrees of freedom), ± 3.18 standard errors hold 95 % of the fits."""
    generator = np.random.default_rng(1)
    frames, hits = np.array([8, 16, 32, 64, 128]), 0
    for _ in range(1000):
        values = frames**1.3 * np.exp(0.1 * generator.normal(size=5))
        law = fit_exponent(Curve("", "", "", tuple(frames.tolist()), tuple(values.tolist())))
        hits += abs(law.exponent - 1.3) < 3.182 * law.standard_error
    assert 930 <= hits <= 970


def test_short_clips_can_be_left_out_of_a_fit():
    frames = (8, 16, 32, 64, 128)
    bent = Curve("model", "time", "s", frames, tuple(max(n, 32) / 32 for n in frames))
    assert fit_exponent(bent).exponent < 0.6
    law = fit_exponent(bent, at_least=32)
    assert law.exponent == pytest.approx(1) and law.num_frames == (32, 64, 128)
    assert str(law) == "frames^(1.00 ± 0.00), fitted at 32 to 128 frames"


def test_two_lengths_are_not_fitted():
    with pytest.raises(ValueError, match="fit_exponent: 2 lengths of 'model' have 64 frames"):
        fit_exponent(curve(1), at_least=64)


def test_missing_values_are_left_out_of_a_fit():
    full = curve(2)
    holes = dataclasses.replace(full, values=(math.nan, *full.values[1:4], 0.0))
    assert fit_exponent(holes).num_frames == (16, 32, 64)


def test_a_curve_begins_with_the_shortest_clip():
    made = make_curve("model", "time", "s", {32: 3, 8: 1.5})
    assert (made.num_frames, made.values) == ((8, 32), (1.5, 3.0))
