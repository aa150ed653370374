from dataclasses import replace

import numpy as np
import pytest
import torch

from vmamba_explore.clips import Clip
from vmamba_explore.clips.clip import IMAGENET_MEAN, IMAGENET_STD, normalize


def make_clip(num_frames=4, repeated=0, seconds=None):
    rng = np.random.default_rng(0)
    return Clip(
        frames=rng.integers(0, 256, (num_frames, 6, 8, 3), dtype=np.uint8),
        seconds=np.arange(num_frames) / 10 if seconds is None else np.array(seconds),
        source="waves.mp4",
        indices=np.arange(num_frames),
        repeated=repeated,
    )


def test_the_tensor_is_what_imagenet_models_read():
    clip = make_clip()
    tensor = clip.tensor()
    assert tensor.shape == (3, 4, 6, 8)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    expected = (clip.frames / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(tensor.permute(1, 2, 3, 0).numpy(), expected, atol=2e-6)


def test_a_batch_is_normalized_as_its_clips_are():
    clips = [make_clip(), make_clip()]
    batch = normalize(np.stack([clip.frames for clip in clips]))
    assert batch.shape == (2, 3, 4, 6, 8)
    assert torch.equal(batch[1], clips[1].tensor())


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 6, 8, 2), np.uint8),
        np.zeros((6, 8, 3), np.uint8),
        np.zeros((4, 6, 8, 3), np.float32),
        torch.zeros(4, 6, 8, 3),
        [[0]],
    ],
)
def test_frames_that_are_not_rgb_bytes_are_refused(frames, unchecked):
    with pytest.raises(ValueError, match=r"must be uint8 \(..., num_frames, height, width, 3\)"):
        normalize(frames)


def test_reading_a_clip_as_a_tensor_leaves_its_pixels_alone():
    clip = make_clip()
    before = clip.frames.copy()
    clip.tensor().zero_()
    assert np.array_equal(clip.frames, before)


def test_fps_is_that_of_the_clip_and_ignores_repeated_frames():
    assert make_clip().fps == pytest.approx(10)
    assert make_clip(seconds=[0.0, 0.5, 0.5, 0.5], repeated=2).fps == pytest.approx(2)
    assert make_clip(num_frames=1).fps == 0.0


def test_the_repr_is_one_line_and_admits_repeated_frames():
    assert repr(make_clip()) == "Clip('waves.mp4', 4 frames of 8x6, 0.00 to 0.30 s)"
    assert repr(make_clip(repeated=2)).endswith(", the last 2 repeated)")


@pytest.mark.parametrize(
    ("frames", "seconds", "message"),
    [
        (np.zeros((4, 6, 8)), np.zeros(4), r"got float64 \(4, 6, 8\)"),
        (np.zeros((4, 3, 6, 8), np.uint8), np.zeros(4), r"got uint8 \(4, 3, 6, 8\)"),
        (np.zeros((0, 6, 8, 3), np.uint8), np.zeros(0), r"no empty axis, got uint8 \(0, 6, 8, 3\)"),
        (np.zeros((4, 6, 8, 3), np.uint8), np.zeros(3), r"4 frames need .* got \(3,\)"),
    ],
)
def test_a_clip_of_the_wrong_shape_says_what_arrived(unchecked, frames, seconds, message):
    with pytest.raises(ValueError, match=message):
        Clip(frames, seconds, "waves.mp4", np.arange(len(frames)))


def test_the_source_is_one_short_line_whatever_the_file_is_called():
    clip = replace(make_clip(), source="caf\udce9\r\u2029" + "a" * 5000 + ".mp4")
    assert clip.source.startswith(r"caf\udce9\r\u2029aaa") and clip.source.endswith("aaa.mp4")
    assert len(clip.source) < 250 and clip.source.encode()
