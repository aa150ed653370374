"""How `camera-nano` is trained, and how right the one that comes with the package is."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vmamba_explore import resources
from vmamba_explore.clips.camera import CLASS_NAMES, CameraClips, Change
from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.photographs import bundled
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects import camera_nano
from vmamba_explore.studies.subjects.camera_batches import CameraBatches, Store
from vmamba_explore.studies.subjects.camera_nano import CONFIG, CameraLoss, Run, set_filters
from vmamba_explore.studies.subjects.real_windows import judge_windows, read_windows
from vmamba_explore.training.evaluate_videos import predict_logits
from vmamba_explore.training.fit import fit
from vmamba_explore.training.recipe import Recipe

EASY_LEAST, USUAL_LEAST, REAL_LEAST = 0.9, 0.75, 0.78
REAL = Path(__file__).parents[5] / "shared" / "real_windows"


@pytest.fixture(scope="module")
def easy():
    series = CameraClips(9, level="easy")
    return np.stack([series[i].clip.frames for i in range(22)])


def test_filters_see_slopes_and_changes_with_a_response_of_one_half(easy):
    torch.manual_seed(0)
    model = VideoMamba(dataclasses.replace(CONFIG, depth=1))
    set_filters(model, easy)
    with torch.no_grad():
        response = model.patch_embed(normalize(easy)).std((0, 1))
        still = np.repeat(easy[:, :1], 16, 1)
        same = model.patch_embed(normalize(still)).std((0, 1))
    assert torch.allclose(response, torch.full_like(response, 0.5), atol=1e-3)
    weight = model.patch_embed.proj.weight
    assert (weight.sum((1, 2, 3, 4)).abs() < 0.3 * weight.abs().sum((1, 2, 3, 4))).all()
    half = len(same) // 2
    assert same[:half].mean() > 2 * same[half:].mean()


def test_training_lowers_the_loss_and_the_flow_head_is_thrown_away(tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, d_model=32, depth=1)
    store = Store(tmp_path / "clips", 0, bundled("train")[:2], 2000)
    batches = CameraBatches(store, batch_size=8)
    monkeypatch.setattr("vmamba_explore.studies.subjects.camera_batches.EASY_CLIPS", 33)
    monkeypatch.setattr(camera_nano, "EASY_CLIPS", 33)
    model = camera_nano.new_model(batches, config)
    objective = CameraLoss(model)
    recipe = Recipe(steps=60, warmup=0.1, checkpoint_every=30)
    clips, labels, *truth = batches(0)
    given = normalize(clips), torch.from_numpy(labels), 0.0, *map(torch.from_numpy, truth)
    before = float(objective(*given)[0].detach())
    fit(model, batches, recipe, tmp_path / "run.pt", objective=objective)
    after = float(objective(*given)[0].detach())
    assert after < before - 0.1
    assert not [name for name in model.state_dict() if "flow" in name]


def test_a_perfect_answer_costs_what_soft_targets_leave():
    torch.manual_seed(0)
    model = VideoMamba(dataclasses.replace(CONFIG, depth=1))
    objective = CameraLoss(model)
    clips, labels = torch.zeros(2, 3, 16, 64, 64), torch.zeros(2, dtype=torch.long)
    flows = torch.zeros(2, 256, 2)
    torch.nn.init.zeros_(objective.flow_head.weight)
    torch.nn.init.zeros_(objective.flow_head.bias)
    _, logits = objective(clips, labels, 0.0, torch.eye(10)[:2], flows)
    targets = logits.softmax(-1).detach()
    loss, _ = objective(clips, labels, 0.0, targets, flows)
    assert float(loss.detach()) == pytest.approx(float(-(targets * targets.log()).sum(1).mean()))


def test_a_shortened_run_ends_where_the_whole_one_would():
    run = Run(Recipe(steps=100), 60)
    short = camera_nano.shortened(run, 0.1)
    assert short.recipe.steps == 10 and short.until == 6
    assert camera_nano.shortened(run, 1.0) == run


@pytest.fixture(scope="module")
def model():
    return load_model(resources.path("camera-nano"))


@pytest.fixture(scope="module")
def metrics():
    return json.loads(resources.path("camera-nano/metrics.json").read_text("utf-8"))


def test_the_bundled_model_names_unseen_clips_and_never_the_opposite(model):
    """Over photographs that it was not trained on; easy clips, and usual ones."""
    for level, least in (("easy", EASY_LEAST), ("usual", USUAL_LEAST)):
        series = CameraClips(77, photographs="test", level=level)
        made = [series[i] for i in range(66) if i % 11 < 9]
        labels = np.array([clip.label for clip in made])
        named = predict_logits(model, np.stack([clip.clip.frames for clip in made])).argmax(1)
        right = (named.numpy() == labels).mean()
        assert right >= least, level


def test_the_bundled_models_answer_turns_with_the_clip(model):
    series = CameraClips(78, photographs="test", level="easy")
    right = []
    for index in (1, 3, 5, 7):
        clip = series[index]
        for change in (Change(mirror=True), Change(backward=True), Change(quarters=1)):
            frames = change.frames(clip.clip.frames)[None]
            named = int(predict_logits(model, frames).argmax())
            right.append(named == change.classes()[clip.label])
    assert np.mean(right) >= 11 / 12


def test_metrics_say_what_was_measured(model, metrics):
    assert tuple(model.class_names) == CLASS_NAMES
    assert metrics["model"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert 0.2 < metrics["calibration"]["undecided_below"] < 0.8
    assert metrics["usual_clips"]["accuracy"]["value"] > USUAL_LEAST
    assert metrics["usual_clips"]["reliability"]["expected_calibration_error"] < 0.08


@pytest.mark.skipif(not REAL.is_dir(), reason="the windows of real films are not here")
def test_the_bundled_model_is_right_on_real_films_as_its_metrics_say(model, metrics):
    windows = [w for w in read_windows(REAL) if w.change in ("as filmed", "backward")]
    frames = np.stack([window.frames for window in windows])
    probabilities = predict_logits(model, frames).double().softmax(-1).numpy()
    judged = judge_windows(windows, probabilities, metrics["calibration"]["undecided_below"])
    assert judged["accuracy"]["value"] >= REAL_LEAST
    pans = [judged["by_class"][name]["value"] for name in CLASS_NAMES[1:5]]
    assert min(pans) >= 0.9
