import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from vmamba_explore.files import (
    atomic_folder,
    atomic_write,
    lock,
    output_path,
    output_paths,
    read_json,
    read_text,
    write_json,
)


@pytest.mark.parametrize("content", ["ä", "ä".encode(), lambda file: file.write("ä".encode())])
@pytest.mark.parametrize("fsync", [False, True])
def test_what_was_written_is_all_there_is(tmp_path, content, fsync):
    path = tmp_path / "new" / "a.txt"
    for _ in range(2):
        atomic_write(path, content, fsync=fsync)
        assert path.read_text("utf-8") == "ä"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no"), OSError("no errno")])
def test_a_failure_keeps_what_was_there_and_leaves_nothing_beside_it(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(file):
        file.write(b"half of it")
        raise error

    with pytest.raises(type(error)) as caught:
        atomic_write(path, fail)
    assert caught.value is error
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    def fail(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device.*what was there.*a.txt") as caught:
        atomic_write(tmp_path / "a.txt", fail)
    assert caught.value.errno == 28 and not os.listdir(tmp_path)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        atomic_write(tmp_path, "a")


def test_permissions_and_links_stay_as_they_are(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    atomic_write(link, "after")
    assert link.is_symlink() and real.read_text() == "after"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        write_json(tmp_path / "new.json", {"a": 1})
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write to all
    with pytest.raises(PermissionError, match="Permission denied.*a.txt"):
        atomic_write(path, "after")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]


def test_a_device_is_written_to_and_not_replaced():
    atomic_write(os.devnull, "a")
    assert not Path(os.devnull).is_file()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no paths of open files here")
def test_a_pipe_is_written_to():
    reader, writer = os.pipe()
    try:
        atomic_write(f"/dev/fd/{writer}", "a")
        assert os.read(reader, 9) == b"a"
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_killed_process_left_behind_goes_with_the_next_write_after_an_hour(tmp_path):
    old, young = (tmp_path / f"a[1].json.{pid}-7.part" for pid in (1, 2))
    for left in (old, young, other := tmp_path / "b.json.1-7.part"):
        left.write_text("{")
    for left in (old, other):
        os.utime(left, (0, 0))
    atomic_write(tmp_path / "a[1].json", "{}")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a[1].json", young, other])


def test_a_name_of_255_bytes_is_written(tmp_path):
    for name in ("a" * 255, "ä" * 127):
        atomic_write(tmp_path / name, "a")
        atomic_write(tmp_path / name, "b")
        assert (tmp_path / name).read_text() == "b"
    assert len(os.listdir(tmp_path)) == 2


def test_text_with_a_lone_surrogate_is_written_as_its_escape(tmp_path):
    atomic_write(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\\udce9"


def impossible(tmp_path):
    """Paths that cannot be written, the kind of error, and what it says."""
    (tmp_path / "file").write_text("before")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "too long": (tmp_path / ("a" * 256), OSError, "File name too long"),
        "folders too long": (tmp_path / "new" / ("a" * 5000) / "b", OSError, "name too long"),
        "NUL": (tmp_path / "a\0b", ValueError, r"a\\x00b holds a character that no file name"),
        "surrogate": (tmp_path / "a\ud83d", ValueError, r"a\\ud83d holds a character"),
        "a file above": (tmp_path / "file" / "a", NotADirectoryError, "file"),
        "a loop": (tmp_path / "loop", OSError, "symbolic links"),
        "a folder": (tmp_path, IsADirectoryError, "director|folder"),
    }


@pytest.mark.parametrize(
    "case",
    ["too long", "folders too long", "NUL", "surrogate", "a file above", "a loop", "a folder"],
)
def test_what_cannot_be_written_is_one_short_sentence_and_changes_nothing(tmp_path, case):
    path, kind, words = impossible(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    for write in (
        lambda: atomic_write(path, "after"),
        lambda: output_path(path, "report", parents=True),
    ):
        with pytest.raises(kind, match=words) as caught:
            write()
        assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "before"


def test_an_output_is_checked_without_being_touched(tmp_path):
    path = tmp_path / "a.html"
    assert output_path(path, "report") == path and not path.exists()
    path.write_text("before")
    os.utime(path, (1, 1))
    assert output_path(path, "report") == path
    assert path.read_text() == "before" and path.stat().st_mtime == 1
    assert os.listdir(tmp_path) == ["a.html"]


def test_missing_folders_are_named_unless_they_will_be_created(tmp_path):
    path = tmp_path / "new" / "er" / "a.json"
    with pytest.raises(FileNotFoundError, match="report: .* the folder .*er does not exist"):
        output_path(path, "report")
    assert output_path(path, "fit", parents=True) == path and not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_written_to_is_said_before_any_work(tmp_path, monkeypatch, what):
    path = tmp_path / "a.html"
    path.write_text("before")

    def refuse(**given):
        raise PermissionError(13, "Permission denied")

    if what == "file":  # root may write to all
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"^report: cannot write .*a.html: .*; name another"):
        output_path(path, "report")


def test_a_file_is_not_taken_for_a_folder_nor_a_folder_for_a_file(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(FileExistsError, match="train: cannot write .*a: it is a file; name a fol"):
        output_path(tmp_path / "a", "train", folder=True)
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file in it"):
        output_path(tmp_path, "fit")
    assert output_path(tmp_path, "train", folder=True) == tmp_path


def test_the_same_output_twice_is_refused_under_any_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="is to be written twice"):
        output_paths([tmp_path / "a", None, tmp_path / "link"], "explore", [])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, error):
    def fill(folder):
        (folder / "new").write_text("after")

    def fail(folder):
        fill(folder)
        raise error

    (tmp_path / "store").mkdir(mode=0o750)
    (tmp_path / "store" / "old").write_text("before")
    with pytest.raises(type(error)):
        atomic_folder(tmp_path / "store", fail)
    assert [p.name for p in tmp_path.rglob("*")] == ["store", "old"]
    atomic_folder(tmp_path / "store", fill)
    assert [p.name for p in tmp_path.rglob("*")] == ["store", "new"]
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750
    atomic_folder(tmp_path / "above" / "other", fill)
    assert (tmp_path / "above" / "other" / "new").read_text() == "after"


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    rename, calls = os.rename, []

    def second_fails(old, new):
        calls.append(old)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(old, new)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="cannot write the folder .*what was there before is kept"):
        atomic_folder(tmp_path / "store", lambda folder: None)
    assert os.listdir(tmp_path) == ["store"]


def test_numbers_of_numpy_are_written_as_plain_ones(tmp_path):
    write_json(tmp_path / "a.json", {"hop": np.int64(4), "share": np.float32(0.5)})
    assert read_json(tmp_path / "a.json", dict, "test") == {"hop": 4, "share": 0.5}


@pytest.mark.parametrize(
    "data",
    ["\ufeffä;1\r\n".encode(), "ä;1\r\n".encode(), "\ufeffä;1\r\n".encode("utf-16-le"),
     "\ufeffä;1\r\n".encode("utf-16-be")],
)  # fmt: skip
def test_text_is_read_as_spreadsheets_encode_it(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    assert read_text(tmp_path / "a.csv", "test") == "ä;1\r\n"
    (tmp_path / "a.csv").write_bytes(data + "ä".encode()[:1])
    if b"\0" not in data:
        assert read_text(tmp_path / "a.csv", "test", whole=False) == "ä;1\r\n"
        with pytest.raises(ValueError, match="test: .*a.csv is not text in UTF-8 .*save it as"):
            read_text(tmp_path / "a.csv", "test")


def test_a_binary_file_is_not_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"ab\0c")
    with pytest.raises(ValueError, match="a.csv is not a text file: it holds a NUL at character 2"):
        read_text(tmp_path / "a.csv", "test")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "is nested too deeply"),
        ("[" + "9" * 5000 + "]", "has an integer of more than 4,300 digits"),
        ("{", "is not JSON"),
        ("\x00", "is not a text file"),
        ("{}", "holds a JSON dict, expected a list"),
    ],
)
def test_json_that_cannot_be_read_is_one_sentence(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=f"^test: .*a.json {words}") as caught:
        read_json(tmp_path / "a.json", list, "test")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.skipif(getattr(os, "getuid", int)() or sys.platform == "win32", reason="root may")
def test_the_owners_stay_as_they_are(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    os.chown(path, 1, 2)
    path.chmod(0o664)
    atomic_write(path, "after")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1, 2, 0o664)


def test_a_lock_is_held_until_its_file_is_closed(tmp_path):
    path = tmp_path / "a"
    path.write_text("")
    first, second = (os.open(path, os.O_RDWR) for _ in range(2))
    assert lock(first, wait=False) and not lock(second, wait=False)
    os.close(first)
    assert lock(second, wait=False)
    os.close(second)


def test_a_folder_that_is_not_to_be_replaced_is_left_alone_unless_it_is_empty(tmp_path):
    def write(folder):
        (folder / "new").write_text("new")

    (tmp_path / "empty").mkdir()
    atomic_folder(tmp_path / "empty", write, replace=False)
    assert (tmp_path / "empty" / "new").read_text() == "new"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").write_text("old")
    with pytest.raises(OSError, match="cannot write the folder"):
        atomic_folder(tmp_path / "full", write, replace=False)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]
