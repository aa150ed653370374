import numpy as np
import pytest

from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.studies.features.factors import PICKED, known_rows, shown_in
from vmamba_explore.tokens import TokenGrid

COUNT = 6


def grid(frames):
    return TokenGrid(frames, 8, 8)


def tokens(series, tubelet):
    clips = [series[n] for n in range(COUNT)]
    frames = 16 // tubelet
    known = known_rows(series, clips, range(COUNT), Site(3), grid(frames), tubelet)
    places = np.unravel_index(known.rows, (COUNT, frames, 8, 8))
    return clips, known, places


def test_a_token_shows_what_covers_a_quarter_of_its_tubelet():
    mask = np.zeros((16, 64, 64), bool)
    mask[2, :4, :8] = True  # a quarter of tubelet 1's upper left token, in one of its two frames
    mask[2, :8, 8:16] = True  # half of one frame and nothing of the other: 1/2 of the tubelet
    mask[2, 8:16, :2] = True
    shown = shown_in(mask, grid(8), 2)
    assert shown[1, 0, 0] and shown[1, 0, 1] and not shown[1, 1, 0]
    assert shown.sum() == 2


@pytest.mark.parametrize(
    ("series", "tubelet", "name"),
    [
        (MotionClips(1, distractors="all"), 2, "ring or background"),
        (RecallClips(1, distractors="all"), 1, "target disc or background"),
    ],
)
def test_tokens_that_are_said_to_show_the_target_show_it(series, tubelet, name):
    clips, known, (clip, frame, row, col) = tokens(series, tubelet)
    assert (clip == known.clips).all()
    factor = known.factors[name]
    shown = np.stack([shown_in(c.evidence | c.ignore, grid(16 // tubelet), tubelet) for c in clips])
    truth = shown[clip, frame, row, col]
    assert (factor.values[factor.valid] == truth[factor.valid]).all()
    assert truth[factor.valid].any() and not truth[factor.valid].all()
    assert np.bincount(clip[truth]).max() <= PICKED["target"]


def test_the_class_is_asked_of_ring_tokens_while_the_ring_moves():
    clips, known, (clip, frame, _, _) = tokens(MotionClips(1, distractors="all"), 2)
    ring = known.factors["ring or background"].values > 0
    windows = np.array([each.window for each in clips])[clip]
    moving = (windows[:, 0] <= 2 * frame) & (2 * frame + 1 <= windows[:, 1])
    for factor in known.factors.values():
        if factor.group == "class":
            assert (factor.valid == (ring & moving)).all()
            assert (factor.values == [clips[c].label == factor.number for c in clip]).all()


def test_states_are_asked_for_the_sample_between_sample_and_test_and_its_age_is_in_frames():
    series = RecallClips(1, distractors="all")
    clips = [series[n] for n in range(COUNT)]
    known = known_rows(series, clips, range(COUNT), Site(2, "forward"), grid(16), 1)
    clip, frame = np.divmod(known.rows, 16)
    first, last = np.array([each.delay for each in clips])[clip].T
    age = known.factors["age of the cue"]
    assert (age.valid == ((first <= frame) & (frame <= last))).all()
    assert (age.values == frame - first + 1).all()
    red = known.factors["sample color: red"]
    assert (red.valid == age.valid).all()
    assert (red.values == [clips[c].sample_color == 0 for c in clip]).all()


def test_a_forward_state_is_asked_for_the_motion_once_all_of_it_was_read():
    series = MotionClips(1, distractors="all")
    clips = [series[n] for n in range(COUNT)]
    known = known_rows(series, clips, range(COUNT), Site(2, "forward"), grid(8), 2)
    clip, frame = np.divmod(known.rows, 8)
    end = np.array([each.window[1] for each in clips])[clip]
    assert (known.factors["class: right"].valid == (2 * frame + 1 >= end)).all()
