import math

import numpy as np
import pytest
import torch

from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.recall_training import RecallBatches, RecallLoss


def small(**changes) -> VideoMamba:
    fields = {"num_frames": 16, "img_size": 64, "patch_size": 16, "tubelet_size": 1, "depth": 3}
    fields |= {"num_classes": 4, "d_model": 16, "d_state": 4, "cls_position": None, **changes}
    torch.manual_seed(0)
    return VideoMamba(VideoMambaConfig(**fields))


@pytest.fixture(scope="module")
def batch():
    frames, *truth = RecallBatches(steps=10, seed=0)(9)
    return normalize(frames), *(torch.from_numpy(part) for part in truth)


def test_a_batch_is_the_next_sixteen_clips_with_their_colors_and_times():
    frames, labels, colors, times = RecallBatches(steps=10, seed=0)(7)
    clips, indices = RecallClips(0), range(112, 128)
    wanted, wanted_labels = clips.batch(indices)
    assert np.array_equal(frames, wanted) and np.array_equal(labels, wanted_labels)
    for row, index in enumerate(indices):
        clip = clips[index]
        assert colors[row].tolist() == [clip.sample_color, clip.test_color]
        assert [tuple(part) for part in times[row].tolist()] == [clip.sample, clip.test]


def test_the_first_steps_have_no_distractors():
    easy = RecallClips(0, distractors="none")
    for step, is_easy in ((0, True), (2, True), (3, False)):
        indices = np.arange(16 * step, 16 * step + 16)
        frames = RecallBatches(steps=10, seed=0)(step)[0]
        assert np.array_equal(frames, easy.batch(indices)[0]) == is_easy


def entropy_of(logits: torch.Tensor) -> torch.Tensor:
    chances = logits.softmax(-1)
    return -(chances * chances.log()).sum(-1)


def test_in_the_end_only_the_answer_counts_and_that_a_still_has_none(batch):
    model = small()
    objective = RecallLoss(model)
    clips, target, *truth = batch
    loss, logits = objective(clips, target, 0.95, *truth)
    assert torch.allclose(logits, model(clips), atol=1e-6)
    still = clips[:2, :, :1].expand(-1, -1, 16, -1, -1)
    votes = model.head(model.norm_f(model.encode(still)))
    evenly = torch.full((4,), 0.25)
    excess = [
        torch.nn.functional.cross_entropy(each.flatten(0, -2), evenly.expand(each.numel() // 4, 4))
        - math.log(4)
        for each in (model(still), votes)
    ]
    wanted = torch.nn.functional.cross_entropy(logits, target) + sum(excess) / 8
    assert torch.allclose(loss, wanted, atol=1e-6)


def test_an_even_answer_to_a_still_costs_nothing_and_a_sure_one_much(batch):
    model = small()
    objective = RecallLoss(model)
    clips, target, *truth = batch
    with torch.no_grad():
        model.head.weight.zero_()
        for bias, cost in ((0.0, 0.0), (8.0, 2 * (6 - math.log(4)) / 8)):
            model.head.bias.copy_(bias * torch.eye(4)[0])
            loss, logits = objective(clips, target, 0.95, *truth)
            answer = torch.nn.functional.cross_entropy(logits, target)
            assert float(loss - answer) == pytest.approx(cost, abs=1e-3)


def test_the_tokens_share_holds_and_then_falls_to_nothing(batch):
    objective = RecallLoss(small(), share=0.6, hold=0.5, until=0.9)
    with torch.no_grad():
        losses = {p: float(objective(batch[0], batch[1], p, *batch[2:])[0]) for p in
                  (0.0, 0.5, 0.7, 0.9)}  # fmt: skip
    assert losses[0.0] == losses[0.5]
    # linear between its ends
    assert losses[0.7] == pytest.approx((losses[0.5] + losses[0.9]) / 2, rel=1e-5)


def test_heads_that_know_nothing_cost_the_logarithm_of_four(batch):
    model = small()
    objective = RecallLoss(model)
    with torch.no_grad():
        for part in (model.head, objective.shown[1], objective.sample[1]):
            part.weight.zero_()
            part.bias.zero_()
        loss, _ = objective(batch[0], batch[1], 0.0, *batch[2:])
    assert float(loss) == pytest.approx((0.4 + 0.6 * 2) * math.log(4), rel=1e-5)


@pytest.mark.parametrize("cls_position", [None, "front"])
def test_tokens_are_asked_where_the_discs_are_and_from_the_sample_on(cls_position):
    clips = RecallClips(0, distractors="none")
    times = torch.from_numpy(RecallBatches(steps=10, seed=0)(0)[3])
    objective = RecallLoss(small(cls_position=cls_position))
    since, sample, test, later = objective.asked(normalize(clips.batch(range(16))[0]), times)
    for row in range(16):
        clip = clips[row]
        frames = torch.arange(16).repeat_interleave(16)
        assert torch.equal(since[row] > 0, frames >= clip.sample[0])
        assert torch.equal(later[row] > 0, frames > clip.test[1])
        for asked, mask in ((sample, clip.sample_mask), (test, clip.test_mask)):
            shows = torch.from_numpy(mask.reshape(16, 4, 16, 4, 16).any(axis=(2, 4))).flatten()
            assert torch.equal(asked[row] > 0, shows)


def test_a_head_misses_nothing_where_it_is_right_wherever_else_it_is_wrong():
    objective = RecallLoss(small())
    wanted, asked = torch.tensor([1, 3]), torch.zeros(2, 256)
    asked[0, 3], asked[1, 200:] = 0.5, 2.0
    named = torch.where(asked > 0, wanted[:, None], (wanted[:, None] + 1) % 4)
    for shift, cost in ((0, 0.0), (2, 100.0)):
        scores = 100 * torch.nn.functional.one_hot((named + shift) % 4, 4).float()
        head = torch.nn.Identity()
        head.forward = lambda video, scores=scores: scores
        assert float(objective._misses(head, torch.zeros(2, 256, 16), wanted, asked)) == cost


def test_its_settings_are_what_it_was_given():
    objective = RecallLoss(small(), share=0.5, after=2, hold=0.1, until=0.2)
    assert objective.settings() == {"share": 0.5, "after": 2, "hold": 0.1, "until": 0.2}
