"""Scores of maps whose truth is known."""

import numpy as np
import pytest
import torch

from vmamba_explore.attribution.ground_truth import SCORES, Truth, average_precision, scores
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.tokens import TokenGrid

GRID = TokenGrid(8, 8, 8)


@pytest.fixture(scope="module")
def clips():
    made = MotionClips(9, backgrounds="test", distractors="all")
    return [made[index] for index in range(6)]


@pytest.fixture(scope="module")
def truth(clips):
    return Truth.of(clips, GRID)


def test_tokens_are_evidence_where_a_pixel_is(clips, truth):
    clip = clips[2]
    for place in ((3, 4, 5), (4, 2, 2), (0, 0, 0)):
        here = tuple(slice(n * s, (n + 1) * s) for n, s in zip(place, (2, 8, 8), strict=True))
        assert bool(truth.evidence[2, *place]) == clip.evidence[here].any()
        wanted = clip.ignore[here].any() and not clip.evidence[here].any()
        assert bool(truth.ignored[2, *place]) == wanted
    first, last = clip.window
    assert truth.window[2].nonzero()[:, 0].tolist() == list(range(first // 2, last // 2 + 1))
    # evidence is inside the window, in time
    assert not bool((truth.evidence & ~truth.window[:, :, None, None]).any())


def test_the_truth_itself_scores_everything(truth):
    found = scores(truth.evidence.float(), truth)
    assert list(found) == list(SCORES)
    for values in found.values():
        torch.testing.assert_close(values, torch.ones(6).double())


def test_the_opposite_scores_nothing(truth):
    found = scores((~truth.evidence & ~truth.ignored).float(), truth)
    for name in ("pointing", "iou", "share"):
        assert float(found[name].max()) == 0
    torch.testing.assert_close(found["average_precision"], truth.area.double())  # one threshold


def test_neither_scale_nor_what_is_ignored_changes_a_score_of_place(truth):
    maps = torch.rand(6, 8, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    changed = maps * 2**20, maps + 5 * truth.ignored
    first, scaled, more = (scores(each, truth) for each in (maps, *changed))
    for name in SCORES:
        torch.testing.assert_close(first[name], scaled[name])
        assert torch.equal(first[name], more[name]) != (name == "time_share")


def test_a_constant_map_scores_its_area(truth):
    found = scores(torch.ones(6, 8, 8, 8), truth)
    for name in ("pointing", "average_precision", "share"):
        torch.testing.assert_close(found[name], truth.area.double())
    torch.testing.assert_close(found["time_share"], truth.window.double().mean(1))


def test_an_empty_map_has_no_score(truth):
    maps = torch.ones(6, 8, 8, 8)
    maps[3] = 0
    found = scores(maps, truth)
    for values in found.values():
        assert values.isnan().tolist() == [False, False, False, True, False, False]


def test_average_precision_by_hand():
    values = np.array([0.9, 0.8, 0.7, 0.7, 0.1])
    right = np.array([True, False, True, False, True])
    # thresholds 0.9, 0.8, 0.7 (two at once), 0.1
    expected = (1 / 1 + 2 / 4 + 3 / 5) / 3
    assert average_precision(values, right) == pytest.approx(expected)
    assert np.isnan(average_precision(values, np.zeros(5, bool)))


def test_a_cause_of_its_own_place():
    mask = np.zeros((16, 64, 64), bool)
    mask[:, 8:16, 24:32] = True
    truth = Truth.inside([mask], GRID)
    assert truth.evidence.sum() == 8 and bool(truth.evidence[0, :, 1, 3].all())
    assert bool(truth.window.all())
    torch.testing.assert_close(truth.area, torch.tensor([1 / 64]))


def test_the_truth_of_a_recall_clip_is_both_discs_and_the_frames_that_show_them():
    clip = RecallClips(2, distractors="all")[1]
    grid = TokenGrid(16, 8, 8)
    truth = Truth.of([clip], grid)
    shown = [*range(clip.sample[0], clip.sample[1] + 1), *range(clip.test[0], clip.test[1] + 1)]
    assert truth.window[0].nonzero()[:, 0].tolist() == shown
    assert not truth.ignored.any()
    cut = clip.evidence.reshape(16, 8, 8, 8, 8).any((2, 4))
    np.testing.assert_array_equal(truth.evidence[0].numpy(), cut)


def test_frames_that_are_left_out_count_neither_in_space_nor_in_time(truth):
    first = truth.window.double().argmax(1)
    out = torch.zeros_like(truth.window)
    out[torch.arange(6), first] = True
    left = truth.without(out)
    maps = torch.rand(6, 8, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    changed = maps + 9 * out[..., None, None]  # whatever is in the frame left out
    before, after = scores(maps, left), scores(changed, left)
    for name in SCORES:
        torch.testing.assert_close(before[name], after[name])
    kept = maps[0][~out[0]]
    wanted = kept[left.window[0][~out[0]]].sum() / kept.sum()
    torch.testing.assert_close(before["time_share"][0], wanted)


def test_a_cause_may_have_more_frames_than_it_has_a_place_in():
    mask = np.zeros((16, 64, 64), bool)
    mask[4, :8, :8] = True
    frames = np.arange(16) < 8
    truth = Truth.inside([mask], GRID, frames=[frames])
    assert truth.window[0].tolist() == [True] * 4 + [False] * 4
    assert truth.evidence.sum() == 1


def test_maps_that_do_not_fit_are_refused(truth, unchecked):
    with pytest.raises(ValueError, match="lowest value -1"):
        scores(-torch.ones(6, 8, 8, 8), truth)
    with pytest.raises(ValueError, match=r"\(5, 8, 8, 8\).*expected no negative value and \(6"):
        scores(torch.ones(5, 8, 8, 8), truth)
