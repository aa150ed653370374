"""The registry of bundled models: which one fits a clip, and which clips it cannot answer about."""

import json
import pathlib

import pytest
import torch

from vmamba_explore import resources
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.subjects import has_structure
from vmamba_explore.model.bundled import (
    BUNDLED,
    ON_ANY_CLIP,
    SHAPE,
    identify,
    model_for,
)
from vmamba_explore.model.checkpoints import load_model

ROOT = pathlib.Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
FILMS = [
    path
    for folder in ("clips", "real_windows")
    for path in sorted((SHARED / folder).glob("*"))
    if path.suffix in (".mp4", ".mkv", ".mov") and path.name != "corrupted.mp4"
]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_says_what_it_is_for_and_reads_the_common_shape(name):
    known, model = BUNDLED[name], load_model(name)
    assert known.name == name and known.question.strip() and known.true_on.strip()
    assert (model.config.num_frames, model.config.img_size) == SHAPE
    assert not known.still or known.still in model.class_names
    assert 0 <= known.undecided_below < 1


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_known_by_its_weights_and_a_changed_copy_is_not_it(name, tmp_path):
    model = load_model(name)
    assert identify(model) is BUNDLED[name]
    model.save_pretrained(tmp_path / "other")
    assert identify(load_model(tmp_path / "other")) is BUNDLED[name]
    with torch.no_grad():
        model.head.bias[0] += 1e-3
    assert identify(model) is None
    assert identify(load_model(name, num_frames=32)) is None


def test_a_model_of_the_reader_is_not_a_bundled_one(untrained_model):
    assert identify(untrained_model) is None


@pytest.mark.parametrize("name", resources.CLIPS)
def test_a_bundled_clip_gets_the_model_it_was_made_for(name):
    kind = "camera" if name == "city" else name.partition("_")[0]
    wanted = f"{kind}-nano" if f"{kind}-nano" in BUNDLED else "motion-nano"
    clip = load_clip(resources.path(f"clips/{name}.mp4"), SHAPE[0], img_size=SHAPE[1])
    assert model_for(clip) == wanted
    assert BUNDLED[wanted].note(clip) == ""


def test_a_generated_motion_clip_is_taken_as_it_is():
    motion = MotionClips(3)[5]
    assert model_for(motion) == model_for(motion.clip) == "motion-nano"


@pytest.mark.skipif(not FILMS, reason="the films for evaluation are not here")
def test_no_real_film_is_taken_for_a_motion_clip_and_all_have_structure():
    clips = [load_clip(path, stride=1, img_size=64) for path in FILMS[::5]]
    assert {model_for(clip) for clip in clips} == {ON_ANY_CLIP}
    assert all("no such ring was found" in BUNDLED["motion-nano"].note(clip) for clip in clips)
    assert all(has_structure(clip.frames) for clip in clips)


def test_the_threshold_of_the_camera_s_model_is_the_one_that_was_measured():
    metrics = json.loads(resources.path("camera-nano/metrics.json").read_text())
    assert BUNDLED["camera-nano"].undecided_below == metrics["calibration"]["undecided_below"]
