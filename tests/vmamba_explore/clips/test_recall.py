"""Recall clips: the same everywhere, and nothing that one moment shows gives a label away."""

import hashlib

import numpy as np
import pytest

from vmamba_explore.clips.motion_render import draw_background
from vmamba_explore.clips.recall import CLASS_NAMES, COLOR_NAMES, COLORS, RecallClip, RecallClips
from vmamba_explore.clips.recall_plan import CHANNELS

# Labels, times and masks of clips 0 to 19 of seed 0, and the pixels of those without a photograph,
# which each machine decodes for itself. If it changes, so does the task: the bundled models
# have to be trained and measured again.
THE_FIRST_TWENTY = "74ac04ea729e64fa907c709f42e82ac7c136a39ceaf4e8d853dae8d0bf9d71ca"
MASKS = ("sample_mask", "test_mask", "distractor")


@pytest.fixture(scope="module")
def clips() -> RecallClips:
    return RecallClips(0)


@pytest.fixture(scope="module")
def first(clips: RecallClips) -> list[RecallClip]:
    return [clips[index] for index in range(20)]


def shown_color(clip: RecallClip, which: str) -> int:
    """The color most of a target's pixels are nearest to, white left out."""
    pixels = clip.clip.frames[getattr(clip, f"{which}_mask")].astype(int)
    distance = np.abs(pixels[:, None] - np.array([*COLORS, (255, 255, 255)])).sum(-1)
    return int(np.bincount(distance.argmin(1), minlength=5)[:4].argmax())


def test_pixels_labels_times_and_masks_are_the_same_on_every_machine(clips, first):
    digest = hashlib.sha256()
    is_pattern = clips.plan(np.arange(20)).scene[:, 0] < 2**30
    assert is_pattern.sum() >= 3
    for clip, pattern in zip(first, is_pattern, strict=True):
        digest.update(np.array([clip.label, *clip.sample, *clip.test], "<i8").tobytes())
        digest.update(clip.clip.frames.tobytes() if pattern else b"")
        for name in MASKS:
            digest.update(np.packbits(getattr(clip, name)).tobytes())
    assert digest.hexdigest() == THE_FIRST_TWENTY


@pytest.mark.parametrize("start", [0, 16, 999 * 16])
def test_each_pair_of_colors_comes_once_in_every_sixteen_clips(clips, start):
    plan = clips.plan(np.arange(start, start + 16))
    pairs = plan.sample.colors * 4 + plan.test.colors
    assert sorted(pairs) == list(range(16))
    assert pairs.tolist() != clips.plan(np.arange(start + 16, start + 32)).labels.tolist()


def test_the_order_of_the_pairs_is_drawn_anew_for_every_block_and_seed(clips):
    def pairs(series, block):
        plan = series.plan(np.arange(16 * block, 16 * block + 16))
        return tuple(plan.sample.colors * 4 + plan.test.colors)

    assert len({pairs(RecallClips(s), block) for s in (0, 1) for block in range(20)}) == 40


def test_neither_color_nor_time_leans_to_a_label(clips):
    plan = clips.plan(np.arange(6400))
    for colors in (plan.sample.colors, plan.test.colors):
        assert (np.histogram2d(colors, plan.labels, (4, 4))[0] == 400).all()
    for when in (plan.sample.frames[:, 0], plan.test.frames[:, 0]):
        for frame in np.unique(when):
            there = plan.labels[when == frame]
            share = np.bincount(there, minlength=4) / len(there)
            assert np.abs(share - 0.25).max() < 5 * (0.1875 / len(there)) ** 0.5


def test_the_label_is_how_far_the_tests_color_lies_after_the_samples(first):
    for clip in first:
        assert shown_color(clip, "sample") == clip.sample_color
        assert shown_color(clip, "test") == clip.test_color
        assert clip.label == (clip.test_color - clip.sample_color) % 4
    names = {(COLOR_NAMES[c.sample_color], COLOR_NAMES[c.test_color]): c.class_name for c in first}
    assert names["red", "red"] == "same color" and names["blue", "red"] == "next color"
    assert names["red", "green"] == "opposite color" and names["green", "yellow"] == CLASS_NAMES[3]


def test_targets_are_seen_in_their_frames_only_and_the_delay_lies_between(first):
    for clip in first:
        for mask, (a, b) in ((clip.sample_mask, clip.sample), (clip.test_mask, clip.test)):
            assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == list(range(a, b + 1))
            assert 1 <= b - a + 1 <= 2
        assert 2 <= clip.delay[1] - clip.delay[0] + 1 <= 8
        assert clip.delay == (clip.sample[1] + 1, clip.test[0] - 1)
        assert clip.sample[0] > 0 and clip.test[1] < 15
        assert (clip.evidence == clip.sample_mask | clip.test_mask).all()


def test_every_delay_is_about_as_frequent_as_the_others(clips):
    plan = clips.plan(np.arange(7000))
    delays = plan.test.frames[:, 0] - plan.sample.frames[:, 1] - 1
    found = np.bincount(delays)
    assert not found[:2].any() and len(found) == 9 and np.abs(found[2:] - 1000).max() < 150


def test_outside_the_masks_every_frame_is_the_background(clips, first):
    for index, clip in enumerate(first):
        seen = clip.evidence | clip.distractor
        still = np.broadcast_to(clips.background(index), clip.clip.frames.shape)
        np.testing.assert_array_equal(clip.clip.frames[~seen], still[~seen])
        assert not (clip.sample_mask & clip.test_mask).any()
        assert not (clip.distractor & clip.evidence).any()


def test_another_sample_changes_the_samples_pixels_and_the_label_and_nothing_else(clips, first):
    for index, clip in enumerate(first[:6]):
        for step in (1, 2, 3):
            other = clips.other_sample(index, step)
            assert other.sample_color == (clip.sample_color + step) % 4
            assert other.label == (clip.label - step) % 4
            differ = (other.clip.frames != clip.clip.frames).any(axis=-1)
            assert differ.any() and not (differ & ~clip.sample_mask).any()
            for name in ("sample", "test", "test_color"):
                assert getattr(other, name) == getattr(clip, name)
    assert "moved by 2" in clips.other_sample(3, 2).clip.source
    assert clips.other_sample(3, 4).clip.source == clips[3].clip.source == "recall clip 3"


def test_a_batch_holds_the_pixels_of_its_clips(clips, first):
    frames, labels = clips.batch([3, 7, 11], steps=[0, 3, 0])
    one_by_one = [first[3], clips.other_sample(7, 3), first[11]]
    assert labels.tolist() == [clip.label for clip in one_by_one]
    for row, clip in zip(frames, one_by_one, strict=True):
        np.testing.assert_array_equal(row, clip.clip.frames)


def test_distractors_add_their_mask_and_change_nothing_else():
    alone, crowd = RecallClips(0, distractors="none"), RecallClips(0, distractors="all")
    in_delay = 0
    for index in range(16):
        one, two = alone[index], crowd[index]
        assert (one.label, one.sample, one.test) == (two.label, two.sample, two.test)
        assert not one.distractor.any()
        differ = (one.clip.frames != two.clip.frames).any(axis=-1)
        behind = two.distractor | one.evidence  # a distractor shines through the rim's last pixel
        assert differ.any() and not (differ & ~behind).any()
        assert (differ & one.evidence).sum() < 0.1 * one.evidence.sum()
        in_delay += two.distractor[one.delay[0] : one.delay[1] + 1].any()
    assert in_delay == 16


def test_half_of_the_clips_have_distractors_whatever_their_label(clips):
    plan = clips.plan(np.arange(4000))
    for label in range(4):
        assert 0.45 < plan.has_distractors[plan.labels == label].mean() < 0.55


def test_a_distractors_color_tells_nothing_of_the_targets(clips):
    plan = clips.plan(np.arange(6400))
    for disc in plan.distractors:
        for colors in (plan.sample.colors, plan.test.colors, plan.labels):
            assert np.abs(np.histogram2d(disc.colors, colors, (4, 4))[0] - 400).max() < 100


def test_every_patch_that_shows_a_targets_color_shows_white_too():
    """So a patch of its own tells a target from a distractor."""
    clips = RecallClips(0, distractors="none")
    for index in range(40):
        clip = clips[index]
        pixels = clip.clip.frames[clip.sample[0]].reshape(8, 8, 8, 8, 3).swapaxes(1, 2)
        colored = (pixels == COLORS[clip.sample_color]).all(-1).sum((2, 3)) >= 16
        lightest = pixels.min(axis=-1).max(axis=(2, 3))
        assert colored.any() and lightest[colored].min() > 120


def test_one_timing_may_hold_for_all_clips():
    clips = RecallClips(0, timing=(2, 1, 8, 2), distractors="all")
    for index in range(6):
        assert (clips[index].sample, clips[index].test) == ((2, 2), (11, 12))
    pairs = clips.plan(np.arange(16))
    assert sorted(pairs.sample.colors * 4 + pairs.test.colors) == list(range(16))


def test_the_scene_does_not_depend_on_the_size_of_the_picture():
    small, large = RecallClips(0, img_size=64), RecallClips(0, img_size=128)
    for index in range(4):
        clip, big = small[index], large[index]
        assert (clip.label, clip.sample, clip.test) == (big.label, big.sample, big.test)
        halved = big.evidence.reshape(16, 64, 2, 64, 2).mean(axis=(2, 4)) > 0.5
        assert (clip.evidence & halved).sum() > 0.9 * (clip.evidence | halved).sum()


def test_photographs_to_train_on_have_their_colors_in_any_order_and_those_to_test_on_do_not():
    train, test = RecallClips(0), RecallClips(0, backgrounds="test")
    assert np.bincount(train.plan(np.arange(600)).channels).min() > 60  # 100 of each expected
    assert not test.plan(np.arange(600)).channels.any()
    scene = test.plan(5).scene[0]
    np.testing.assert_array_equal(test.background(5), draw_background(scene, "test", 64))
    plan = train.plan(np.arange(20))
    for index in range(20):
        plain = draw_background(plan.scene[index], "train", 64)
        order = CHANNELS[plan.channels[index]]
        np.testing.assert_array_equal(train.background(index), plain[..., order])


@pytest.mark.parametrize(
    ("name", "value"),
    [("delay", (0, 3)), ("delay", (2, 11)), ("delay", (5, 4)), ("timing", (0, 1, 8, 1)),
     ("timing", (2, 3, 8, 1)), ("timing", (6, 1, 7, 2)), ("timing", (2, 1, 0, 1))],
)  # fmt: skip
def test_a_delay_or_a_timing_that_does_not_fit_is_named(name, value, unchecked):
    with pytest.raises(ValueError, match=f"RecallClips: {name} is .*, expected"):
        RecallClips(**{name: value})
