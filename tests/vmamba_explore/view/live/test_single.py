"""Single hidden states in JavaScript are those of Python, and so are those that stand out."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import Engine
from tests.vmamba_explore.view.live.explored import (
    assert_maps_alike,
    clip_of,
    explored,
    question_of,
    started,
)
from tests.vmamba_explore.view.live.models import VARIANTS, frames_of, model_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.app.portable import portable

CHANGED = {
    "as it is": [],
    "frozen": [{"kind": "freeze", "patches": [[0, 0, 0], [1, 0, 0]]}],
    "muted": [{"kind": "mute", "direction": "forward"}],
    "reset": [{"kind": "reset", "frame": 1}],
}


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def assert_choices_alike(got, want):
    """Assert that the same states stand out, by the same numbers."""
    assert [each["words"] for each in got] == [each.words for each in want]
    for mine, theirs in zip(got, want, strict=True):
        known = theirs._asdict()
        value, number = mine.pop("value"), known.pop("value")
        assert mine == known
        assert value == pytest.approx(number, rel=1e-4)


@pytest.mark.parametrize("variant", ["front", "mean pooling", "forward only", "odd sizes"])
@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED)
def test_one_state_and_those_that_stand_out_are_those_of_python(variant, changes):
    model = model_of(**VARIANTS[variant])
    clip = clip_of(frames_of(model))
    want = explored(model, clip, changes, quantities=["delta"])
    channels, states = want.states.shape
    with Engine(portable(model)) as engine:
        run = started(engine, clip, changes)
        for place in ((0, 0), (channels - 1, states - 1), (4, 1)):
            got = engine.call("single.js", "stateMap", engine.network, run, 1, *place)
            assert_maps_alike({"state": got}, {"state": want.states.state(1, *place)}, place)
        question = question_of(model, want, edited=bool(changes))
        for token in (None, (1, 1, 0)):
            given = engine.network, run, 1, token, question
            got = engine.call("single.js", "stateChoices", *given)
            assert_choices_alike(got, want.states.choices(1, token))


def test_states_that_stand_out_in_a_bundled_model_explain_the_chosen_class():
    model = load_model("recall-nano")
    clip = load_clip(resources.path("clips/recall_yellow_blue.mp4"), img_size=64)
    want = explored(model, clip, quantities=["delta"], target=2, minus=1)
    with Engine(portable(model), compiled=True) as engine:
        run = started(engine, clip)
        given = engine.network, run, 3, (8, 4, 4), question_of(model, want)
        got = engine.call("single.js", "stateChoices", *given)
        chosen = [(each["channel"], each["state"]) for each in got]
        assert_choices_alike(got, want.states.choices(3, (8, 4, 4)))
        assert len(got) == 8 and len(set(chosen)) > 2
        state = engine.call("single.js", "stateMap", engine.network, run, 3, *chosen[0])
        assert_maps_alike({"state": state}, {"state": want.states.state(3, *chosen[0])})
        assert np.abs(state["values"]).max() > 0
