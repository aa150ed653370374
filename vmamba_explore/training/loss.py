"""What training makes small."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.model.videomamba import VideoMamba


class TrainingLoss(nn.Module):
    """Run a model and compare what it says with the labels.

    A module of its own, since gradients are averaged over processes for what goes through the
    `forward` of one module.

    Args:
        model: The model.
        label_smoothing: Share of the target that is spread over all classes.

    `loss(clips, target, token_share)` maps normalised clips (batch, channels, num_frames, H, W)
    and labels (batch,) to the mean loss, (), and the logits, (batch, num_classes).
    """

    def __init__(self, model: VideoMamba, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, clips: Tensor, target: Tensor, token_share: float) -> tuple[Tensor, Tensor]:
        """Give the loss and the logits; each moving token bears `token_share` of the loss."""
        model = self.model
        if token_share == 0:
            logits = model(clips)
            return self._compare(logits, target), logits
        residual = model.encode(clips)
        logits = model.read_out(residual)
        video, _ = model.grid.split(residual, dim=1)
        scores = model.head(model.norm_f(video.flatten(1, 3))).log_softmax(-1)
        of_target = scores.gather(2, target[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
        token_loss = -(motion_weights(model, clips) * of_target).sum(1).mean()
        return (1 - token_share) * self._compare(logits, target) + token_share * token_loss, logits

    def _compare(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)


def motion_weights(model: VideoMamba, clips: Tensor) -> Tensor:
    """How much of a clip's change falls into each tubelet, (batch, num_patches), summing to 1."""
    config = model.config
    step = clips.diff(dim=2).abs().mean(1, keepdim=True)
    change = F.pad(step, (0, 0, 0, 0, 0, 1)) + F.pad(step, (0, 0, 0, 0, 1, 0))
    tubelet = (config.tubelet_size, config.patch_size, config.patch_size)
    weights = F.avg_pool3d(change, tubelet).flatten(1)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
