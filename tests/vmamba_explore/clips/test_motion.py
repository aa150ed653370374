"""Motion clips: the same everywhere, and nothing but the order of frames gives a label away."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClip, MotionClips, shuffle_window

# Labels, windows and the three masks of clips 0 to 19 of seed 0. If it changes, so does the task:
# the bundled model has to be trained and measured again.
TRUTH_OF_THE_FIRST_TWENTY = "ea6d7ec8833a3818430662ce32b1aa02b65db06174d8e0383f55e5a65222f179"
MASKS = ("evidence", "ignore", "distractor")


@pytest.fixture(scope="module")
def clips() -> MotionClips:
    return MotionClips(0)


@pytest.fixture(scope="module")
def first(clips: MotionClips) -> list[MotionClip]:
    return [clips[index] for index in range(20)]


def frame_change(clip: MotionClip) -> np.ndarray:
    """Largest change of a color from frame t to t + 1, (num_frames - 1, height, width)."""
    return np.abs(np.diff(clip.clip.frames.astype(int), axis=0)).max(axis=-1)


def test_labels_windows_and_masks_are_the_same_on_every_machine(first):
    digest = hashlib.sha256()
    for clip in first:
        digest.update(np.array([clip.label, *clip.window], "<i8").tobytes())
        for name in MASKS:
            digest.update(np.packbits(getattr(clip, name)).tobytes())
    assert digest.hexdigest() == TRUTH_OF_THE_FIRST_TWENTY


def test_ten_classes_come_in_five_pairs(clips):
    assert len(set(CLASS_NAMES)) == 10
    labels = clips.plan(np.arange(4000)).labels
    assert np.bincount(labels).min() > 330  # 400 expected, standard deviation 19


def test_a_twin_holds_the_same_frames_with_its_window_reversed(clips, first):
    for index, clip in enumerate(first):
        twin, (a, b) = clips.twin(index), clip.window
        assert twin.label == clip.label ^ 1
        assert twin.window == clip.window
        order = np.arange(16)
        order[a : b + 1] = order[a : b + 1][::-1]
        np.testing.assert_array_equal(twin.clip.frames, clip.clip.frames[order])
        np.testing.assert_array_equal(twin.evidence, clip.evidence[order])
        assert (twin.clip.frames[a : b + 1] != clip.clip.frames[a : b + 1]).any()


def test_a_batch_holds_the_pixels_of_its_clips_and_twins(clips, first):
    frames, labels = clips.batch([3, 7, 11], twins=[False, True, False])
    one_by_one = [first[3], clips.twin(7), first[11]]
    assert labels.tolist() == [clip.label for clip in one_by_one]
    for row, clip in zip(frames, one_by_one, strict=True):
        np.testing.assert_array_equal(row, clip.clip.frames)


def test_the_clip_says_where_it_comes_from(first):
    clip = first[4].clip
    assert clip.frames.shape == (16, 64, 64, 3)
    assert clip.source == "motion clip 4"
    assert clip.fps == 8
    assert clip.indices.tolist() == list(range(16))


def test_evidence_lies_in_the_window_and_shows_in_every_frame_of_it(first):
    for clip in first:
        a, b = clip.window
        with_evidence = np.flatnonzero(clip.evidence.any(axis=(1, 2)))
        assert with_evidence.tolist() == list(range(a, b + 1))


def test_evidence_changes_and_the_rest_of_the_window_stands_still():
    clips = MotionClips(0, distractors="none")
    for index in range(20):
        clip = clips[index]
        a, b = clip.window
        change = frame_change(clip)
        for t in range(a, b + 1):
            near = np.max([change[s] for s in (t - 1, t) if a <= s < b], axis=0)
            assert near[~clip.evidence[t]].max() <= 24
            assert (near[clip.evidence[t]] > 8).mean() > 0.8


def test_masks_never_overlap_and_the_target_shows_in_every_frame(first):
    for clip in first:
        assert not (clip.evidence & clip.ignore).any()
        assert not ((clip.evidence | clip.ignore) & clip.distractor).any()
        assert (clip.evidence | clip.ignore).any(axis=(1, 2)).all()


def test_the_distractor_adds_its_mask_and_changes_nothing_else():
    alone, crowd = MotionClips(0, distractors="none"), MotionClips(0, distractors="all")
    for index in range(10):
        one, two = alone[index], crowd[index]
        assert (one.label, one.window) == (two.label, two.window)
        np.testing.assert_array_equal(one.evidence, two.evidence)
        assert not one.distractor.any()
        assert two.distractor.any()
        differ = (one.clip.frames != two.clip.frames).any(axis=-1)
        assert differ.any()
        other = differ & ~(two.distractor | two.evidence | two.ignore)
        difference = one.clip.frames.astype(int) - two.clip.frames
        assert np.abs(difference[other]).max(initial=0) <= 12  # its blurred rim


def test_half_of_the_clips_have_a_distractor_whatever_their_label(clips):
    plan = clips.plan(np.arange(4000))
    for label in range(10):
        share = plan.has_distractor[plan.labels == label].mean()
        assert 0.4 < share < 0.6


def test_the_background_is_what_no_object_hides(clips, first):
    for index, clip in enumerate(first):
        free = ~(clip.evidence | clip.ignore | clip.distractor)
        difference = np.abs(clip.clip.frames.astype(int) - clips.background(index))
        assert difference[free].max() <= 24  # blurred rims
        assert np.mean(difference[free] > 0) < 0.05


def test_the_scene_does_not_depend_on_the_size_of_the_picture():
    small, large = MotionClips(0, img_size=64), MotionClips(0, img_size=128)
    for index in range(4):
        clip, big = small[index], large[index]
        assert (clip.label, clip.window) == (big.label, big.window)
        target = clip.evidence | clip.ignore
        halved = (big.evidence | big.ignore).reshape(16, 64, 2, 64, 2).mean(axis=(2, 4)) > 0.5
        assert (target & halved).sum() > 0.8 * (target | halved).sum()


def test_clips_go_to_threads_and_processes(clips):
    frames, labels = clips.batch(range(8))
    copy = pickle.loads(pickle.dumps(clips))
    with ThreadPoolExecutor(2) as pool:
        for other_frames, other_labels in pool.map(copy.batch, [range(8)] * 4):
            np.testing.assert_array_equal(frames, other_frames)
            np.testing.assert_array_equal(labels, other_labels)


def test_a_shuffled_window_keeps_every_frame_and_the_rest_in_place(first):
    frames, (a, b) = first[0].clip.frames, first[0].window
    shuffled = shuffle_window(frames, (a, b), np.random.default_rng(0))
    np.testing.assert_array_equal(shuffled[:a], frames[:a])
    np.testing.assert_array_equal(shuffled[b + 1 :], frames[b + 1 :])
    inside, before = shuffled[a : b + 1], frames[a : b + 1]
    assert (inside != before).any()
    assert sorted(f.tobytes() for f in inside) == sorted(f.tobytes() for f in before)
