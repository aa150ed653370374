"""What a running kernel answers about an explored clip, against the analyses called directly."""

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.channels import channel_names, channel_statistics
from vmamba_explore.analysis.trajectories import states_by_frame
from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.interventions import mute
from vmamba_explore.trace.record import run_with_trace


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = VideoMambaConfig(
        num_frames=8, img_size=32, patch_size=8, d_model=16, depth=2, num_classes=10
    )
    return VideoMamba(config).eval()


@pytest.fixture(scope="module")
def motion():
    return MotionClips(3, num_frames=8, img_size=32)[0]


QUESTION = Question(target=1, quantities=["delta"], progress=False)


@pytest.fixture(scope="module")
def numbers(model, motion):
    return gather(model, motion, QUESTION).numbers


def test_states_and_channels_are_those_of_a_full_recording(model, motion, numbers):
    names = ["*.hook_h", *channel_names()]
    with torch.no_grad():
        trace = run_with_trace(model, motion.clip, names)[1]
    for place in (None, (1, 2)):
        expected = states_by_frame(trace, 1, place=place)
        assert np.allclose(numbers.states(1, place).values, expected.values, atol=1e-5)
    expected = channel_statistics(trace, 0, "backward")
    found = numbers.channels(0, "backward")
    for name in expected.statistics:
        assert np.allclose(
            found.values[name].values, expected.values[name].values, rtol=1e-4, atol=1e-7
        )
    assert "contribution" in found.statistics
    assert numbers.half_lives(1).sizes["state"] == model.config.d_state


def test_an_edited_side_is_asked_in_its_edited_run(model, motion, numbers):
    edited = gather(model, motion, QUESTION, edit=lambda model: mute(model, "forward")).numbers
    first, other = numbers.states(1), edited.states(1)
    assert not np.allclose(first.values, other.values)
    with torch.no_grad(), mute(model, "forward"):
        trace = run_with_trace(model, motion.clip, ["*.hook_h", "*.hook_C"])[1]
        expected = states_by_frame(trace, 1)
    assert np.allclose(other.values, expected.values, atol=1e-5)
    assert np.allclose(numbers.states(1).values, first.values), "the edit has stayed"


def test_an_edited_side_has_no_score_card(model, motion):
    edited = gather(model, motion, QUESTION, edit=lambda model: mute(model, "forward")).numbers
    assert edited.methods() == ()
    with pytest.raises(ValueError, match="this side ran edited. Choose the other"):
        next(edited.score(["delta"]))


def test_the_truth_is_known_of_motion_clips_only(model, motion, numbers):
    assert numbers.truth().shape == model.grid.shape and numbers.truth().any()
    assert gather(model, motion.clip, QUESTION).numbers.truth() is None


def test_scoring_leaves_the_model_alone_even_while_it_runs(model, motion, numbers):
    seen = []

    def report(words, done):
        seen.append([parameter.requires_grad for parameter in model.parameters()])
        numbers.states(0)  # the explorer is asked meanwhile

    found = list(numbers.score(["saliency"], report))
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    assert seen and all(each == wanted for each in seen)
    alone = list(numbers.score(["saliency"]))
    assert torch.equal(found[0].attribution.values, alone[0].attribution.values)


def test_scores_explain_the_classes_that_the_explorer_explains(model, motion):
    question = Question(target=3, minus=4, quantities=["delta"], progress=False)
    (found,) = gather(model, motion, question).numbers.score(["delta"])
    logits = model(motion.clip.tensor()[None])[0].detach()
    assert float(found.attribution.output) == pytest.approx(float(logits[3] - logits[4]), abs=1e-5)
