"""The chooser turns what a browser sends into a choice, or into one sentence."""

import pathlib

import pytest
import traitlets

from vmamba_explore.view.widgets.chooser import ChoiceError, ClipChooser

SAMPLES = {"one": pathlib.Path("clips/one.mp4"), "two": pathlib.Path("clips/two.mp4")}


@pytest.fixture
def make_chooser():
    made = []

    def make(**options):
        made.append(ClipChooser(SAMPLES, {"small": "What?", "large": "How?"}, **options))
        made[-1].sent = []
        made[-1].send = lambda content, buffers=None: made[-1].sent.append(content)
        return made[-1]

    yield make
    for chooser in made:
        chooser.close()


def hears(chooser, content, *buffers):
    chooser._handle_custom_msg(content, list(buffers))


def uploads(chooser, content=b"0123456789", slot="clip", name="film.mp4"):
    hears(chooser, {"request": 1, "key": "k", "slot": slot, "name": name, "size": len(content)})
    for start in range(0, len(content), 4):
        piece = memoryview(content[start : start + 4])
        hears(chooser, {"request": 2, "key": "k", "slot": slot, "start": start}, piece)


def test_what_is_chosen_at_first_can_be_run(make_chooser):
    chooser = make_chooser()
    choice = chooser.read(chooser.choice)
    assert (choice.clip.path, choice.clip.name) == (SAMPLES["one"], "one.mp4")
    assert (choice.model, choice.compare, choice.second) == ("small", "", None)
    assert (choice.stride, choice.start) == (2, None)


def test_run_hands_over_what_the_message_says_not_an_older_trait(make_chooser):
    chooser, heard = make_chooser(), []
    chooser.on_run(heard.append)
    second = {"kind": "path", "name": "", "path": " ~/film.mp4 "}
    sent = {**chooser.choice, "compare": "second", "second": second, "stride": None, "start": 5}
    hears(chooser, {"run": sent})
    (choice,) = heard
    assert choice.second.path == pathlib.Path("~/film.mp4").expanduser()
    assert (choice.second.uploaded, choice.stride, choice.start) == (False, None, 5)


def test_an_upload_is_acknowledged_piece_by_piece_and_chosen(make_chooser):
    chooser = make_chooser()
    uploads(chooser, name="../<i>x</i>.mp4")
    assert [message["bytes"] for message in chooser.sent] == [0, 4, 8, 10]
    assert chooser.uploads == {"clip": "../<i>x</i>.mp4"}
    choice = chooser.read({**chooser.choice, "clip": {"kind": "upload"}})
    assert choice.clip.path.read_bytes() == b"0123456789"
    assert choice.clip.name == "../<i>x</i>.mp4"


def test_an_upload_that_is_refused_says_why(make_chooser):
    chooser = make_chooser(limit_mib=1)
    hears(chooser, {"request": 1, "key": "k", "slot": "clip", "name": "big.mp4", "size": 2**30})
    hears(chooser, {"request": 2, "key": "x", "slot": "clip", "start": 0}, memoryview(b"abc"))
    assert [message["reply"] for message in chooser.sent] == [1, 2]
    assert "1024 MiB is more than the 1 MiB" in chooser.sent[0]["error"]


@pytest.mark.parametrize("size", [2**20 + 1, 10**400])
def test_an_upload_of_any_size_over_the_limit_gets_an_answer(make_chooser, size):
    chooser = make_chooser(limit_mib=1)
    hears(chooser, {"request": 1, "key": "k", "slot": "clip", "name": "big.mp4", "size": size})
    assert "is more than the 1 MiB" in chooser.sent[0]["error"]
    assert len(chooser.sent[0]["error"]) < 200


@pytest.mark.parametrize(
    "changes",
    [{"key": None}, {"slot": ["clip"]}, {"name": 10**400}, {"size": "10"}, {"size": None}],
)
def test_an_upload_that_no_page_would_send_gets_an_answer(make_chooser, changes):
    chooser = make_chooser()
    upload = {"request": 1, "key": "k", "slot": "clip", "name": "film.mp4", "size": 10}
    hears(chooser, upload | changes)
    assert chooser.sent[0]["error"].startswith("Upload: this page sent no ")


@pytest.mark.parametrize(
    "changes",
    [{"clip": None}, {"clip": {}}, {"more": 1}, {"model": "x" * 6000}, {"start": float("inf")},
     {"stride": "2"}, {"second": {"kind": [], "name": "", "path": ""}}],
)  # fmt: skip
def test_a_choice_that_no_page_could_show_is_not_kept(make_chooser, changes):
    chooser = make_chooser()
    before = chooser.choice
    with pytest.raises(traitlets.TraitError, match="fields that no page would send"):
        chooser.set_state({"choice": before | changes})
    assert chooser.choice == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip": {"kind": "sample", "name": "three"}}, "Clip: choose one of one, two."),
        ({"clip": {"kind": "upload"}}, "Clip: choose a file to upload, and wait"),
        ({"clip": {"kind": "path", "path": "  "}}, "Clip: type the path"),
        ({"compare": "second", "second": {"kind": "upload"}}, "Second clip: choose a file"),
        ({"compare": "sideways"}, "Compare: 'sideways' is none of reversed"),
        ({"model": " "}, "Model: choose one, or give the folder"),
        ({"stride": 0}, "every ... frames: expected a whole number from 1 on, got 0"),
        ({"stride": 1.5}, "every ... frames: expected a whole number"),
        ({"start": -1}, "first frame: expected a whole number from 0 on, got -1"),
        ({"start": "soon"}, "first frame: expected a whole number from 0 on, got 'soon'"),
        ({"start": 10**400}, "first frame: expected at most 1000000000, got more"),
        ({"stride": [10**400]}, "every ... frames: expected a whole number from 1 on, got somethi"),
        ({"clip": ["path"]}, "Clip: paths are not read here"),
        ({"clip": {"kind": "sample", "name": ["one"]}}, "Clip: choose one of one, two."),
        ({"compare": ["second"]}, "Compare: something else is none of reversed"),
    ],
)
def test_a_wrong_choice_is_one_sentence_and_nothing_runs(make_chooser, changes, words):
    chooser, heard = make_chooser(), []
    chooser.on_run(heard.append)
    hears(chooser, {"run": {**chooser.choice, **changes}})
    assert heard == []
    assert chooser.message.startswith(words)
    assert (chooser.failed, chooser.busy) == (True, False)


def test_paths_are_not_read_where_they_are_not_allowed(make_chooser):
    chooser = make_chooser(allow_paths=False)
    path = {"kind": "path", "path": "/etc/hosts"}
    for changes in ({"clip": path}, {"compare": "second", "second": path}):
        with pytest.raises(ChoiceError, match="paths are not read here"):
            chooser.read({**chooser.choice, **changes})
    with pytest.raises(ChoiceError, match=r"Model: '/models/mine' is none of small, large\."):
        chooser.read({**chooser.choice, "model": "/models/mine"})


def test_one_run_at_a_time_and_only_a_run_is_cancelled(make_chooser):
    chooser, heard = make_chooser(), []
    chooser.on_run(lambda choice: heard.append("run"))
    chooser.on_cancel(lambda: heard.append("cancel"))
    hears(chooser, {"cancel": True})
    hears(chooser, {"run": chooser.choice})
    chooser.tell("layer 1", 0.5)
    hears(chooser, {"run": chooser.choice})
    hears(chooser, {"cancel": True})
    assert heard == ["run", "cancel"]
    assert (chooser.words, chooser.progress) == ("cancelling", 0.5)
    chooser.finish("Cancelled.")
    assert (chooser.busy, chooser.words, chooser.progress) == (False, "", 0.0)


def test_messages_of_another_kind_change_nothing(make_chooser):
    chooser = make_chooser()
    for content in ({}, {"save": 1}, "text", None):
        hears(chooser, content)
    assert chooser.sent == []
    assert chooser.message == ""


def test_closing_removes_what_was_uploaded(make_chooser):
    chooser = make_chooser()
    uploads(chooser)
    path = chooser.read({**chooser.choice, "clip": {"kind": "upload"}}).clip.path
    chooser.close()
    assert not path.parent.exists()
