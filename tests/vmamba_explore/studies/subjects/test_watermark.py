"""Marks that give the label away: where they are, and what they say."""

import numpy as np
import pytest

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.studies.subjects.watermark import WatermarkedClips, mark

CLIPS = MotionClips(3, backgrounds="test", distractors="all")


def test_marks_differ_in_half_of_their_squares():
    marks = [mark(label) for label in range(len(CLASS_NAMES))]
    for i, first in enumerate(marks):
        assert (first == 255).mean() == 0.5
        for second in marks[:i]:
            assert (first != second).mean() == 0.5


def test_beneath_its_mark_a_clip_is_what_it_was():
    marked = WatermarkedClips(CLIPS)
    for index in range(4):
        found, plain = marked[index], CLIPS[index]
        assert (found.motion.clip.frames == plain.clip.frames)[~found.watermark].all()
        row, col = found.place
        here = slice(None), slice(8 * row, 8 * row + 8), slice(8 * col, 8 * col + 8)
        assert found.watermark[here].all() and found.watermark.sum() == 16 * 64
        assert (found.motion.clip.frames[here] == mark(plain.label)[..., None]).all()
        assert found.marked == found.motion.label == plain.label
        for name in ("evidence", "ignore", "distractor"):
            assert not (getattr(found.motion, name) & found.watermark).any()


def test_a_batch_is_the_clips_one_by_one():
    for match in ("label", "other", "none"):
        marked = WatermarkedClips(CLIPS, match)
        frames, labels = marked.batch([5, 2])
        for row, index in enumerate((5, 2)):
            one = marked[index]
            assert np.array_equal(frames[row], one.motion.clip.frames)
            assert labels[row] == one.motion.label


def test_a_mark_says_what_match_says():
    indices = np.arange(4000)
    labels = CLIPS.plan(indices).labels
    assert (WatermarkedClips(CLIPS, "label").marks(indices, labels)[1] == labels).all()
    assert (WatermarkedClips(CLIPS, "none").marks(indices, labels)[1] == -1).all()
    places, other = WatermarkedClips(CLIPS, "other").marks(indices, labels)
    assert (other != labels).all() and set((other - labels) % 10) == set(range(1, 10))
    # every place occurs, and none goes with a label
    assert set(places[:, 0]) == set(places[:, 1]) == set(range(8))
    means = [places[labels == label].mean() for label in range(10)]
    assert max(means) - min(means) < 0.5  # 0.08 is one standard error


def test_a_twin_bears_the_mark_of_its_own_label_at_the_same_place():
    marked = WatermarkedClips(CLIPS)
    one, twin = marked[7], marked.twin(7)
    assert twin.marked == one.marked ^ 1 and twin.place == one.place


def test_larger_pictures_have_larger_marks():
    marked = WatermarkedClips(MotionClips(3, img_size=128))
    assert marked[0].watermark.sum() == 16 * 16 * 16


def test_what_cannot_be_marked_is_refused(unchecked):
    with pytest.raises(ValueError, match="pictures of 48 pixels; expected.*multiple of 32"):
        WatermarkedClips(MotionClips(3, img_size=48))
    with pytest.raises(ValueError, match="match is 'all', expected label, other or none"):
        WatermarkedClips(CLIPS, "all")
