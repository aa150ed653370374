"""A film measured window after window: the same as measured in one piece."""

from dataclasses import replace

import numpy as np
import pytest

from tests.vmamba_explore.analysis.filmed import filmed, poses
from vmamba_explore.analysis.camera_motion import measure_camera
from vmamba_explore.analysis.camera_stream import COLUMNS, CameraStream


@pytest.fixture(scope="module")
def film():
    """Return 30 frames with a cut to other colors at 8 and one to the same colors at 17."""
    names = ["astronaut.png"] * 8 + ["coffee.png"] * 22
    places = poses(30, pan=0.01)
    places[17:] += [1.0, 0, 0, 2.0]
    places[:17] -= [0.5, 0, 0, 0]
    return filmed(names, places, side=64)


def windows(clip, starts, length=8, **fields):
    for start in starts:
        part = slice(start, start + length)
        yield replace(
            clip, frames=clip.frames[part], seconds=clip.seconds[part], indices=clip.indices[part],
            **fields,
        )  # fmt: skip


def cuts(clips):
    stream = CameraStream()
    return [seconds for clip in clips for seconds in stream.add(clip)[1]]


@pytest.mark.parametrize("starts", [range(0, 23, 8), range(22), range(0, 23, 3), range(1, 23, 7)])
def test_each_cut_is_told_once_also_between_windows(film, starts):
    assert measure_camera(film).cuts.tolist() == [8, 17]
    assert cuts(windows(film, starts)) == [1.0, 17 / 8]


def test_each_window_has_the_motion_that_it_has_by_itself(film):
    stream = CameraStream()
    for clip in windows(film, range(0, 23, 3)):
        motion, alone = stream.add(clip)[0], measure_camera(clip)
        np.testing.assert_allclose(motion.moves, alone.moves, atol=1e-4)
        assert motion.seconds.tolist() == clip.seconds.tolist()


def test_what_does_not_follow_starts_anew(film):
    stream = CameraStream()
    first, second = windows(film, [0, 12])
    stream.add(first)
    assert stream.add(second)[0].source == film.source
    assert cuts([first, second]) == [17 / 8]


def test_after_a_reset_nothing_relates_to_what_was_before(film):
    stream = CameraStream()
    first, second = windows(film, [0, 8])
    stream.add(first)
    stream.reset()
    assert stream.add(second)[1] == []


def test_a_row_has_the_label_the_total_and_the_cuts(film):
    stream = CameraStream()
    rows = [stream.row(clip) for clip in windows(film, [0, 8])]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["camera"] == "pan right" and rows[0]["cuts"] == ""
    assert rows[0]["camera_pan"] == pytest.approx(0.07, abs=0.002)
    assert rows[1]["cuts"] == "1.000" and rows[1]["measured"] == 1


def test_a_window_of_one_frame_has_no_motion_and_still_tells_the_cut_before_it(film):
    (first,) = windows(film, [0])
    (single,) = windows(film, [8], length=1)
    stream = CameraStream()
    stream.add(first)
    assert stream.row(single) == {"cuts": "1.000"}
    assert CameraStream().row(single) == {"cuts": ""}


def test_held_frames_are_not_measured(film):
    (clip,) = windows(film, [9])
    held = replace(clip, frames=clip.frames[[0, 1, 2, 3, 3, 3, 3, 3]], repeated=4)
    motion, _ = CameraStream().add(held)
    assert len(motion.moves) == 3


def test_little_is_held_of_a_long_film():
    stream = CameraStream()
    clip = filmed("coffee.png", 0.3 * np.sin(poses(120, pan=0.05)), side=64)
    for window in windows(clip, range(0, 113, 8)):
        stream.add(window)
        assert len(stream._numbers) <= 8 + 2
