"""Controls: the clip frozen, reversed and shuffled, and the sentence about what survives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.vmamba_explore.toys import SMALL, clips_for, shake, toy
from vmamba_explore.analysis import controls as module
from vmamba_explore.analysis.controls import Answer, Controls, controls, opposite, percent
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.trace.interventions import mute

CLIPS = MotionClips(77, backgrounds="test")


def made(*names, still="", below=0.0, likely=0.9):
    """Return controls with these answers to original, frozen, reversed and shuffled."""
    kinds = ("original", "frozen", "reversed", "shuffled")
    answers = [
        Answer(kind, name, likely, likely if name == names[0] else 0.05, below)
        for kind, name in zip(kinds, names, strict=True)
    ]
    return Controls("motion-nano", "a.mp4", *answers, still=still)


@pytest.fixture(scope="module")
def model():
    return load_model("motion-nano")


def test_the_answers_are_those_of_the_frozen_the_reversed_and_the_shuffled_clip(model):
    clip = CLIPS[0].clip
    found = controls(model, clip, shuffles=3, seed=5)

    def shares(order):
        changed = replace(clip, frames=clip.frames[order])
        return {p.name: p.probability for p in model.predict(changed, 10)}

    generator = np.random.default_rng(5)
    mixed = [shares(generator.permutation(16)) for _ in range(3)]
    wanted = [
        shares(np.arange(16)), shares(np.zeros(16, int)), shares(np.arange(16)[::-1]),
        {name: np.mean([each[name] for each in mixed]) for name in model.class_names},
    ]  # fmt: skip
    top = max(wanted[0], key=wanted[0].get)
    for answer, share in zip(found.answers, wanted, strict=True):
        assert answer.name == max(share, key=share.get)
        assert answer.probability == pytest.approx(max(share.values()), abs=1e-5)
        assert answer.kept == pytest.approx(share[top], abs=1e-5)
    assert found.model == "motion-nano" and found.clip == clip.source


def test_motion_nano_rests_on_motion_and_its_direction_where_there_is_a_ringed_object(model):
    found = [controls(model, CLIPS[index], shuffles=1) for index in range(20)]
    assert not any("does not rest" in each.sentence for each in found)
    assert sum("on the direction of time" in each.sentence for each in found) >= 17
    assert not any(each.note for each in found)


def test_a_still_clip_contradicts_motion_nano_and_has_a_note(model):
    clip = CLIPS[0].clip
    still = replace(clip, frames=np.repeat(CLIPS.background(0)[None], 16, 0))
    found = controls(model, still)
    assert found.survives == ("frozen", "reversed", "shuffled")
    assert "does not rest on motion" in found.sentence
    assert "no such ring was found in this clip" in found.note
    assert [each.says for each in found.answers] == [found.original.says] * 4
    assert found.frozen.probability == pytest.approx(found.original.probability, abs=1e-5)


def test_a_model_without_names_takes_tensors_and_is_not_a_bundled_one():
    small = toy(**SMALL, change=shake)
    found = controls(small, clips_for(small)[0])
    assert found.model == "The model" and found.clip == "" and found.note == ""
    assert found.original.name.startswith("class ")


@pytest.mark.parametrize("change", [{}, {"num_frames": 2}, {"cls_position": None}])
def test_many_runs_at_once_say_the_same_as_one_after_the_other(monkeypatch, change):
    small = toy(**SMALL, **change, change=shake)
    clip = clips_for(small)[0]
    together = controls(small, clip)
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    for one, other in zip(together.answers, controls(small, clip).answers, strict=True):
        assert one.name == other.name
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_an_edited_model_is_asked_as_it_is_edited(model):
    clip = CLIPS[1].clip
    with mute(model, direction="backward"):
        found, wanted = controls(model, clip), model.predict(clip, 1)[0]
    assert found.original.name == wanted.name
    assert found.original.probability == pytest.approx(wanted.probability, abs=1e-5)
    assert found.original.kept != controls(model, clip).original.kept


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (("up", "up", "up", "up"), "first frame held still (90 %): this answer does not rest on"),
        (("up", "up", "down", "left"), 'reversed "down" (90 %): one frame is enough'),
        (("up", "down", "down", "down"), 'the opposite, "down" (90 %): this answer rests on the '
         "direction of time."),
        (("up", "left", "up", "up"), "rests on several frames, not on their order."),
        (("up", "down", "up", "left"), "rests on motion, not on its direction."),
        (("up", "down", "left", "up"), "rests on several frames, and only some orders change it."),
        (("up", "down", "left", "left"), 'reversed "left" (90 %): this answer rests on the order'),
    ],
)  # fmt: skip
def test_the_sentence_says_what_survives(answers, words):
    said = made(*answers).sentence
    assert said.startswith('motion-nano says "up" (90 %)') and words in said


def test_an_answer_that_is_true_of_a_still_frame_is_not_contradicted_by_it():
    said = made(*["static"] * 4, still="static").sentence
    assert "freezing cannot contradict it" in said and "does not rest" not in said
    assert "does not rest on motion" in made(*["up"] * 4, still="static").sentence


def test_an_answer_below_the_threshold_is_not_one():
    found = made("up", "up", "down", "up", below=0.95)
    assert {each.says for each in found.answers} == {"mixed / none of these"}
    assert found.sentence == (
        'motion-nano does not decide: its most probable class, "up", has 90 %, and it answers '
        "from 95 % on."
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("pan left", "pan right"),
        ("roll clockwise", "roll counterclockwise"),
        ("Opening something", "Closing something"),
        ("Pushing something from left to right", "Pushing something from right to left"),
        ("next color", "previous color"),
        ("archery", ""),
        ("uphill", ""),
    ],
)
def test_the_opposite_of_a_class_is_found_by_its_words(name, other):
    assert opposite(name) == other
    assert not other or opposite(other) == name


def test_every_motion_class_has_its_partner_as_opposite(model):
    names = model.class_names
    assert [opposite(name) for name in names] == [names[n ^ 1] for n in range(len(names))]


def test_only_what_is_certain_is_shown_as_certain():
    assert [percent(x) for x in (0, 0.004, 0.005, 0.42, 0.996, 1)] == [
        "0 %", "under 1 %", "under 1 %", "42 %", "over 99 %", "100 %",
    ]  # fmt: skip


def test_the_table_and_the_page_hold_all_four_answers():
    found = replace(made("<b>", "down", "left", "up"), note="no <ring>")
    assert found.table["class"].tolist() == ["<b>", "down", "left", "up"]
    assert found.table['probability of "<b>"'].tolist() == [0.9, 0.05, 0.05, 0.05]
    page = found._repr_html_()
    assert "no &lt;ring&gt;" in page and "<b>" not in page and "played backwards" in page


def test_what_cannot_be_answered_is_refused(model):
    clip = CLIPS[0].clip
    with pytest.raises(ValueError, match="shuffles is 0, expected at least 1"):
        controls(model, clip, shuffles=0)
    with pytest.raises(ValueError, match="num_frames 8, this model expects 16"):
        controls(model, clip.tensor()[:, :8])
    small = toy(**SMALL)
    nn.init.constant_(small.head.bias, torch.nan)
    with pytest.raises(ValueError, match="logits are not finite"):
        controls(small, clips_for(small)[0])
