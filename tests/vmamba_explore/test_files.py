import os
import stat
from pathlib import Path

import pytest

from vmamba_explore.files import atomic_write, write_json


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
