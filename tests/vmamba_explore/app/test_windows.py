"""Another stretch of a file: where it may lie, what is asked there, and the Python for it."""

from dataclasses import replace

import numpy as np
import pytest

from vmamba_explore.app.explore import explore
from vmamba_explore.app.question import Cancelled, Question
from vmamba_explore.app.windows import FileWindows, as_options
from vmamba_explore.clips import ClipError
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.trace.interventions import mute

COUNT = 40
FEW = {"quantities": ["delta"], "progress": False}


@pytest.fixture
def film(tmp_path):
    """40 frames of noise, so that each differs from every other."""
    frames = np.random.default_rng(0).integers(0, 255, (COUNT, 9, 16, 3), dtype=np.uint8)
    path = tmp_path / "film.mp4"
    write_clip(path, frames.repeat(8, 1).repeat(8, 2), 8)
    return path


@pytest.fixture
def windows(film):
    """Return a function: the windows of a clip of 8 frames, and what was begun."""
    begun = []

    def begin(clip, first, report):
        report("layer 0", 0.5)
        begun.append((clip, first))
        return (clip,), None

    def make(start=4, stride=2, **changes):
        clip = load_clip(film, 8, stride, start, 32)
        return FileWindows.of(replace(clip, **changes), begin, {"model": "model"}), begun

    return make


def ignore(words, share):
    """A report that hears nothing."""


def test_a_clip_lies_where_it_was_read(windows):
    found, _ = windows()
    assert (found.stride, found.window()["first"], found.window()["last"]) == (2, 4, 18)
    spread, _ = windows(start=5, stride=None)
    assert spread.stride is None and spread.window()["last"] == COUNT - 1
    short, _ = windows(start=36)
    assert (short.stride, short.clip.repeated, short.window()["last"]) == (2, 6, COUNT - 1)


def test_a_clip_that_no_start_and_stride_stand_for_has_no_window(windows):
    assert windows(path="")[0] is None
    clip = windows()[0].clip
    for numbers in (
        clip.indices[::-1],
        clip.indices[[0, 1, 2, 3, 4, 5, 7, 6]],
        [0, 1, 3, 6, 7, 8, 9, 11],
    ):
        assert windows(indices=np.array(numbers))[0] is None
    assert windows(frames=clip.frames[:, 1:])[0] is None


@pytest.mark.parametrize(
    ("start", "first"), [(0, 0), (7, 7), (25, 25), (26, 25), (10**30, 25), (-(10**30), 0)]
)
def test_a_window_that_is_moved_stays_within_the_file(windows, start, first):
    found, begun = windows()
    moved = found.moved(start, ["delta"], ignore)
    ((clip, asked),) = begun
    assert moved.sides == (clip,) and asked == ["delta"]
    assert clip.indices.tolist() == list(range(first, first + 16, 2)) and not clip.repeated
    wanted = load_clip(clip.path, 8, 2, first, 32)
    np.testing.assert_array_equal(clip.frames, wanted.frames)
    np.testing.assert_array_equal(clip.seconds, wanted.seconds)
    assert moved.windows.window()["first"] == first


def test_a_window_that_is_spread_to_the_end_of_the_file_does_not_repeat_a_frame(windows):
    found, begun = windows(start=5, stride=None)
    found.moved(10**6, [], ignore)
    assert begun[0][0].indices.tolist() == list(range(COUNT - 8, COUNT))


def test_moving_tells_how_far_it_is_and_is_stopped_by_its_report(windows):
    found, begun = windows()
    told = []
    found.moved(0, [], lambda words, share: told.append((words, share)))
    assert told == [("reading the clip", 0.0), ("layer 0", 0.1 + 0.9 * 0.5)]

    def stop(words, share):
        if words == "layer 0":
            raise Cancelled

    with pytest.raises(Cancelled):
        found.moved(0, [], stop)
    assert len(begun) == 1


def test_a_file_that_is_gone_is_a_sentence_with_the_name_that_its_owner_gave_it(windows, film):
    found, _ = windows(source="my holiday.mp4")
    assert found.moved(0, [], ignore).sides[0].source == "my holiday.mp4"
    film.unlink()
    with pytest.raises(ClipError, match=r"^my holiday\.mp4: the file is gone") as error:
        found.moved(0, [], ignore)
    assert str(film.parent) not in str(error.value)


def test_the_python_for_a_window_shows_the_same_clip(film, model):
    explorer = explore(film, model, stride=3, start=2, target=1, **FEW)
    code = explorer.window["code"]
    assert "start=2, stride=3" in code and "target=1" in code and "model=model" in code
    given = {"model": model}
    exec(code.replace("\nexplore(", "\nfound = explore("), given)
    (one,), (other,) = explorer.explorations, given["found"].explorations
    np.testing.assert_array_equal(one.clip.frames, other.clip.frames)
    assert one.classes == other.classes and one.explained == other.explained
    np.testing.assert_array_equal(one.maps["delta"], other.maps["delta"])


def test_the_python_names_a_bundled_model_and_what_was_compared():
    question = Question(minus="left", layers=[1, 2], model_name="motion-nano")
    asked = as_options(question, "'motion-nano'", "reversed")
    assert asked == {
        "model": "'motion-nano'", "minus": "'left'", "layers": "[1, 2]", "compare": "'reversed'",
    }  # fmt: skip
    assert as_options(Question(), "model", mute) == {"model": "model", "compare": "compare"}
    direction = Question(target=np.ones(16))  # stands as a variable
    assert as_options(direction, "model", None) == {"model": "model", "target": "target"}


def test_visitors_do_not_read_where_a_file_lies(windows, monkeypatch, film):
    assert str(film) in windows()[0].code()
    assert "explore('upload.mp4'" in windows(source="upload.mp4")[0].code()
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    assert "explore('film.mp4'" in windows()[0].code()


@pytest.mark.parametrize(
    "compare",
    [None, "reversed", lambda model: mute(model, "forward")],
    ids=["alone", "reversed", "edit"],
)
def test_a_window_that_is_moved_in_the_view_is_compared_with_the_same_as_before(
    film, model, compare
):
    explorer = explore(film, model, start=0, compare=compare, **FEW)
    sent = []
    explorer.send = lambda content, buffers=None: sent.append(content)
    explorer.frame, explorer.layer = 3, 0
    explorer._handle_custom_msg({"request": 1, "run": "window", "start": 9}, [])
    assert explorer._runs.wait(600) and sent[-1] == {"reply": 1, "done": True}
    assert (explorer.frame, explorer.layer, explorer.revision) == (3, 0, 1)
    assert explorer.window["first"] == 9 and "start=9" in explorer.window["code"]
    wanted = explore(film, model, start=9, compare=compare, **FEW)
    for one, other in zip(explorer.explorations, wanted.explorations, strict=True):
        np.testing.assert_array_equal(one.clip.frames, other.clip.frames)
        np.testing.assert_array_equal(one.maps["delta"], other.maps["delta"])
        assert one.classes == other.classes and one.controls == other.controls
        assert list(one.curves) == list(other.curves)


def test_a_change_of_the_model_is_made_on_the_clip_that_was_moved_to(film, model):
    explorer = explore(film, model, start=0, **FEW)
    explorer.send = lambda content, buffers=None: None
    for content in (
        {"request": 1, "run": "window", "start": 9},
        {"request": 2, "run": "change", "changes": [{"kind": "mute", "direction": "forward"}]},
    ):
        explorer._handle_custom_msg(content, [])
        assert explorer._runs.wait(600)
    one, other = explorer.explorations
    assert one.clip.indices[0] == other.clip.indices[0] == 9
    wanted = explore(
        film, model, start=9, compare=lambda model: mute(model, "forward"), **FEW
    ).explorations[1]
    assert other.classes == wanted.classes != one.classes
    explorer._handle_custom_msg({"request": 3, "run": "window", "start": 1}, [])
    assert explorer._runs.wait(600)
    assert explorer.changes == [] and len(explorer.sides) == 1
