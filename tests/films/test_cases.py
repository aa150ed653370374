"""Small files that once were read wrong: `../shared/cases`, whose READMEs say what is right."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from vmamba_explore.clips import ClipError, load_clip
from vmamba_explore.clips.stream import Damage, stream_clips

CASES = pathlib.Path(__file__).parents[3] / "shared" / "cases"
VIDEO, DAMAGED = CASES / "video", CASES / "damaged"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")


def number_in(frame):
    """The number in eight vertical bars between 1/4 and 3/4 of the height, leftmost is bit 0."""
    height, width, _ = frame.shape
    bars = frame[3 * height // 8 : height // 2].mean((0, 2)) > 128
    return sum(int(bars[(2 * bit + 1) * width // 16]) << bit for bit in range(8))


def numbers(name, **how):
    clip = load_clip(VIDEO / name, **{"img_size": None, **how})
    return [number_in(frame) for frame in clip.frames]


@pytest.mark.parametrize(
    ("name", "how", "right"),
    [
        ("h264_bframes.avi", {"num_frames": 4, "stride": 4, "start": 0}, [0, 4, 8, 12]),
        ("pal8.avi", {"num_frames": 4, "stride": 1, "start": 1}, [1, 2, 3, 4]),
        ("intra_refresh.mp4", {}, list(range(14, 46, 2))),
        (
            "two_streams_second_default.mkv",
            {"num_frames": 3, "stride": 1, "start": 0},
            [255, 254, 253],
        ),
        ("joined_encodes.ts", {"num_frames": 1, "stride": 1, "start": 45}, [250]),
        (
            "joined_encodes.ts",  # its second part counts down
            {"num_frames": 80, "stride": 1, "start": 0},
            [*range(40), *range(255, 215, -1)],
        ),
    ],
)
def test_the_frames_that_were_asked_for_come(name, how, right):
    assert numbers(name, **how) == right


def test_times_do_not_depend_on_what_is_asked():
    clips = [load_clip(VIDEO / "h264_bframes.avi", 4, 1, start) for start in (20, 21, 22)]
    assert clips[0].seconds[2] == clips[1].seconds[1] == clips[2].seconds[0]


def test_a_roll_in_matroska_is_shown():
    path = VIDEO / "rotated.mkv"
    clip = load_clip(path, 1, start=0, img_size=None)
    assert clip.frames.shape[1:3] == (128, 96)
    streamed = next(iter(stream_clips(path, 1, 1, img_size=96)))
    assert np.array_equal(streamed.frames, load_clip(path, 1, start=0, img_size=96).frames)


@pytest.mark.parametrize(
    ("name", "turn"),
    [("mirrored_hflip.mp4", np.s_[:, ::-1]), ("mirrored_vflip.mp4", np.s_[::-1])],
)
def test_mirrors_are_neither_turned_nor_left_out(name, turn):
    (frame,) = load_clip(VIDEO / name, 1, start=7, img_size=None).frames
    assert number_in(frame[turn]) == 7
    left, _, right = np.array_split(frame[turn][-12:], 3, axis=1)
    assert left.mean((0, 1)).argmax() == 0  # red
    assert right.mean((0, 1)).argmax() == 2  # blue


def test_times_that_start_again_go_on():
    path = VIDEO / "times_start_again.ts"
    parts = list(stream_clips(path, 8, 1, img_size=32))
    seconds = np.concatenate([part.seconds for part in parts])
    assert (np.diff(seconds) > 0).all()
    assert seconds[-1] == pytest.approx(3.16)
    assert load_clip(path, 80, 1, 0, 32).seconds == pytest.approx(seconds)


def test_pixels_twice_as_wide_are_shown_so():
    assert load_clip(VIDEO / "sar_2_1.mp4", 1, img_size=None).frames.shape[1:3] == (96, 256)


def test_an_orientation_at_key_frames_only_holds_for_all():
    clip = load_clip(VIDEO / "orientation_sei.ts", 16, 1, 5, None)
    seen = [number_in(np.rot90(frame, 3)) for frame in clip.frames]
    assert seen == clip.indices.tolist() == list(range(5, 21))


def test_a_film_with_a_late_start_and_a_trimmed_head_is_whole():
    parts = list(stream_clips(VIDEO / "empty_edit_and_trim.mp4", 10, 1, img_size=32))
    assert not [part for part in parts if isinstance(part, Damage)]
    assert np.concatenate([part.indices for part in parts]).tolist() == list(range(30))


def test_damaged_files_end_in_a_sentence_or_say_which_frames_are_damaged():
    """In a process of its own, of which nothing may reach the terminal."""
    script = (
        "import pathlib, sys\n"
        "from vmamba_explore.clips import ClipError, load_clip\n"
        "from vmamba_explore.clips.stream import stream_clips\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    for how in 'refuse', 'show':\n"
        "        try: load_clip(path, damaged=how)\n"
        "        except ClipError as error: assert str(error).count('. ') == 0, error\n"
        "    try: list(stream_clips(path, 8, 1, img_size=32))\n"
        "    except ClipError: pass\n"
    )
    command = [sys.executable, "-c", script, str(DAMAGED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["zeroed400_right.mp4", "c1c_silent_0.mp4", "c1c_silent_2.mp4"])
def test_damage_that_was_silent_is_refused_or_marked(name):
    clip = load_clip(DAMAGED / name, 200, 1, 0, 32, damaged="show")
    assert clip.damaged is not None and clip.damaged.any()
    with pytest.raises(ClipError, match="is damaged"):
        load_clip(DAMAGED / name, 200, 1, 0, 32)
