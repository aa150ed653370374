"""Whether a clip shows what a model is asked about: JavaScript says what Python says."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import REPORT, Engine
from tests.vmamba_explore.view.live.explored import clip_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.app.portable import portable
from vmamba_explore.clips.clip import shown_by
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.model.bundled import BUNDLED

MODELS = ("motion-nano", "recall-nano", "camera-nano")


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def bundled_clips():
    """Every bundled clip."""
    return [load_clip(file, img_size=64) for file in sorted(resources.path("clips").glob("*.mp4"))]


def generated_clips():
    """Clips of both series, and some that are nearly of one."""
    motion, recall = MotionClips(7), RecallClips(7)
    clips = [shown_by(series[number]) for series in (motion, recall) for number in range(4)]
    random = np.random.default_rng(0)
    for frames in [clip.frames for clip in clips]:
        yield clip_of(frames)
        faded = frames * random.uniform(0.5, 1) + random.normal(0, 20, frames.shape)
        yield clip_of(faded.clip(0, 255).astype(np.uint8))
        part = frames.copy()
        part[2:14, 20:44] = 128
        yield clip_of(part)
    yield clip_of(random.integers(0, 256, (16, 64, 64, 3), np.uint8))
    yield clip_of(np.full((16, 64, 64, 3), (255, 0, 255), np.uint8))
    yield clip_of(np.full((16, 64, 64, 3), 255, np.uint8))


@pytest.mark.parametrize("clips", [bundled_clips, generated_clips])
def test_a_clip_that_a_model_cannot_answer_about_has_the_note_that_python_writes(clips):
    abouts = {name: portable(load_model(name)).about for name in MODELS}
    found = {name: set() for name in MODELS}
    with Engine(None) as engine:
        for clip in clips():
            for name, about in abouts.items():
                note = engine.call("subject.js", "subjectNote", clip.frames, about, REPORT)
                assert note == BUNDLED[name].note(clip), clip.source
                found[name].add(note)
    for name in MODELS[:2]:
        assert len(found[name]) == 2


def test_a_model_that_is_not_bundled_has_no_note():
    about = {**portable(load_model("motion-nano")).about, "subject": ""}
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    with Engine(None) as engine:
        assert engine.call("subject.js", "subjectNote", frames, about, REPORT) == ""
