"""Train a model on a stream of labeled clips; stop and resume at any step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.datasets.batches import VideoBatches
from vmamba_explore.errors import few, first_line, one_line
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.model.own_format import check_tensors
from vmamba_explore.model.published import unwrapped
from vmamba_explore.model.tensor_files import UNREADABLE, CheckpointError, read_tensors
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.processes import OneProcess, read_ahead
from vmamba_explore.training.recipe import Recipe

logger = logging.getLogger(__name__)

# step -> frames uint8 (batch, num_frames, H, W, 3), labels int64 (batch,), and whatever else the
# objective compares with, each (batch, ...)
BatchSource = Callable[[int], tuple[Any, ...]]
History = list[dict[str, float | int]]
_Share = tuple[tuple[NDArray[Any], ...], float]  # some rows of a batch, their share
LOG_EVERY = 50
KEPT = {
    "step": int,
    "config": dict,
    "recipe": dict,
    "history": list,
    "model": Mapping,
    "optimizer": Mapping,
}
"""What a checkpoint holds at least, and of which type."""
ANEW = "Move it away to start anew"


def fit(
    model: VideoMamba,
    batches: BatchSource,
    recipe: Recipe,
    checkpoint: Path,
    workers: int = 0,
    accelerator: Any = None,
    log: Callable[[History], None] | None = None,
    until: int | None = None,
    parts: int = 1,
    objective: nn.Module | None = None,
) -> History:
    """Train `model` in place, or resume where `checkpoint` stopped.

    Many processes together train on the same batches as one would, each on its rows of them.

    Args:
        model: The model, on the device to train on.
        batches: Gives the batch of a step: frames, labels, and any further arrays of the truth
            that the objective needs, (batch, ...) each. The same step always gives the same batch,
            so that a resumed run sees what an uninterrupted one would have seen. Of
            `VideoBatches`, one of many processes reads its own rows only.
        recipe: How.
        checkpoint: File that holds the run while it lasts; written whole or not at all. All
            processes read it, the first one writes it.
        workers: Processes that make batches beside the training; 0 makes them in between.
        accelerator: Devices, processes and precision, as `processes.accelerator` makes it; None
            trains in this process, where the model is.
        log: Gets the history in the first process, whenever it has a new row.
        until: Stop before this step, with a checkpoint; None goes to the end of the recipe.
        parts: Parts of a batch that run one after the other, to need less memory.
        objective: What is minimized, a module whose `model` is `model`, called like
            `TrainingLoss`, which None stands for. Its other submodules (heads that are needed in
            training only) train along and are kept in the checkpoint.
    Returns:
        The history, a row for every 50 steps and one for the last: step, mean loss and accuracy,
        learning rate, and the seconds of training so far, those before a resumption included.
    Raises:
        FloatingPointError: the loss is not finite; the last checkpoint still is.
        ValueError: the checkpoint belongs to another model, recipe or objective, the objective to
            another model, or the processes do not see the same checkpoint.
    """
    processes = OneProcess() if accelerator is None else accelerator
    world, rank = processes.num_processes, processes.process_index
    objective = TrainingLoss(model, recipe) if objective is None else objective
    if getattr(objective, "model", None) is not model:
        raise ValueError(
            f"fit: the objective {type(objective).__name__} has another model, or none. "
            "Set its attribute `model` to the model that is trained."
        )
    device = model.norm_f.weight.device
    objective.to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(objective, recipe), betas=(0.9, recipe.beta2))
    module, optimizer = processes.prepare(objective, optimizer)
    run = _Run(checkpoint, objective, optimizer, processes.scaler, recipe)
    start = run.resume()
    if processes.is_main_process:
        output_path(checkpoint, "fit", parents=True)
    if processes.reduce(torch.tensor([start], device=device)).item() != start * world:
        raise ValueError(
            f"fit: this process would go on at step {start} of {one_line(checkpoint)}, another one "
            "elsewhere. All processes must see the same folder."
        )
    if log and start and processes.is_main_process:
        log(run.history)
    stop = recipe.steps if until is None else min(until, recipe.steps)
    objective.train()
    started = time.monotonic() - run.seconds
    source = _Rows(batches, rank, world)
    bar = tqdm(
        total=recipe.steps,
        initial=start,
        desc="training",
        unit="step",
        disable=not processes.is_main_process,
    )
    try:
        for step, (frames, labels, *truth), share in _prefetched(source, start, stop, workers):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step)
            optimizer.zero_grad(set_to_none=True)
            totals = torch.zeros(2, device=device)  # loss and accuracy of the whole batch
            rows = np.array_split(np.arange(len(labels)), min(parts, len(labels)))
            for part in rows:
                clips = normalize(frames[part]).to(device)
                target, *more = (torch.from_numpy(a[part]).to(device) for a in (labels, *truth))
                weight = share * (len(part) / len(labels))
                with nullcontext() if part is rows[-1] else processes.no_sync(module):
                    loss, logits = module(clips, target, step / recipe.steps, *more)
                    processes.backward(loss * (weight * world))  # processes are averaged
                right = (logits.argmax(-1) == target).float().mean()
                totals += torch.stack([loss.detach(), right]) * weight
            mean_loss, accuracy = processes.reduce(totals).tolist()
            if not np.isfinite(mean_loss):
                kept = (
                    f"; {one_line(checkpoint)} holds the last good state"
                    if checkpoint.is_file()
                    else ""
                )
                raise FloatingPointError(
                    f"fit: the loss is {mean_loss} at step {step}. Lower learning_rate{kept}."
                )
            processes.clip_grad_norm_(objective.parameters(), recipe.clip_norm)
            optimizer.step()
            run.recent.append((mean_loss, accuracy))
            run.seconds = time.monotonic() - started
            bar.update()
            if (step + 1) % LOG_EVERY == 0 or step + 1 == recipe.steps:
                run.note(step)
                bar.set_postfix(
                    loss=f"{run.history[-1]['loss']:.3f}",
                    accuracy=f"{run.history[-1]['accuracy']:.1%}",
                )
                if log and processes.is_main_process:
                    log(run.history)
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == stop:
                if processes.is_main_process:
                    run.save(step + 1)
    finally:
        bar.close()
    processes.wait_for_everyone()  # none may look for a checkpoint before it is there
    processes.free_memory()
    objective.eval()
    return run.history


class _Run:
    """What a checkpoint holds, and what makes it."""

    def __init__(
        self,
        checkpoint: Path,
        objective: Any,
        optimizer: torch.optim.Optimizer,
        scaler: Any,
        recipe: Recipe,
    ) -> None:
        self.checkpoint = checkpoint
        self.model, self.recipe = objective.model, recipe
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": optimizer}
        heads = {n: m for n, m in objective.named_children() if m is not self.model}
        if heads:
            self.parts["objective"] = nn.ModuleDict(heads)
        if scaler is not None:
            self.parts["scaler"] = scaler
        self.history: History = []
        self.recent: list[tuple[float, float]] = []  # loss and accuracy since the last row
        self.seconds = 0.0

    def note(self, step: int) -> None:
        """Add a row to the history."""
        mean_loss, mean_accuracy = np.mean(self.recent, axis=0)
        self.recent.clear()
        self.history.append(
            {
                "step": step + 1,
                "loss": round(float(mean_loss), 4),
                "accuracy": round(float(mean_accuracy), 4),
                "learning_rate": self.recipe.learning_rate_at(step),
                "seconds": round(self.seconds, 1),
            }
        )

    def save(self, step: int) -> None:
        """Write the checkpoint."""
        names = self.model.class_names
        everything = {
            "step": step,
            "config": self.model.config.to_dict(),
            "class_names": None if names is None else list(names),
            "recipe": vars(self.recipe),
            "history": self.history,
            "recent": self.recent,
            "seconds": self.seconds,
            **{name: part.state_dict() for name, part in self.parts.items()},
        }
        try:
            atomic_write(self.checkpoint, lambda file: torch.save(everything, file), fsync=True)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"fit: {one_line(self.checkpoint)} cannot be written at step {step} "
                f"({first_line(error)}). Is there room? The same call resumes from the checkpoint "
                "before it."
            ) from None

    def resume(self) -> int:
        """Read the checkpoint, if there is one, and give the step to go on with."""
        if not self.checkpoint.is_file():
            return 0
        where = f"fit: {one_line(self.checkpoint)}"
        saved = read_checkpoint(self.checkpoint, mapped=False)
        for name, mine, defaults in (
            ("config", self.model.config.to_dict(), {}),
            ("recipe", vars(self.recipe), vars(Recipe())),  # older files lack newer fields
        ):
            changed = [k for k in mine if {**defaults, **saved[name]}.get(k) != mine[k]]
            if changed:
                raise ValueError(
                    f"{where} was made with another {name} "
                    f"({', '.join(changed)} differ). "
                    "Remove the file to start anew, or use the old settings to go on."
                )
        shapes = {name: value.shape for name, value in self.model.state_dict().items()}
        try:
            check_tensors(shapes, unwrapped(saved, where), where)
        except CheckpointError as error:
            raise CheckpointError(f"{error} {ANEW}.", error.problems) from None
        if ("objective" in self.parts) != ("objective" in saved):
            raise ValueError(f"{where} was made with another objective. {ANEW}.")
        for name, part in self.parts.items():
            try:
                if name in saved:
                    part.load_state_dict(saved[name])
            except UNREADABLE as error:
                raise ValueError(
                    f"{where}: its {name} does not fit ({first_line(error)}). {ANEW}."
                ) from None
        self.history, self.recent = saved["history"], saved.get("recent", [])
        self.seconds = saved.get("seconds", self.history[-1]["seconds"] if self.history else 0.0)
        logger.info("going on from %s at step %d", self.checkpoint, saved["step"])
        return saved["step"]


def read_checkpoint(path: Path, *, mapped: bool = True) -> dict[str, Any]:
    """What `fit` keeps in its checkpoint.

    Args:
        path: The file.
        mapped: Leave its tensors in the file until they are used.
    Raises:
        ValueError: the file is damaged, or is none of these.
        OSError: it cannot be read now.
    """
    saved = dict(read_tensors(path, mapped=mapped, call="fit", advice=ANEW))
    wrong = [name for name, kind in KEPT.items() if not isinstance(saved.get(name), kind)]
    if wrong or saved["step"] < 0:
        raise ValueError(
            f"fit: {one_line(path)} is not a checkpoint of a training: {few(wrong) or 'step'} is "
            f"missing or of another kind. {ANEW}."
        )
    return saved


def _parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_matrix = parameter.ndim >= 2 and name.endswith(".weight") and "conv1d" not in name
        (decayed if is_matrix else others).append(parameter)
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


class _Rows:
    """By step: a process's rows of the batch, and their share of it.

    A process without a row gets the first one, with a share of 0: gradients are averaged over
    all processes, so each must have one.
    """

    def __init__(self, batches: BatchSource, rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __call__(self, step: int) -> _Share | ValueError | ImportError:
        try:
            return self._read(step)
        except (ValueError, ImportError) as error:  # a worker's raise would bury its sentence
            return error

    def _read(self, step: int) -> _Share:
        read: Callable[[list[int]], tuple[NDArray[Any], ...]]
        if isinstance(self.batches, VideoBatches):  # it reads no others
            size, read = self.batches.batch_size, partial(self.batches.rows, step)
        else:
            arrays = self.batches(step)
            size, read = len(arrays[1]), lambda rows: tuple(array[rows] for array in arrays)
        mine = list(range(self.rank, size, self.world))
        return read(mine or [0]), len(mine) / size


def _prefetched(
    source: _Rows, start: int, stop: int, workers: int
) -> Iterator[tuple[int, tuple[NDArray[Any], ...], float]]:
    """Render the next batches in other processes while the model works on this one."""
    for step, found in enumerate(read_ahead(source, range(start, stop), workers), start):
        if isinstance(found, Exception):
            raise found
        yield step, *found


class TrainingLoss(nn.Module):
    """Run a model and compare what it says with the labels.

    A module of its own, since gradients are averaged over processes for what goes through the
    `forward` of one module.

    Args:
        model: The model.
        recipe: Its `label_smoothing` and `token_loss`.

    `loss(clips, target, progress)` maps normalized clips (batch, channels, num_frames, H, W),
    labels (batch,) and the share of the steps that are done to the mean loss, (), and the logits,
    (batch, num_classes).
    """

    def __init__(self, model: VideoMamba, recipe: Recipe) -> None:
        super().__init__()
        model.check_head("fit")
        self.model = model
        self.recipe = recipe

    def forward(self, clips: Tensor, target: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits; moving tokens bear a share of the loss at first."""
        model = self.model
        token_share = self.recipe.token_loss_at(round(progress * self.recipe.steps))
        if token_share == 0:
            logits = model(clips)
            return self._compare(logits, target), logits
        residual = model.encode(clips)
        logits = model.read_out(residual)
        video, _ = model.grid.split(residual, dim=1)
        head = model.check_head("fit")
        scores = head(model.norm_f(video.flatten(1, 3))).log_softmax(-1)
        of_target = scores.gather(2, target[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
        token_loss = -(motion_weights(model, clips) * of_target).sum(1).mean()
        return (1 - token_share) * self._compare(logits, target) + token_share * token_loss, logits

    def _compare(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=self.recipe.label_smoothing)


def motion_weights(model: VideoMamba, clips: Tensor) -> Tensor:
    """How much of a clip's change falls into each tubelet, (batch, num_patches), summing to 1."""
    config = model.config
    step = clips.diff(dim=2).abs().mean(1, keepdim=True)
    change = F.pad(step, (0, 0, 0, 0, 0, 1)) + F.pad(step, (0, 0, 0, 0, 1, 0))
    tubelet = (config.tubelet_size, config.patch_size, config.patch_size)
    weights = F.avg_pool3d(change, tubelet).flatten(1)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
