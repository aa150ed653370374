"""The questions of notebook 07 are judged by what the explorer holds."""

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.studies.lessons import explorer as check
from vmamba_explore.view.explorer import Exploration, Explorer


@pytest.fixture
def make_exploration():
    def make(curve=(0.0, 1.0), label="right"):
        dims = ("layer", "direction", "frame", "row", "col")
        coords = {"layer": [0], "direction": ["forward", "backward"]}
        return Exploration(
            Clip(np.zeros((8, 16, 16, 3), np.uint8), np.arange(8) / 8, "c", np.arange(8)),
            {"delta": xr.DataArray(np.ones((1, 2, 4, 1, 1)), coords, dims)},
            {"seen from the start": xr.DataArray(np.array(curve), dims=("frame",))},
            [(label, 1.0)],
            label,
            (0, None),
            "m",
            {name: np.arange(4).reshape(4, 1, 1) for name in ("forward", "backward")},
        )

    return make


def test_it_decides_where_the_evidence_rises_most(make_exploration):
    one = make_exploration([-4.0, -3.0, 9.0, 11.0])
    assert check.decides(2, one).right
    assert not check.decides(3, one).right
    assert check.decides(..., one).right is None


@pytest.mark.parametrize(
    "labels, truth",
    [
        (("left", "right"), "forward"),
        (("right", "left"), "backward"),
        (("left", "left"), "both"),
        (("right", "right"), "neither"),
    ],
)
def test_a_label_needs_the_scans_without_which_it_changes(make_exploration, labels, truth):
    muted = {
        direction: Explorer(make_exploration(), make_exploration(label=label))
        for direction, label in zip(("forward", "backward"), labels, strict=True)
    }
    answers = ("forward", "backward", "both", "neither")
    assert [a for a in answers if check.needs(a, muted).right] == [truth]
