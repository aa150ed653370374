"""What is true in each token frame, against the clips' own poses and pixels."""

import numpy as np
import pytest

from vmamba_explore.analysis.clip_targets import cut_clips, targets
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.clips.motion_plan import TURN

CLIPS = MotionClips(seed=3)


def test_position_is_the_mean_of_both_clip_frames_on_the_circle():
    plan = CLIPS.plan(range(20))
    position = targets(plan, 2)["position"].values
    x, y = (plan.target.poses[4, 6:8, at] * (2 * np.pi / TURN) for at in (0, 1))
    expected = [np.cos(x).mean(), np.cos(y).mean(), np.sin(x).mean(), np.sin(y).mean()]
    assert np.allclose(position[4, 3], expected)


def test_the_step_over_the_border_is_as_short_as_any():
    """x goes once round the picture: to 0 and on, no jump in what a probe is to predict."""
    plan = CLIPS.plan(range(300))
    right = plan.labels == CLASS_NAMES.index("right")
    position = targets(plan, 1)["position"].values[right]
    first, last = plan.windows[right].T
    steps = np.linalg.norm(np.diff(position, axis=1), axis=-1)
    inside = (first[:, None] <= np.arange(15)) & (np.arange(15) < last[:, None])
    crossed = (np.abs(np.diff(plan.target.poses[right][..., 0], axis=1)) > TURN // 2) & inside
    assert crossed.sum() >= 5
    assert steps[inside].max() < 2 * steps[inside].min()


def test_velocity_has_the_sign_of_the_class_and_is_defined_inside_the_window_only():
    plan = CLIPS.plan(range(200))
    velocity = targets(plan, 2)["velocity"]
    for label, (x, y) in {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}.items():
        of_class = velocity.values[plan.labels == CLASS_NAMES.index(label)]
        assert len(of_class) and (np.sign(of_class) == [x, y]).all()
        assert 1 / 16 <= np.abs(of_class).max() <= 1 / 11
    assert not velocity.values[plan.labels >= 4].any()
    for clip, (first, last) in enumerate(plan.windows):
        inside = [first <= 2 * frame and 2 * frame + 1 <= last for frame in range(8)]
        assert velocity.valid[clip].tolist() == inside


def test_labels_stand_in_the_column_of_their_class():
    plan = CLIPS.plan(range(10))
    label = targets(plan, 2)["label"]
    assert label.is_class and (label.values.argmax(-1) == plan.labels[:, None]).all()


def test_size_grows_with_the_pixels_of_the_object():
    plan = CLIPS.plan(range(30))
    size = targets(plan, 2)["size"].values[:, 0, 0]
    clips = MotionClips(seed=3, distractors="none")
    covered = [int((clips[clip].ignore | clips[clip].evidence)[0].sum()) for clip in range(30)]
    still = plan.windows[:, 0] >= 2  # so that both clip frames show one size
    assert np.corrcoef(size[still], np.log2(np.array(covered)[still]))[0, 1] > 0.9


@pytest.mark.parametrize("edge", ["start", "end", "either"])
def test_chosen_clips_jump_at_the_boundary_and_nowhere_inside_a_token_frame(edge):
    chosen = cut_clips(CLIPS, 40, boundary=4, tubelet_size=2, edge=edge)
    assert len(set(chosen.tolist())) == 40
    first, last = CLIPS.plan(chosen).windows.T
    if edge != "either":
        assert ((first if edge == "start" else last + 1) == 8).all()
    else:
        assert ((first == 8) ^ (last + 1 == 8)).all()
        assert (first == 8).any() and (last + 1 == 8).any()


def test_clips_that_do_not_exist_get_a_sentence():
    with pytest.raises(ValueError, match="found 0 clips that jump before clip frame 16"):
        cut_clips(CLIPS, 5, boundary=8, tubelet_size=2)
    with pytest.raises(ValueError, match="expected 500"):
        cut_clips(MotionClips(seed=3, length=300), 500, boundary=4, tubelet_size=2)
    with pytest.raises(ValueError, match="edge is 'middle', expected 'start' or 'end' or 'either'"):
        cut_clips(CLIPS, 5, boundary=4, tubelet_size=2, edge="middle")
