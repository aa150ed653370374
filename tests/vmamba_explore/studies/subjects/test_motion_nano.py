import json

import numpy as np
import torch

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects import motion_nano as demo


def test_a_batch_is_clips_and_their_twins_pixel_for_pixel():
    batches = demo.MotionBatches(steps=10, pairs=3)
    frames, labels = batches(7)
    clips, indices = MotionClips(demo.TRAIN_SEED), np.arange(21, 24)
    for half, twins in ((slice(0, 3), False), (slice(3, 6), True)):
        wanted, wanted_labels = clips.batch(indices, twins)
        assert np.array_equal(frames[half], wanted)
        assert np.array_equal(labels[half], wanted_labels)


def test_the_first_steps_have_no_distractors_and_no_clip_comes_twice():
    batches = demo.MotionBatches(steps=10, pairs=3)
    easy = MotionClips(demo.TRAIN_SEED, distractors="none")
    assert np.array_equal(batches(0)[0][:3], easy.batch(np.arange(3))[0])
    assert not np.array_equal(batches(0)[0], batches(1)[0])


def test_the_demo_model_has_something_to_see_from_shallow_to_deep():
    config = demo.CONFIG
    assert config.num_frames == 16 and config.cls_position == "front" and config.depth == 6
    assert config.grid.shape == (8, 8, 8)
    assert config.num_classes == len(CLASS_NAMES) == 10


def test_the_whole_command_trains_measures_and_writes_a_model_that_loads(tmp_path):
    arguments = ["--output", f"{tmp_path}/m", "--checkpoint", f"{tmp_path}/run.pt"]
    arguments += ["--steps", "2", "--clips", "6", "--control-steps", "2", "--workers", "0"]
    arguments += ["--device", "cpu"]
    demo.main(arguments)
    model = load_model(tmp_path / "m")
    assert isinstance(model, VideoMamba) and model.class_names == CLASS_NAMES
    assert not model.training
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert metrics["model"]["parameters"] == demo.CONFIG.num_parameters()
    for part in ("without_distractors", "with_distractors"):
        test = metrics["test"][part]
        for name in ("top1", "within_pair", "top1_reversed", "within_pair_shuffled_window"):
            share = test[name]
            assert share["n"] == 6 and share["low"] <= share["value"] <= share["high"]
    assert set(metrics["test"]["controls"]) == {"one_frame_and_index", "background", "order_free"}


def test_measuring_scores_a_model_that_always_says_right(tmp_path):
    torch.manual_seed(0)
    model = VideoMamba(demo.CONFIG).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(10)[0])
    metrics = demo.measure(model, num_clips=60, control_steps=1)
    assert metrics["verdicts"]["without_distractors: top1"]["met"] is False
    metrics = metrics["without_distractors"]
    clips = MotionClips(demo.TEST_SEED, distractors="none", backgrounds="test")
    labels = clips.plan(np.arange(60)).labels
    assert metrics["top1"]["value"] == round(float((labels == 0).mean()), 4)
    assert metrics["top1_reversed"]["value"] == round(float((labels == 1).mean()), 4)
    assert metrics["top1_by_class"]["right"] == 1.0
    assert metrics["top1_by_class"]["left"] == 0.0


def test_verdicts_hold_every_limit_that_was_asked_for():
    share = {"value": 0.5}
    good = {
        "top1": {"value": 0.95},
        "within_pair_shuffled_window": share,
        "reversed_over_forward": 1.0,
    }
    controls = {
        "one_frame_and_index": {"top1": {"value": 0.12}},
        "background": {"top1": {"value": 0.12}},
        "order_free": {"within_pair": share},
    }
    metrics = {"without_distractors": good, "with_distractors": good, "controls": controls}
    verdicts = demo._verdicts(metrics)
    assert len(verdicts) == 9 and all(v["met"] for v in verdicts.values())
    controls["background"]["top1"]["value"] = 0.14
    controls["order_free"]["within_pair"] = {"value": 0.54}
    good["reversed_over_forward"] = 0.9
    bad = [name for name, v in demo._verdicts(metrics).items() if not v["met"]]
    assert len(bad) == 4
