"""Several methods on one clip: what each is scored by, and how the work is ended."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.vmamba_explore.toys import toy
from vmamba_explore.attribution.clip_scores import (
    CONTROLS,
    REMOVAL,
    REMOVALS,
    blocks,
    card_methods,
    score_on_clip,
)
from vmamba_explore.attribution.ground_truth import SCORES, Truth, scores
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.removal_scores import deletion, make_problem
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.edits import current


@pytest.fixture(scope="module")
def model():
    return toy(num_frames=8, patch_size=8, num_classes=10)


@pytest.fixture(scope="module")
def motion():
    return MotionClips(3, num_frames=8, img_size=32)[0]


def test_a_clip_with_a_truth_is_scored_against_it(model, motion):
    (found,) = score_on_clip(model, motion, ["frame_difference"], 1)
    map_ = attribute(model, motion.clip, 1, "frame_difference").tokens("positive")
    truth = Truth.of([motion], model.grid)
    assert set(found.scores) == set(SCORES)
    for name, value in scores(map_, truth).items():
        assert found.scores[name] == pytest.approx(float(value))
    assert found.chance["share"] == pytest.approx(float(truth.area))
    assert found.chance["time_share"] == pytest.approx(float(truth.window.double().mean()))


def test_a_recall_clip_is_scored_against_both_its_discs():
    clip = RecallClips(3, num_frames=8, img_size=32, delay=(1, 2))[0]
    model = toy(num_frames=8, patch_size=8, tubelet_size=1, num_classes=4)
    (found,) = score_on_clip(model, clip, ["frame_difference"], 1)
    map_ = attribute(model, clip.clip, 1, "frame_difference").tokens("positive")[0]
    discs = clip.evidence.reshape(8, 4, 8, 4, 8).any((2, 4))
    assert found.scores["share"] == pytest.approx(float(map_[discs].sum() / map_.sum()))
    assert found.chance["share"] == pytest.approx(discs.mean())


def test_a_clip_without_one_is_scored_by_removals(model, motion):
    (found,) = score_on_clip(model, motion.clip, ["saliency"], 1, 2)
    problem = make_problem(model, motion.clip, 1, minus=2)
    map_ = attribute(model, motion.clip, 1, "saliency", minus=2)
    expected = deletion(problem, map_, **REMOVAL["tubelets"]).area(normalized=True)
    assert set(found.scores) == set(REMOVALS) and not found.chance
    assert found.scores["deletion"] == pytest.approx(float(expected), nan_ok=True)


def test_the_gap_is_relative_to_what_the_map_should_sum_to(model, motion):
    with_sum, without = score_on_clip(model, motion, ["mamba_lrp", "random"], 1)
    total = float(with_sum.attribution.values.sum())
    output = float(with_sum.attribution.output)
    assert with_sum.gap == pytest.approx(abs(total - output) / abs(output), rel=1e-3)
    assert without.gap is None


def test_methods_are_done_one_after_the_other_as_they_are_asked_for(model, motion):
    heard = []
    work = score_on_clip(model, motion, ["delta", "random"], 1, report=lambda *x: heard.append(x))
    assert heard == []
    assert next(work).method == "delta" and set(heard) == {("delta", 0.0)}
    assert next(work).method == "random" and heard[-1] == ("random", 0.5)


def test_what_the_report_raises_ends_the_work_inside_a_method(model, motion):
    class Enough(Exception):
        pass

    calls = []

    def report(words, done):
        calls.append(words)
        if len(calls) == 5:
            raise Enough

    with pytest.raises(Enough):
        list(score_on_clip(model, motion, ["shapley_value_sampling"], 1, report=report))
    assert len(calls) == 5
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not current().blocks


def test_unknown_methods_and_none_are_refused(model, motion):
    for methods in (["guess"], []):
        with pytest.raises(ValueError, match="expected some of saliency, input_x_gradient"):
            list(score_on_clip(model, motion, methods))


def test_a_map_that_is_zero_everywhere_has_no_score(model):
    still = MotionClips(3, num_frames=8, img_size=32)[0]
    frames = np.repeat(still.clip.frames[:1], 8, axis=0)
    quiet = replace(still, clip=replace(still.clip, frames=frames))
    (found,) = score_on_clip(model, quiet, ["frame_difference"], 1)
    assert math.isnan(found.scores["share"])


def test_blocks_are_cubes_of_tokens(model):
    units = blocks(model)
    assert units.shape == (4, 4, 4) and int(units.max()) == 7
    assert units[2:, 2:, :2].unique().tolist() == [6] and (units == 6).sum() == 8


def test_the_card_has_at_least_twelve_methods(model):
    assert len(set(card_methods(model)) - set(CONTROLS)) >= 12
