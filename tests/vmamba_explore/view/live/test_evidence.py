"""Evidence curves in JavaScript are those of Python."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.changed import changes_of
from tests.vmamba_explore.view.live.engine import REPORT, Engine
from tests.vmamba_explore.view.live.explored import clip_of, explored, question_of, started
from tests.vmamba_explore.view.live.models import VARIANTS, frames_of, model_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.analysis.evidence import prefix_curve, suffix_curve
from vmamba_explore.app.portable import portable

SEEN = (
    "front", "middle", "mean pooling", "forward only", "spatial", "temporal", "long tubelets",
)  # fmt: skip


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def curves_of(engine, clip, question, changes=None):
    """The curves in JavaScript."""
    run, tokens = started(engine, clip, changes), engine.tokens(clip.frames)
    given = engine.network, tokens, run, question, REPORT
    return engine.call("evidence.js", "evidenceCurves", *given)


@pytest.mark.parametrize("variant", SEEN)
def test_curves_of_every_kind_of_model_and_change_are_those_of_python(variant):
    model = model_of(**VARIANTS[variant])
    clip = clip_of(frames_of(model))
    found = {}
    with Engine(portable(model)) as engine:
        for name, changes in {"as it is": [], **changes_of(model)}.items():
            if any(change["kind"] in ("drop", "cut") for change in changes):
                continue  # no reader of an explorer asks for these
            want = explored(model, clip, changes, quantities=["delta"], target=1, minus=0)
            curves = want.complete().curves
            question = question_of(model, want, edited=bool(changes))
            got = curves_of(engine, clip, question, changes)
            assert [each["name"] for each in got] == list(curves), name
            for each, known in zip(got, curves.values(), strict=True):
                assert each["direction"] == known.attrs["direction"]
                assert np.abs(each["values"] - known.values).max() < 1e-4, name
            found[name] = len(got)
    assert found["as it is"] == found["a layer"] == found["patches"] == 2
    assert found.get("reset", 0) == found.get("forward swap", 0) == 0


def test_a_clip_of_too_many_token_frames_has_no_curves():
    model = model_of(num_frames=4, tubelet_size=1)
    clip = clip_of(frames_of(model))
    question = question_of(model, explored(model, clip, quantities=["delta"]))
    with Engine(portable(model)) as engine:
        assert len(curves_of(engine, clip, question)) == 2
        question["model"]["evidence_frames"] = 3
        assert curves_of(engine, clip, question) == []


def test_a_clip_of_one_token_has_the_same_evidence_from_both_ends():
    model = model_of(**VARIANTS["one token"])
    clip = clip_of(frames_of(model))
    want = explored(model, clip, quantities=["delta"]).complete().curves
    with Engine(portable(model)) as engine:
        question = question_of(model, explored(model, clip, quantities=["delta"]))
        got = curves_of(engine, clip, question)
    for each, known in zip(got, want.values(), strict=True):
        assert each["values"] == pytest.approx(known.values, abs=1e-4)


@pytest.mark.parametrize(
    "name, clip", [("camera-nano", "camera_pan_right"), ("motion-nano", "right")]
)
def test_curves_of_bundled_models(name, clip):
    model = load_model(name)
    clip = load_clip(resources.path(f"clips/{clip}.mp4"), img_size=64)
    question = question_of(model, explored(model, clip, quantities=["delta"]))
    with Engine(portable(model), compiled=True) as engine:
        got = curves_of(engine, clip, question)
    for each, curve in zip(got, (prefix_curve, suffix_curve), strict=True):
        known = curve(model, clip, question["target"], progress=False).array().values
        assert np.abs(each["values"] - known).max() < 1e-4
        assert np.ptp(known) > 0.1
