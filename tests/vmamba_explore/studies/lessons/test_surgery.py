"""The questions of notebook 05 are judged by what was measured, whatever it was."""

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.analysis.patching import TwinPatching
from vmamba_explore.analysis.selection import SelectionSwap
from vmamba_explore.analysis.slow_states import OPERATIONS, StateSurgery
from vmamba_explore.studies.lessons import surgery as check

DIRECTIONS = ["forward", "backward"]


def row(*values):
    return xr.DataArray(np.array(values), dims=["clip"])


def named(*classes):
    return torch.nn.functional.one_hot(torch.tensor(classes), 6).float()


@pytest.mark.parametrize(
    ("shares", "truth"), [([[0.1, 0.2], [0.9, 0.1]], 1), ([[0.1, 0.5], [0.3, 0.4]], 0)]
)
def test_the_layer_that_moves_most_may_do_so_in_either_direction(shares, truth):
    patched = 2 * np.array(shares) - 1  # (layer, direction), at boundary 2; nothing at 1
    patched = np.stack([-np.ones_like(patched), patched], -1)[..., None]
    coords = {"layer": [0, 1], "direction": DIRECTIONS, "frame": [1, 2]}
    patching = TwinPatching(
        xr.DataArray(patched, coords, [*coords, "clip"]), row(1.0), row(-1.0), None, 0.0
    )
    for answer in range(3):
        assert check.moves_most(answer, patching).right == (answer == truth)
    assert check.moves_most(..., patching).right is None


def test_labels_are_counted_by_majority():
    labels, others = torch.tensor([0, 0, 2]), torch.tensor([1, 1, 3])
    assert check.still_right("yes", named(0, 0, 5), labels).right
    assert check.still_right("no", named(0, 5, 5), labels).right
    for question, first, second in ((check.becomes, "clip", "twin"), (check.whose, "own", "donor")):
        for classes, truth in (((0, 0, 3), first), ((1, 1, 5), second), ((0, 1, 5), "neither")):
            for answer in (first, second, "neither"):
                verdict = question(answer, named(*classes), labels, others)
                assert verdict.right == (answer == truth)
        assert question("both", named(0, 0, 3), labels, others).right is None


def test_nine_of_ten_can_be_read():
    assert check.can_be_read("yes", 0.9).right and check.can_be_read("no", 0.89).right
    assert check.can_be_read("no", 1.0).right is False


@pytest.mark.parametrize(
    ("counts", "truth"), [([2, 8, 9, 10], 0.1), ([9, 10, 10, 10], 0.0), ([2, 2, 2, 10], 1.0)]
)
def test_the_smallest_share_that_is_enough_loses_one_clip_at_most(counts, truth):
    right = np.zeros((2, 1, 4, 10), bool)
    for share, count in enumerate(counts):
        right[0, 0, share, :count] = True
    coords = {"operation": list(OPERATIONS[:2]), "order": ["a"], "share": [0.0, 0.01, 0.1, 1.0]}
    operated = StateSurgery(xr.DataArray(right, coords, [*coords, "clip"]), row(*[True] * 10))
    for answer in (0.0, 0.01, 0.1, 1.0):
        assert check.is_enough(answer, operated, "a").right == (answer == truth)
    shuffled = StateSurgery(operated.right.isel(share=[3, 0, 2, 1]), operated.plain)
    assert check.is_enough(truth, shuffled, "a").right


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
    verdict = check.whose("own", named(1, 1), torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert verdict.right is False and "donor" not in repr(verdict)
