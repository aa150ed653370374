"""What the recall models are trained on: batches with the truth beside them, and the objective.

The label alone teaches nothing: after 900 steps such a model answers at random. So throw-away
heads read a block in the middle: the color that a target's tokens show, and at every token from the
sample on, the sample's color. The model's own head names the label at the tokens of the test and
after it. All of this fades out before the end. What stays is that nothing to compare tells nothing:
of a clip that stands still every answer is as likely as the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.clips.recall import COLOR_NAMES, RecallClips
from vmamba_explore.clips.recall_plan import BLOCK
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.fit import motion_weights

EASY_SHARE = 0.3  # of the steps, at the start, without distractors
STILLS = 2  # clips of each batch that come a second time, their first frame frozen


@dataclass(frozen=True)
class RecallBatches:
    """The batch of each step: every pair of colors once; after a while half with distractors.

    Args:
        steps: Steps of the run; the first `EASY_SHARE` of them have no distractors.
        seed: Of the clips.

    `batches(step)` gives frames uint8 (16, num_frames, H, W, 3), labels (16,), the colors of
    samples and tests, (16, 2), and the first and last frames of both, (16, 2, 2).
    """

    steps: int
    seed: int

    def __call__(self, step: int) -> tuple[NDArray[Any], ...]:
        distractors: Any = "none" if step < EASY_SHARE * self.steps else "half"
        clips = RecallClips(self.seed, distractors=distractors)
        indices = np.arange(step * BLOCK, (step + 1) * BLOCK)
        frames, labels = clips.batch(indices)
        plan = clips.plan(indices)
        discs = plan.sample, plan.test
        colors = np.stack([disc.colors for disc in discs], axis=1)
        return frames, labels, colors, np.stack([disc.frames for disc in discs], axis=1)


class RecallLoss(nn.Module):
    """Compare the logits with the labels, and tokens with what they can know.

    Args:
        model: The model.
        share: Of the loss that the tokens bear at the start.
        after: The tokens are asked after this many blocks what color the sample has.
        hold, until: Share of the steps from which on the tokens' share falls, and at which it is 0.

    `loss(clips, target, progress, colors, times)` maps normalized clips (batch, channels,
    num_frames, H, W), labels (batch,), the share of the steps done, and the truth as
    `RecallBatches` gives it to the loss, (), and the logits, (batch, num_classes).
    """

    def __init__(
        self,
        model: VideoMamba,
        share: float = 0.6,
        after: int = 3,
        hold: float = 0.5,
        until: float = 0.9,
    ) -> None:
        super().__init__()
        self.model = model
        self.share, self.after, self.hold, self.until = share, after, hold, until
        self.shown, self.sample = (
            nn.Sequential(nn.RMSNorm(width), nn.Linear(width, len(COLOR_NAMES)))
            for width in [model.config.d_model] * 2
        )

    def settings(self) -> dict[str, float]:
        """How the tokens' share falls, and where it is asked; see the arguments."""
        return {name: getattr(self, name) for name in ("share", "after", "hold", "until")}

    def forward(
        self, clips: Tensor, target: Tensor, progress: float, colors: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the loss and the logits."""
        model, batch = self.model, len(clips)
        share = self.share * min(1.0, max(0.0, (self.until - progress) / (self.until - self.hold)))
        stills = clips[:STILLS, :, :1].expand_as(clips[:STILLS])
        middle = residual = model.tokens(torch.cat([clips, stills]))
        for number, block in enumerate(model.layers, 1):
            residual = block(residual)
            if number == self.after:
                middle = residual
        own = nn.Sequential(model.norm_f, model.check_head("recall_nano"))
        every = model.read_out(residual)
        logits, unsure = every[:batch], every[batch:]
        nothing = _excess(unsure).mean() + _excess(own(self._video(residual[batch:]))).mean()
        answer = F.cross_entropy(logits, target) + nothing * (STILLS / batch)
        if share == 0:
            return answer, logits
        since, sample, test, later = self.asked(clips, times)
        middle, residual = middle[:batch], residual[:batch]
        tokens = (
            self._misses(self.sample, middle, colors[:, 0], since)
            + self._misses(self.shown, middle, colors[:, 0], sample) / 4
            + self._misses(self.shown, middle, colors[:, 1], test) / 4
            + self._misses(own, residual, target, test) / 4
            + self._misses(own, residual, target, later) / 4
        )
        return (1 - share) * answer + share * tokens, logits

    def asked(self, clips: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """Which video tokens are asked, (batch, tokens) each: weights.

        Those from the sample on; those at which the picture changes while the sample is shown, and
        while the test is; those after the test.
        """
        frame = self.model.grid.frame_of_tokens().to(clips.device)
        frame = frame[frame >= 0]
        (first, last), (begin, end) = times.movedim(0, -1)[..., None]
        changing = motion_weights(self.model, clips)
        return (
            (frame >= first).float(),
            changing * ((frame >= first) & (frame <= last)),
            changing * ((frame >= begin) & (frame <= end)),
            (frame > end).float(),
        )

    def _misses(self, head: nn.Module, residual: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
        """How far video tokens are from naming what is wanted, averaged over them by `weights`."""
        scores = head(self._video(residual)).movedim(-1, 1)
        every = wanted[:, None].expand(-1, scores.shape[2])
        misses = F.cross_entropy(scores, every, reduction="none")
        return ((weights * misses).sum(dim=1) / weights.sum(dim=1).clamp_min(1e-6)).mean()

    def _video(self, residual: Tensor) -> Tensor:
        return self.model.grid.split(residual, dim=1)[0].flatten(1, 3)


def _excess(logits: Tensor) -> Tensor:
    """How far answers are from "each is as likely": cross-entropy with it, less its entropy."""
    return logits.logsumexp(-1) - logits.mean(-1) - math.log(logits.shape[-1])
