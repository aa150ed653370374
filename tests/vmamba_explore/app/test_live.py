"""What a running kernel answers about an explored clip, against the analyses called directly."""

import copy

import numpy as np
import pytest
import torch

from vmamba_explore import load_model, resources
from vmamba_explore.analysis.channels import channel_names, channel_statistics
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.analysis.trajectories import states_by_frame
from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.hooks import attached
from vmamba_explore.trace.interventions import mute
from vmamba_explore.trace.record import run_with_trace

DELTA = Question(quantities=["delta"], progress=False)
KINDS = [
    {}, {"cls_position": "middle"}, {"cls_position": None}, {"backward_order": "spatial"},
    {"backward_order": "temporal", "cls_position": None}, {"backward_order": None},
    {"num_frames": 2}, {"cls_position": "every_frame"}, {"scan_variant": "videomambapro"},
]  # fmt: skip


def slowed(model):
    """Edit the very layer that is asked: halve the step size of its backward scan."""
    name = "layers.1.mixer.ssm_backward.hook_delta"
    return attached(model, [(name, lambda delta, point: delta / 2)])


def assert_scan_weights(found, grid, weights, direction):
    """Where there is a value, it is the mean size of the scan's weights; elsewhere these are 0."""
    wanted = grid.split(weights.by_direction[direction].abs().mean(1))[0][0].numpy()
    found = found.sel(direction=direction).values
    known = ~np.isnan(found)
    np.testing.assert_allclose(found[known], wanted[known], rtol=1e-4, atol=1e-9)
    assert (wanted[~known] == 0).all()


def operators(model, clip, layer):
    with torch.no_grad():
        trace = run_with_trace(model, clip, list(ScanOperator.names(layer)))[1]
        return {
            direction: ScanOperator.from_trace(trace, layer=layer, direction=direction)
            for direction in model.config.directions
        }


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_the_asked_row_and_column_are_those_of_the_scan(small_model, noise_clip, changes):
    model = small_model(**changes)
    clip = noise_clip(model)
    grid, live = model.grid, gather(model, clip, DELTA).live
    place = (grid.frames - 1, 1, 2)
    answer = live.attention(1, place)
    index = grid.index(*place)
    for direction, operator in operators(model, clip, 1).items():
        assert_scan_weights(answer["reads"], grid, operator.row(index), direction)
        assert_scan_weights(answer["read_by"], grid, operator.column(index), direction)


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_there_is_no_value_exactly_where_the_order_of_the_scan_forbids_one(
    small_model, noise_clip, changes
):
    model = small_model(**changes)
    found = gather(model, noise_clip(model), DELTA)
    for place in ((0, 0, 0), (model.grid.frames - 1, 2, 1)):
        answer = found.live.attention(0, place)
        for direction, steps in found.steps.items():
            missing = {n: np.isnan(answer[n].sel(direction=direction).values) for n in answer}
            np.testing.assert_array_equal(missing["reads"], steps > steps[place])
            np.testing.assert_array_equal(missing["read_by"], steps < steps[place])


def test_no_token_asks_the_class_token_which_has_no_column(small_model, noise_clip):
    model = small_model(cls_position="middle")
    found = gather(model, noise_clip(model), Question(progress=False))
    answer = found.live.attention(1, None)
    assert list(answer) == ["reads"]
    attended = found.maps["hidden attention"].sel(layer=1)
    np.testing.assert_array_equal(answer["reads"].values, attended.values)
    for direction, steps in found.steps.items():
        missing = np.isnan(answer["reads"].sel(direction=direction).values)
        np.testing.assert_array_equal(missing, steps > found.cls_steps[direction])


def test_without_a_class_token_the_logits_read_every_token(small_model, noise_clip):
    model = small_model(cls_position=None)
    answer = gather(model, noise_clip(model), DELTA).live.attention(1, None)
    assert np.isfinite(answer["reads"].values).all()


def test_an_edited_run_is_asked_in_its_block_and_the_model_stays_as_it_was(small_model, noise_clip):
    model = small_model()
    clip = noise_clip(model)
    plain = gather(model, clip, DELTA).live
    muted = gather(model, clip, DELTA, edit=slowed).live
    first = plain.attention(1, (1, 2, 3))
    with slowed(model):
        wanted = operators(model, clip, 1)["backward"].row(model.grid.index(1, 2, 3))
    found = muted.attention(1, (1, 2, 3))["reads"]
    assert_scan_weights(found, model.grid, wanted, "backward")
    assert plain.attention(1, (1, 2, 3)).identical(first), "the edit has stayed"
    both = (each.sel(direction="backward").values for each in (found, first["reads"]))
    assert not np.allclose(*both, equal_nan=True)


def test_it_keeps_no_graph_and_leaves_gradients_as_they_were(small_model, noise_clip):
    model = small_model()
    live = gather(model, noise_clip(model), DELTA).live
    with torch.enable_grad():
        live.attention(0, (0, 0, 0))
        assert torch.is_grad_enabled()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(value.requires_grad for value in live.trace.values())


@pytest.mark.parametrize(
    ("layer", "token", "error", "words"),
    [
        (2, None, ValueError, "2"),
        (0, (9, 0, 0), IndexError, "frame 9 is outside 0..3 of this grid"),
        (0, (0, 0, -1), IndexError, "col -1 is outside 0..3 of this grid"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(
    small_model, noise_clip, layer, token, error, words
):
    model = small_model()
    with pytest.raises(error, match=words):
        gather(model, noise_clip(model), DELTA).live.attention(layer, token)


# Numbers


@pytest.fixture(scope="module")
def model(small_model):
    return small_model(num_classes=10)


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


def test_an_edited_side_is_asked_in_its_edited_run_and_has_no_score_card(model, motion, numbers):
    edited = gather(model, motion, QUESTION, edit=lambda model: mute(model, "forward")).numbers
    assert edited.methods() == ()
    with pytest.raises(ValueError, match="this side ran edited. Choose the other"):
        next(edited.score(["delta"]))
    first, other = numbers.states(1), edited.states(1)
    assert not np.allclose(first.values, other.values)
    with torch.no_grad(), mute(model, "forward"):
        trace = run_with_trace(model, motion.clip, ["*.hook_h", "*.hook_C"])[1]
        expected = states_by_frame(trace, 1)
    assert np.allclose(other.values, expected.values, atol=1e-5)
    assert np.allclose(numbers.states(1).values, first.values), "the edit has stayed"


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


def test_a_score_card_is_that_of_the_very_weights():
    motion_nano, clip = load_model("motion-nano"), MotionClips(3)[0]
    found = gather(motion_nano, clip, DELTA).numbers.card()
    assert found == resources.path("scorecard_figure.json")
    edited = gather(motion_nano, clip, DELTA, edit=lambda m: mute(m, "forward")).numbers
    assert edited.card() is None
    trained_on = copy.deepcopy(motion_nano)
    with torch.no_grad():
        trained_on.head.bias += 0.01
    assert gather(trained_on, clip, DELTA).numbers.card() is None
