"""The questions of notebook 05 are judged by what was measured, whatever it was."""

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.analysis.patching import Sweep, TwinPatching
from vmamba_explore.analysis.selection import SelectionSwap
from vmamba_explore.studies.lessons import surgery as check

DIRECTIONS = ["forward", "backward"]


def by_place(values, frames):
    """(direction, frame) of one layer and one clip as a full array."""
    coords = {"layer": [5], "direction": DIRECTIONS, "frame": frames}
    return xr.DataArray(np.array(values)[None, ..., None], coords, [*coords, "clip"])


def row(*values):
    return xr.DataArray(np.array(values), dims=["clip"])


@pytest.mark.parametrize(("left", "truth"), [([9.0, 1.0], "backward"), ([2.0, 4.0], "forward")])
def test_the_direction_that_hurts_more_is_the_one_with_less_left(left, truth):
    muted = Sweep(by_place([[left[0]], [left[1]]], [0]), row(10.0))
    for answer in DIRECTIONS:
        assert check.hurts_more(answer, muted, 5).right == (answer == truth)
    assert check.hurts_more(..., muted, 5).right is None
    assert check.hurts_more("sideways", muted, 5).right is None


def test_a_scan_matters_if_any_clip_moves_at_any_boundary():
    resets = Sweep(by_place([[3.0, 3.0], [3.0, 2.9]], [1, 2]), row(3.0))
    assert check.can_matter("no", resets, 5, "forward").right
    assert check.can_matter("yes", resets, 5, "backward").right
    assert check.can_matter("no", resets, 5, "backward").right is False


@pytest.mark.parametrize(
    ("shares", "truth"), [([1.0, 0.9, 0.2, 0.0, 0.0], 2), ([0.1, 0.0, 0.0, 0.6, 0.9], 5)]
)
def test_the_last_boundary_is_where_at_least_half_is_restored(shares, truth):
    patched = by_place([[-1.0] * 5, [2 * share - 1 for share in shares]], range(1, 6))
    patching = TwinPatching(patched, row(1.0), row(-1.0), None, 0.0)
    for answer in range(8):
        verdict = check.last_boundary(answer, patching, 5, "backward")
        assert verdict.right == (answer == truth)
    assert check.last_boundary(0, patching, 5, "forward").right


def test_labels_are_counted_by_majority():
    labels, twins = torch.tensor([0, 0, 2]), torch.tensor([1, 1, 3])

    def named(*classes):
        return torch.nn.functional.one_hot(torch.tensor(classes), 6).float()

    assert check.still_right("yes", named(0, 0, 5), labels).right
    assert check.still_right("no", named(0, 5, 5), labels).right
    for classes, truth in (((0, 0, 3), "clip"), ((1, 1, 5), "twin"), ((0, 1, 5), "neither")):
        for answer in ("clip", "twin", "neither"):
            verdict = check.becomes(answer, named(*classes), labels, twins)
            assert verdict.right == (answer == truth)


@pytest.mark.parametrize(
    ("alone_u", "alone_selection", "truth"), [(0.8, -0.8, "selection"), (-0.8, 0.8, "u")]
)
def test_what_carries_more_is_the_larger_share(alone_u, alone_selection, truth):
    """From 1, the clip, to -1, the twin: the one that moves farther on its own brings more."""
    coords = {"layer": [5], "direction": ["backward"]}
    coords |= {"u": ["own", "twin"], "selection": ["own", "twin"]}
    values = np.array([[1.0, alone_selection], [alone_u, -1.0]])[None, None, ..., None]
    swap = SelectionSwap(xr.DataArray(values, coords, [*coords, "clip"]), row(1.0), row(-1.0), 0.0)
    for answer in ("u", "selection"):
        assert check.carries_more(answer, swap, 5, "backward").right == (answer == truth)


def test_no_verdict_gives_the_truth_away():
    muted = Sweep(by_place([[9.0], [1.0]], [0]), row(10.0))
    assert "backward" not in repr(check.hurts_more("forward", muted, 5))
