"""The controls of a few windows of a long video."""

import numpy as np
import pytest

from vmamba_explore.app.long_video import watch
from vmamba_explore.app.window_controls import window_controls
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.checkpoints import load_model

CLIPS = MotionClips(1_000_003, backgrounds="test")
ORDER = (0, 0, 0, 1, 2, 2)  # clips that follow each other


@pytest.fixture(scope="module")
def model():
    return load_model("motion-nano")


@pytest.fixture
def timeline(model, tmp_path):
    """Return the timeline of a film of motion clips, a window each."""
    frames = np.concatenate([CLIPS[index].clip.frames for index in ORDER])
    write_clip(tmp_path / "film.mp4", frames, fps=8, quality=4)
    return watch(tmp_path / "film.mp4", model, stride=1, progress=False)


def test_of_each_class_the_middle_of_its_longest_segment_is_asked(timeline, model):
    names = timeline.table["name"].tolist()
    assert len(set(names)) == 3 and names == [names[0]] * 3 + [names[3]] + [names[4]] * 2
    found = window_controls(timeline, model)
    assert [each.original.name for _, each in found] == [names[0], names[3], names[4]]
    starts = [when.partition(" to ")[0] for when, _ in found]
    assert starts[:2] == ["0:00:02.0", "0:00:06.0"]
    probabilities = timeline.table["probability_1"]
    assert found[0][1].original.probability == pytest.approx(probabilities[1], abs=1e-4)


def test_only_the_longest_are_asked_where_there_are_many(timeline, model):
    found = window_controls(timeline, model, most=1)
    assert [each.original.name for _, each in found] == [timeline.table["name"][0]]


def test_a_film_that_is_gone_has_no_controls(timeline, model, tmp_path):
    (tmp_path / "film.mp4").unlink()
    assert window_controls(timeline, model) == []
