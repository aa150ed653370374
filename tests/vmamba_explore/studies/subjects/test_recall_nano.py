"""The models that must remember: what their command writes, and the proof on a few clips."""

import json
from dataclasses import replace

import pytest
import torch

from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.recall import CLASS_NAMES, RecallClips
from vmamba_explore.model.checkpoints import load_model, save_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects import recall_nano as subject
from vmamba_explore.studies.subjects import recall_proof as proof
from vmamba_explore.trace.past import record_past, reset_state, transplant


@pytest.fixture(scope="module")
def bundled():
    return load_model("recall-nano")


@pytest.fixture(scope="module")
def timed():
    """32 clips of one timing that no training and no published measurement has seen."""
    clips = RecallClips(99, distractors="all", backgrounds="test", timing=proof.TIMING)
    return clips, *clips.batch(range(32))


def right(model, frames, labels) -> float:
    return float((proof.answers(model, frames) == labels).mean())


def test_the_models_differ_in_how_they_read_and_answer_only():
    nano, forward, token = (subject.SUBJECTS[name].to_dict() for name in subject.SUBJECTS)
    assert {k for k in nano if nano[k] != forward[k]} == {"backward_order"}
    assert {k for k in nano if nano[k] != token[k]} == {"cls_position"}
    config = subject.CONFIG
    assert (config.tubelet_size, config.num_frames, config.img_size) == (1, 16, 64)
    assert (config.depth, config.d_model, config.cls_position) == (6, 64, None)


def test_the_whole_command_trains_measures_and_writes_models_that_load(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "controls", lambda *_: {"best_sum_of_votes": 0.5})
    arguments = ["--models", "recall-nano", "--output", str(tmp_path), "--checkpoints"]
    arguments += [str(tmp_path / "runs"), "--steps", "1", "--clips", "20", "--workers", "0"]
    monkeypatch.setattr(subject, "measure", lambda model, count: {"asked": count})
    subject.main(arguments)
    model = load_model(tmp_path / "recall-nano")
    assert model.class_names == CLASS_NAMES and model.config == subject.CONFIG
    metrics = json.loads((tmp_path / "recall-nano" / "metrics.json").read_text())
    assert metrics["model"]["config"] == subject.CONFIG.to_dict()
    assert metrics["training"]["recipe"]["steps"] == 1
    assert metrics["training"]["objective"]["after"] == 3
    assert metrics["test"] == {"asked": 20}
    assert metrics["controls"]["best_sum_of_votes"] == 0.5
    kept = torch.load(tmp_path / "runs" / "recall-nano.pt", weights_only=False)
    assert kept["step"] == 1 and any("shown" in name for name in kept["objective"])
    assert not any("shown" in name for name in model.state_dict())


def test_the_other_two_begin_with_the_weights_of_the_first(tmp_path):
    torch.manual_seed(5)
    first = VideoMamba(subject.CONFIG)
    save_model(first, tmp_path / "first")
    given = first.state_dict()
    for name, missing in (
        ("recall-nano-forward", set()),
        ("recall-nano-class-token", {"cls_token"}),
    ):
        own = subject.beginning(name, tmp_path / "first").state_dict()
        assert own.keys() - given.keys() == missing
        assert all(torch.equal(own[key], given[key]) for key in own.keys() & given.keys())
    fresh = subject.beginning("recall-nano", tmp_path / "first").state_dict()
    assert not torch.equal(fresh["head.weight"], given["head.weight"])


def test_measuring_a_model_that_always_says_the_same_gives_chance_in_every_part():
    torch.manual_seed(0)
    model = VideoMamba(replace(subject.CONFIG, depth=1, d_model=16, patch_size=32)).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(4)[0])
    metrics = subject.measure(model, 40)
    surgery, verdicts = metrics["surgery"], metrics["verdicts"]
    assert (surgery["sample_in_frame"], surgery["test_in_frame"]) == (2, 11)
    assert surgery["reset"]["both"]["value"] == [surgery["reset"]["clean"]["value"]] * 15
    assert surgery["reset"]["both"]["n"] == 8
    assert [len(surgery["decoded"][name]["by_layer"]["test"][0]) for name in
            ("forward", "backward")] == [15, 15]  # fmt: skip
    outside = verdicts["reset outside the delay: fewest right"]
    assert outside["met"] and outside["value"] == surgery["reset"]["clean"]["value"]
    assert not verdicts["with distractors: top1"]["met"]
    assert len(verdicts) == 8


def columns(*values):
    return {"value": list(values), "n": 1}


def test_verdicts_hold_every_limit_that_was_asked_for():
    """15 boundaries: 1 and 2 outside, 3 to 11 inside, 12 to 15 outside the delay."""
    carried = [*[0.25] * 2, *[0.95] * 9, *[0.25] * 4]
    unknown, everywhere = [0.25] * 15, [0.95] * 15
    metrics = {
        "with_distractors": {"top1": {"value": 0.97}},
        "surgery": {
            "boundaries": list(range(1, 16)),
            "reset": {
                "clean": {"value": 0.98},
                "both": columns(*[0.96] * 2, *[0.3] * 9, *[0.96] * 4),
            },
            "swap": {"forward": {"donor": columns(*[0.0] * 6, 0.85, *[0.0] * 8)}},
            "decoded": {
                "forward": {"layer": 1, "sample": columns(*carried),
                            "by_layer": {"sample": [carried, everywhere],
                                         "test": [unknown, everywhere]}},
                "backward": {"layer": 1, "test": columns(*carried),
                             "by_layer": {"test": [carried, everywhere],
                                          "sample": [unknown, everywhere]}},
            },
        },
    }  # fmt: skip
    found = subject.verdicts(metrics)
    assert len(found) == 8 and all(verdict["met"] for verdict in found.values())
    assert [v["boundary"] for name, v in found.items() if "swapped" in name] == [7]
    surgery = metrics["surgery"]
    metrics["with_distractors"]["top1"]["value"] = 0.96
    surgery["reset"]["both"]["value"][2] = 0.34
    surgery["reset"]["both"]["value"][11] = 0.94
    surgery["swap"]["forward"]["donor"] = columns(*[0.9] * 2, *[0.7] * 9, *[0.9] * 4)
    surgery["decoded"]["backward"]["test"]["value"][10] = 0.89
    surgery["decoded"]["forward"]["by_layer"]["sample"][0] = [0.3] * 15
    missed = [name for name, verdict in subject.verdicts(metrics).items() if not verdict["met"]]
    assert len(missed) == 6


def test_a_layer_is_fed_by_the_other_direction_where_it_knows_what_only_that_has_seen():
    quiet, early = [0.25] * 15, [0.25] * 10 + [0.4] + [0.25] * 4  # at boundary 11, just before
    late = [0.25] * 11 + [0.9] * 4  # once the test is shown, forward states may tell it
    rows = {"forward": {"test": [quiet, early, late]}, "backward": {"sample": [quiet, early, late]}}
    surgery = {
        "boundaries": list(range(1, 16)),
        "decoded": {name: {"by_layer": by_layer} for name, by_layer in rows.items()},
    }
    assert subject.unfed(surgery, "forward") == [0, 2]
    assert subject.unfed(surgery, "backward") == [0]


def test_a_control_that_finds_a_leak_fails_the_clips():
    leak = {"one_frame_and_index": {"top1": {"value": 0.29}},
            "sum_of_votes": {"top1": {"value": 0.25}}, "best_sum_of_votes": 0.6}  # fmt: skip
    met = {name: verdict["met"] for name, verdict in subject.verdicts({"controls": leak}).items()}
    assert met == {"one_frame_and_index: top1": False, "sum_of_votes: top1": True}


def test_controls_are_trained_and_judged_on_recall_clips():
    found = subject.controls(num_clips=8, steps=1)
    assert set(found) == {"one_frame_and_index", "sum_of_votes", "bag_of_features",
                          "best_sum_of_votes"}  # fmt: skip
    assert found["sum_of_votes"]["top1"]["n"] == 8


# The proof again, on clips that no training and no published measurement has seen.


@pytest.mark.parametrize("name", subject.SUBJECTS)
def test_a_reset_in_the_delay_destroys_the_answer_and_one_outside_does_not(name, timed):
    model, (_, frames, labels) = load_model(name), timed
    clean = right(model, frames, labels)
    inside, outside = [], []
    for boundary in (2, 3, 7, 11, 13):
        with reset_state(model, boundary, tail=True):
            share = right(model, frames, labels)
        (inside if boundary in proof.INSIDE else outside).append(share)
    assert clean >= 0.9
    assert sum(inside) / 3 < 0.4  # chance is 0.25
    if name != "recall-nano-class-token":  # its answer has to travel to the front
        assert min(outside) >= clean - 0.1


@pytest.mark.parametrize("name", ["recall-nano", "recall-nano-forward"])
def test_with_another_clips_past_the_answer_is_the_one_to_that_clips_sample(name, timed):
    model, (clips, frames, labels) = load_model(name), timed
    donors, _ = clips.batch(range(32, 64), steps=0)
    given, own = clips.plan(range(32, 64)).sample.colors, clips.plan(range(32))
    expected = (own.test.colors - given) % 4
    differ = expected != labels
    boundary = proof.INSIDE[0] if name == "recall-nano" else proof.INSIDE[-1]
    past = record_past(model, normalize(donors))
    with transplant(model, past, boundary, direction="forward"):
        answer = proof.answers(model, frames)
    assert differ.sum() > 16
    assert (answer == expected)[differ].mean() >= 0.75


def test_the_forward_state_tells_the_sample_and_the_backward_state_the_test(bundled):
    found = proof.decoded(bundled, 120, 40)
    for direction, tells in (("forward", "sample"), ("backward", "test")):
        inside = [found[direction][tells]["value"][k - 1] for k in proof.INSIDE]
        assert min(inside) >= 0.8
    # Layer 1 forward, which knows nothing of the test before it is shown, carries the sample.
    by_layer = found["forward"]["by_layer"]
    sample, test = by_layer["sample"][1], by_layer["test"][1]
    assert max(sample[:2]) < 0.5 and min(sample[k - 1] for k in proof.INSIDE) >= 0.6
    assert max(test[k - 1] for k in proof.INSIDE) < 0.5 and test[11] > 0.8


def test_a_still_has_no_answer(bundled):
    still = RecallClips(99, backgrounds="test").batch(range(8))[0][:, :1].repeat(16, axis=1)
    with torch.no_grad():
        chances = bundled(normalize(still)).softmax(-1)
    assert chances.max() < 0.5
