"""The explorer drawn without a browser."""

import numpy as np
import pytest

from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.snapshot import Snapshots


@pytest.fixture
def explorer(make_exploration):
    return Explorer(make_exploration(0))


def pixels(explorer, frame=2):
    return np.asarray(Snapshots(explorer).picture(frame))


def test_all_frames_have_one_even_size(explorer):
    snapshots = Snapshots(explorer)
    sizes = {snapshots.picture(frame).size for frame in range(6)}
    assert len(sizes) == 1
    assert all(side % 2 == 0 for side in sizes.pop())


@pytest.mark.parametrize(
    "trait, value",
    [("quantity", "delta"), ("quantity", ""), ("layer", 0), ("direction", "difference"),
     ("direction", "forward"), ("opacity", 0.9), ("query", [1, 1, 2])],
)  # fmt: skip
def test_every_choice_changes_the_picture(explorer, trait, value):
    before = pixels(explorer)
    setattr(explorer, trait, value)
    after = pixels(explorer)
    assert before.shape != after.shape or (before != after).any()


def test_a_missing_value_leaves_the_gray_frame(make_exploration):
    explorer = Explorer(make_exploration(0), quantity="delta")
    explorer.layer, explorer.direction = 0, "forward"  # of frame 0 nothing is known there
    explorer.opacity = 1.0
    pane = pixels(explorer, 0)[68:180, 8:200].astype(int)
    assert (np.ptp(pane, axis=-1) == 0).all(), "something is colored"
    seen = pixels(explorer, 2)[68:180, 8:200].astype(int)
    assert (np.ptp(seen, axis=-1) > 0).any()


def test_two_sides_stand_beside_each_other_with_their_difference(make_exploration):
    one = Snapshots(Explorer(make_exploration(0))).picture(0)
    two = Snapshots(Explorer(make_exploration(0), make_exploration(1))).picture(0)
    assert two.width > 1.3 * one.width and two.height > one.height
