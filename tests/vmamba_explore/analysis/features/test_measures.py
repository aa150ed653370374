"""Quality of features: against what is known of the features, and in a running model."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.analysis.features.planted import planted, small_model
from vmamba_explore.analysis.features.activations import Site, record_activations
from vmamba_explore.analysis.features.fit import train_features
from vmamba_explore.analysis.features.measures import feature_agreement, measure_features, ratio
from vmamba_explore.analysis.features.sae import FeatureSettings, SparseFeatures
from vmamba_explore.analysis.features.steering import reconstruct
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

SERIES = MotionClips(0, num_frames=8, img_size=16)
CLIPS = [SERIES[number] for number in range(6)]


def complete(rows):
    """Features that explain everything: every axis, up and down."""
    size = rows.size
    settings = FeatureSettings(
        rows.site, 2 * size, 2 * size, "topk", 1, 2, 1e-3, 0, 0.0, 1, len(rows), ""
    )
    features = SparseFeatures(settings, torch.zeros(size), torch.ones(size))
    axes = torch.cat([torch.eye(size), -torch.eye(size)])
    with torch.no_grad():
        features.decoder.copy_(axes)
        features.encoder.copy_(axes.T)
    return features


@pytest.mark.parametrize("site", [Site(1), Site(0, "backward")])
def test_features_that_explain_everything_lose_nothing(site):
    model = small_model()
    rows = record_activations(model, CLIPS, site, dtype="float32")
    quality = measure_features(model, complete(rows), CLIPS, batch_size=4)
    assert quality.unexplained.value < 1e-10
    assert quality.active.value == pytest.approx(rows.size, rel=1e-3)
    assert quality.recovered.value == pytest.approx(1, abs=1e-4)
    assert quality.same_answer.value == 1
    assert (quality.harm, quality.clips, quality.rows) == ("divergence", 6, len(rows))


def test_features_that_say_nothing_are_the_mean():
    model = small_model()
    features = complete(record_activations(model, CLIPS, Site(1), dtype="float32"))
    with torch.no_grad():
        features.bias.fill_(-1e6)
    quality = measure_features(model, features, CLIPS)
    assert quality.unexplained.value == quality.dead == 1
    assert quality.active.value == 0
    assert quality.loss_replaced == quality.loss_mean
    assert quality.recovered.value == quality.recovered_logits.value == 0
    assert quality.harm == "divergence"
    assert quality.loss.value == 0


def test_losses_are_those_of_the_edited_model():
    model, labels = small_model(), torch.tensor([0, 1, 2, 3, 0, 1])
    rows = record_activations(model, CLIPS, Site(1), dtype="float32")
    features = train_features(rows, width=24, k=2, steps=20, batch_size=32)
    quality = measure_features(model, features, CLIPS, labels.tolist(), batch_size=4)
    batch = torch.stack([each.clip.tensor() for each in CLIPS])
    with torch.no_grad():
        plainly = model(batch)
        with reconstruct(model, features):
            logits = model(batch)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert quality.harm == "cross-entropy"
    assert quality.loss_replaced.value == pytest.approx(float(loss), rel=1e-4)
    assert quality.logit_change.value == pytest.approx(
        float((logits - plainly).abs().mean()), rel=1e-4
    )
    vectors = rows.rows(range(len(rows)))
    with torch.no_grad():
        error = (features.decode(features.encode(vectors)) - vectors).square().sum()
    wanted = error / (vectors - features.mean).square().sum()
    assert quality.unexplained.value == pytest.approx(float(wanted), rel=1e-3)
    assert quality.unexplained.low <= quality.unexplained.value <= quality.unexplained.high


def test_an_encoder_is_measured_by_the_distance_of_its_features():
    model = small_model()
    encoder = VideoMamba(VideoMambaConfig(**{**model.config.to_dict(), "num_classes": 0})).eval()
    rows = record_activations(encoder, CLIPS, Site(1), dtype="float32")
    quality = measure_features(encoder, complete(rows), CLIPS)
    assert quality.harm == "distance"
    assert quality.recovered.value == pytest.approx(1, abs=1e-3)
    assert np.isnan(quality.same_answer.value)
    with pytest.raises(ValueError, match="measure_features"):
        measure_features(encoder, complete(rows), CLIPS, [0] * 6)


def test_two_trainings_on_planted_directions_agree_and_random_features_do_not():
    rows, _ = planted()
    asked = {"width": 30, "k": 2, "steps": 1000, "batch_size": 256, "kind": "topk"}
    one, other = (train_features(rows, seed=seed, **asked) for seed in (0, 1))
    start = train_features(rows, seed=2, **asked | {"steps": 1, "learning_rate": 1e-9})
    best, paired = feature_agreement(one, other)
    assert best.mean() > 0.9
    assert feature_agreement(one, start)[0].mean() < 0.7
    assert feature_agreement(one, one)[1] == pytest.approx(1)
    assert (np.sort(paired) <= np.sort(best) + 1e-6).all()
    with pytest.raises(ValueError, match="expected the same site and size"):
        feature_agreement(one, train_features(planted(size=10)[0], **asked))


def test_a_ratio_to_nothing_is_nothing():
    assert np.isnan(ratio(np.ones(3), np.zeros(3)).value)
    assert ratio(np.array([1.0, 2.0]), np.array([4.0, 2.0])).value == 0.5


def test_labels_must_be_one_for_each_clip():
    model = small_model()
    features = complete(record_activations(model, CLIPS, Site(1), dtype="float32"))
    with pytest.raises(ValueError, match="got 6 clips and 2 labels"):
        measure_features(model, features, CLIPS, [0, 1])
