"""The bundled clips."""

import hashlib

import numpy as np
import pytest

from vmamba_explore import resources
from vmamba_explore.clips import load_clip
from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.studies.subjects import samples
from vmamba_explore.studies.subjects.samples import SAMPLES, SEED, Sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_bundled_clip_reads_as_the_motion_clip_it_was_made_from(sample: Sample):
    shown = "all" if sample.distractor else "none"
    clips = MotionClips(SEED, backgrounds="test", distractors=shown)
    truth = clips.twin(sample.index) if sample.twin else clips[sample.index]
    clip = load_clip(resources.path(f"clips/{sample.name}.mp4"), img_size=64)
    assert clip.indices.tolist() == list(range(0, 32, 2))
    assert clip.repeated == 0
    error = np.abs(clip.frames.astype(int) - truth.clip.frames)
    assert error.mean() < 12
    assert error[truth.evidence].mean() < 30
    word = "left" if sample.twin else sample.name.split("_")[0]
    assert CLASS_NAMES[truth.label] == word


def test_sources_gives_the_digest_of_every_bundled_clip():
    text = (resources.data_dir() / "SOURCES.md").read_text(encoding="utf-8")
    files = sorted((resources.data_dir() / "clips").iterdir())
    assert [file.name for file in files] == sorted(f"{sample.name}.mp4" for sample in SAMPLES)
    for file in files:
        assert file.stat().st_size < 80_000
        assert f"| {file.name} |" in text
        assert hashlib.sha256(file.read_bytes()).hexdigest() in text


def test_the_film_shows_the_motion_clip_in_every_second_frame():
    sample = SAMPLES[-1]
    clip = sample.clips[sample.index].clip
    np.testing.assert_array_equal(samples.film(sample)[::2], clip.frames)


def test_the_command_keeps_what_others_wrote_into_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAMPLES", SAMPLES[:1])
    monkeypatch.setattr(resources, "data_dir", lambda: tmp_path)
    (tmp_path / "SOURCES.md").write_text("# Bundled\n\n## Clips\n\nold\n\n## Labels\n\nlist\n")
    samples.main()
    text = (tmp_path / "SOURCES.md").read_text()
    assert "old" not in text
    assert text.startswith("# Bundled\n\n## Clips\n\n")
    assert text.endswith("\n\n## Labels\n\nlist\n")
    assert (tmp_path / "clips" / "right.mp4").is_file()
