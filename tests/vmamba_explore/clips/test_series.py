"""Series of generated clips: what all of them refuse, and that they are the same wherever drawn."""

import pickle

import numpy as np
import pytest

from vmamba_explore.clips.camera import CameraClips
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips

PAINTED = (MotionClips, RecallClips)
SERIES = (*PAINTED, CameraClips)


@pytest.mark.parametrize("series", SERIES)
def test_a_series_ends_where_it_says(series):
    clips = series(0, length=3)
    assert len(list(clips)) == len(clips) == 3


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("index", [3, -1, 2**63, 2**64])
def test_an_index_out_of_range_names_the_series_and_its_clips(series, index):
    words = f"^{series.__name__}: no clip {index}; there are clips 0 to 2.$"
    with pytest.raises(IndexError, match=words):
        series(0, length=3)[index]


@pytest.mark.parametrize("series", PAINTED)
def test_a_batch_names_the_clip_that_does_not_exist(series):
    with pytest.raises(IndexError, match="no clip -1"):
        series(0, length=3).batch([0, -1])
    assert series(0).batch([])[0].shape == (0, 16, 64, 64, 3)


@pytest.mark.parametrize(
    ("series", "name", "value"),
    [(series, *field) for series in SERIES for field in (
        ("seed", -1), ("seed", 2**64), ("num_frames", 7), ("img_size", 8), ("img_size", 513),
        ("length", 0),
    )] + [(series, *field) for series in PAINTED for field in (
        ("distractors", "some"), ("backgrounds", "all"),
    )],
)  # fmt: skip
def test_an_argument_out_of_range_is_named(series, name, value, unchecked):
    with pytest.raises(ValueError, match=f"^{series.__name__}: {name} is {value!r}, expected"):
        series(**{name: value})


@pytest.mark.parametrize("series", PAINTED)
def test_clips_survive_a_pickle(series):
    clips = series(0)
    copy = pickle.loads(pickle.dumps(clips))
    for mine, copied in zip(clips.batch(range(4)), copy.batch(range(4)), strict=True):
        np.testing.assert_array_equal(mine, copied)


@pytest.mark.parametrize("series", PAINTED)
def test_train_and_test_clips_share_no_scene(series):
    train = series(3).plan(range(50)).scene
    test = series(3, backgrounds="test").plan(range(50)).scene
    assert not np.intersect1d(train, test).size
