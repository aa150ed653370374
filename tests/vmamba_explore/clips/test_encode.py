"""Writing a video file."""

import numpy as np
import pytest

from vmamba_explore.clips import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips


def test_a_written_clip_is_read_back_frame_by_frame(tmp_path):
    clip = MotionClips(0, img_size=128)[0].clip
    write_clip(tmp_path / "clip.mp4", clip.frames, fps=8)
    again = load_clip(tmp_path / "clip.mp4", num_frames=16, stride=1, img_size=128)
    assert again.repeated == 0
    np.testing.assert_allclose(again.seconds, np.arange(16) / 8, atol=1e-3)
    error = np.abs(again.frames.astype(int) - clip.frames).mean(axis=(1, 2, 3))
    assert error.max() < 8
    shifted = np.abs(again.frames[1:].astype(int) - clip.frames[:-1]).mean(axis=(1, 2, 3))
    assert error[1:].mean() < shifted.mean()


def test_odd_sides_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match="65 x 64 pixels; H.264 needs even sides. Crop or pad"):
        write_clip(tmp_path / "clip.mp4", np.zeros((4, 64, 65, 3), np.uint8))
