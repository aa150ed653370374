"""The making of the state lenses: what is fitted, rounded, judged and written."""

import json

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.lens import FILES, PARTS, SCORES, Probes, read_lens
from vmamba_explore.clips import camera_path
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies import lens
from vmamba_explore.studies.scorecard.subjects import RECALL


def planted(clips=120, frames=3, width=8, seed=0):
    """Features whose first three say the answer, and frame offsets that say nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (clips, 1), generator=generator).expand(clips, frames)
    noise = torch.randn(clips, frames, width, generator=generator)
    signal = torch.nn.functional.pad(4 * torch.eye(3)[labels], (0, width - 3))
    return signal + noise, labels


def test_a_fit_finds_what_is_there_and_shuffled_labels_find_nothing():
    features, labels = planted()
    fresh, truth = planted(seed=1)
    means = features.mean(0)
    shares = []
    for each in (labels, labels[torch.randperm(len(labels), generator=torch.manual_seed(0))]):
        found = lens.fit(features - means, each, 3, 0.1)
        shares.append(((fresh - means) @ found.weights.T + found.bias).argmax(-1).eq(truth))
    assert shares[0].float().mean() > 0.9 and shares[1].float().mean() < 0.55


def test_noise_asks_for_a_stronger_penalty_than_a_signal():
    features, labels = planted(width=200)
    noise = torch.randn(features.shape, generator=torch.manual_seed(3))
    assert lens.chosen_strength(noise, labels, 3) > lens.chosen_strength(features, labels, 3)


def test_rounded_weights_give_the_same_answers_without_the_means():
    features, labels = planted()
    means = features.mean(0)
    fitted = lens.fit(features - means, labels, 3, 0.1)
    probes = Probes(*(part[None, None] for part in lens.packed(fitted, means)))
    exact = ((features - means) @ fitted.weights.T + fitted.bias).softmax(-1)
    rounded = probes.logits(0, 0, features).softmax(-1)
    assert probes.weights.dtype == torch.int8 and probes.weights.shape == (1, 1, 2, 8)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)
    assert not torch.allclose(rounded, exact.roll(1, -1), atol=0.1)


def test_scores_are_by_frame_and_by_whether_the_scan_has_read_what_decides():
    right = np.array([[False, True, True], [False, True, False], [False, True, True]])
    known = np.array([[False, True, True], [False, True, True], [False, False, True]])
    found = lens.measure(right, ~right, known)
    assert found["accuracy"] == [0.0, 1.0, 0.667] and found["shuffled"] == [1.0, 0.0, 0.333]
    assert found["after accuracy"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-3)
    assert found["before accuracy"] == pytest.approx((0 + 0 + 0.5) / 3, abs=1e-3)
    assert found["before shuffled"] == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-3)
    never = lens.measure(right, right, np.ones_like(known))
    assert never["before accuracy"] is None and never["after accuracy"] is not None


def test_each_direction_knows_a_color_from_when_it_has_read_its_disc():
    clips = [lens.series_of("recall-nano", "test")[index] for index in range(8)]
    color = lens.first_known(RECALL, clips, "sample color", 1, 16)
    label = lens.first_known(RECALL, clips, "label", 1, 16)
    for at, clip in enumerate(clips):
        first, last = clip.sample
        assert color["forward"][at].tolist() == [frame >= first for frame in range(16)]
        assert color["backward"][at].tolist() == [frame <= last for frame in range(16)]
        assert label["forward"][at].tolist() == [frame >= clip.test[0] for frame in range(16)]


def test_cameras_that_stand_are_among_the_clips_and_mixed_ones_are_not():
    clips = lens.series_of("camera-nano", "train")
    labels = clips.plan(range(12)).labels
    assert set(labels) == set(range(len(camera_path.CLASS_NAMES)))


def test_a_lens_is_written_as_it_is_read_and_belongs_to_its_model(monkeypatch, tmp_path):
    config = VideoMambaConfig(
        num_frames=16, img_size=64, patch_size=32, tubelet_size=4, d_model=8, depth=1,
        num_classes=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = VideoMamba(config).eval()
    monkeypatch.setattr(lens, "load_model", lambda name: model)
    held = lens.make_lens("recall-nano", {"train": 24, "test": 22}, tmp_path)
    assert json.loads((tmp_path / FILES[0]).read_text()) == json.loads(json.dumps(held))
    found = read_lens(tmp_path)
    assert list(found.answers) == ["sample color", "test color", "label"]
    assert found.scale.shape == (1, 2, config.d_inner * config.d_state)
    for scores in found.scores.values():
        assert {*SCORES, *(f"{part} {name}" for part in PARTS for name in SCORES)} == set(scores)
        assert scores["accuracy"].shape == (1, 2, 4)
    with pytest.raises(ValueError, match="lens: lot is 'all'"):
        lens.series_of("recall-nano", "all")
