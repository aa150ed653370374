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


def make_rollout(*weights):
    values = torch.tensor(tokens(*weights)).float()[None, None]
    half = torch.full((1, 1, 2), 0.5)
    return Rollout(values, half, half, 1, (0,), ("forward", "backward"), LABELS)


def make_split():
    """Three parts of each frame from its own tokens, a quarter of it from the offset."""
    values = torch.zeros(1, 6, 3, 9)  # sources 0..3, cls, offset
    frame = LABELS.grid.frame_of_tokens()
    for source in range(4):
        values[0, source, :, frame == source] = 3.0
    values[0, 5] = 1.0
    return FrameContributions(values, (0, 1, 2, 3, "cls", "offset"), LABELS, 0, 0.0)


CLS = make_attention([[tokens(0, 0, 0, 0, cls=9), tokens(1, 0, 0, 0)]])
SPEAKS = make_attention([[tokens(1, 1, 0, 0)] * 2, [tokens(0, -5, 0, 0), tokens(0, 0, 0, 0)]])
WINDOW = make_attention([[tokens(0, 3, 0, 1), tokens(0, 0, -4, 0)]])
AHEAD = make_attention([[tokens(1, 9, 0, 0), tokens(0, 0, 0, -2)]])
CURVE = EvidenceCurve(torch.tensor([[0.0, 6.0, 1.0, 8.0]]), "prefix", "dropped", LABELS)
NAMED = torch.tensor([0.0, 3.0, 1.0]), ("right", "left", "up")


@pytest.mark.parametrize(
    ("question", "given", "right", "wrong"),
    [
        # the class token itself does not count as the clip
        (check.brings_the_clip, (CLS,), "Backward", "forward"),
        # the layer that speaks is found by size, not by sign
        (check.speaks, (SPEAKS,), 1, 0),
        # directions are summed first; the window, in clip frames, holds token frames 1 and 2
        (check.inside_window, (WINDOW, (2, 5)), 0.75, 0.25),
        (check.inside_window, (WINDOW, (6, 7)), 0.25, 0.75),
        # a roll-out finds the window where it beats the area
        (check.rollout_finds_it, (make_rollout(1, 1, 1, 5), (6, 7)), "yes", "no"),
        (check.rollout_finds_it, (make_rollout(5, 1, 1, 1), (6, 7)), "no", "yes"),
        # the own frame is the diagonal, without class token and offset
        (check.own_frame, (make_split(),), 0.75, 1.0),
        # more than half is left
        (check.still_sure, (10.0, 5.1), "yes", "no"),
        (check.still_sure, (10.0, 4.9), "no", "yes"),
        (check.still_sure, (10.0, -9.0), "no", "yes"),
        # the class with the largest logit
        (check.says, NAMED, "Left", "up"),
        (check.more, (1.0, 2.0), "more", "less"),
        (check.more, (1.0, 0.5), "less", "more"),
        # a curve turns where it passes half for good
        (check.turns, (CURVE,), 3, 1),
        # frames beyond the reader's
        (check.looks_ahead, (AHEAD, 0, 1), "later", "earlier"),
        (check.looks_ahead, (AHEAD, 0, 2), "earlier", "later"),
    ],
)
def test_the_truth_is_in_what_is_passed(question, given, right, wrong):
    assert question(right, *given).right is True
    assert question(wrong, *given).right is False
    assert question(..., *given).right is None


def test_another_word_is_no_verdict_and_no_verdict_shows_the_truth():
    assert check.brings_the_clip("up", CLS).right is None
    assert check.says("sideways", *NAMED).right is None
    assert "1" not in repr(check.speaks(..., SPEAKS))
    assert "1" not in repr(check.speaks(0, SPEAKS))
