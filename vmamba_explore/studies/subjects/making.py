"""What all commands share that make a bundled model: options, verdicts, and what is written."""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vmamba_explore import resources
from vmamba_explore.files import output_path, write_json
from vmamba_explore.model.checkpoints import save_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.fit import History, Recipe

logger = logging.getLogger(__name__)

TRAIN_SEED, TEST_SEED = 0, 1
"""Of generated clips."""


def options_parser(about: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every command has which trains a bundled model.

    Args:
        about: The module's docstring; its first line describes the command.
        name: Of the model.
    """
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=resources.data_dir() / name)
    parser.add_argument("--checkpoint", type=Path, default=Path(f"runs/{name}.pt"))
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    return parser


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, call: str
) -> argparse.Namespace:
    """Return the options with the output checked, and show what is logged."""
    options = parser.parse_args(arguments)
    output_path(options.output, call, folder=True, parents=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return options


def verdict(value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    """Say whether a number lies where it was asked to, ready for JSON."""
    asked = [round(low, 4), round(high, 4)]
    return {"value": value, "asked": asked, "met": low <= value <= high, **more}


def write_subject(
    model: VideoMamba,
    folder: Path,
    command: str,
    recipe: Recipe,
    history: History,
    how: dict[str, Any],
    tests: dict[str, Any],
) -> None:
    """Write a trained model and metrics.json: how it was trained and how right it is.

    Args:
        model: The model, on the device that trained it.
        folder: Where the files go.
        command: The command that trains it.
        recipe: As given to `fit`.
        history: As returned by `fit`.
        how: Further facts about the training.
        tests: What was measured, by name.
    """
    device = model.norm_f.weight.device.type
    training = {
        "command": command,
        "recipe": vars(recipe),
        **how,
        "minutes": round(history[-1]["seconds"] / 60, 1) if history else None,
        "machine": f"{device}, {platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "history": history,
    }
    config = model.config
    described = {"parameters": config.num_parameters(), "config": config.to_dict()}
    save_model(model.cpu(), folder)
    write_json(folder / "metrics.json", {"model": described, "training": training, **tests})
    logger.info("wrote %s", folder)
