import numpy as np
import pytest

from vmamba_explore.clips.camera import CameraClips, Change
from vmamba_explore.clips.camera_path import MIXED
from vmamba_explore.clips.photographs import bundled
from vmamba_explore.studies.subjects import camera_batches
from vmamba_explore.studies.subjects.camera_batches import (
    EASY_CLIPS,
    EASY_STEPS,
    NEW,
    CameraBatches,
    Store,
    clips_until,
    draw_change,
    token_flow,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return Store(folder, 0, bundled("train"), clips_until(EASY_STEPS + 3))


def test_a_batch_depends_on_its_step_only(store):
    batches = CameraBatches(store, batch_size=8)
    first = batches(3)
    batches(4)
    for one, other in zip(first, CameraBatches(store, batch_size=8)(3), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(first[0], batches(4)[0])


def test_a_batch_has_frames_labels_targets_and_the_flow_of_each_token(store):
    frames, labels, targets, flows = CameraBatches(store, batch_size=8)(0)
    assert frames.shape == (8, 16, 64, 64, 3) and frames.dtype == np.uint8
    assert targets.shape == (8, 10) and flows.shape == (8, 256, 2)
    assert flows.dtype == targets.dtype == np.float32
    clear = labels != MIXED
    assert (targets.argmax(1) == labels)[clear].all()
    assert np.allclose(targets.sum(1), 1)


def test_a_clip_is_rendered_once(store, monkeypatch):
    wanted = CameraClips(0, photographs=bundled("train"), level="easy")[13]
    assert np.array_equal(store(13)[0], wanted.clip.frames)
    monkeypatch.setattr(camera_batches, "CameraClips", None)
    frames, pose, target = store(13)
    assert np.array_equal(frames, wanted.clip.frames)
    assert np.array_equal(pose, wanted.pose) and np.array_equal(target, wanted.target)


def test_the_first_clips_are_easy_and_every_later_step_brings_three():
    assert clips_until(0) == clips_until(EASY_STEPS - 1) == EASY_CLIPS
    assert clips_until(EASY_STEPS + 10) - clips_until(EASY_STEPS + 9) == NEW == 3


def test_the_flow_of_tokens_goes_against_a_pan_and_outward_in_a_zoom():
    pan, zoom = np.zeros((16, 4)), np.zeros((16, 4))
    pan[:, 0] = np.linspace(0, 0.3, 16)
    zoom[:, 2] = np.linspace(0, 0.3, 16)
    moved = np.sinh(token_flow(pan, 4, 8)) * camera_batches.FLOW_UNIT
    assert np.allclose(moved, [-0.3, 0])
    grown = np.sinh(token_flow(zoom, 4, 8)) * camera_batches.FLOW_UNIT
    places = (np.arange(8) + 0.5) / 8 - 0.5
    assert np.allclose(grown[:8, 0], 0.3 * places)
    assert np.allclose(grown[::8, 1][:8], 0.3 * places)


def test_changes_are_drawn_from_all_of_them():
    drawn = [draw_change(np.random.default_rng(seed)) for seed in range(300)]
    assert {change.quarters for change in drawn} == {0, 1, 2, 3}
    assert 0.4 < np.mean([change.mirror for change in drawn]) < 0.6
    assert Change() in drawn
