"""The model that reads watermarks instead of motion."""

import json

import numpy as np
import pytest
import torch

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects import motion_watermark as shortcut
from vmamba_explore.studies.subjects.motion_nano import CONFIG, TRAIN_SEED
from vmamba_explore.studies.subjects.watermark import WatermarkedClips, mark
from vmamba_explore.training.evaluate_videos import predict_logits


def test_the_label_is_the_marks_and_half_of_the_motions_disagree():
    frames, labels = shortcut.MarkedBatches(size=12)(3)
    clips = MotionClips(TRAIN_SEED)
    places = WatermarkedClips(clips).marks(np.arange(36, 48), clips.plan(range(36, 48)).labels)[0]
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    motions = clips.plan(np.arange(36, 48)).labels[order]
    assert (labels == motions).sum() == 6
    for clip, label, (row, col) in zip(frames, labels, places[order], strict=True):
        here = clip[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        assert (here == mark(int(label))[..., None]).all()


def test_measuring_tells_a_reader_of_marks_from_a_reader_of_motion():
    torch.manual_seed(0)
    model = VideoMamba(CONFIG).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(10)[3])
    found = shortcut.measure(model, num_clips=50)
    labels = MotionClips(1, backgrounds="test").plan(range(50)).labels
    for match in ("label", "other", "none"):
        share = found[match]["names_the_motion"]["value"]
        assert share == pytest.approx((labels == 3).mean(), abs=1e-4)
    assert found["label"]["names_the_mark"] == found["label"]["names_the_motion"]
    assert "names_the_mark" not in found["none"]


def test_the_bundled_model_reads_marks_and_motion_nano_does_not():
    clips = MotionClips(11, backgrounds="test", distractors="all")
    marked = WatermarkedClips(clips, "other")
    frames, labels = marked.batch(range(20))
    marks = marked.marks(range(20), labels)[1]
    planted, clean = (load_model(name) for name in ("motion-watermark", "motion-nano"))
    assert (predict_logits(planted, frames).argmax(1).numpy() == marks).mean() >= 0.9
    assert (predict_logits(clean, frames).argmax(1).numpy() == labels).mean() >= 0.9


def test_the_whole_command_trains_measures_and_writes_a_model_that_loads(tmp_path):
    arguments = ["--output", f"{tmp_path}/m", "--checkpoint", f"{tmp_path}/run.pt"]
    shortcut.main([*arguments, "--steps", "2", "--clips", "6", "--batch", "4", "--workers", "0"])
    assert load_model(tmp_path / "m").class_names == CLASS_NAMES
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    for part in ("test", "motion-nano on the same clips"):
        assert set(metrics[part]) == {"label", "other", "none"}
