"""Train a model on a stream of labelled clips; stop and go on again at any step."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.model.videomamba import VideoMamba

logger = logging.getLogger(__name__)

# step -> frames uint8 (batch, num_frames, H, W, 3) and labels int64 (batch,)
BatchSource = Callable[[int], tuple[NDArray[np.uint8], NDArray[np.int64]]]
History = list[dict[str, float | int]]


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW, a linear warm-up, then a cosine down to zero.

    Args:
        steps: Optimizer steps.
        learning_rate: At the end of the warm-up.
        weight_decay: On matrices; A_log, D, norms, biases and embeddings have none.
        warmup: Share of the steps.
        clip_norm: Largest gradient norm.
        token_loss: Share of the loss that each moving token bears by itself at the start: through
            the same norm and head it must name the class, and counts as much as the pixels of
            its tubelet change. Read from the class token alone, the gradient of a small moving
            object drowns among hundreds of still tokens and training stays at chance for
            thousands of clips. The share falls to 0 at `token_until`.
        token_until: Share of the steps after which only the model's own logits count.
        checkpoint_every: Steps between two checkpoints.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1; `token_loss` is an addition.
    """

    steps: int = 3600
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.02
    clip_norm: float = 1.0
    token_loss: float = 0.0
    token_until: float = 0.6
    checkpoint_every: int = 100

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1.0, self.warmup * self.steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1.0, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def token_loss_at(self, step: int) -> float:
        """The share of the token loss at a step."""
        return self.token_loss * max(0.0, 1 - step / max(1.0, self.token_until * self.steps))


def fit(
    model: VideoMamba,
    batches: BatchSource,
    recipe: Recipe,
    checkpoint: Path,
    workers: int = 0,
) -> History:
    """Train `model` in place, or go on where `checkpoint` stopped.

    Args:
        model: The model, on the device to train on.
        batches: Gives the batch of a step; the same step always gives the same batch, so that a
            resumed run sees what an uninterrupted one would have seen.
        recipe: How.
        checkpoint: File that holds the run while it lasts; written whole or not at all.
        workers: Processes that make batches beside the training; 0 makes them in between.
    Returns:
        The history, a row for every 50 steps: step, mean loss and accuracy, learning rate, and
        the seconds of training so far, those before a resumption included.
    Raises:
        FloatingPointError: the loss is not finite; the last checkpoint still is.
        ValueError: the checkpoint belongs to another model or recipe.
    """
    device = model.head.weight.device
    optimizer = torch.optim.AdamW(_parameter_groups(model, recipe), betas=(0.9, 0.98))
    start = 0
    history: History = []
    if checkpoint.is_file():
        start, history = _resume(checkpoint, model, optimizer, recipe)
    model.train()
    before = float(history[-1]["seconds"]) if history else 0.0
    started = time.monotonic()
    recent: list[tuple[float, float]] = []
    bar = tqdm(total=recipe.steps, initial=start, desc="training", unit="step")
    try:
        for step, frames, labels in _prefetched(batches, start, recipe.steps, workers):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step)
            clips = normalize(frames).to(device)
            target = torch.from_numpy(labels).to(device)
            loss, logits = _loss(model, clips, target, recipe.token_loss_at(step))
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"fit: the loss is {loss.item()} at step {step}. Lower learning_rate; "
                    f"{checkpoint} holds the last good state."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            accuracy = (logits.argmax(-1) == target).float().mean().item()
            recent.append((loss.item(), accuracy))
            bar.update()
            if (step + 1) % 50 == 0:
                mean_loss, mean_accuracy = np.mean(recent, axis=0)
                recent.clear()
                history.append(
                    {
                        "step": step + 1,
                        "loss": round(float(mean_loss), 4),
                        "accuracy": round(float(mean_accuracy), 4),
                        "learning_rate": recipe.learning_rate_at(step),
                        "seconds": round(before + time.monotonic() - started, 1),
                    }
                )
                bar.set_postfix(loss=f"{mean_loss:.3f}", accuracy=f"{mean_accuracy:.1%}")
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                _save(checkpoint, step + 1, model, optimizer, recipe, history)
    finally:
        bar.close()
    model.eval()
    return history


def _loss(
    model: VideoMamba, clips: Tensor, target: Tensor, token_share: float
) -> tuple[Tensor, Tensor]:
    if token_share == 0:
        logits = model(clips)
        return F.cross_entropy(logits, target), logits
    residual = model.encode(clips)
    logits = model.read_out(residual)
    video, _ = model.grid.split(residual, dim=1)
    scores = model.head(model.norm_f(video.flatten(1, 3))).log_softmax(-1)  # batch, token, class
    of_target = scores.gather(2, target[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
    token_loss = -(_motion_weights(model, clips) * of_target).sum(1).mean()
    loss = (1 - token_share) * F.cross_entropy(logits, target) + token_share * token_loss
    return loss, logits


def _motion_weights(model: VideoMamba, clips: Tensor) -> Tensor:
    """How much of a clip's change falls into each tubelet, (batch, num_patches), summing to 1."""
    config = model.config
    step = clips.diff(dim=2).abs().mean(1, keepdim=True)
    change = F.pad(step, (0, 0, 0, 0, 0, 1)) + F.pad(step, (0, 0, 0, 0, 1, 0))
    tubelet = (config.tubelet_size, config.patch_size, config.patch_size)
    weights = F.avg_pool3d(change, tubelet).flatten(1)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-6)


def _parameter_groups(model: VideoMamba, recipe: Recipe) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and name.endswith(".weight") and "conv1d" not in name
        (decayed if is_matrix else others).append(parameter)
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _prefetched(
    batches: BatchSource, start: int, stop: int, workers: int
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.int64]]]:
    """Render the next batches in other processes while the model works on this one."""
    loader: DataLoader[Any] = DataLoader(
        _Steps(batches),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        collate_fn=_as_it_is,
    )
    for step, (frames, labels) in enumerate(loader, start):
        yield step, frames, labels


class _Steps(Dataset[Any]):
    def __init__(self, batches: BatchSource) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return self.batches(step)


def _as_it_is(batch: Any) -> Any:
    return batch


def _save(
    checkpoint: Path,
    step: int,
    model: VideoMamba,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    history: History,
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    torch.save(
        {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "config": model.config.to_dict(),
            "recipe": vars(recipe),
            "history": history,
        },
        unfinished,
    )
    os.replace(unfinished, checkpoint)


def _resume(
    checkpoint: Path, model: VideoMamba, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> tuple[int, History]:
    saved = torch.load(checkpoint, map_location=model.head.weight.device, weights_only=True)
    for name, mine in (("config", model.config.to_dict()), ("recipe", vars(recipe))):
        if saved[name] != mine:
            changed = [k for k in mine if saved[name].get(k) != mine[k]]
            raise ValueError(
                f"fit: {checkpoint} was made with another {name} ({', '.join(changed)} differ). "
                "Remove the file to start anew, or use the old settings to go on."
            )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    logger.info("going on from %s at step %d", checkpoint, saved["step"])
    return saved["step"], saved["history"]
