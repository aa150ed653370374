"""The random part of motion clips: poses, windows and labels, without pixels."""

import numpy as np
import pytest

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.motion_plan import TURN, Plan, all_windows

CLIPS = 6000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return MotionClips(5).plan(np.arange(CLIPS))


def lean(groups: np.ndarray, phases: np.ndarray, bins: int = 8) -> float:
    """How far the phases of any group, frame and coordinate are from uniform: chi-square, at most.

    With 7 degrees of freedom and 800 of them, one in a thousand draws exceeds 39.
    """
    worst = 0.0
    for group in np.unique(groups):
        cell = phases[groups == group] * bins // TURN
        expected = len(cell) / bins
        counts = np.stack([(cell == k).sum(axis=0) for k in range(bins)])
        worst = max(worst, float(((counts - expected) ** 2 / expected).sum(axis=0).max()))
    return worst


def test_no_pose_of_any_single_frame_leans_to_a_class(plan):
    assert lean(plan.labels, plan.target.poses) < 39
    assert lean(plan.labels, plan.distractor.poses) < 39


def test_the_lean_test_sees_a_pose_that_gives_the_class_away(plan):
    kept_inside = plan.target.poses.copy()
    kept_inside[:, :, 0] = np.where(
        plan.labels[:, None] == 0, kept_inside[:, :, 0] * 3 // 4, kept_inside[:, :, 0]
    )
    assert lean(plan.labels, kept_inside) > 39


def test_windows_lie_inside_the_clip_and_do_not_depend_on_the_class(plan):
    first, last = plan.windows.T
    assert first.min() == 1
    assert last.max() == 14
    assert set((last - first + 1).tolist()) == {6, 7, 8, 9}
    which = first * 16 + last
    share = np.array([np.bincount(which[plan.labels == k], minlength=256) for k in range(10)])
    seen = share.sum(axis=0) > 0
    assert seen.sum() == len(all_windows(16)) == 30
    assert share[:, seen].min() > 3  # 20 expected
    assert share[:, seen].max() < 45


def test_the_target_moves_in_its_window_along_its_own_coordinate_only(plan):
    step = (np.diff(plan.target.poses, axis=1) + TURN // 2) % TURN - TURN // 2
    frame = np.arange(15)
    inside = (plan.windows[:, :1] <= frame) & (frame < plan.windows[:, 1:])
    outside = (frame < plan.windows[:, :1] - 1) | (frame > plan.windows[:, 1:])
    assert (step[outside] == 0).all()
    clip = np.nonzero(inside)[0]
    moving = step[inside]
    coordinate, sign = plan.labels[clip] >> 1, 1 - 2 * (plan.labels[clip] & 1)
    along = np.take_along_axis(moving, coordinate[:, None], axis=1)[:, 0] * sign
    assert along.min() >= TURN // 18
    assert along.max() <= TURN // 5
    assert (np.count_nonzero(moving, axis=1) == 1).all()


def test_a_twin_has_the_same_poses_with_its_window_reversed():
    clips = MotionClips(5)
    plan, twin = clips.plan(np.arange(500)), clips.plan(np.arange(500), twins=True)
    np.testing.assert_array_equal(twin.labels, plan.labels ^ 1)
    np.testing.assert_array_equal(twin.windows, plan.windows)
    np.testing.assert_array_equal(twin.scene, plan.scene)
    for row, (a, b) in enumerate(plan.windows):
        for name in ("target", "distractor"):
            forward, back = getattr(plan, name).poses[row], getattr(twin, name).poses[row]
            np.testing.assert_array_equal(back[a : b + 1], forward[a : b + 1][::-1])
            np.testing.assert_array_equal(back[:a], forward[:a])
            np.testing.assert_array_equal(back[b + 1 :], forward[b + 1 :])


def test_a_clip_does_not_depend_on_the_clips_beside_it():
    clips = MotionClips(5)
    together, alone = clips.plan([4, 9, 2]), clips.plan(9)
    np.testing.assert_array_equal(together.target.poses[1], alone.target.poses[0])
    np.testing.assert_array_equal(together.scene[1], alone.scene[0])


def test_the_distractor_is_another_sprite(plan):
    assert (plan.target.sprites != plan.distractor.sprites).all()
