"""The app: a run in the background, cancelled or failed in a sentence, one explorer at a time."""

import gc
import shutil
import threading
import weakref

import pytest
import torch

from vmamba_explore import resources
from vmamba_explore.app import explorer_app
from vmamba_explore.app.explorer_app import ExplorerApp, sentence
from vmamba_explore.hooks import hook_points
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.view import visitors

HANG = 600


@pytest.fixture
def app():
    app = ExplorerApp(allow_paths=True)
    yield app
    app.close()


def run(app, wait=True, **changes):
    app.chooser._handle_custom_msg({"run": {**app.chooser.choice, **changes}}, [])
    if wait:
        app.wait(HANG)
        assert not app.chooser.busy


def path(name):
    return {"kind": "path", "name": "", "path": str(name)}


def upload(app, file, name, slot="clip"):
    content = file.read_bytes()
    hear = app.chooser._handle_custom_msg
    hear({"request": 1, "key": "k", "slot": slot, "name": name, "size": len(content)}, [])
    hear({"request": 2, "key": "k", "slot": slot, "start": 0}, [memoryview(content)])
    return {"kind": "upload", "name": "", "path": ""}


@pytest.fixture
def quick(monkeypatch):
    """A stand-in for the work: fast, and it can be held up where it reports."""
    steps = {"go on": threading.Event(), "reported": threading.Event()}
    real = explorer_app.side_by_side

    def work(model, clip, compare, question, name):
        question.report("layer 0", 0.5)
        steps["reported"].set()
        assert steps["go on"].wait(HANG)
        question.report("layer 1", 0.75)
        return real(model, clip, compare, question, name)

    monkeypatch.setattr(explorer_app, "side_by_side", work)
    return steps


def test_a_bundled_clip_is_run_and_shown(app):
    words = []
    app.chooser.observe(lambda change: words.append(change["new"]), "words")
    run(app)
    assert app.chooser.message.startswith("right.mp4: right, 100% (")
    assert not app.chooser.failed
    assert app.explorer.explorations[0].model == "motion-nano"
    assert app.explorer.explorations[0].target == "right"
    assert {"loading the model", "reading the clip", "layer 5", "evidence", "drawing"} <= set(words)


@pytest.mark.parametrize(
    ("compare", "title"),
    [("reversed", "right.mp4, backwards"), ("second", "right_twin.mp4"),
     ("mute backward", "backward scans muted")],
)  # fmt: skip
def test_what_to_compare_with_is_the_second_side(app, compare, title):
    progress = []
    app.chooser.observe(lambda change: progress.append(change["new"]), "progress")
    run(app, compare=compare)
    first, second = app.explorer.explorations
    assert (first.title, second.title, first.classes[0][0]) == ("right.mp4", title, "right")
    assert second.classes[0][0] != "right"  # muted: nothing else reaches a class token in front
    model = first.live.trace.model
    assert [name for name, point in hook_points(model).items() if point.functions] == []
    assert all(parameter.grad is None for parameter in model.parameters())
    assert progress[:-1] == sorted(progress[:-1]), "a bar that runs backwards"
    assert progress[-1] == 0


def test_an_upload_is_read_and_called_as_its_owner_calls_it(app):
    clip = upload(app, resources.path("clips/right_twin.mp4"), "<b>my film</b>.mp4")
    run(app, clip=clip)
    assert app.chooser.message.startswith("<b>my film</b>.mp4: left, 100%")
    assert app.explorer.explorations[0].title == "<b>my film</b>.mp4"


def test_the_window_of_an_upload_moves_within_it_and_never_tells_where_it_lies(app):
    run(app, clip=upload(app, resources.path("clips/city.mp4"), "mine.mp4"))
    explorer, sent = app.explorer, []
    explorer.send = lambda content, buffers=None: sent.append(content)
    place = explorer.explorations[0].clip.path
    ask = lambda **content: (  # noqa: E731
        explorer._handle_custom_msg(content, []),
        explorer._runs.wait(HANG),
    )
    ask(request=1, run="window", start=10**9)
    assert explorer.window["last"] == 189 and explorer.sides[0]["source"] == "mine.mp4"
    assert "explore('mine.mp4', " in explorer.window["code"]
    upload(app, resources.path("clips/right.mp4"), "other.mp4")  # takes its place
    for run_, more in (("window", {"start": 0}), ("strip", {}), ("pictures", {})):
        ask(request=2, run=run_, film=explorer.sides[0]["film"], **more)
        assert sent[-1]["error"].startswith("mine.mp4: the file is gone;")
    assert place not in str(sent) and place not in str(explorer.get_state())


def test_an_upload_that_is_no_film_is_one_sentence_without_its_place(app, tmp_path):
    shutil.copy(resources.path("clips/right.mp4"), tmp_path / "private.mp4")
    cut_off = (tmp_path / "private.mp4").read_bytes()[:5000]
    playlist = f"#EXTM3U\n#EXTINF:2,\n{tmp_path}/private.mp4\n#EXT-X-ENDLIST\n".encode()
    for content in (cut_off, playlist):
        (tmp_path / "broken").write_bytes(content)
        run(app, clip=upload(app, tmp_path / "broken", "mine.mp4"))
        assert app.chooser.failed and app.explorer is None
        assert app.chooser.message.startswith("mine.mp4: not a film")
        assert "vmamba-explore-" not in app.chooser.message


def test_errors_are_sentences_and_the_explorer_before_stays(app, tmp_path):
    run(app)
    shown = app.explorer
    for changes, words in (
        ({"clip": path(tmp_path / "none.mp4")}, f"{tmp_path}/none.mp4: no such file"),
        ({"clip": path(tmp_path)}, "a directory"),
        ({"model": str(tmp_path)}, "lacks config.json and model.safetensors"),
        ({"start": 999}, "start=999 lies past the end"),
    ):
        run(app, **changes)
        assert app.chooser.failed
        assert words in app.chooser.message
        assert "Traceback" not in app.chooser.message
    assert app.explorer is shown
    assert shown.comm is not None
    run(app)
    assert (app.chooser.failed, shown.comm) == (False, None)


def test_an_unexpected_error_has_its_type_and_asks_to_be_reported(app, monkeypatch, capfd):
    def broken(*_, **__):
        return {}["nothing"]

    monkeypatch.setattr(explorer_app, "side_by_side", broken)
    run(app)
    assert app.chooser.failed
    assert app.chooser.message.startswith("Something unexpected: KeyError: 'nothing'.")
    assert "report it" in app.chooser.message
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_value_error_from_elsewhere_is_not_taken_for_a_sentence():
    errors = []
    for fail in (lambda: torch.zeros(2).view(3), lambda: int("x"), lambda: load_nothing()):
        try:
            fail()
        except Exception as error:
            errors.append(sentence(error))
    assert [words.startswith("Something unexpected") for words in errors] == [True, True, False]


def load_nothing():
    from vmamba_explore.clips import load_clip

    load_clip("nowhere.mp4")


def test_cancel_is_heard_between_two_steps_and_another_run_can_follow(app, quick):
    run(app, wait=False)
    assert quick["reported"].wait(HANG)
    assert app.chooser.busy
    app.chooser._handle_custom_msg({"cancel": True}, [])
    assert app.chooser.words == "cancelling"
    quick["go on"].set()
    app.wait(HANG)
    assert (app.chooser.message, app.chooser.failed, app.explorer) == ("Cancelled.", False, None)
    run(app)
    assert app.chooser.message.startswith("right.mp4")


def test_a_second_run_waits_for_nobody_and_does_not_start(app, quick):
    run(app, wait=False)
    assert quick["reported"].wait(HANG)
    threads = threading.active_count()
    run(app, wait=False, compare="reversed")
    assert threading.active_count() == threads
    quick["go on"].set()
    app.wait(HANG)
    assert len(app.explorer.explorations) == 1


def test_closing_ends_the_run_and_shows_nothing(quick):
    app = ExplorerApp()
    run(app, wait=False)
    assert quick["reported"].wait(HANG)
    quick["go on"].set()
    app.close()
    assert app.explorer is None
    assert app.comm is None


def test_a_replaced_explorer_and_its_model_are_forgotten(app):
    run(app)
    old = weakref.ref(app.explorer.explorations[0].live.trace.model)
    run(app)
    gc.collect()
    assert old() is None


@pytest.mark.parametrize(
    ("server", "asked", "allowed"),
    [("", "", True), ("voila/0.5.13", "", False), ("voila/0.5.13", "0", False),
     ("voila/0.5.13", "1", True)],
)  # fmt: skip
def test_paths_are_read_under_voila_only_if_asked_for(monkeypatch, server, asked, allowed):
    monkeypatch.setenv("SERVER_SOFTWARE", server)
    monkeypatch.setenv(visitors.PATHS, asked)
    assert visitors.for_visitors() is not allowed
    app = ExplorerApp()
    assert app.chooser.allow_paths is allowed
    run(app, clip=path("/etc/hosts"))
    assert app.chooser.message.startswith("Clip: paths are not read") is not allowed
    app.close()


def visitor_says(app, method="custom", **data):
    app.chooser._handle_msg({"content": {"data": {"method": method, **data}}, "buffers": []})
    app.wait(HANG)
    return app.chooser.message


@pytest.fixture
def visited():
    app = ExplorerApp(allow_paths=False)
    yield app
    app.close()


def test_a_visitor_cannot_allow_himself_paths_or_models(visited, tmp_path):
    """As it was done: set the traits that the page shows, then run a path and a private folder."""
    (tmp_path / "config.json").write_text('{"secret": "hunter2"}')
    (tmp_path / "model.safetensors").write_bytes(b"hunter2")
    state = {"allow_paths": True, "models": [str(tmp_path)], "samples": [str(tmp_path)]}
    visitor_says(visited, "update", state=state, buffer_paths=[])
    choice = visited.chooser.choice
    said = visitor_says(visited, content={"run": {**choice, "clip": path("/etc/passwd")}})
    assert said == "Clip: paths are not read here; upload the file instead."
    clip = {"kind": "sample", "name": str(tmp_path), "path": ""}
    assert "choose one of" in visitor_says(visited, content={"run": {**choice, "clip": clip}})
    said = visitor_says(visited, content={"run": {**choice, "model": str(tmp_path)}})
    assert said.endswith(f"is none of auto, {', '.join(BUNDLED)}.")
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "name",
    ["./motion-nano", "motion-nano/../private", "motion-nano\0", "motion-nano:x", "MOTION-NANO", "",
     ["motion-nano"], {"motion-nano": 1}, None, 10**400, "owner/repo", "private"],
    ids=repr,
)  # fmt: skip
def test_only_the_very_names_of_models_are_run_where_paths_are_not_allowed(
    visited, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion-nano").symlink_to("/")
    (tmp_path / "private").mkdir()
    choice = {**visited.chooser.choice, "model": name}
    assert f"is none of auto, {', '.join(BUNDLED)}." in visitor_says(
        visited, content={"run": choice}
    )
    assert visited.explorer is None


def test_a_visitor_reads_no_place_of_this_machine_and_no_unexpected_words(
    visited, monkeypatch, caplog, tmp_path
):
    choice = visited.chooser.choice
    (tmp_path / "empty.mp4").touch()
    visited.chooser._samples["empty"] = tmp_path / "empty.mp4"
    clip = {"kind": "sample", "name": "empty", "path": ""}
    said = visitor_says(visited, content={"run": {**choice, "clip": clip}})
    assert said.startswith("empty.mp4: the file is empty")

    def broken(*_, **__):
        raise FileNotFoundError(2, "No such file", "/srv/private/config.json")

    monkeypatch.setattr(explorer_app, "side_by_side", broken)
    assert visitor_says(visited, content={"run": choice}) == visitors.UNEXPECTED
    (record,) = [r for r in caplog.records if r.exc_info]
    assert "/srv/private/config.json" in str(record.exc_info[1]), "whoever runs the page needs it"


ENDLESS = """
import time
from vmamba_explore.app import explorer_app

def endless(model, clip, compare, question, name):
    while True:
        question.report("waiting", 0.5)
        time.sleep(0.01)

real, explorer_app.side_by_side = explorer_app.side_by_side, endless
app = explorer_app.ExplorerApp()
print(app.chooser.comm.comm_id)
"""


def test_a_kernel_hears_cancel_while_it_runs_and_shows_no_traceback(kernel):
    """Messages as a browser sends them, to a real kernel."""
    comm = kernel.run(ENDLESS)[0].text.strip()

    def sends(**content):
        kernel.send(comm, method="custom", content=content)

    choice = eval(kernel.says("app.chooser.choice"))
    sends(run=choice)
    assert kernel.says("app.chooser.busy") == "True"
    sends(cancel=True)
    kernel.says("app.wait(600)")
    assert kernel.says("app.chooser.message") == "Cancelled."
    kernel.says("setattr(explorer_app, 'side_by_side', real)")
    sends(run={**choice, "model": "nowhere"})
    kernel.says("app.wait(600)")
    assert kernel.says("app.chooser.failed") == "True"
    sends(run=choice)
    kernel.says("app.wait(600)")
    assert kernel.says("app.chooser.message").startswith("right.mp4: right")
    assert kernel.says("type(app.children[1]).__name__") == "Explorer"
