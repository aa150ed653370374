"""Train on the videos of a data set, in a folder that holds everything about the run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from vmamba_explore.datasets.augment import Augment
from vmamba_explore.datasets.batches import VideoBatches
from vmamba_explore.datasets.lists import VideoList
from vmamba_explore.datasets.views import Views
from vmamba_explore.deprecation import renamed_arguments
from vmamba_explore.errors import one_line
from vmamba_explore.files import atomic_write, json_text, output_path, read_json, write_json
from vmamba_explore.hooks import plain
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.row_file import different
from vmamba_explore.spreadsheets import csv_text
from vmamba_explore.training.evaluate_videos import evaluate_videos
from vmamba_explore.training.fit import History, fit, read_checkpoint
from vmamba_explore.training.processes import Precision, accelerator
from vmamba_explore.training.recipe import paper_recipe

logger = logging.getLogger(__name__)

ONE_VIEW = Views(temporal=1, spatial=1)


@renamed_arguments(run_folder="output")
def train(
    model: VideoMamba,
    videos: VideoList,
    output: str | os.PathLike[str],
    *,
    epochs: int,
    batch_size: int = 64,
    stride: int = 2,
    augment: Augment | None = None,
    validation: VideoList | None = None,
    validate_every: int | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: Precision = "no",
    parts: int = 1,
    recompute: bool = False,
    workers: int = 0,
    tensorboard: bool | None = None,
    started_from: str = "",
) -> History:
    """Train a model by the paper's recipe, or resume the run that the folder `output` holds.

    The folder gets config.json (the model), recipe.json (everything that decides the outcome),
    log.csv, validation.csv and validation/ (each video's answer, a folder for each list),
    checkpoint.pt, broken.csv, a folder tensorboard/, and at the end model/. `load_model` reads
    model/ and, before it is there, checkpoint.pt.

    Args:
        model: Where to start; it is trained in place. On many processes, see `accelerator`.
        videos: What to train on; its class names become the model's.
        output: Folder of the run; created if it does not exist.
        epochs: Passes over the data set; the paper has 30 for K400 and 35 for SSv2.
        batch_size: Clips of a step, over all processes.
        stride: Source frames from one frame of a clip to the next.
        augment: How clips are changed; None leaves them as they are.
        validation: What to test on while training, one view of each video.
        validate_every: Steps between two tests; None tests after every epoch.
        changes: Fields of `paper_recipe` to replace.
        seed: Of the order of the videos, where their clips begin, and how they are changed.
        precision: "no" (float32), "bf16" or "fp16".
        parts: Parts of a batch that run one after the other, to need less memory.
        recompute: Keep only the input of each block and run it again for its gradient, to need
            less memory and a third more time.
        workers: Processes that read videos beside the training.
        tensorboard: Write events, too; None writes them where tensorboard is installed.
        started_from: What `model` is, in words; a run is not gone on with from anything else.
    Returns:
        The history, as `fit` gives it.
    Raises:
        ImportError: accelerate is not installed, or tensorboard where it was asked for.
        OSError: the folder cannot be written to.
        ValueError: the model has other classes, or the folder holds a run of another model,
            recipe or data set.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1.
    """
    config = plain(model).config
    folder = output_path(output, "train", folder=True, parents=True)
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"train: the name {one_line(folder)} is not UTF-8, which the readers of tensors and "
            "the writers of TensorBoard's events need; name another folder."
        ) from None
    if len(videos.class_names) != config.num_classes:
        raise ValueError(
            f"train: the model has {config.num_classes} classes, {videos.name} has "
            f"{len(videos.class_names)}; a model to start from must have as many."
        )
    tests = folder / "validation"
    if validation is not None:
        if not validation.unnamed:
            validation = validation.numbered_as(videos.class_names)
        tests = tests / "-".join(map(str, validation.identity().values()))
    processes = accelerator(precision)
    batches = VideoBatches(
        videos,
        batch_size=batch_size,
        num_frames=config.num_frames,
        img_size=config.img_size,
        stride=stride,
        seed=seed,
        augment=augment,
        broken=folder / "broken.csv",
    )
    recipe = paper_recipe(epochs, batches.steps_per_epoch, **(changes or {}))
    model.class_names = videos.class_names
    settings = {
        "recipe": vars(recipe),
        "data": {
            **videos.identity(),
            "batch_size": batch_size,
            "stride": stride,
            "seed": seed,
            "augment": None if augment is None else asdict(augment),
        },
        "precision": precision,
        "started_from": started_from,
    }
    if processes.is_main_process:
        _claim(folder, settings, config.to_dict())
    processes.wait_for_everyone()
    logs = _Logs(folder, tests, tensorboard) if processes.is_main_process else None
    every = recipe.steps if validation is None else validate_every or batches.steps_per_epoch
    checkpoint, history = folder / "checkpoint.pt", []
    reached = int(read_checkpoint(checkpoint)["step"]) if checkpoint.is_file() else 0
    for stop in (*range(every, recipe.steps, every), recipe.steps):
        if stop < reached:
            continue
        with model.recomputing(recompute):
            history = fit(model, batches, recipe, checkpoint, workers, processes, logs, stop, parts)
        if validation is not None:
            evaluate_videos(
                model,
                validation,
                tests / f"{stop:07}.csv",
                views=ONE_VIEW,
                stride=stride,
                workers=workers,
                accelerator=processes,
            )
            if logs is not None:
                logs.note_validation()
    if logs is not None:
        said = f"{recipe.steps} steps of {batch_size} clips of {videos.name} ({len(videos.videos)} "
        said += f"videos), from {started_from or 'another model'}; see recipe.json of the run."
        model.save_pretrained(folder / "model", model_card_kwargs={"training": said})
        logs.close()
    processes.wait_for_everyone()
    return history


def _claim(folder: Path, settings: dict[str, Any], config: dict[str, Any]) -> None:
    """Write down what is being done in a folder, or see that it is the same as before."""
    noted = folder / "recipe.json"
    settings = json.loads(json_text(settings))  # as the file has it: lists for tuples
    before = read_json(noted, dict, "train") if noted.is_file() else {}
    if before and "recipe" not in before:
        raise ValueError(f"train: {one_line(noted)} is not about a training. Name another folder.")
    begun = (folder / "checkpoint.pt").is_file() or (folder / "model").is_dir()
    if not begun:  # nothing would be lost
        write_json(folder / "config.json", config)
        write_json(noted, settings)
    elif changed := different(before, settings):
        raise ValueError(
            f"train: {one_line(folder)} holds another run ({', '.join(changed)} differ). Use its "
            "settings (recipe.json) to go on with it, or name another folder."
        )


class _Logs:
    """log.csv, validation.csv and TensorBoard's events of a run folder.

    Files and events are written anew from the history, so what a killed run wrote after its last
    checkpoint does not stay.
    """

    def __init__(self, folder: Path, tests: Path, tensorboard: bool | None) -> None:
        self.folder, self.tests, self.writer = folder, tests, None
        self.shown = {"train": 0, "validation": 0}  # rows that TensorBoard has
        if tensorboard is not False:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=0)
            except ImportError:
                if tensorboard:
                    raise ImportError(
                        "train: events need tensorboard: "
                        'pip install "vmamba-explore[train]" brings it.'
                    ) from None

    def __call__(self, history: History) -> None:
        self._write("log.csv", "train", history)

    def note_validation(self) -> None:
        """Gather what the tests on this list found so far."""
        rows: History = []
        for path in sorted(self.tests.glob("*.json")):
            found = json.loads(path.read_text(encoding="utf-8")).get("result")
            if found is None:  # stopped within it, and gone on with from a later step
                continue
            top1 = {f"top1_{k}" if k != "value" else "top1": v for k, v in found["top1"].items()}
            row = {"step": int(path.stem), **top1, "top5": found["top5"]["value"]}
            rows.append({**row, "broken": len(found["broken"])})
        self._write("validation.csv", "validation", rows)

    def close(self) -> None:
        """Write what TensorBoard has not written yet."""
        if self.writer is not None:
            self.writer.close()

    def _write(self, name: str, kind: str, rows: History) -> None:
        atomic_write(self.folder / name, csv_text(pd.DataFrame(rows)))
        if self.writer is None:
            return
        for row in rows[self.shown[kind] :]:
            for key in row.keys() - {"step"}:
                self.writer.add_scalar(f"{kind}/{key}", row[key], row["step"])
        self.writer.flush()
        self.shown[kind] = len(rows)
