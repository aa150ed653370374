"""The questions of notebook 03: judged by what is passed, right and wrong, without the answer."""

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.analysis.delta import DeltaContrast
from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.reach import LookBackCourse
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.studies.lessons import memory as check

BOTH = ["forward", "backward"]


def contrast(moving, beside):
    """Delta 1 on still tokens, and these numbers by direction on the others."""
    coords = {"clip": range(3), "layer": [5], "direction": BOTH}
    still = xr.DataArray(np.ones((3, 1, 2)), coords, ("clip", "layer", "direction"))
    factors = xr.DataArray(
        [moving, beside], {"kind": [0, 1], "direction": BOTH}, ("kind", "direction")
    )
    fast, near = (still * factors.sel(kind=kind, drop=True) for kind in (0, 1))
    return DeltaContrast(fast, still, near, still, still, still)


@pytest.mark.parametrize(
    ("moving", "truth"), [([2, 3], "larger"), ([0.5, 0.7], "smaller"), ([1.02, 0.98], "same")]
)
def test_delta_on_what_moves_is_judged_by_the_median_over_clips(moving, truth):
    found = contrast(moving, [1, 1])
    for answer in ("larger", "smaller", "same"):
        assert check.on_what_moves(answer, found, 5).right == (answer == truth)
    assert check.on_what_moves(..., found, 5).right is None


def test_the_direction_that_differs_is_the_one_farther_from_one():
    found = contrast([0.5, 2.0], [0.5, 1.0])  # ratios beside: 1 and 2
    assert check.still_differs("backward", found, 5).right
    assert not check.still_differs("forward", found, 5).right


def labeled(values, *dims):
    """An array of one layer and both directions."""
    return xr.DataArray(values, {"layer": [0], "direction": BOTH}, ("layer", "direction", *dims))


def make_lives():
    """Most states last beyond the clip in layer 2."""
    share = xr.DataArray(
        np.array([0.1, 0.5, 0.2]).reshape(3, 1, 1, 1, 1),
        {"layer": [0, 2, 4]},
        ("layer", "direction", "frame", "row", "col"),
    )
    return HalfLives(share, share, share > 0.3, share, 0.5, False)


def make_course():
    """Look-back of 2 frames at the last frame, forward, and 4 without decay."""
    values = np.zeros((1, 2, 1, 3))
    values[0, 0, 0, 2] = 2.0
    course = labeled(values, "group", "frame")
    return LookBackCourse(course, 2 * course)


HELD = labeled(np.full((1, 2, 2, 2), 0.03), "source", "frame")
HELD = HELD.assign_coords(source=[0, 1], frame=[0, 1])


@pytest.mark.parametrize(
    ("question", "given", "right", "wrong"),
    [
        # ln 2 over the product
        (check.half_life, (0.1, 1.0), 6.93, 10),
        (check.half_life, (0.1, 10.0), 0.7, 10),
        (check.lasts_longest, (make_lives(),), 2, 1),
        (check.ceiling, (make_course(),), 4, 2),
        (check.looks_back, (make_course(), 0), 2, 4),
        # up to a factor of two
        (check.left_later, (HELD, 0, 0, 1), 0.05, 0.0005),
    ],
)
def test_the_truth_is_in_what_is_passed(question, given, right, wrong):
    assert question(right, *given).right is True
    assert question(wrong, *given).right is False
    assert question(..., *given).right is None


def test_dimensions_and_likeness_follow_the_numbers():
    participation = xr.DataArray([[4.0, 6.0]], dims=("layer", "direction"))
    cka = xr.DataArray([0.5], {"layer": [0]}, ("layer",))
    null = xr.DataArray(np.zeros((1, 99)), {"layer": [0]}, ("layer", "shift"))
    found = StateSimilarity(participation, 99, cka, null, torch.arange(100))
    assert check.dimensions(5, found).right and not check.dimensions(80, found).right
    assert check.alike("yes", found).right and not check.alike("no", found).right
    same = StateSimilarity(participation, 99, cka, null + 0.6, torch.arange(100))
    assert check.alike("no", same).right
    alone = StateSimilarity(participation, 99, None, None, torch.arange(100))
    with pytest.raises(ValueError, match="one direction, there is nothing to compare"):
        check.alike("no", alone)


READ = xr.DataArray([[0.9, 0.3]], {"layer": [1], "frame": [7, 11]}, ("layer", "frame"))


def test_what_a_probe_reads_is_judged_at_its_layer_and_boundary():
    assert check.readable_at(0.35, READ, 1, 11).right and check.readable_at(0.85, READ, 1, 7).right
    assert check.readable_at(0.9, READ, 1, 11).right is False
    assert check.readable_at(..., READ, 1, 11).right is None


@pytest.mark.parametrize("question", [check.brought, check.still_answers])
def test_most_clips_are_more_than_half(question):
    assert question("yes", 0.51).right and question("no", 0.5).right
    assert question("no", 0.97).right is False


def test_no_verdict_names_the_answer():
    found = contrast([0.5, 0.7], [1, 1])
    assert "smaller" not in repr(check.on_what_moves("larger", found, 5))
    assert "forward" not in repr(check.still_differs("backward", contrast([2, 1], [1, 1]), 5))
