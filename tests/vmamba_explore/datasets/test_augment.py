import sys

import numpy as np
import pytest

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.datasets.augment import Augment

STILL = np.repeat(MotionClips(0, img_size=64)[0].clip.frames[:1], 4, axis=0)


def test_a_still_clip_stays_still_whatever_is_drawn():
    for seed in range(30):
        changed = Augment(erasing=1)(STILL, 48, seed)
        assert changed.shape == (4, 48, 48, 3) and changed.dtype == np.uint8
        assert all(np.array_equal(frame, changed[0]) for frame in changed), seed


def test_the_same_seed_changes_a_clip_in_the_same_way_and_others_differently():
    first = Augment()(STILL, 48, (1, 2))
    assert np.array_equal(first, Augment()(STILL, 48, (1, 2)))
    assert len({Augment()(STILL, 48, (1, n)).tobytes() for n in range(12)}) > 10


def test_what_is_drawn_elsewhere_is_left_as_it_was():
    import torch

    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    Augment()(STILL, 48, 0)
    assert torch.equal(torch.rand(4), wanted)


def across(order_matters):
    """For 40 draws: whether brightness grows to the right, as in the clip, and in time."""
    ramp = np.linspace(20, 200, 64, dtype=np.uint8)
    frames = np.stack([np.repeat((ramp // 2)[None], 64, 0) + 20 * t for t in range(4)])
    plain = Augment(order_matters=order_matters, operations=0, erasing=0)
    changed = [
        plain(np.repeat(frames[..., None], 3, -1), 32, seed).astype(float) for seed in range(40)
    ]
    right = [clip[..., -1, :].mean() > clip[..., 0, :].mean() for clip in changed]
    later = [clip[-1].mean() > clip[0].mean() for clip in changed]
    return right, later


def test_time_is_never_reversed_and_sides_only_where_order_does_not_matter():
    (kept, later), (mirrored, also_later) = across(True), across(False)
    assert all(kept) and 8 < sum(mirrored) < 32
    assert all(later) and all(also_later)


def test_rand_augment_has_nothing_that_mirrors():
    from kornia.augmentation.auto.rand_augment.rand_augment import default_policy

    names = {name for policy in default_policy for name, *_ in policy}
    assert "rotate" in names and not any("flip" in name for name in names)


def test_erasing_takes_one_box_of_all_frames():
    gray = np.full((3, 64, 64, 3), 128, np.uint8)
    noisy = Augment(operations=0, scale=1, erasing=1)(gray, 64, 5)
    changed = (noisy != 128).any(-1)
    assert 0.01 < changed[0].mean() < 0.4
    rows, cols = np.nonzero(changed[0])
    box = changed[0, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    assert box.mean() > 0.95
    assert np.array_equal(changed[0], changed[2])
    assert not (Augment(operations=0, scale=1, erasing=0)(gray, 64, 5) != 128).any()


def test_without_kornia_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    with pytest.raises(ImportError, match=r"needs kornia: pip install .vmamba-explore\[train\]"):
        Augment()(STILL, 48, 0)
    assert Augment(operations=0)(STILL, 48, 0).shape == (4, 48, 48, 3)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="magnitude is 30, expected between 0 and 30"):
        Augment(magnitude=30)
    with pytest.raises(ValueError, match="scale is 0, expected above 0"):
        Augment(scale=0)
