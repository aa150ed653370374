"""The proof measures what it says, on models whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects import recall_proof as proof
from vmamba_explore.studies.subjects.recall_nano import CONFIG
from vmamba_explore.trace.past import reset_state

BOUNDARIES = range(1, 16)


@pytest.fixture(scope="module")
def model() -> VideoMamba:
    torch.manual_seed(0)
    return VideoMamba(replace(CONFIG, depth=1, d_model=16, patch_size=32)).eval()


@pytest.fixture
def constant(model) -> VideoMamba:
    """A model that always names class 0."""
    torch.manual_seed(0)
    always = VideoMamba(model.config).eval()
    with torch.no_grad():
        always.head.weight.zero_()
        always.head.bias.copy_(torch.eye(4)[0])
    return always


def test_every_boundary_inside_lies_between_the_sample_and_the_test():
    clip = proof.timed_clips()[0]
    assert list(proof.INSIDE) == list(range(clip.sample[1] + 1, clip.test[0] + 1))


def test_answers_are_those_of_the_model_whatever_the_batches(model, monkeypatch):
    frames, _ = proof.timed_clips().batch(range(7))
    with torch.no_grad():
        wanted = model(normalize(frames)).argmax(-1).numpy()
    for size in (3, 7, 40):
        monkeypatch.setattr(proof, "BATCH", size)
        assert np.array_equal(proof.answers(model, frames), wanted)


def test_the_accuracy_of_a_model_that_always_says_the_same_is_that_classes_share(constant):
    found = proof.accuracy(constant, 32)
    for part in ("without_distractors", "with_distractors"):
        assert found[part]["top1"]["value"] == 0.25 and found[part]["top1"]["n"] == 32
        assert found[part]["top1_by_label"] == {"0": 1.0, "1": 0.0, "2": 0.0, "3": 0.0}
        assert set(found[part]["top1_by_delay"]) <= {str(k) for k in range(2, 9)}


def test_a_reset_is_measured_at_every_boundary_in_each_direction_and_without_tails(model):
    found = proof.resets(model, 6)
    assert list(found) == ["clean", "both", "forward", "backward", "both, states only"]
    frames, labels = proof.timed_clips().batch(range(6))
    for boundary in (1, 8, 15):
        for kind, how in (
            ("both", {"tail": True}),
            ("backward", {"tail": True, "direction": "backward"}),
            ("both, states only", {}),
        ):
            with reset_state(model, boundary, **how):
                share = float((proof.answers(model, frames) == labels).mean())
            assert found[kind]["value"][boundary - 1] == round(share, 4)
            assert found[kind]["n"] == 6 and len(found[kind]["value"]) == 15


def test_a_swap_counts_the_answer_that_the_donors_color_makes_right(model, monkeypatch):
    """A stand-in that reads both colors from where they were put in: the donor's at once."""
    clips, indices = proof.timed_clips(), np.arange(12)
    own = clips.plan(indices)
    right = own.labels
    monkeypatch.setattr(proof, "answers", lambda *_: right)
    found = proof.swaps(model, 12)
    for direction in ("forward", "backward"):
        assert found[direction]["own"]["value"] == [1.0] * 15
        assert found[direction]["donor"]["value"] == [0.0] * 15
    assert found["forward"]["own"]["n"] == 12  # every donor has another sample
    assert 6 <= found["backward"]["own"]["n"] < 12  # some donors have the same test


def test_donors_have_another_sample_another_scene_and_the_same_timing(model, monkeypatch):
    given = []
    keep = proof._past
    monkeypatch.setattr(proof, "_past", lambda m, frames: given.append(frames) or keep(m, frames))
    proof.swaps(model, 12)
    frames, _ = proof.timed_clips().batch(range(12))
    donors = np.concatenate(given)
    assert donors.shape == frames.shape
    assert (donors[:, 0] != frames[:, 0]).any(axis=(1, 2, 3)).all()


def test_a_probe_finds_in_a_state_what_was_put_there_and_nothing_before_it_was_seen(monkeypatch):
    """States made by hand: forward holds the sample from boundary 3 on, backward only noise."""
    clips = proof.timed_clips()
    rng = np.random.default_rng(0)
    by_frames = {}

    class Held:
        def __init__(self, frames):
            self.colors = np.array([by_frames[each.tobytes()] for each in frames])

        def state(self, layer, direction, boundary):
            noise = torch.from_numpy(rng.normal(size=(len(self.colors), 4, 4))).float()
            if direction == "forward" and boundary >= 3 and layer == 1:
                noise[:, 0] += 9 * torch.eye(4)[self.colors]
            return noise

    for indices in (np.arange(64) + proof.FITTED, np.arange(32)):
        colors = clips.plan(indices).sample.colors
        for frames, color in zip(clips.batch(indices)[0], colors, strict=True):
            by_frames[frames.tobytes()] = color
    monkeypatch.setattr(proof, "_past", lambda model, frames: Held(frames))
    torch.manual_seed(0)
    two = VideoMamba(replace(CONFIG, depth=2, d_model=16, patch_size=32)).eval()
    found = proof.decoded(two, 64, 32)
    assert found["forward"]["layer"] == 1
    sample = found["forward"]["sample"]
    assert max(sample["value"][:2]) < 0.6 and min(sample["value"][2:]) > 0.9
    assert np.mean(found["forward"]["test"]["value"]) < 0.45
    assert np.mean(found["backward"]["by_layer"]["sample"]) < 0.4


def test_sums_of_votes_do_better_than_chance_and_stay_far_from_right():
    assert 0.5 <= proof.best_votes(restarts=4) <= 0.75


def test_clips_of_the_proof_are_over_unseen_photographs_with_distractors():
    clips = proof.timed_clips()
    assert isinstance(clips, RecallClips)
    assert (clips.backgrounds, clips.distractors) == ("test", "all")
