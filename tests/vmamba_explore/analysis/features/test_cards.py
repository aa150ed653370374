"""Feature cards, against the same asked of the model by hand."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.analysis.features.planted import small_model
from tests.vmamba_explore.analysis.features.test_steering import vectors
from vmamba_explore.analysis.features.activations import Site, record_activations
from vmamba_explore.analysis.features.cards import feature_cards
from vmamba_explore.analysis.features.fit import train_features
from vmamba_explore.analysis.features.steering import remove_feature, steer
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

SERIES = MotionClips(0, num_frames=8, img_size=16)
CLIPS = [SERIES[number] for number in range(12)]
LABELS = [clip.label % 4 for clip in CLIPS]
SITES = {"tokens": Site(1), "states": Site(0, "backward")}


@pytest.fixture(scope="module", params=SITES)
def case(request):
    model, site = small_model(), SITES[request.param]
    rows = record_activations(model, CLIPS, site, dtype="float32")
    features = train_features(rows, width=16, k=3, steps=80, batch_size=16)
    cards = feature_cards(model, features, rows, CLIPS, which=5, top=3, labels=LABELS, common=4)
    return model, features, rows, cards


def batch(numbers):
    return torch.stack([CLIPS[number].clip.tensor() for number in numbers])


def test_effects_are_changes_of_the_running_model(case):
    model, features, _, cards = case
    for card in cards.cards:
        with torch.no_grad():
            mine, common = batch(card.top), batch(cards.common)
            before, plainly = model(mine), model(common)
            with remove_feature(model, features, card.feature):
                taken = (model(mine) - before).mean(0)
            with steer(model, features, card.feature, card.amount):
                put = (model(common) - plainly).mean(0)
        assert [each.value for each in card.removed] == pytest.approx(taken.tolist(), abs=1e-5)
        assert [each.value for each in card.added] == pytest.approx(put.tolist(), abs=1e-5)
        assert card.added[0].n == 4
    assert any(abs(each.value) > 0 for card in cards.cards for each in card.removed)


def test_courses_are_the_largest_codes_of_each_frame_as_shown_and_played_backwards(case):
    model, features, _, cards = case
    card = cards.cards[0]
    for name, turned in (("course", batch(card.top)), ("course_reversed", batch(card.top).flip(2))):
        rows, _ = vectors(model, cards.site, turned)
        codes = features.encode(rows)[..., card.feature].reshape(len(turned), 4, -1)
        assert getattr(card, name) == pytest.approx(
            codes.amax(2).mean(0).detach().numpy(), abs=1e-4
        )
    assert not np.allclose(card.course, card.course_reversed, atol=1e-3)


def test_shown_clips_are_the_top_clips_with_the_codes_of_every_card(case):
    model, features, rows, cards = case
    assert {clip.number for clip in cards.clips} == {n for card in cards.cards for n in card.top}
    assert cards.differs == 0
    clip = cards.clips[0]
    per_clip = len(rows) // 12
    vectors_of = rows.rows(range(clip.number * per_clip, (clip.number + 1) * per_clip))
    codes = features.encode(vectors_of)[:, [card.feature for card in cards.cards]]
    assert clip.codes.reshape(5, -1) == pytest.approx(codes.T.detach().numpy(), abs=1e-4)
    assert clip.label == LABELS[clip.number]
    assert np.array_equal(clip.clip.frames, CLIPS[clip.number].clip.frames)
    if cards.site.direction is None:
        assert clip.written is None and clip.codes.shape == (5, 4, 2, 2)
    else:
        assert clip.codes.shape == (5, 4, 1, 1) and clip.written.shape == (5, 4, 2, 2)


def test_a_stored_vector_that_is_not_of_its_clip_is_counted(case):
    model, features, rows, _ = case
    others = [SERIES[number] for number in range(100, 112)]
    cards = feature_cards(model, features, rows, others, which=3, top=2, common=2)
    assert cards.differs > 0


def test_features_are_chosen_by_their_share_or_by_number(case):
    model, features, rows, cards = case
    assert [card.feature for card in cards.cards] == cards.activity.order[:5].tolist()
    named = feature_cards(model, features, rows, CLIPS, which=[7], top=1, common=1)
    assert [card.feature for card in named.cards] == [7]
    assert named.cards[0].by_class is None and named.cards[0].top_labels is None
    with pytest.raises(ValueError, match="no feature 16"):
        feature_cards(model, features, rows, CLIPS, which=[16])


def test_an_encoder_has_cards_without_effects():
    config = VideoMambaConfig(**{**small_model().config.to_dict(), "num_classes": 0})
    encoder = VideoMamba(config).eval()
    rows = record_activations(encoder, CLIPS, Site(1))
    features = train_features(rows, width=8, k=2, steps=20, batch_size=16)
    cards = feature_cards(encoder, features, rows, CLIPS, which=2, top=2)
    assert cards.cards[0].removed == cards.cards[0].added == ()
    assert cards.clips[0].answer == -1
