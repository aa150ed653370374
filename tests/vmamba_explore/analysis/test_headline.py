"""The sentence on where a logit comes from: what it names, and what it leaves out."""

from dataclasses import replace

import pytest
import torch

from tests.vmamba_explore import toys
from tests.vmamba_explore.toys import clips_for
from vmamba_explore import load_model
from vmamba_explore.analysis.headline import decisive
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.trace.record import run_with_trace

FRAMES, SIDE = 6, 8


@pytest.fixture(scope="module")
def empty():
    """The parts of a toy's logit, of which nothing adds to it but the head's bias: 0."""
    model = toys.toy(num_frames=FRAMES, tubelet_size=1, img_size=32, patch_size=4)
    with torch.no_grad():
        _, trace = run_with_trace(model, clips_for(model), LogitParts.names(model))
        parts = logit_parts(trace, 1)
    assert parts.labels.grid.shape == (FRAMES, SIDE, SIDE)
    names = ("tokens", "offset", "embedding", "bias", "logit")
    return replace(parts, **{name: torch.zeros_like(getattr(parts, name)) for name in names})


def parts_of(empty, rows, logit=None):
    """Parts in which (layer, direction number, frame, row, col) adds so much."""
    tokens = torch.zeros_like(empty.tokens)
    for (layer, direction, *place), value in rows.items():
        tokens[:, layer, direction, empty.labels.grid.index(*place)] = value
    total = sum(rows.values()) if logit is None else logit
    return replace(empty, tokens=tokens, logit=torch.full_like(empty.logit, total))


def test_one_token_that_adds_everything_is_named_in_full(empty):
    found = decisive(parts_of(empty, {(1, 1, 4, 2, 2): 3.0}), "right")
    assert (found.frames, found.scan, found.patch) == ((4, 4), (1, "backward"), (2, 2))
    assert (found.frames_share, found.scan_share, found.patch_share) == (1, 1, 1)
    assert found.sentence == (
        "Decided at token frame 4 (100 % of what adds to right), most of it in layer 1, backward "
        "(100 %), around row 2, column 2 (100 % of that)."
    )


def test_shares_are_of_what_adds_and_negative_parts_do_not_count(empty):
    rows = {(0, 0, 2, 0, 0): 6.0, (0, 0, 3, 0, 0): 4.0, (0, 0, 5, 0, 0): -9.0}
    found = decisive(parts_of(empty, rows), "right")
    assert found.frames == (2, 2)
    assert found.frames_share == pytest.approx(0.6)
    assert found.added == pytest.approx(10)
    assert found.logit == pytest.approx(1)


def test_biases_and_the_embedding_are_part_of_the_whole(empty):
    parts = parts_of(empty, {(0, 0, 2, 0, 0): 6.0}, logit=12.0)
    embedding = torch.zeros_like(parts.embedding)
    embedding[:, empty.labels.grid.index(1, 0, 0)] = 2.0
    parts = replace(parts, embedding=embedding, bias=torch.full_like(parts.bias, 4.0))
    assert parts.residual < 1e-6
    assert decisive(parts, "right").frames_share == pytest.approx(0.5)


def test_a_run_of_frames_is_named_where_no_frame_has_half(empty):
    rows = {(0, 0, frame, 0, 0): value for frame, value in enumerate((1, 4, 4, 1, 0, 0))}
    found = decisive(parts_of(empty, rows), "right")
    assert (found.frames, found.frames_share) == ((1, 2), pytest.approx(0.8))
    assert "Decided at token frames 1 to 2 (80 % of" in found.sentence


def test_evidence_that_is_spread_is_not_placed(empty):
    rows = {(n % 2, 0, n, 2 * (n % 2), 1): 1.0 for n in range(FRAMES)}
    found = decisive(parts_of(empty, rows), "right")
    assert not found.frames_clear
    assert found.patch is None
    assert found.sentence.startswith("What adds to right is spread over the clip")
    assert "token frame" not in found.sentence


def test_less_than_half_is_not_called_decided(empty):
    rows = {(0, 0, frame, 0, 0): v for frame, v in enumerate((4, 1.25, 1.25, 1.25, 1.25, 1.0))}
    sentence = decisive(parts_of(empty, rows), "right").sentence
    assert sentence.startswith("Leans most on token frame 0 (40 % of what adds to right)")


def test_parts_that_miss_the_logit_say_nothing_else(empty):
    found = decisive(parts_of(empty, {(1, 1, 4, 2, 2): 3.0}, logit=4.0), "right")
    assert found.sentence == "What adds to right cannot be told: the parts miss the logit by 25 %."


def test_a_logit_to_which_nothing_adds_says_so(empty):
    found = decisive(parts_of(empty, {(0, 0, 1, 0, 0): -2.0}), "right")
    assert found.sentence == "Nothing adds to right: every part of its logit is negative."


def test_where_motion_nano_decides_lies_in_the_moving_window():
    model, clips = load_model("motion-nano"), MotionClips(3, backgrounds="test", distractors="none")
    for number in range(12):
        clip = clips[number]
        with torch.no_grad():
            logits, trace = run_with_trace(model, clip.clip, LogitParts.names(model))
            found = decisive(logit_parts(trace, int(logits.argmax())), clip.class_name)
        first, last = (window // model.config.tubelet_size for window in clip.window)
        assert found.residual < 1e-5
        assert first <= found.frames[0] <= found.frames[1] <= last, number
