"""Changes as values: what they do, how they are written, and what a browser may send."""

import re

import numpy as np
import pytest
import torch

from vmamba_explore import interventions
from vmamba_explore.app.changes import KINDS, Changer, parsed
from vmamba_explore.app.explore import explore
from vmamba_explore.app.question import Question
from vmamba_explore.view.progress import Cancelled

HANG = 600
"""Seconds after which a test hangs."""
LISTS = {
    "a direction": [{"kind": "mute", "direction": "backward", "layer": None}],
    "a layer": [{"kind": "mute", "direction": None, "layer": 1}],
    "a direction of a layer": [{"kind": "mute", "direction": "forward", "layer": 0}],
    "a patch": [{"kind": "freeze", "patches": [[1, 2, 3]]}],
    "patches": [{"kind": "freeze", "patches": [[1, 2, 3], [0, 0, 1], [1, 2, 3]]}],
    "a frame": [{"kind": "freeze", "frame": 2}],
    "a reset": [{"kind": "reset", "frame": 2, "direction": "backward"}],
    "a swap": [{"kind": "swap", "frame": 1, "direction": None}],
    "a class": [{"kind": "explain", "target": 3, "minus": 1}],
    "several": [
        {"kind": "mute", "direction": "forward", "layer": 1},
        {"kind": "explain", "target": 2, "minus": None},
        {"kind": "swap", "frame": 3, "direction": "backward"},
        {"kind": "freeze", "patches": [[0, 0, 0]]},
    ],
    "the clip reversed": [{"kind": "show", "shown": "reversed"}],
    "the clip frozen, another class": [
        {"kind": "explain", "target": 2},
        {"kind": "show", "shown": "frozen"},
    ],
    "the clip shuffled": [{"kind": "show", "shown": "shuffled"}],
}


@pytest.fixture
def model(small_model):
    model = small_model()
    model.class_names = ("a", "b's", 'the "c"', "d", "e")
    return model


@pytest.fixture
def clip(noise_clip, model):
    return noise_clip(model)


@pytest.fixture
def changer(model, clip):
    return Changer(model, clip, Question(quantities=["delta", "contribution"], progress=False))


@pytest.fixture
def explorer(model, clip):
    explorer = explore(clip, model, quantities=["delta", "contribution"], progress=False)
    sent = []
    explorer.send = lambda content, buffers=None: sent.append(content)
    explorer.sent = sent
    yield explorer
    explorer.close()
    assert explorer._runs.wait(HANG)


def change(explorer, changes, number=1):
    """Send changes as a browser does, and return the last answer."""
    explorer._handle_custom_msg({"request": number, "run": "change", "changes": changes}, [])
    assert explorer._runs.wait(HANG)
    return [each for each in explorer.sent if each["reply"] == number][-1]


def changed(changer, explorer, changes):
    known = explorer.explorations[:1]
    return changer.changed(changes, known, ["delta"], lambda words, share: None)


@pytest.mark.parametrize("changes", LISTS.values(), ids=LISTS)
def test_the_python_gives_the_same_classes_and_the_same_explanation(
    changer, explorer, model, clip, changes
):
    found = changed(changer, explorer, changes)
    before, _, last = found.code.rpartition("\n")
    scope = {"clip": clip, "model": model}
    exec(f"{before}\nshown = {last}", scope)
    sides = scope["shown"].explorations
    assert len(sides) == len(found.sides)
    for mine, theirs in zip(found.sides, sides, strict=True):
        assert mine.classes == theirs.classes
        assert (mine.target, mine.explained) == (theirs.target, theirs.explained)


@pytest.mark.parametrize("changes", [each for name, each in LISTS.items() if name != "a class"])
def test_a_changed_model_answers_something_else_and_stays_as_it_was(
    changer, explorer, model, clip, changes
):
    batch = clip.tensor()[None]
    with torch.no_grad():
        before = model(batch)
        plain, edited = changed(changer, explorer, changes).sides
        assert torch.equal(model(batch), before)
    assert dict(plain.classes) != dict(edited.classes)
    complete = edited.complete()
    assert complete.controls is not None and complete.later is None


def test_a_swap_takes_the_state_of_the_clip_played_backwards(changer, explorer, model, clip):
    (_, found) = changed(changer, explorer, LISTS["a swap"]).sides
    batch = clip.tensor()[None]
    with torch.no_grad():
        past = interventions.record_past(model, batch.flip(2))
        with interventions.swap_state(model, 1, past):
            wanted = model(batch).softmax(-1).amax()
    assert found.classes[0][1] == pytest.approx(float(wanted), rel=1e-5)


def test_only_what_is_shown_is_computed_at_once(changer, explorer):
    _, edited = changed(changer, explorer, LISTS["a direction"]).sides
    assert list(edited.maps) == ["delta"] and list(edited.coming) == ["contribution"]


def test_a_class_that_was_asked_about_is_not_computed_again(changer, explorer):
    asked = changed(changer, explorer, LISTS["a class"]).sides
    known = (*explorer.explorations, *asked)
    more = [*LISTS["a class"], *LISTS["a direction"]]
    found = changer.changed(more, known, ["delta"], lambda words, share: None)
    assert found.sides[0] is asked[0] and found.sides[1].explained == (3, 1)


def test_the_words_name_what_is_changed(changer, explorer):
    several = list(LISTS).index("several")
    each = [one for some in list(LISTS.values())[:several] for one in some]
    found = changed(changer, explorer, each)
    assert [each["words"] for each in found.changes] == [
        "backward scans muted",
        "layer 1 muted",
        "forward scans of layer 0 muted",
        "the patch at token frame 1, row 2, column 3 kept out of the state",
        "2 patches kept out of the state",
        "token frame 2 kept out of the state",
        "backward states reset before token frame 2",
        "states before token frame 1 those of the clip played backwards",
        "explained: d − b's",
    ]
    assert found.sides[1].name == ", ".join(each["words"] for each in found.changes[:-1])


def test_a_click_shows_the_changed_model_beside_it_and_undo_the_model_as_it_was(explorer):
    (before,) = explorer.explorations
    answer = change(explorer, LISTS["a direction"])
    assert answer == {"reply": 1, "done": True}
    assert [side["title"] for side in explorer.sides] == [before.title, "backward scans muted"]
    assert explorer.changes[0]["words"] == "backward scans muted"
    assert "compare=lambda model: mute(model, 'backward'" in explorer.code
    assert explorer.sides[1]["frames"] == b"" and explorer.late[1]["missing"]
    one, other = explorer.explorations
    assert one is before and other.curves and list(other.maps) == ["delta"]
    assert change(explorer, [], 2)["done"]
    assert explorer.explorations == (before,)
    assert explorer.changes == [] and explorer.code == ""


def test_undo_gives_back_what_was_compared_with(model, clip):
    explorer = explore(clip, model, compare="reversed", quantities=["delta"], progress=False)
    explorer.send = lambda content, buffers=None: None
    explorer.sent = [{"reply": 1}]
    before = explorer.explorations
    change(explorer, LISTS["a frame"])
    assert explorer.explorations[0] is before[0] and explorer.explorations[1] is not before[1]
    change(explorer, [])
    assert explorer.explorations == before
    explorer.close()


def test_evidence_that_comes_while_the_model_is_changed_is_there_after_undo(explorer):
    change(explorer, LISTS["a direction"])
    complete = explorer.explorations[0]
    change(explorer, [])
    assert explorer.explorations[0] is complete and complete.curves


WRONG = [
    (None, "changes are None, expected a list of at most 64"),
    ([{}] * 65, "expected a list of at most 64"),
    ([{}], "a change is {}, expected one whose kind is one of mute, freeze, reset, swap, explain"),
    (["mute"], "a change is 'mute', expected"),
    ([{"kind": ["mute"]}], "a change is .*expected one"),
    ([{"kind": "mute"}], "layer is None; expected one of 0 to 1, or a direction"),
    ([{"kind": "mute", "layer": 7}], "layer is 7; expected one of 0 to 1"),
    ([{"kind": "mute", "layer": True}], "mute has layer True, which it cannot be"),
    ([{"kind": "mute", "direction": "up"}], "no direction 'up'"),
    ([{"kind": "mute", "direction": 3}], "mute has direction 3"),
    ([{"kind": "freeze"}], "no patch is named"),
    ([{"kind": "freeze", "patches": [[1, 2]]}], r"expected a list of \[frame, row, col\]"),
    ([{"kind": "freeze", "patches": [[9, 0, 0]]}], "frame 9 is outside"),
    ([{"kind": "freeze", "frame": 9}], "There is no token frame 9"),
    ([{"kind": "reset"}], "reset needs its frame"),
    ([{"kind": "reset", "frame": 0}], "boundar"),
    ([{"kind": "swap", "frame": 9}], "boundar"),
    ([{"kind": "show", "shown": "sideways"}], "expected one of frozen, reversed, shuffled"),
    ([{"kind": "show"}], "show needs its shown"),
    ([{"kind": "show", "shown": "frozen"}, {"kind": "mute", "layer": 1}], "Undo the changes"),
    ([{"kind": "explain"}], "explain needs its target"),
    ([{"kind": "explain", "target": 5}], "target is 5; this model's classes are 0 to 4"),
    ([{"kind": "explain", "target": 1, "minus": 1}], "target and minus are the same class"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_what_is_no_change_is_a_sentence_and_the_view_stays(explorer, changes, words):
    before = explorer._sides
    error = change(explorer, changes)["error"]
    assert error[-1] == "." and "\n" not in error
    assert explorer._sides is before
    assert explorer.revision == 0
    assert re.search(words, error), error


def test_every_kind_is_read_and_extra_fields_are_left_out():
    assert set(KINDS) == {each["kind"] for some in LISTS.values() for each in some}
    assert parsed({"kind": "mute", "layer": 1, "words": "x", "__class__": 3}).layer == 1


def test_a_cancelled_change_shows_nothing(explorer, monkeypatch):
    from vmamba_explore.app import changes as under_test

    def cancelled(*args, **options):
        raise Cancelled

    monkeypatch.setattr(under_test, "begin", cancelled)
    assert change(explorer, LISTS["a direction"]) == {"reply": 1, "cancelled": True}
    assert len(explorer.sides) == 1 and explorer.changes == []


def test_without_a_model_there_is_nothing_to_change(explorer):
    from vmamba_explore.view.explorer import Explorer

    alone = Explorer(*explorer.explorations)
    sent = alone.sent = []
    alone.send = lambda content, buffers=None: sent.append(content)
    assert "there is no model to change" in change(alone, LISTS["a direction"])["error"]
    assert alone.choices == {} and explorer.choices["classes"][1] == "b's"


def test_two_explorers_of_one_model_change_it_at_the_same_time(model, clip):
    explorers = [explore(clip, model, quantities=["delta"], progress=False) for _ in range(2)]
    wanted = []
    for explorer, direction in zip(explorers, ("forward", "backward"), strict=True):
        explorer.send = lambda content, buffers=None: None
        given = [{"kind": "mute", "direction": direction}]
        explorer._handle_custom_msg({"request": 1, "run": "change", "changes": given}, [])
        with torch.no_grad(), interventions.mute(model, direction):
            wanted.append(model(clip.tensor()[None]).softmax(-1).amax())
    for explorer, share in zip(explorers, wanted, strict=True):
        assert explorer._runs.wait(HANG)
        assert explorer.sides[1]["classes"][0]["probability"] == pytest.approx(float(share))
        explorer.close()
    np.testing.assert_raises(AssertionError, np.testing.assert_allclose, *wanted)


@pytest.mark.parametrize("changes", [LISTS["a layer"], LISTS["the clip reversed"]], ids=str)
def test_a_changed_encoder_is_asked_along_the_same_direction(small_model, noise_clip, changes):
    encoder = small_model(num_classes=0)
    clip, target = noise_clip(encoder), torch.randn(16)
    question = Question(target=target, quantities=["delta", "contribution"], progress=False)
    changer = Changer(encoder, clip, question)
    assert changer.choices() == {"classes": []}
    asked = {"quantities": ["delta", "contribution"], "progress": False}
    explorer = explore(clip, encoder, target=target, **asked)
    found = changer.changed(changes, explorer.explorations, ["delta"], lambda *_: None)
    assert len(found.sides) == 2
    assert all(side.explained == (None, None) for side in found.sides)
    assert "explore(clip, model, target=target, compare=" in found.code
    scope = {"clip": clip, "model": encoder, "target": target}
    before, _, last = found.code.rpartition("\n")
    exec(f"{before}\nshown = {last}", scope)
    again = scope["shown"]
    for one, other in zip(found.sides, again.explorations, strict=True):
        values = [side.complete().maps["delta"].values for side in (one, other)]
        np.testing.assert_array_equal(*values)
