"""What controls say of an answer is the same in JavaScript and Python."""

import itertools
import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import REPORT, Engine
from tests.vmamba_explore.view.live.explored import clip_of, explored, question_of, started
from tests.vmamba_explore.view.live.models import VARIANTS, frames_of, model_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.analysis.controls import Answer, Controls, opposite, percent
from vmamba_explore.app.portable import portable
from vmamba_explore.clips.camera_path import CLASS_NAMES
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.view.trust import packed


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


@pytest.mark.parametrize(
    "name, clip",
    [
        ("motion-nano", "right"),
        ("motion-nano", "city"),
        ("camera-nano", "camera_zoom_in"),
        ("camera-nano", "camera_cut"),
    ],
)
def test_controls_of_bundled_models_are_those_of_python(name, clip):
    model = load_model(name)
    clip = load_clip(resources.path(f"clips/{clip}.mp4"), img_size=64)
    want = explored(model, clip, quantities=["delta"])
    with Engine(portable(model), compiled=True) as engine:
        given = clip.frames, started(engine, clip), question_of(model, want), REPORT
        got = engine.call("control_runs.js", "controlAnswers", engine.network, *given)
    assert got == packed(want.complete().controls)


@pytest.mark.parametrize("variant", ["front", "mean pooling", "long tubelets"])
@pytest.mark.parametrize(
    "changes",
    [[], [{"kind": "mute", "layer": 0}], [{"kind": "swap", "frame": 1}]],
    ids=["as it is", "muted", "swapped"],
)
def test_controls_ask_the_model_as_it_is_changed(variant, changes):
    model = model_of(seed=5, **VARIANTS[variant])
    clip = clip_of(frames_of(model))
    want = explored(model, clip, changes, quantities=["delta"])
    with Engine(portable(model)) as engine:
        run = started(engine, clip, changes)
        question = question_of(model, want, edited=bool(changes))
        given = clip.frames, run, question, REPORT
        got = engine.call("control_runs.js", "controlAnswers", engine.network, *given)
    controls = want.complete().controls
    assert got == packed(controls)
    assert len({each.probability for each in controls.answers}) == 4


def test_every_sentence_is_that_of_python():
    model = BUNDLED["camera-nano"]
    about = portable(load_model("camera-nano")).about
    kinds = ("original", "frozen", "reversed", "shuffled")
    names = ("pan left", "pan right", model.still, "zoom in")
    assert set(names) <= set(CLASS_NAMES)
    seen = set()
    with Engine(None) as engine:
        for says in itertools.product(names, names, names, names[:2]):
            for low in ((), (0,), (1, 2), (3,)):
                answers = [
                    Answer(kind, name, 0.3 if at in low else 0.995, 0.1, model.undecided_below)
                    for at, (kind, name) in enumerate(zip(kinds, says, strict=True))
                ]
                want = Controls(model.name, "", *answers, still=model.still)
                given = [
                    {"name": a.name, "says": a.says, "probability": a.probability} for a in answers
                ]
                got = engine.call("control_runs.js", "controlSentence", given, about)
                assert got == want.sentence
                seen.add(want.sentence.rpartition(": ")[2])
    assert len(seen) >= 8


def test_percentages_are_those_of_python():
    shares = [0, 1e-9, 0.001, 0.004999, 0.005, 0.015, 0.025, 0.125, 0.5, 0.994, 0.995, 0.9999, 1]
    shares += np.random.default_rng(0).uniform(size=200).tolist()
    shares += np.float32(shares).astype(float).tolist()
    with Engine(None) as engine:
        assert [engine.call("percent.js", "percent", s) for s in shares] == [*map(percent, shares)]


@pytest.mark.parametrize(
    "name",
    ["left", "pan left", "Zoom In", "forward and UP", "in-out", "static", "left9", "Kreis", "",
     "Opening ABC", "next, previous"],
)  # fmt: skip
def test_opposites_are_those_of_python(name):
    about = portable(load_model("camera-nano")).about
    with Engine(None) as engine:
        got = engine.call("control_runs.js", "oppositeName", name, about["opposites"])
    assert got == opposite(name)
