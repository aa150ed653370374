"""Questions of notebook 04: the truth is computed from what is passed, and never shown."""

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.attention import TokenAttention
from vmamba_explore.analysis.evidence import EvidenceCurve
from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.token_weights import FrameContributions
from vmamba_explore.studies.lessons import attention as check
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels

LABELS = TokenLabels(TokenGrid(4, 1, 2, "front"), 2)


def make_attention(values):
    """One number per layer, direction and token (class token first) of one clip."""
    values = torch.as_tensor(values, dtype=torch.float32)[None]
    layers = tuple(range(values.shape[1]))
    return TokenAttention(
        values, None, layers, ("forward", "backward"), "x", (0.0,) * len(layers), LABELS
    )


def tokens(*frames, cls=0.0):
    """The class token, then two tokens for each frame that share its number."""
    return [cls, *np.repeat(np.array(frames) / 2, 2)]


def test_the_class_token_itself_does_not_count_as_the_clip():
    reads = make_attention([[tokens(0, 0, 0, 0, cls=9), tokens(1, 0, 0, 0)]])
    assert check.brings_the_clip("Backward", reads).right
    assert check.brings_the_clip("forward", reads).right is False
    assert check.brings_the_clip("up", reads).right is None


def test_the_layer_that_speaks_is_found_by_size_not_by_sign():
    found = make_attention([[tokens(1, 1, 0, 0)] * 2, [tokens(0, -5, 0, 0), tokens(0, 0, 0, 0)]])
    assert check.speaks(1, found).right
    assert check.speaks(0, found).right is False


def test_the_window_is_that_of_the_clip_in_frames():
    found = make_attention([[tokens(0, 3, 0, 1), tokens(0, 0, -4, 0)]])
    # directions are summed first; the window holds token frames 1 and 2
    assert check.inside_window(0.75, found, (2, 5)).right
    assert check.inside_window(0.25, found, (2, 5)).right is False
    assert check.inside_window(0.25, found, (6, 7)).right


@pytest.mark.parametrize(("weights", "truth"), [((1, 1, 1, 5), "yes"), ((5, 1, 1, 1), "no")])
def test_a_rollout_finds_the_window_where_it_beats_the_area(weights, truth):
    values = torch.tensor(tokens(*weights)).float()[None, None]
    half = torch.full((1, 1, 2), 0.5)
    rollout = Rollout(values, half, half, 1, (0,), ("forward", "backward"), LABELS)
    assert check.rollout_finds_it(truth, rollout, (6, 7)).right
    assert check.rollout_finds_it({"yes": "no", "no": "yes"}[truth], rollout, (6, 7)).right is False


def test_the_own_frame_is_the_diagonal_without_class_token_and_offset():
    values = torch.zeros(1, 6, 3, 9)  # sources 0..3, cls, offset
    frame = LABELS.grid.frame_of_tokens()
    for source in range(4):
        values[0, source, :, frame == source] = 3.0
    values[0, 5] = 1.0  # the offset: a quarter of every frame's output
    split = FrameContributions(values, (0, 1, 2, 3, "cls", "offset"), LABELS, 0, 0.0)
    assert check.own_frame(0.75, split).right
    assert check.own_frame(1.0, split).right is False


def test_still_sure_means_more_than_half_is_left():
    assert check.still_sure("yes", 10.0, 5.1).right
    assert check.still_sure("no", 10.0, 4.9).right
    assert check.still_sure("yes", 10.0, -9.0).right is False


def test_the_class_named_is_the_one_with_the_largest_logit():
    logits, names = torch.tensor([0.0, 3.0, 1.0]), ("right", "left", "up")
    assert check.says("Left", logits, names).right
    assert check.says("up", logits, names).right is False
    assert check.says("sideways", logits, names).right is None


def test_more_and_less_compare_two_numbers():
    assert check.more("more", 1.0, 2.0).right
    assert check.more("more", 1.0, 0.5).right is False


def test_a_curve_turns_where_it_passes_half_for_good():
    curve = EvidenceCurve(torch.tensor([[0.0, 6.0, 1.0, 8.0]]), "prefix", "dropped", LABELS)
    assert check.turns(3, curve).right
    assert check.turns(1, curve).right is False


def test_looking_ahead_compares_the_frames_beyond_the_reader_s():
    reads = make_attention([[tokens(1, 9, 0, 0), tokens(0, 0, 0, -2)]])
    assert check.looks_ahead("later", reads, 0, frame=1).right
    assert check.looks_ahead("earlier", reads, 0, frame=2).right


def test_no_answer_is_no_verdict_and_shows_nothing():
    found = make_attention([[tokens(1, 1, 0, 0)] * 2, [tokens(0, -5, 0, 0), tokens(0, 0, 0, 0)]])
    verdict = check.speaks(..., found)
    assert verdict.right is None
    assert "1" not in repr(verdict)
    assert "1" not in repr(check.speaks(0, found))
