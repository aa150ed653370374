import numpy as np
import pytest
import torch

from vmamba_explore import MotionClips, load_model
from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.analysis.features.sae import FeatureSettings, SparseFeatures
from vmamba_explore.analysis.features.steering import changing
from vmamba_explore.studies.features.claims import Claim, _claimed, claims, right_way
from vmamba_explore.studies.features.factors import Factor, Rows


def factor(name, group, values, number=0):
    return Factor(name, group, values, np.ones(len(values), bool), number, answers=True)


def test_a_feature_claims_what_it_tells_and_a_silent_one_is_no_control():
    truth = np.tile([0.0, 1.0], 50)
    noise = np.random.default_rng(0).random(100)
    codes = np.column_stack([truth * (1 + noise), 1 - truth, noise, 0 * noise]).astype(np.float32)
    known = Rows(np.arange(100), np.arange(100), 100, {"it": factor("it", "it", truth)})
    found, quiet = claims(codes, known)
    assert [each.feature for each in found] == [0]
    assert found[0].amount == pytest.approx(np.quantile(codes[codes[:, 0] > 0, 0], 0.95))
    assert quiet == [2]


def test_a_claim_about_a_color_is_a_claim_about_the_label_that_the_clip_would_have():
    truth = {"sample color": np.array([0, 1]), "test color": np.array([2, 3])}
    sample = factor("sample color: blue", "sample color", np.zeros(2), 3)
    assert _claimed(sample, truth).tolist() == [3, 0]  # test less sample, modulo 4
    test = factor("test color: blue", "test color", np.zeros(2), 3)
    assert _claimed(test, truth).tolist() == [3, 2]


@pytest.fixture(scope="module")
def steered():
    """motion-nano, features, clips: feature 0 is the gradient of "up", feature 1 its opposite."""
    model = load_model("motion-nano").requires_grad_(False)
    size = model.config.d_model
    settings = FeatureSettings(Site(5), 8, 2, "topk", 1, 2, 0.1, 0, 0.0, 1, 10, "")
    features = SparseFeatures(settings, torch.zeros(size), torch.ones(size)).requires_grad_(False)
    series = MotionClips(3, backgrounds="test")
    clips = torch.stack([series[n].clip.tensor() for n in range(30)])
    up = torch.zeros(size, requires_grad=True)
    with torch.enable_grad(), changing(model, features, lambda rows: rows + up, None, "test"):
        logits = model(clips)
        (logits[:, 3] - logits.mean(1)).sum().backward()
    up = torch.nn.functional.normalize(up.grad, dim=0)
    features.decoder[0], features.decoder[1] = up, -up
    features.encoder[:] = features.decoder.T
    return model, features, clips, series.plan(range(30)).labels


@pytest.mark.parametrize(("feature", "right"), [(0, True), (1, False)])
def test_a_direction_that_raises_the_claimed_class_is_right_and_its_opposite_is_not(
    steered, feature, right
):
    model, features, clips, labels = steered
    claim = Claim(feature, factor("class: up", "class", np.zeros(1), 3), 0.9, 1.0)
    answers = model(clips)
    row = right_way(model, features, claim, [4, 5, 6], clips, answers, {"class": labels}, None)
    assert row["added"]["right"] is right
    assert (row["added"]["effect"]["value"] > 0) is right
    assert abs(row["added"]["control"]["value"]) < abs(row["added"]["effect"]["value"]) / 2
    torch.testing.assert_close(model(clips), answers)  # nothing is left of it


def test_adding_is_judged_on_clips_without_the_class_and_removing_on_clips_with_it(steered):
    model, features, clips, labels = steered
    claim = Claim(0, factor("class: up", "class", np.zeros(1), 3), 0.9, 1.0)
    row = right_way(model, features, claim, [4, 5], clips, model(clips), {"class": labels}, None)
    assert row["added"]["effect"]["n"] == (labels != 3).sum()
    assert row["removed"]["effect"]["n"] == (labels == 3).sum()
