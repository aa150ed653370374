"""Features changed in a running model: exactly what is said, and nothing where nothing is asked."""

import pytest
import torch

from tests.vmamba_explore.analysis.features.planted import pixels, small_model
from vmamba_explore.analysis.features.activations import Site, keeping, room_for
from vmamba_explore.analysis.features.sae import FeatureSettings, SparseFeatures
from vmamba_explore.analysis.features.steering import changing, reconstruct, remove_feature, steer
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.edits import editing
from vmamba_explore.trace.interventions import drop_tokens

SITES = {"tokens": Site(1), "forward": Site(0, "forward"), "backward": Site(0, "backward")}
MUCH = 1000.0
"""Units of code that move the answers of an untrained model, which hardly reads its states."""
KINDS = {
    "front": {},
    "every frame": {"cls_position": "every_frame"},
    "none, spatial": {"cls_position": None, "backward_order": "spatial"},
}


def vectors(model, site, clips, *blocks):
    """The vectors at a site of a run inside blocks, which change them before they are read."""
    into = room_for(model, site, len(clips))
    with torch.no_grad():
        for block in blocks:
            block.__enter__()
        try:
            with editing(*keeping(model, site, into, torch.zeros(model.config.d_state))):
                logits = model(clips)
        finally:
            for block in blocks[::-1]:
                block.__exit__(None, None, None)
    return into.reshape(len(clips), -1, site.size(model)), logits


def features_of(model, site, clips):
    """Random features around the vectors of some clips."""
    rows, _ = vectors(model, site, clips)
    rows = rows.flatten(0, 1)
    settings = FeatureSettings(site, 32, 4, "topk", 1, 2, 1e-3, 0, 0.0, 1, len(rows), "")
    return SparseFeatures(settings, rows.mean(0), torch.full(rows.shape[1:], 1 / rows.std()))


@pytest.fixture(params=KINDS)
def model(request):
    return small_model(**KINDS[request.param])


@pytest.fixture(params=SITES)
def case(request, model):
    clips = pixels()
    return model, features_of(model, SITES[request.param], clips), clips


def test_adding_nothing_changes_no_bit(case):
    model, features, clips = case
    with torch.no_grad():
        plainly = model(clips)
        with steer(model, features, [3, 5], 0.0):
            assert torch.equal(model(clips), plainly)
        with changing(model, features, lambda rows: rows, None, "test"):
            assert torch.equal(model(clips), plainly)


def test_adding_a_feature_changes_vectors_by_its_direction_and_the_answer(case):
    model, features, clips = case
    before, plainly = vectors(model, features.site, clips)
    after, _ = vectors(model, features.site, clips, steer(model, features, 7, 2.0))
    moved = (after - before)[:, untouched(model, features.site)]
    wanted = 2 * features.direction(7)
    assert torch.allclose(moved, wanted.expand_as(moved), atol=1e-5)
    _, logits = vectors(model, features.site, clips, steer(model, features, 7, MUCH))
    assert (logits - plainly).abs().max() > 1e-5


def untouched(model, site):
    """Vectors on which no change of another acts: of states, the one handed on first."""
    if site.direction is None:
        return slice(None)
    return [int(frame_ends(model, site.direction)[0].argmin())]


def test_removing_a_feature_leaves_the_vector_less_its_part(case):
    model, features, clips = case
    before, _ = vectors(model, features.site, clips)
    codes = features.encode(before)
    feature = int((codes > 0).sum((0, 1)).argmax())
    after, _ = vectors(model, features.site, clips, remove_feature(model, features, feature))
    at = untouched(model, features.site)
    part = codes[..., [feature]] * features.direction(feature)
    assert torch.allclose(after[:, at], (before - part)[:, at], atol=1e-5)
    assert (part != 0).any()


def test_removing_a_feature_that_is_nowhere_active_changes_no_bit(case):
    model, features, clips = case
    with torch.no_grad():
        features.bias[2] = -1e6
        plainly = model(clips)
        with remove_feature(model, features, 2):
            assert torch.equal(model(clips), plainly)


def test_the_reconstruction_stands_in_the_model(case):
    model, features, clips = case
    before, _ = vectors(model, features.site, clips)
    after, _ = vectors(model, features.site, clips, reconstruct(model, features))
    at = untouched(model, features.site)
    wanted = features.decode(features.encode(before))
    assert torch.allclose(after[:, at], wanted[:, at], atol=1e-5)
    mean, _ = vectors(model, features.site, clips, reconstruct(model, features, "mean"))
    assert torch.allclose(mean, features.mean.expand_as(mean), atol=1e-6)


def test_each_clip_can_have_its_own_amount(case):
    model, features, clips = case
    with torch.no_grad():
        plainly = model(clips)
        with steer(model, features, 7, torch.tensor([0.0, MUCH, 0.0])):
            logits = model(clips)
    assert torch.equal(logits[[0, 2]], plainly[[0, 2]])
    assert (logits[1] - plainly[1]).abs().max() > 1e-5


def test_only_the_frames_asked_for_change():
    model, clips = small_model(), pixels()
    features = features_of(model, Site(1), clips)
    before, _ = vectors(model, Site(1), clips)
    after, _ = vectors(model, Site(1), clips, steer(model, features, 0, 1.0, frames=[2]))
    changed = (before != after).any(-1).any(0).reshape(4, -1)
    assert changed.all(1).tolist() == changed.any(1).tolist() == [False, False, True, False]


def test_dropped_tokens_are_followed_in_the_residual_stream_and_refused_for_states():
    model, clips = small_model(), pixels()
    features = features_of(model, Site(1), clips)
    with torch.no_grad(), drop_tokens(model, frames=[0]):
        plainly = model(clips)
        with steer(model, features, 0, 1.0, frames=[0]):
            assert torch.equal(model(clips), plainly)
        with steer(model, features, 0, 1.0, frames=[1]):
            assert not torch.allclose(model(clips), plainly, atol=1e-5)
        with pytest.raises(ValueError, match="tokens are being dropped"):
            steer(model, features_of(small_model(), Site(1, "forward"), clips), 0, 1.0)


def test_nothing_stays_behind_after_an_error(case):
    model, features, clips = case
    with torch.no_grad():
        plainly = model(clips)
        with pytest.raises(KeyError), steer(model, features, 0, 5.0):
            raise KeyError
        assert torch.equal(model(clips), plainly)


def test_what_does_not_exist_is_refused(unchecked):
    model, clips = small_model(), pixels()
    features = features_of(model, Site(1), clips)
    with pytest.raises(ValueError, match="steer: there is no feature 32"):
        steer(model, features, [0, 32], 1.0)
    with pytest.raises(ValueError, match="no token frame 4"):
        remove_feature(model, features, 0, frames=4)
    with pytest.raises(ValueError, match="vectors of 12 numbers, and the residual stream"):
        reconstruct(small_model(d_model=16), features)
    with pytest.raises(ValueError, match="by is 'zero'"):
        reconstruct(model, features, "zero")
