import torch
from torch.nn import functional as F

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.loss import TrainingLoss, motion_weights


def toy():
    torch.manual_seed(0)
    return VideoMamba(VideoMambaConfig.preset("toy", num_classes=3, depth=1)).eval()


def test_smoothing_spreads_a_share_of_the_target_over_all_classes():
    model, clips, target = toy(), torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 2])
    loss, logits = TrainingLoss(model, label_smoothing=0.3)(clips, target, 0.0)
    wanted = 0.7 * F.one_hot(target, 3) + 0.1
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(-1)).sum(1).mean())
    assert torch.equal(logits, model(clips))


def test_the_token_loss_alone_does_not_read_the_class_token():
    model, clips, target = toy(), torch.randn(1, 3, 4, 32, 32), torch.tensor([1])
    residual = model.encode(clips)
    residual.retain_grad()
    model.encode = lambda clips: residual
    TrainingLoss(model)(clips, target, 1.0)[0].backward()
    index = model.grid.cls_index
    assert not residual.grad[:, index].any() and residual.grad[:, index + 1 :].any()


def test_a_token_counts_as_much_as_its_tubelet_changes():
    clips = torch.zeros(1, 3, 4, 32, 32)
    clips[:, :, 2:, 16:, :16] = 1.0  # the lower left patch changes between frames 1 and 2
    weights = motion_weights(toy(), clips).view(2, 2, 2)  # token frame, row, col
    assert torch.equal(weights[:, 1, 0], torch.tensor([0.5, 0.5]))
    assert weights.sum() == 1
    still = motion_weights(toy(), torch.zeros(1, 3, 4, 32, 32))
    assert torch.equal(still, torch.zeros(1, 8))
