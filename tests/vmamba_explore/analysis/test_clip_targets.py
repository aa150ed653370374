"""What is true in each token frame, against the clips' own poses and pixels."""

import numpy as np
import pytest

from vmamba_explore.analysis.clip_targets import cut_clips, targets
from vmamba_explore.clips.camera_path import CENTER_DISTANCE, CameraPlan
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.clips.motion_plan import TURN
from vmamba_explore.clips.recall import RecallClips

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


def test_a_recall_clip_tells_both_colors_and_the_label_in_every_frame():
    clips = RecallClips(4)
    found = targets(clips.plan(range(16)), 2)
    assert list(found) == ["sample color", "test color", "label"]
    for index in range(16):
        clip = clips[index]
        known = {
            "sample color": clip.sample_color, "test color": clip.test_color, "label": clip.label
        }  # fmt: skip
        for name, value in known.items():
            target = found[name]
            assert target.is_class and target.valid.all()
            assert target.values.shape == (16, 8, 4)
            assert (target.values[index].argmax(-1) == value).all()


def camera_plan():
    """A camera that pans right, then tilts up; and one that zooms in, with a cut at frame 6."""
    poses = np.zeros((2, 16, 4))
    poses[0, :8, 0] = np.arange(8) * 0.01
    poses[0, 8:, 0] = 0.07
    poses[0, 8:, 1] = -np.arange(8) * 0.02
    poses[1, :, 2] = np.arange(16) * 0.1
    return CameraPlan(np.array([2, 9]), poses, np.array([0, 6]))


def test_a_camera_has_speeds_in_shares_of_the_picture_a_frame():
    found = targets(camera_plan(), 4)
    assert list(found) == ["pan", "tilt", "zoom", "roll", "label"]
    np.testing.assert_allclose(found["pan"].values[0, :, 0], [0.01, 0.01, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["tilt"].values[0, :, 0], [0, 0, -0.02, -0.02], atol=1e-12)
    zoom = 0.1 * CENTER_DISTANCE
    np.testing.assert_allclose(found["zoom"].values[1, :, 0], [zoom] * 4)
    assert not found["roll"].values.any()
    assert (found["label"].values.argmax(-1) == [[2], [9]]).all()


def test_across_a_cut_and_in_a_single_frame_there_is_no_speed():
    valid = targets(camera_plan(), 4)["pan"].valid
    assert valid.tolist() == [[True] * 4, [True, False, True, True]]
    assert not targets(camera_plan(), 1)["pan"].valid.any()
    assert targets(camera_plan(), 2)["pan"].valid[1].all()  # the cut falls between token frames


def test_the_plan_of_something_else_is_refused():
    with pytest.raises(TypeError, match="the plan is dict, expected that of motion, recall or"):
        targets({}, 2)
