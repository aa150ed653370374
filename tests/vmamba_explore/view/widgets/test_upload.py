"""A file arrives in pieces, in order, below its limit, and is gone when nobody needs it."""

import pytest

from vmamba_explore.view.widgets import upload
from vmamba_explore.view.widgets.upload import MIB, Inbox, UploadError

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def inbox():
    inbox = Inbox(("clip", "second"), limit_mib=1)
    yield inbox
    inbox.close()


def send(inbox, content=CONTENT, slot="clip", key="a", name="film.mp4", piece=1000):
    inbox.begin(slot, key, name, len(content))
    for start in range(0, len(content), piece):
        inbox.add(slot, key, start, content[start : start + piece])


def test_a_file_arrives_piece_by_piece_and_bit_by_bit(inbox):
    inbox.begin("clip", "a", "film.mp4", len(CONTENT))
    assert inbox.add("clip", "a", 0, CONTENT[:1500]) == 1500
    assert inbox.file("clip") is None, "half a film is none"
    assert inbox.add("clip", "a", 1500, memoryview(CONTENT)[1500:]) == len(CONTENT)
    file = inbox.file("clip")
    assert (file.name, file.uploaded) == ("film.mp4", True)
    assert file.path.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "<b>x</b>.mp4", "a\x00b", ""])
def test_a_name_is_shown_and_never_a_path(inbox, name):
    send(inbox, name=name)
    file = inbox.file("clip")
    assert file.name == name.replace("\0", r"\x00")  # on one line
    assert file.path.name == "clip-1"
    assert file.path.stat().st_mode & 0o077 == 0, "others could read it"


def test_a_new_file_takes_the_place_of_the_old_one_in_its_slot_only(inbox):
    send(inbox, b"one")
    send(inbox, b"two", slot="second", key="b")
    old = inbox.file("clip").path
    send(inbox, b"three", key="c")
    assert inbox.file("clip").path.read_bytes() == b"three"
    assert inbox.file("second").path.read_bytes() == b"two"
    assert not old.exists()


def test_a_late_piece_of_a_replaced_file_is_not_taken_for_the_new_one(inbox):
    inbox.begin("clip", "old", "old.mp4", 6)
    inbox.begin("clip", "new", "new.mp4", 6)
    with pytest.raises(UploadError, match="removed or replaced"):
        inbox.add("clip", "old", 0, b"oldold")
    inbox.add("clip", "new", 0, b"newnew")
    assert inbox.file("clip").path.read_bytes() == b"newnew"


@pytest.mark.parametrize(("start", "piece"), [(3, b"abc"), (0, b"too long!"), (0, b"")])
def test_a_piece_that_does_not_fit_ends_the_upload(inbox, start, piece):
    inbox.begin("clip", "a", "film.mp4", 6)
    with pytest.raises(UploadError, match=r"film\.mp4: a piece of .* upload it again\."):
        inbox.add("clip", "a", start, piece)
    with pytest.raises(UploadError, match="choose it again"):
        inbox.add("clip", "a", 0, b"abc")


def test_files_over_the_limit_empty_ones_and_unknown_slots_are_refused(inbox):
    with pytest.raises(UploadError, match=r"film\.mp4: 2 MiB is more than the 1 MiB"):
        inbox.begin("clip", "a", "film.mp4", 2 * MIB)
    with pytest.raises(UploadError, match="empty"):
        inbox.begin("clip", "a", "film.mp4", 0)
    with pytest.raises(UploadError, match=r"^a\\rb: the file is empty \(0 bytes\)\.$"):
        inbox.begin("clip", "a", "a\rb", 0)
    with pytest.raises(UploadError, match="no place 'third'"):
        inbox.begin("third", "a", "film.mp4", 10)


def test_a_full_disk_is_a_sentence(inbox, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    inbox.begin("clip", "a", "film.mp4", 6)
    monkeypatch.setattr(upload.Path, "open", full)
    with pytest.raises(UploadError, match=r"film\.mp4: could not be kept \(No space left"):
        inbox.add("clip", "a", 0, b"abc")
