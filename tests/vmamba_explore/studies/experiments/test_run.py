import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.experiments import run as experiments
from vmamba_explore.studies.experiments.run import (
    CONFIG,
    EXPERIMENTS,
    IMAGE_CONFIG,
    NUM_CLASSES,
    Arm,
    OrderedBatches,
    PoseBatches,
    key_of,
    run_arm,
    run_experiments,
    shown_frames,
)
from vmamba_explore.training.fit import Recipe

SHORT = Recipe(steps=2, token_loss=0.8)


def short_runs(seeds, output, scratch):
    return run_experiments(["width"], seeds, output, scratch, "a command", SHORT, SHORT, 64)


def test_a_batch_holds_each_clip_beside_itself_with_its_window_played_backwards():
    frames, labels = OrderedBatches(Arm(), seed=3)(7)
    assert frames.shape == (32, 16, 32, 32, 3)
    assert set(labels) <= set(range(NUM_CLASSES))
    assert np.array_equal(labels[16:], labels[:16] ^ 1)  # every class as often as its opposite
    for clip, twin in zip(frames[:16], frames[16:], strict=True):
        as_sets = [sorted(frame.tobytes() for frame in film) for film in (clip, twin)]
        assert as_sets[0] == as_sets[1] and not np.array_equal(clip, twin)


def test_the_same_step_gives_the_same_clips_and_another_step_or_seed_others():
    batch = OrderedBatches(Arm(), 0)(5)[0]
    assert np.array_equal(batch, OrderedBatches(Arm(), 0)(5)[0])
    assert not np.array_equal(batch, OrderedBatches(Arm(), 0)(6)[0])
    assert not np.array_equal(batch, OrderedBatches(Arm(), 1)(5)[0])


@pytest.mark.parametrize("order", ["block_wise", "pairwise", "interleaved"])
def test_an_order_moves_whole_frames_and_loses_none(order):
    plain, labels = OrderedBatches(Arm(), 0)(0)
    moved, same = OrderedBatches(Arm(order=order), 0)(0)
    assert np.array_equal(labels, same)
    assert np.array_equal(moved, plain[:, shown_frames(Arm(order=order))])
    assert sorted(shown_frames(Arm(order=order))) == list(range(16))


def test_fewer_frames_are_the_middle_ones_of_the_same_clips():
    assert shown_frames(Arm({"num_frames": 4})).tolist() == [6, 7, 8, 9]
    plain, _ = OrderedBatches(Arm(), 0)(0)
    short, _ = OrderedBatches(Arm({"num_frames": 8}), 0)(0)
    assert np.array_equal(short, plain[:, 4:12])


def test_a_pose_label_names_the_cell_in_which_the_ring_stands():
    frames, labels = PoseBatches(seed=5, clips=2)(0)
    source = MotionClips(5, num_frames=8, img_size=32, distractors="none")
    assert frames.shape == (16, 1, 32, 32, 3)
    for clip in range(2):
        still = source.background(clip).astype(int)
        for frame, label in zip(
            frames[clip * 8 : clip * 8 + 8, 0], labels[clip * 8 : clip * 8 + 8], strict=True
        ):
            changed = np.abs(frame.astype(int) - still).sum(-1) > 30
            # The picture wraps round, so the middle is that of angles.
            place = []
            for axis in (0, 1):
                weight = changed.sum(1 - axis)
                angle = 2 * np.pi * (np.arange(32) + 0.5) / 32
                turn = np.angle((weight * np.exp(1j * angle)).sum()) / (2 * np.pi) % 1
                place.append(turn * 4)
            for found, cell in zip(place, divmod(int(label), 4), strict=True):
                away = abs((found - cell - 0.5 + 2) % 4 - 2)
                assert away < 0.85, (place, label)  # half a cell, and what a faint ring misses


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_arms_of_an_experiment_differ_and_can_be_built(experiment):
    keys = {key_of(arm, 0) for arm in EXPERIMENTS[experiment].values()}
    assert len(keys) == len(EXPERIMENTS[experiment])
    for arm in EXPERIMENTS[experiment].values():
        assert arm.config().num_classes == NUM_CLASSES


def test_arms_that_are_the_same_share_their_runs():
    same = (
        EXPERIMENTS["frame_order"]["sequential"],
        EXPERIMENTS["frames"]["16"],
        EXPERIMENTS["width"]["64"],
    )
    assert len({key_of(arm, 1) for arm in same}) == 1
    assert key_of(same[0], 1) != key_of(same[0], 2)


def test_the_backward_orders_are_compared_without_a_class_token_as_in_the_paper():
    assert {arm.config().cls_position for arm in EXPERIMENTS["backward_order"].values()} == {None}


def test_a_narrow_arm_gets_the_step_size_rank_of_its_width():
    assert EXPERIMENTS["width"]["32"].config().dt_rank == 2
    assert CONFIG.dt_rank == 4


def test_position_arms_start_from_the_image_models_blocks(tmp_path):
    torch.manual_seed(0)
    image_model = VideoMamba(IMAGE_CONFIG)
    arm = EXPERIMENTS["pos_embed"]["temporal_expanding"]
    still = replace(SHORT, steps=1, learning_rate=0.0)
    run_arm(arm, 0, tmp_path / "run.pt", image_model, still, 64)
    trained = torch.load(tmp_path / "run.pt", weights_only=True)["model"]
    name = "layers.1.mixer.out_proj.weight"
    assert torch.equal(trained[name], image_model.state_dict()[name] / 2)


def test_position_arms_need_the_image_model(tmp_path):
    arm = EXPERIMENTS["pos_embed"]["none"]
    with pytest.raises(ValueError, match="starts from an image model; got None"):
        run_arm(arm, 0, tmp_path / "run.pt", None)


def test_a_stopped_series_goes_on_and_ends_as_if_never_stopped(tmp_path, monkeypatch):
    whole = short_runs([0], tmp_path / "a.json", tmp_path / "a")

    output, scratch = tmp_path / "b.json", tmp_path / "b"
    real, calls = experiments.predict_logits, []

    def stops(*args):
        calls.append(1)
        if len(calls) == 3:  # in the test of the second run
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(experiments, "predict_logits", stops)
    with pytest.raises(KeyboardInterrupt):
        short_runs([0], output, scratch)
    assert len(json.loads(output.read_text())["runs"]) == 1
    monkeypatch.setattr(experiments, "predict_logits", real)
    again = short_runs([0], output, scratch)
    assert len(again["runs"]) == 2
    for key, run in again["runs"].items():
        for name in ("top1", "within_pair", "fingerprint"):
            assert run[name] == whole["runs"][key][name]
    assert json.loads(output.read_text()) == again


def test_finished_runs_are_not_made_again(tmp_path, monkeypatch):
    short_runs([0], tmp_path / "a.json", tmp_path)
    monkeypatch.setattr(experiments, "run_arm", lambda *_: pytest.fail("made again"))
    short_runs([0], tmp_path / "a.json", tmp_path)


def test_results_of_another_recipe_are_not_mixed_in(tmp_path):
    output = tmp_path / "a.json"
    output.write_text(json.dumps({"config": CONFIG.to_dict(), "recipe": {"steps": 7}, "runs": {}}))
    with pytest.raises(ValueError, match="holds runs of another recipe"):
        run_experiments(["width"], [0], output, tmp_path, "")


def test_an_unknown_experiment_is_named(tmp_path):
    with pytest.raises(ValueError, match="no experiment 'depth'; there are frame_order"):
        run_experiments(["depth"], [0], tmp_path / "a.json", tmp_path, "")
