import numpy as np
import pytest
import torch

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.camera_scores import (
    Answers,
    best_temperature,
    best_threshold,
    by_group,
    fold_temperature,
    judge,
    reliability,
)


def answers(named, labels, films, sure=0.9) -> Answers:
    probabilities = np.full((len(named), 10), (1 - sure) / 9)
    probabilities[np.arange(len(named)), named] = sure
    return Answers(probabilities, np.array(labels), np.array(films))


def test_scores_count_right_answers_opposite_ones_and_films():
    judged = judge(answers([1, 2, 1, 0], [1, 1, 1, 0], ["a", "a", "b", "b"]), 0.5)
    assert judged["accuracy"]["value"] == 0.75 and judged["mean_of_films"]["value"] == 0.75
    assert judged["opposite"] == 1 and judged["opposite_answered"] == 1
    assert judged["by_class"]["pan left"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert judged["by_class"]["pan left"]["films"] == 2
    assert judged["confusion"][1][2] == 1 and np.sum(judged["confusion"]) == 4


def test_an_answer_below_the_threshold_is_left_out_of_the_answered_ones():
    given = answers([1, 2], [1, 1], ["a", "b"])
    given.probabilities[1] = 0.1
    judged = judge(given, 0.5)
    assert judged["answered"]["share"] == 0.5 and judged["answered"]["accuracy"]["value"] == 1


def test_the_interval_is_by_film_so_many_clips_of_one_film_say_little():
    right = np.array([True] * 50 + [False] * 50)
    alone = by_group(right, np.arange(100).astype(str))
    films = by_group(right, np.repeat(["a", "b"], 50))
    assert films.value == alone.value == 0.5
    assert (films.low, films.high) == (0, 1) and 0.35 < alone.low < 0.45


def test_answers_as_sure_as_they_are_right_have_no_calibration_error():
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=20000)
    right = rng.uniform(size=len(labels)) < 0.7
    named = np.where(right, labels, (labels + 1) % 10)
    result = reliability(answers(named, labels, labels.astype(str), sure=0.7))
    assert result["expected_calibration_error"] < 0.02
    boastful = reliability(answers(named, labels, labels.astype(str), sure=0.95))
    assert boastful["expected_calibration_error"] == pytest.approx(0.25, abs=0.02)


def test_the_best_temperature_undoes_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 10)) * 2
    targets = torch.from_numpy(logits).softmax(-1).numpy()
    assert best_temperature(logits * 3, targets) == pytest.approx(3, rel=0.01)


def test_a_folded_temperature_divides_the_logits():
    torch.manual_seed(0)
    config = VideoMambaConfig(
        num_frames=4, img_size=16, patch_size=8, num_classes=10, d_model=16, depth=1
    )
    model = VideoMamba(config).eval()
    clip = torch.randn(1, 3, 4, 16, 16)
    before = model(clip).detach()
    fold_temperature(model, 2.0)
    assert torch.allclose(model(clip), before / 2, atol=1e-6)


def test_the_threshold_parts_mixed_clips_from_clear_ones():
    named, labels = [1] * 20, [1] * 10 + [-1] * 10
    given = answers(named, labels, [str(i) for i in range(20)])
    given.probabilities[10:] = 0.05
    given.probabilities[10:, 1] = 0.55
    assert 0.55 < best_threshold(given) < 0.9
