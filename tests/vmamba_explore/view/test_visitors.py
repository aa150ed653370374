"""An error is told in full to the owner of a kernel; to a visitor only in words for readers."""

import tempfile

import pytest

from vmamba_explore.clips import ClipError, load_clip
from vmamba_explore.view.visitors import PATHS, UNEXPECTED, for_visitors, told


def error_of(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_owner_is_told_everything():
    error = error_of(lambda: {}["secret"])
    assert told(error, "KeyError: 'secret'", visitors=False) == "KeyError: 'secret'"


def test_a_visitor_is_not_told_what_another_package_says():
    for call in (lambda: {}["secret"], lambda: int("secret"), lambda: open("/secret")):
        error = error_of(call)
        assert told(error, str(error), visitors=True) == UNEXPECTED


def test_a_visitor_is_told_a_sentence_but_no_place_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    error = error_of(lambda: load_clip("x.mp4"))
    assert isinstance(error, ClipError)
    assert told(error, "x.mp4: no such file.", visitors=True) == "x.mp4: no such file."
    assert told(error, f"{tmp_path}/x.mp4: no such file.", visitors=True) == UNEXPECTED
    assert told(error, str(error), visitors=True) == UNEXPECTED, "it names the working folder"


@pytest.mark.parametrize(
    ("server", "paths", "visitors"),
    [("voila/0.5", None, True), ("voila/0.5", "0", True), ("voila/0.5", "1", False),
     ("", None, False), ("jupyter", None, False)],
)  # fmt: skip
def test_voila_serves_visitors_unless_paths_are_allowed(monkeypatch, server, paths, visitors):
    monkeypatch.setenv("SERVER_SOFTWARE", server)
    monkeypatch.delenv(PATHS, raising=False)
    if paths is not None:
        monkeypatch.setenv(PATHS, paths)
    assert for_visitors() is visitors
    error = error_of(lambda: {}["secret"])
    assert (told(error, "secret") == UNEXPECTED) is visitors
