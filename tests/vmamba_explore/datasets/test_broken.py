import csv
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vmamba_explore.datasets.broken import BrokenFiles


def note_all(file, names):
    broken = BrokenFiles(file)
    for name in names:
        broken.add(name, f"why {name}")


def test_a_file_is_noted_once_and_others_see_it(tmp_path):
    one, other = (BrokenFiles(tmp_path / "run" / "broken.csv") for _ in range(2))
    assert one.add("a.mp4", "cut\noff") and not one.add("a.mp4", "again")
    assert not other.add("a.mp4", "cut off") and other.add("b, c.mp4", "empty")
    assert one.reasons() == other.reasons() == {"a.mp4": "cut off", "b, c.mp4": "empty"}
    assert one.met == {"a.mp4", "b, c.mp4"}


def test_without_a_file_the_first_reason_is_kept_in_mind():
    broken = BrokenFiles(None)
    assert broken.add("a.mp4", "cut off") and not broken.add("a.mp4", "again")
    assert broken.reasons() == {"a.mp4": "cut off"}


def test_what_an_earlier_run_noted_is_listed_but_not_met(tmp_path):
    note_all(tmp_path / "broken.csv", ["a.mp4"])
    later = BrokenFiles(tmp_path / "broken.csv")
    assert later.reasons() == {"a.mp4": "why a.mp4"} and not later.met
    assert not later.add("a.mp4", "still") and later.met == {"a.mp4"}


@pytest.mark.skipif(sys.platform == "win32", reason="no lock there: a name may stand twice")
def test_those_who_meet_a_file_at_the_same_time_note_it_once(tmp_path, monkeypatch):
    write = os.write

    def slowly(file, line):
        time.sleep(0.2)
        return write(file, line)

    monkeypatch.setattr(os, "write", slowly)
    several = [BrokenFiles(tmp_path / "broken.csv") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:  # each has the file open for itself, as processes have
        noted = list(pool.map(lambda broken: broken.add("a.mp4", "cut off"), several))
    assert sorted(noted) == [False, False, True]
    assert (tmp_path / "broken.csv").read_text().splitlines() == ["a.mp4,cut off"]


def test_every_line_is_read_once_however_many_files_are_broken(tmp_path, monkeypatch):
    read, reader = [], csv.reader
    monkeypatch.setattr(csv, "reader", lambda lines: read.extend(reader(lines)) or read[-1:])
    names = [f"{n}.mp4" for n in range(50)]
    note_all(tmp_path / "broken.csv", names)
    assert [row[0] for row in read] == names[:-1]  # the last one was added after the last look


def test_a_name_that_is_no_utf_8_is_noted_too(tmp_path):
    name = os.fsdecode(b"bad\xff.mp4")
    note_all(tmp_path / "broken.csv", [name])
    assert name in BrokenFiles(tmp_path / "broken.csv").reasons()


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path):
    file = tmp_path / "broken.csv"
    file.write_bytes(b"a.mp4,no\r\nb.m")
    broken = BrokenFiles(file)
    assert broken.reasons() == {"a.mp4": "no"}
    file.write_bytes(b"a.mp4,no\r\nb.mp4,cut off\r\n")
    assert broken.reasons() == {"a.mp4": "no", "b.mp4": "cut off"}
