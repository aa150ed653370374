"""The maps of an explorer in JavaScript are those that Python computes."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.changed import changes_of
from tests.vmamba_explore.view.live.engine import REPORT, Engine, JavaScriptError
from tests.vmamba_explore.view.live.explored import (
    assert_maps_alike,
    clip_of,
    explored,
    live_maps,
    question_of,
    started,
)
from tests.vmamba_explore.view.live.models import VARIANTS, frames_of, model_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.app.portable import portable
from vmamba_explore.view.trust import packed_headline

EDITED = ("front", "mean pooling", "forward only", "spatial", "temporal, class token", "odd sizes")
BUNDLED = [
    ("motion-nano", "up_with_distractor"),
    ("camera-nano", "camera_roll_clockwise"),
    ("camera-nano", "city"),
    ("recall-nano-forward", "recall_yellow_blue"),
    ("recall-nano-class-token", "recall_red_blue"),
]


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_map_of_every_kind_of_model_is_that_of_python(changes):
    model = model_of(**changes)
    clip = clip_of(frames_of(model))
    want = explored(model, clip)
    names = live_maps(model)
    with Engine(portable(model)) as engine:
        question = question_of(model, want, names)
        run = started(engine, clip)
        got = engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)
    assert_maps_alike(got["maps"], want.maps)
    assert got["headline"]["sentence"] == want.headline.sentence


@pytest.mark.parametrize("name, clip", BUNDLED)
def test_maps_and_the_sentence_of_bundled_models_are_those_of_python(name, clip):
    model = load_model(name)
    clip = load_clip(resources.path(f"clips/{clip}.mp4"), img_size=64)
    want = explored(model, clip)
    with Engine(portable(model), compiled=True) as engine:
        question = question_of(model, want, live_maps(model))
        run = started(engine, clip)
        got = engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)
    assert_maps_alike(got["maps"], want.maps)
    for each in got["maps"].values():
        assert np.isfinite(each["values"]).any()
    about = {each["name"]: each for each in portable(model).about["quantities"]}
    for key, array in want.maps.items():
        described = {part: got["maps"][key][part] for part in ("unit", "about", "log")}
        assert described == {part: about[key][part] for part in described} == array.attrs
    known = packed_headline(want.headline, want.opening)
    assert got["headline"]["sentence"] == known["sentence"]
    assert got["headline"]["opening"] == known["opening"]
    assert len(known["opening"]) >= 2


@pytest.mark.parametrize("variant", EDITED)
def test_maps_of_a_changed_model_are_those_of_python_also_which_there_are(variant):
    model = model_of(**VARIANTS[variant])
    clip = clip_of(frames_of(model))
    names, summed = live_maps(model), set()
    with Engine(portable(model)) as engine:
        for name, changes in changes_of(model).items():
            if any(change["kind"] == "drop" for change in changes):
                continue
            want = explored(model, clip, changes)
            run = started(engine, clip, changes)
            question = question_of(model, want, names, edited=True)
            got = engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)
            assert_maps_alike(got["maps"], want.maps, name)
            summed.add("contribution" in want.maps)
            assert (got["headline"] is None) == (want.headline is None), name
            if want.headline is not None:
                assert got["headline"]["sentence"] == want.headline.sentence, name
    assert summed == {True, False}  # frozen patches leave the parts whole, mutes do not


def test_some_maps_of_some_layers_explain_one_class_less_another():
    model = model_of(seed=3)
    clip = clip_of(frames_of(model))
    names = ["look-back", "contribution"]
    want = explored(model, clip, quantities=names, layers=[1], target=2, minus=0)
    with Engine(portable(model)) as engine:
        question = question_of(model, want, names, layers=[1])
        run = started(engine, clip)
        got = engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)
        rest = {**question, "names": []}
        none = engine.call("maps.js", "firstNumbers", engine.network, run, rest, REPORT)
    assert_maps_alike(got["maps"], want.maps)
    assert "class 2 − class 0" in got["headline"]["sentence"]
    assert got["headline"]["sentence"] == want.headline.sentence
    assert none == {"maps": {}, "headline": None}


def test_a_run_with_dropped_tokens_has_no_maps():
    model = model_of()
    clip = clip_of(frames_of(model))
    want = explored(model, clip)
    with Engine(portable(model)) as engine:
        run = started(engine, clip, [{"kind": "drop", "tokens": [3]}])
        question = question_of(model, want, ["delta"])
        with pytest.raises(JavaScriptError, match="Tokens are dropped"):
            engine.call("maps.js", "firstNumbers", engine.network, run, question, REPORT)


def test_what_comes_later_is_complete():
    model = model_of(seed=1, num_frames=8)
    clip = clip_of(frames_of(model))
    want = explored(model, clip).complete()
    names = ["retention", "contribution"]
    with Engine(portable(model)) as engine:
        question = question_of(model, want, names)
        run, tokens = started(engine, clip), engine.tokens(clip.frames)
        given = engine.network, tokens, clip.frames, run, question, REPORT
        got = engine.call("maps.js", "laterNumbers", *given)
    assert_maps_alike(got["maps"], {name: want.maps[name] for name in names})
    assert got["headline"]["sentence"] == want.headline.sentence
    assert [curve["name"] for curve in got["curves"]] == list(want.curves)
    assert got["controls"]["sentence"] == want.controls.sentence
