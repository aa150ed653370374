import dataclasses

import numpy as np
import pytest

from vmamba_explore.analysis.camera_motion import measure_camera
from vmamba_explore.clips.camera import CLASS_NAMES, CameraClips, Change
from vmamba_explore.clips.camera_path import CUT, KINDS, MIXED, UNITS
from vmamba_explore.clips.photographs import bundled

EASY = CameraClips(0, level="easy")
PINNED = [  # mean colors of the quarters of the first and of the last frame
    [[[97.3, 77.8, 76.6], [115.4, 99.4, 96.9]], [[138.2, 110.4, 137.5], [152.0, 121.0, 147.4]]],
    [[[95.9, 79.7, 84.6], [117.0, 100.7, 102.3]], [[144.4, 114.9, 142.3], [152.9, 121.0, 150.1]]],
]
PINNED_POSE = [0.0174032, 0.0268873, -0.1603969, 0.0345331]


def test_a_clip_is_the_same_in_whatever_order_clips_are_drawn():
    clips = CameraClips(4)
    late = clips[12]
    clips[3]
    again = CameraClips(4)[12]
    assert np.array_equal(late.clip.frames, again.clip.frames)
    assert np.array_equal(late.pose, again.pose)
    assert not np.array_equal(late.clip.frames, CameraClips(5)[12].clip.frames)
    assert not np.array_equal(late.clip.frames, clips[23].clip.frames)


def test_every_eleven_clips_have_every_class_and_one_mixed_clip():
    clips = CameraClips(1)
    labels = [clips[i].label for i in range(22)]
    assert labels[:10] == list(range(10)) and labels[10] == MIXED
    assert labels[11:] == labels[:11]
    assert clips[10].class_name == "mixed" and clips[1].class_name == CLASS_NAMES[1]


def test_clip_17_looks_as_it_did_when_this_was_written():
    """Rounding may differ between machines; what is drawn may not."""
    clip = CameraClips(0)[17]
    assert clip.class_name == "zoom out"
    seen = clip.clip.frames[[0, 15]].reshape(2, 2, 32, 2, 32, 3).mean((2, 4))
    assert np.allclose(seen, PINNED, atol=0.5)
    assert np.allclose(clip.pose[-1], PINNED_POSE, atol=1e-6)


@pytest.mark.parametrize("index", [*range(9), *range(11, 20)])
def test_the_picture_moves_as_the_pose_says(index):
    clip = EASY[index]
    measured = measure_camera(clip.clip)
    seen = measured.applies  # some pictures are too smooth to measure every step
    truth = (np.diff(clip.pose, axis=0) * UNITS)[seen].sum(0)
    assert seen.sum() >= 5
    assert np.abs(measured.total - truth).max() < 0.04


CHANGES = [
    Change(mirror=True),
    Change(backward=True),
    Change(quarters=1),
    Change(quarters=3, mirror=True, backward=True),
    Change(channels=(2, 0, 1), negative=True),
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("index", [1, 4, 5, 8])
def test_a_changed_clip_moves_as_its_changed_pose_says(change, index):
    clip = EASY[index]
    frames = change.frames(clip.clip.frames)
    measured = measure_camera(dataclasses.replace(clip.clip, frames=frames))
    pose = change.pose(clip.pose)
    assert np.abs(measured.total - (pose[-1] - pose[0]) * UNITS).max() < 0.04
    target = change.target(clip.target)
    assert measured.label == CLASS_NAMES[target.argmax()]
    assert target.max() == clip.target.max()


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_exchanges_classes_and_leaves_static_and_cut(change):
    classes = change.classes()
    assert sorted(classes) == list(range(10))
    assert classes[0] == 0 and classes[CUT] == CUT


def test_four_quarter_turns_and_two_mirrors_change_nothing():
    clip = EASY[3]
    pose, frames = clip.pose, clip.clip.frames
    for _ in range(4):
        pose, frames = Change(quarters=1).pose(pose), Change(quarters=1).frames(frames)
    assert np.allclose(pose, clip.pose) and np.array_equal(frames, clip.clip.frames)
    twice = Change(mirror=True).frames(Change(mirror=True).frames(frames))
    assert np.array_equal(twice, frames)


def test_the_flow_of_a_clip_is_that_of_its_camera():
    clip = EASY[2]  # a pan to the right
    flow = clip.flow(8)
    assert flow.shape == (15, 8, 8, 2)
    assert np.allclose(flow[..., 0].sum(0), -(clip.pose[-1, 0] - clip.pose[0, 0]), atol=0.2)
    assert (flow[..., 0].sum(0) < 0).all()


def test_the_picture_changes_most_where_the_cut_is():
    for index in (CUT, CUT + 11, CUT + 22):
        clip = EASY[index]
        steps = np.abs(np.diff(clip.clip.frames.astype(float), axis=0)).mean((1, 2, 3))
        assert clip.class_name == "cut" and steps.argmax() + 1 == clip.cut
        assert EASY[index - 1].cut is None


def test_levels_differ_in_speed_and_clutter():
    def sizes(level):
        clips = CameraClips(0, level=level)
        return [travel_of(clips[i]) for i in range(1, 60, 11)]

    def travel_of(clip):
        return np.abs((clip.pose[-1] - clip.pose[0]) * UNITS).max()

    assert max(sizes("hard")) < 0.12 < 0.35 >= max(sizes("easy"))
    assert min(sizes("easy")) >= 0.1


@pytest.mark.parametrize("num_frames, img_size", [(8, 32), (24, 48)])
def test_clips_have_the_size_that_was_asked_for(num_frames, img_size):
    clips = CameraClips(2, num_frames=num_frames, img_size=img_size)
    for index in range(len(KINDS)):
        clip = clips[index]
        assert clip.clip.frames.shape == (num_frames, img_size, img_size, 3)
        assert clip.pose.shape == (num_frames, 4)


def test_photographs_may_be_files():
    one = bundled("test")[:1]
    assert CameraClips(0, photographs=one)[1].clip.frames.std() > 1
    with pytest.raises(ValueError, match="photographs"):
        CameraClips(0, photographs=())


def test_an_unknown_level_is_refused(unchecked):
    with pytest.raises(ValueError, match="CameraClips: level is 'cruel', expected easy, usual"):
        CameraClips(level="cruel")
