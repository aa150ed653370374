"""decord reads the frames that it is asked for, or says what its decoder met."""

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from tests.vmamba_explore.clips.test_decode import number_in, spoil, write_video
from vmamba_explore.clips.decord_reader import read_frames

pytest.importorskip("decord")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "counting.mp4")


def test_the_frames_that_are_asked_for_come(video):
    frames = dict(read_frames(os.fspath(video), 60, [3, 17, 59]))
    assert {number: number_in(pixels) for number, pixels in frames.items()} == {
        number: number for number in (3, 17, 59)
    }


def test_a_file_with_another_number_of_frames_is_refused(video):
    with pytest.raises(RuntimeError, match="60 frames instead of 59"):
        list(read_frames(os.fspath(video), 59, [0]))


def test_what_decord_conceals_is_heard(tmp_path, video):
    """It shows frames for the damaged ones, and throws nothing."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    data, concealed = video.read_bytes(), 0
    for place in range(len(data) // 4, len(data) // 2, 40):
        path = tmp_path / f"{place}.mp4"
        path.write_bytes(data[:place] + b"\x55" * 8 + data[place + 8 :])
        try:
            [decord.VideoReader(os.fspath(path))[n] for n in range(60)]
        except Exception:
            continue
        with suppress(RuntimeError):
            list(read_frames(os.fspath(path), 60, list(range(60))))
            continue
        concealed += 1
    assert concealed > 5


def test_whole_files_are_read_while_another_is_damaged_elsewhere(tmp_path, video):
    spoiled = os.fspath(spoil(video, tmp_path / "spoiled.mp4", 0.5, 0.05))
    with pytest.raises(Exception, match="decoder|worker|Check failed"):
        list(read_frames(spoiled, 60, list(range(60))))
    assert len(list(read_frames(os.fspath(video), 60, list(range(60))))) == 60


def test_nothing_is_printed_not_even_by_its_c_code(tmp_path, video):
    data = bytearray(video.read_bytes())
    place = data.index(b"avcC")
    data[place + 4 : place + 40] = bytes(36)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    spoiled = spoil(video, tmp_path / "spoiled.mp4", 0.5, 0.05)
    header = tmp_path / "header.mp4"
    header.write_bytes(video.read_bytes().replace(b"moov", b"mooo"))
    script = (
        "import sys\n"
        "from vmamba_explore.clips.decord_reader import read_frames\n"
        "for path in sys.argv[1:]:\n"
        "    try: list(read_frames(path, 60, list(range(60))))\n"
        "    except Exception: pass\n"
    )
    command = [sys.executable, "-c", script, *map(os.fspath, (broken, spoiled, header, video))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pixels_are_those_of_pyav(video, monkeypatch):
    from vmamba_explore.clips import decode, load_clip

    ours = load_clip(video, 4, 7, 3, None)
    assert ours.reader == "decord"
    monkeypatch.setattr(decode, "read_frames", None)
    other = load_clip(video, 4, 7, 3, None)
    assert other.reader == "PyAV (decord is missing or failed)"
    assert np.array_equal(ours.frames, other.frames)
