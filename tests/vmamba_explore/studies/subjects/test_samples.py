"""The bundled clips."""

import hashlib

import numpy as np
import pytest

from vmamba_explore import resources
from vmamba_explore.clips import load_clip
from vmamba_explore.clips.recall import COLOR_NAMES
from vmamba_explore.studies.subjects import samples
from vmamba_explore.studies.subjects.samples import (
    SAMPLES,
    CameraSample,
    MotionSample,
    RecallSample,
)

CAMERAS = [sample for sample in SAMPLES if isinstance(sample, CameraSample)]
OTHERS = [sample for sample in SAMPLES if sample not in CAMERAS]


@pytest.mark.parametrize("sample", OTHERS, ids=lambda sample: sample.name)
def test_a_bundled_clip_reads_as_the_generated_clip_it_was_made_from(sample):
    generated = sample.truth(img_size=64)
    clip = load_clip(resources.path(f"clips/{sample.name}.mp4"), img_size=64)
    assert clip.indices.tolist() == list(range(0, 32, 2))
    assert clip.repeated == 0
    error = np.abs(clip.frames.astype(int) - generated.clip.frames)
    assert error.mean() < 12
    assert error[generated.evidence].mean() < 30
    if isinstance(sample, MotionSample):
        assert sample.shows == ("left" if sample.twin else sample.name.split("_")[0])


@pytest.mark.parametrize("sample", CAMERAS, ids=lambda sample: sample.name)
def test_a_bundled_camera_clip_shows_what_it_is_named_for(sample):
    clip = load_clip(resources.path(f"clips/{sample.name}.mp4"), img_size=224)
    assert np.abs(clip.frames.astype(int) - sample.film()[::2]).mean() < 8
    assert sample.name.removeprefix("camera_") == sample.shows.replace(" ", "_")


def test_recall_clips_are_named_for_their_colors_and_share_one_timing():
    recalls = [sample for sample in SAMPLES if isinstance(sample, RecallSample)]
    clips = [sample.truth() for sample in recalls]
    for sample, clip in zip(recalls, clips, strict=True):
        colors = f"{COLOR_NAMES[clip.sample_color]}_{COLOR_NAMES[clip.test_color]}"
        assert sample.name.removesuffix("_with_distractors") == f"recall_{colors}"
        assert clip.distractor.any() == sample.distractor
    assert {(clip.sample, clip.test) for clip in clips} == {((2, 2), (11, 11))}


def test_two_recall_clips_differ_in_the_sample_only():
    films = {sample.name: sample.film() for sample in SAMPLES if isinstance(sample, RecallSample)}
    differ = (films["recall_red_blue"] != films["recall_yellow_blue"]).any(axis=(1, 2, 3))
    assert np.flatnonzero(differ).tolist() == [4, 5]


def test_sources_gives_the_digest_of_every_bundled_clip():
    text = (resources.data_dir() / "SOURCES.md").read_text(encoding="utf-8")
    files = sorted((resources.data_dir() / "clips").glob("*.mp4"))
    names = [*(sample.name for sample in SAMPLES), "city"]
    assert [file.name for file in files] == sorted(f"{name}.mp4" for name in names)
    assert sorted(resources.CLIPS) == sorted(names)
    for file in files:
        assert file.stat().st_size < 250_000
        assert f"| {file.name} |" in text
        assert hashlib.sha256(file.read_bytes()).hexdigest() in text


@pytest.mark.parametrize("sample", [OTHERS[5], OTHERS[-1]], ids=lambda sample: sample.name)
def test_the_film_shows_the_generated_clip_in_every_second_frame(sample):
    clip = sample.truth().clip
    np.testing.assert_array_equal(sample.film()[::2], clip.frames)


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
