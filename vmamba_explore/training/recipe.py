"""How to train: steps, learning rate, and what the loss asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vmamba_explore.errors import shown

PAPER_EPOCHS = {"kinetics400": 30, "ssv2": 35, "hmdb51": 50}


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW, a linear warm-up, then a cosine down to zero.

    Args:
        steps: Optimizer steps.
        learning_rate: At the end of the warm-up.
        weight_decay: On matrices; A_log, D, norms, biases and embeddings have none.
        beta2: How slowly AdamW forgets squared gradients; its other beta is 0.9.
        warmup: Share of the steps.
        clip_norm: Largest gradient norm.
        label_smoothing: Share of the target that is spread over all classes.
        token_loss: Share of the loss that each moving token bears by itself at the start: through
            the same norm and head it must name the class, and counts as much as the pixels of
            its tubelet change. Read from the class token alone, the gradient of a small moving
            object drowns among hundreds of still tokens and training stays at chance for
            thousands of clips. The share falls to 0 at `token_until`.
        token_until: Share of the steps after which only the model's own logits count.
        checkpoint_every: Steps between two checkpoints.
    Raises:
        ValueError: a value makes no sense, such as a learning rate below 0.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1; `token_loss` is an addition.
    """

    steps: int = 3600
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    beta2: float = 0.98
    warmup: float = 0.02
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    token_loss: float = 0.0
    token_until: float = 0.6
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        """Refuse what would only fail, or do nothing, after hours."""
        limits = {
            "steps": self.steps >= 1,
            "learning_rate": 0 <= self.learning_rate < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "beta2": 0 <= self.beta2 < 1,
            "warmup": 0 <= self.warmup <= 1,
            "clip_norm": self.clip_norm > 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "token_loss": 0 <= self.token_loss <= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
        }
        for name, is_fine in limits.items():
            if not is_fine:
                raise ValueError(f"Recipe: {name} cannot be {shown(getattr(self, name))}.")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1.0, self.warmup * self.steps)
        if step < warm:
            return self.learning_rate * min(1.0, (step + 1) / warm)
        done = (step - warm) / max(1.0, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def token_loss_at(self, step: int) -> float:
        """The share of the token loss at a step."""
        return self.token_loss * max(0.0, 1 - step / max(1.0, self.token_until * self.steps))


def paper_recipe(epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """The recipe of the paper, for a data set of any size.

    AdamW with a learning rate of 3e-4 for batches of 64 clips, one epoch of warm-up, then a cosine;
    label smoothing. It belongs with 16 frames at every other source frame, 224 x 224 pixels,
    RandAugment and random erasing.

    Args:
        epochs: The paper trains for `PAPER_EPOCHS`.
        steps_per_epoch: Batches of one pass over the data set.
        changes: Fields of the recipe to replace.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1. It gives neither weight decay, beta2 nor
        the amount of smoothing: 0.05 and 0.999 are those of Li et al. 2024, arXiv:2403.06977, 0.1
        is the usual amount; gradients longer than 1 are cut, which neither does.
    """
    given: dict[str, Any] = {
        "steps": epochs * steps_per_epoch,
        "learning_rate": 3e-4,
        "beta2": 0.999,
        "warmup": 1 / epochs,
        "label_smoothing": 0.1,
        "checkpoint_every": min(500, steps_per_epoch),
    }
    return Recipe(**{**given, **changes})
