"""Changes that a page is asked for: refused, said and written as Python does."""

import re

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import JavaScriptError
from tests.vmamba_explore.view.live.models import model_of
from vmamba_explore.app.changes import KINDS, Changer, Explain, Show, parsed
from vmamba_explore.app.portable import portable
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip

LISTS = {
    "a direction": [{"kind": "mute", "direction": "backward"}],
    "a layer": [{"kind": "mute", "direction": None, "layer": 1}],
    "a direction of a layer": [{"kind": "mute", "direction": "forward", "layer": 0}],
    "a patch": [{"kind": "freeze", "patches": [[1, 1, 1]]}],
    "patches": [{"kind": "freeze", "patches": [[1, 1, 1], [0, 0, 1], [1, 1, 1]]}],
    "a frame": [{"kind": "freeze", "frame": 1}],
    "a reset": [{"kind": "reset", "frame": 1, "direction": "backward"}],
    "a reset of all": [{"kind": "reset", "frame": 1}],
    "a swap": [{"kind": "swap", "frame": 1, "direction": None}],
    "a class": [{"kind": "explain", "target": 3, "minus": 1}],
    "several": [
        {"kind": "mute", "direction": "forward", "layer": 1},
        {"kind": "explain", "target": 2, "minus": None},
        {"kind": "swap", "frame": 1, "direction": "backward", "words": "x"},
        {"kind": "freeze", "patches": [[0, 0, 0]]},
    ],
    "reversed": [{"kind": "show", "shown": "reversed"}],
    "another class, frozen": [
        {"kind": "explain", "target": 2}, {"kind": "show", "shown": "frozen"},
    ],
    "shuffled": [{"kind": "show", "shown": "shuffled"}],
}  # fmt: skip
WRONG = [
    None, [{}] * 65, [{}], ["mute"], [{"kind": ["mute"]}], [{"kind": "mute", "layer": True}],
    [{"kind": "mute", "direction": 3}], [{"kind": "freeze", "patches": [[1, 2]]}],
    [{"kind": "freeze", "patches": {"a": 1}}], [{"kind": "freeze", "frame": "1"}],
    [{"kind": "reset"}], [{"kind": "swap", "frame": None}], [{"kind": "show", "shown": "sideways"}],
    [{"kind": "show"}], [{"kind": "explain"}], [{"kind": "explain", "target": "up"}],
]  # fmt: skip
CLIP = Clip(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2.0), "still", np.arange(2))
NAMES = ("a", "b's", 'the "c"', "ü", "f\\g")


def named(names=NAMES):
    model = model_of(num_classes=5)
    model.class_names = names
    return model


@pytest.mark.parametrize("names", [NAMES, None])
@pytest.mark.parametrize("changes", LISTS.values(), ids=LISTS)
def test_words_and_code_are_those_of_python(learned, changes, names):
    model = named(names)
    changer, about = Changer(model, CLIP, Question()), dict(portable(model).about)
    listed = [parsed(each) for each in changes]
    explain = [each for each in listed if isinstance(each, Explain)]
    edits = [each for each in listed if not isinstance(each, Explain | Show)]
    other = next((each for each in listed if isinstance(each, Show)), None)
    explained = (explain[-1].target, explain[-1].minus) if explain else (4, None)
    engine = learned(portable(model))
    found = engine.call("asked.js", "checkedChanges", changes, about)
    target = engine.call("asked.js", "askedTarget", found, [4, None], about)
    assert tuple(target) == explained
    grid = engine.get(engine.network, "grid", keep=True)
    code = engine.call("asked.js", "changeCode", found, target, about, grid)
    assert code == changer.code(edits, explained, other)
    for mine, theirs in zip(found, listed, strict=True):
        words = engine.call("asked.js", "changeWords", mine, about)
        expected = (
            f"explained: {changer._names(theirs)}" if isinstance(theirs, Explain) else theirs.words
        )
        assert words == expected


def test_every_kind_is_among_the_lists():
    assert {each["kind"] for some in LISTS.values() for each in some} == set(KINDS)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_what_is_not_a_change_is_refused_in_the_words_of_python(learned, changes):
    model = named()
    changer, about = Changer(model, CLIP, Question()), dict(portable(model).about)
    with pytest.raises(ValueError) as refused:
        changer.changed(changes, [], [], lambda words, share: None)
    with pytest.raises(JavaScriptError) as thrown:
        learned().call("asked.js", "checkedChanges", changes, about)
    assert thrown.value.args[0] == str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": 5}, "target is 5; this model's classes are 0 to 4"),
        ({"target": -1}, "target is -1"),
        ({"target": 1, "minus": 9}, "minus is 9"),
        ({"target": 1, "minus": 1}, "target and minus are the same class"),
    ],
)
def test_a_class_that_cannot_be_explained_is_refused(learned, change, words):
    about, engine = dict(portable(named()).about), learned()
    changes = engine.call("asked.js", "checkedChanges", [{"kind": "explain", **change}], about)
    with pytest.raises(JavaScriptError, match=re.escape(words)):
        engine.call("asked.js", "askedTarget", changes, [0, None], about)


def test_a_changed_model_is_not_compared_with_another_clip(learned):
    changes = [{"kind": "show", "shown": "frozen"}, {"kind": "mute", "layer": 1}]
    with pytest.raises(JavaScriptError, match="Undo the changes of the model to compare clips"):
        learned().call("asked.js", "checkedChanges", changes, dict(portable(named()).about))
