"""What a clip shows, told by its pixels: rings, samples and tests, structure."""

from dataclasses import replace

import numpy as np
import pytest

from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.clips.subjects import has_ring, has_sample_and_test, has_structure


@pytest.mark.parametrize("backgrounds", ["train", "test"])
def test_the_ring_of_motion_clips_is_seen_and_their_backgrounds_have_none(backgrounds):
    clips = MotionClips(21, backgrounds=backgrounds)
    seen = [has_ring(frames) for frames in clips.batch(range(100))[0]]
    assert sum(seen) >= 98
    assert not any(has_ring(clips.background(index)[None]) for index in range(100))


def test_the_ring_survives_compression_and_another_size(tmp_path):
    clips = MotionClips(22, img_size=224, backgrounds="test")
    for index in range(6):
        write_clip(tmp_path / "a.mp4", clips[index].clip.frames, fps=8)
        assert has_ring(load_clip(tmp_path / "a.mp4", stride=1, img_size=None).frames)
        assert has_ring(load_clip(tmp_path / "a.mp4", stride=1, img_size=64).frames)


def test_fields_and_discs_of_the_ring_s_colors_are_not_a_ring():
    field = np.zeros((16, 64, 64, 3), np.uint8)
    field[:, :, :32], field[:, :, 32:] = (255, 0, 220), (255, 230, 0)
    row, col = np.mgrid[:64, :64] - 32
    disc = np.where((row**2 + col**2 < 14**2)[None, ..., None], field, 0)
    hole = np.where((row**2 + col**2 > 11**2)[None, ..., None], disc, 0)
    assert has_ring(hole)
    assert not has_ring(field)
    assert not has_ring(hole[..., [1, 0, 2]]), "a ring of other colors"
    assert not has_ring(np.where(np.arange(64)[:, None] < 32, hole.transpose(3, 0, 1, 2), 0)
                        .transpose(1, 2, 3, 0)), "half of a ring"  # fmt: skip


@pytest.mark.parametrize("backgrounds", ["train", "test"])
def test_sample_and_test_are_seen_together_and_neither_alone(backgrounds):
    clips = RecallClips(31, backgrounds=backgrounds)
    for index in range(40):
        found = clips[index]
        assert has_sample_and_test(found.clip.frames)
        assert not has_sample_and_test(found.clip.frames[: found.test[0]])
        assert not has_sample_and_test(found.clip.frames[found.sample[1] + 1 :])
        assert not has_ring(found.clip.frames)
    assert not any(has_sample_and_test(each) for each in MotionClips(31).batch(range(40))[0])


def test_sample_and_test_survive_compression(tmp_path):
    clips = RecallClips(32, img_size=224, backgrounds="test")
    for index in range(6):
        write_clip(tmp_path / "a.mp4", clips[index].clip.frames, fps=8)
        assert has_sample_and_test(load_clip(tmp_path / "a.mp4", stride=1, img_size=64).frames)


def test_a_plain_picture_has_no_structure():
    clip = MotionClips(0)[0].clip
    assert has_structure(clip.frames)
    assert not has_structure(np.zeros_like(clip.frames))
    noisy = np.random.default_rng(0).integers(99, 102, clip.frames.shape).astype(np.uint8)
    assert not has_structure(replace(clip, frames=noisy).frames)
