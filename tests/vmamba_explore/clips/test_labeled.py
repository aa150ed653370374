import numpy as np
import pytest

from vmamba_explore.clips.camera import CameraClips
from vmamba_explore.clips.labeled import LabeledClip, runs
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips


@pytest.mark.parametrize(
    ("marks", "expected"),
    [("", []), ("...", []), ("#", [(0, 0)]), ("##.#", [(0, 1), (3, 3)]), (".##.", [(1, 2)])],
)
def test_runs_are_given_by_their_first_and_last_place(marks, expected):
    assert runs(np.array([mark == "#" for mark in marks], bool)) == expected


@pytest.mark.parametrize("series", [MotionClips(0), RecallClips(0), CameraClips(0)], ids=repr)
def test_a_generated_clip_knows_the_cause_of_its_label(series):
    clip = series[1]
    assert isinstance(clip, LabeledClip)
    assert not isinstance(clip.clip, LabeledClip)
    assert (clip.deciding == clip.evidence.any((1, 2))).all()
    assert not (clip.evidence & clip.ignore).any()
