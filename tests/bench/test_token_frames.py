"""What is measured of token frames, on a short film and on made-up values."""

import numpy as np
import pytest

from vmamba_explore import MotionClips, load_model


@pytest.fixture(scope="module")
def bench(script):
    return script("token_frames")


def made(bench, **changes):
    """Three clips; the motion of the middle one fills token frames 2 to 4."""
    shown = np.full((3, 8), -1)
    shown[1, 2:5] = 7
    nothing = np.full((3, 8), 0.0)
    given = {
        "shown": shown,
        "windows": np.array([[2, 5.0]] * 3),
        "single": shown,
        "side": [shown],
        "difference": nothing,
        "read_out": nothing,
    }
    return bench.Watched(**{**given, **changes})


def test_scores_are_right_where_the_values_are(bench):
    found = made(bench)
    half = np.where(np.arange(8) < 4, found.shown, 3)
    assert bench.right(found, [found.single]).value == 1
    assert bench.right(found, [half]).value == pytest.approx(2 / 3)
    assert bench.right(found, [found.single, half]).value == pytest.approx(5 / 6)
    inside = (found.shown >= 0).astype(float)
    assert bench.error(found, inside).value == 0
    assert bench.error(found, np.roll(inside, 1, axis=1)).value == 1
    difference = np.where(inside > 0, -3.0, 1.0)
    assert [each.value for each in bench.contrast(made(bench, difference=difference))] == [3, 1]


def test_the_film_has_a_row_for_each_token_frame_that_windows_reach(bench):
    """Every token frame of a motion gets its name; side by side, a window may hold two motions."""
    source = MotionClips(seed=bench.SEED, distractors="none")
    clips = [source[number] for number in range(6)]
    found = bench.watched(load_model("motion-nano"), clips, range(4, 5))
    known = np.arange(48).reshape(6, 8)
    assert ((found.single >= 0) == ((known >= 4) & (known < 45))).all()
    assert np.isfinite(found.difference[1:-1]).all() and np.isfinite(found.read_out[1:-1]).all()
    assert bench.right(found, [found.single]).value > 0.9
    assert bench.right(found, found.side).value < bench.right(found, [found.single]).value


def test_the_table_has_every_score(bench):
    text = bench.report({"none": made(bench)})
    assert "| none | 100 % (100 to 100) | 100 % (100 to 100) | " in text
