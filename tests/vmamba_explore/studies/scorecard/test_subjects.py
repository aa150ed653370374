"""What is asked of each subject: the compared class, when a clip is decided, its own measures."""

import numpy as np
import pytest
import torch

from vmamba_explore.clips import camera_path
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.studies.scorecard.subjects import CAMERA, MOTION, RECALL, MovingCameras
from vmamba_explore.tokens import TokenGrid

FINE, COARSE = TokenGrid(16, 8, 8), TokenGrid(4, 8, 8)


@pytest.fixture(scope="module")
def recall():
    clips = RECALL.card_clips(3)
    return [clips[index] for index in range(6)]


@pytest.fixture(scope="module")
def cameras():
    clips = MovingCameras(3)
    return [clips[index] for index in range(18)]


def measured(subject, clips, grid):
    return {f"{each.part}: {each.kind}": each for each in subject.measures(clips, grid)}


@pytest.mark.parametrize("subject", [MOTION, RECALL, CAMERA], ids=lambda each: each.model)
def test_the_compared_class_is_another_one_whose_own_compared_class_is_the_first(subject):
    labels = np.arange(len(subject.class_names))
    assert (subject.minus(labels) != labels).all()
    assert (subject.minus(subject.minus(labels)) == labels).all()


def test_the_compared_class_of_a_recall_clip_is_its_label_with_the_opposite_sample():
    clips = RecallClips(1)
    for index in range(16):
        other = clips.other_sample(index, 2)
        assert RECALL.minus(np.array([clips[index].label]))[0] == other.label


def test_the_compared_class_of_a_moving_camera_is_the_opposite_direction():
    names = camera_path.CLASS_NAMES
    pairs = {names[a]: names[b] for a, b in enumerate(CAMERA.minus(np.arange(10)))}
    assert pairs["pan left"] == "pan right" and pairs["tilt down"] == "tilt up"
    assert pairs["zoom in"] == "zoom out" and pairs["roll counterclockwise"] == "roll clockwise"
    assert pairs["cut"] == "static"


def test_a_motion_clip_is_decided_by_two_frames_of_its_window():
    clip = MOTION.card_clips(3)[0]
    times = MOTION.times(clip)
    assert (times.prefix, times.suffix) == (clip.window[0] + 1, clip.window[1] - 1)


def test_a_recall_clip_is_decided_where_both_discs_have_been_seen(recall):
    for clip in recall:
        times = RECALL.times(clip)
        seen = clip.sample_mask.any((1, 2)), clip.test_mask.any((1, 2))
        for frame in range(16):
            both = all(disc[: frame + 1].any() for disc in seen)
            assert both == (frame >= times.prefix)
            assert all(disc[frame:].any() for disc in seen) == (frame <= times.suffix)


def test_a_moving_camera_is_decided_once_it_has_gone_further_than_one_that_stands(cameras):
    moving = [clip for clip in cameras if clip.cut is None]
    for clip in moving:
        times = CAMERA.times(clip)
        assert times.group == clip.class_name
        axis, sign = camera_path.AXIS_AND_SIGN[clip.label - 1]

        def gone(first, last, pose=clip.pose, axis=axis, sign=sign):
            step = (pose[last] - pose[first]) * camera_path.UNITS
            return sign * step[axis]

        assert gone(0, times.prefix) >= 0.022 and gone(times.suffix, 15) >= 0.022
        assert max(gone(0, frame) for frame in range(times.prefix)) < 0.022
        assert max(gone(frame, 15) for frame in range(times.suffix + 1, 16)) < 0.022
    assert len(moving) == 16


def test_a_cut_is_decided_by_the_frames_beside_it(cameras):
    cuts = [clip for clip in cameras if clip.cut is not None]
    assert len(cuts) == 2
    for clip in cuts:
        times = CAMERA.times(clip)
        assert (times.suffix, times.prefix) == (clip.cut - 1, clip.cut) == clip.window


def test_moving_cameras_move_or_cut_and_stay_what_they_are(cameras):
    labels = [clip.label for clip in cameras]
    assert 0 not in labels and -1 not in labels and set(labels) == set(range(1, 10))
    frames, again = MovingCameras(3).batch([4, 1])
    assert again.tolist() == [labels[4], labels[1]]
    np.testing.assert_array_equal(frames[0], cameras[4].clip.frames)
    plan = MovingCameras(3).plan([8])
    assert plan.cuts[0] == (cameras[8].cut or 0)
    np.testing.assert_array_equal(plan.poses[0], cameras[8].pose)


def test_a_map_of_the_sample_alone_is_seen_to_miss_the_test(recall):
    measures = measured(RECALL, recall, FINE)
    share = measures["sample: share of the map on it"]
    discs = [clip.sample_mask.reshape(16, 8, 8, 8, 8).any((2, 4)) for clip in recall]
    maps = torch.from_numpy(np.stack(discs)).double()
    for name, measure in measures.items():
        found = measure.of(maps)
        if name.startswith("sample: "):
            torch.testing.assert_close(found, torch.ones(6).double())
        elif name in ("test: share of the map on it", "test: share in its frames"):
            assert not found.any()
        else:  # with the sample's frames left out nothing remains of this map
            assert found.isnan().all()
    area = torch.from_numpy(np.stack([disc.mean() for disc in discs]))
    torch.testing.assert_close(share.chance, area)


def test_a_map_of_both_discs_is_on_each_once_the_other_is_left_out(recall):
    measures = measured(RECALL, recall, FINE)
    both = [clip.evidence.reshape(16, 8, 8, 8, 8).any((2, 4)) for clip in recall]
    maps = torch.from_numpy(np.stack(both)).double()
    whole = {name: each.of(maps) for name, each in measures.items()}
    for part in ("sample", "test"):
        alone = whole[f"{part}: share on it, the other's frames left out"]
        torch.testing.assert_close(alone, torch.ones(6).double())
        assert (whole[f"{part}: share of the map on it"] < 1).all()
    total = sum(whole[f"{part}: share of the map on it"] for part in ("sample", "test"))
    torch.testing.assert_close(total, torch.ones(6).double())


def test_chance_is_what_a_map_gets_that_is_the_same_everywhere(recall):
    for measure in RECALL.measures(recall, FINE):
        found = measure.of(torch.full((6, 16, 8, 8), 0.3).double())
        torch.testing.assert_close(found, measure.chance)


def test_a_map_like_the_flow_agrees_with_it_wholly_and_a_cut_has_none(cameras):
    measures = measured(CAMERA, cameras, COARSE)
    flow = [
        np.linalg.norm(clip.flow(8), axis=-1)[[*range(15), 14]].reshape(4, 4, 8, 8).mean(1)
        for clip in cameras
    ]
    found = measures["flow: rank correlation with its size"].of(torch.from_numpy(np.stack(flow)))
    for clip, value in zip(cameras, found.tolist(), strict=True):
        assert np.isnan(value) if clip.cut is not None else value == pytest.approx(1)


def test_a_map_of_the_objects_has_the_worst_share_where_there_are_objects(cameras):
    measure = measured(CAMERA, cameras, COARSE)["moving objects: share of the map"]
    masks = np.stack([c.objects.reshape(4, 4, 8, 8, 8, 8).any((1, 3, 5)) for c in cameras])
    there = masks.any((1, 2, 3))
    assert measure.low_is_good and 0 < there.sum() < len(there)
    found = measure.of(torch.from_numpy(masks).double())
    torch.testing.assert_close(found[there], torch.ones(int(there.sum())).double())
    assert found[~there].isnan().all() and measure.chance[~there].isnan().all()
    opposite = measure.of(torch.from_numpy(~masks).double())
    assert not opposite[there].nan_to_num().any()
