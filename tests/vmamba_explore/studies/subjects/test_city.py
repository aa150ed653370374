"""The bundled real film."""

import av
import numpy as np
import pytest

from vmamba_explore import load_clip, resources
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.studies.subjects import city

FILM = resources.path("clips/city.mp4")


def test_the_film_has_every_frame_of_the_original_and_its_cut():
    with av.open(FILM) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 190
    steps = np.abs(np.diff(np.stack(frames).astype(int), axis=0)).mean((1, 2))
    assert steps.argmax() == 115
    assert steps[115] > 5 * np.sort(steps)[-2]


def test_the_film_reads_as_a_clip():
    clip = load_clip(FILM, img_size=64)
    assert clip.frames.shape == (16, 64, 64, 3)
    assert not clip.repeated


def test_another_file_than_the_original_is_refused(tmp_path):
    write_clip(tmp_path / "other.mp4", np.zeros((4, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="other.mp4 is not the original; data/SOURCES.md"):
        city.main([str(tmp_path / "other.mp4"), "--output", str(tmp_path / "city.mp4")])
    assert not (tmp_path / "city.mp4").exists()
