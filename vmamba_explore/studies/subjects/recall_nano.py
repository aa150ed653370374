"""Train and measure the models that must remember, `recall-nano` and two more: `make recall-model`.

Each names the relation of two colors that are never shown together, so that its state must carry
one of them to the other. `recall-nano` reads the clip in both directions and takes the mean of all
tokens; `recall-nano-forward` reads it forward only; `recall-nano-class-token` answers from a class
token in front, to which everything must travel back. These two begin with the weights of the first.
The run can be stopped and started again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vmamba_explore import resources
from vmamba_explore.clips.recall import CLASS_NAMES, RecallClips
from vmamba_explore.files import output_path
from vmamba_explore.intervals import proportion
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.controls import (
    Look,
    all_frames,
    single_frames,
    train_controls,
)
from vmamba_explore.studies.subjects.making import TEST_SEED, TRAIN_SEED, verdict, write_subject
from vmamba_explore.studies.subjects.recall_proof import (
    INSIDE,
    TIMING,
    accuracy,
    best_votes,
    decoded,
    resets,
    swaps,
)
from vmamba_explore.studies.subjects.recall_training import EASY_SHARE, RecallBatches, RecallLoss
from vmamba_explore.training.fit import Recipe, fit

CONFIG = VideoMambaConfig(
    num_frames=16,
    img_size=64,
    patch_size=8,
    tubelet_size=1,
    num_classes=len(CLASS_NAMES),
    d_model=64,
    depth=6,
    cls_position=None,
)
SUBJECTS = {
    "recall-nano": CONFIG,
    "recall-nano-forward": replace(CONFIG, backward_order=None),
    "recall-nano-class-token": replace(CONFIG, cls_position="front"),
}
RECIPE = Recipe(steps=1500)
TWIN_STEPS = 500  # of the two that begin with the weights of the first
FIRST = "recall-nano"
CHANCE = 1 / len(CLASS_NAMES)


def beginning(name: str, first: Path) -> VideoMamba:
    """The model that the training of a subject begins with.

    Args:
        name: One of `SUBJECTS`. The first of them begins with random weights, the others with those
            of the first as far as they have the same ones: all but a class token.
        first: Folder of the first.
    """
    torch.manual_seed(TRAIN_SEED)
    model = VideoMamba(SUBJECTS[name])
    model.class_names = CLASS_NAMES
    if name != FIRST:
        own, given = model.state_dict(), load_model(first).state_dict()
        model.load_state_dict(own | {key: given[key] for key in own.keys() & given.keys()})
    return model


def measure(model: VideoMamba, num_clips: int = 1000) -> dict[str, Any]:
    """Measure how right a model is, and what its states have to do with it.

    Args:
        model: The model.
        num_clips: Test clips of the accuracy; resets are measured on a fifth of them, swaps and
            probes on an eighth.
    Returns:
        Shares with 95 % intervals, ready for JSON; see `recall_proof`. The last of them are the
        verdicts: what was asked for, and whether it was measured.
    """
    metrics: dict[str, Any] = accuracy(model, num_clips)
    few = max(1, num_clips // 8)
    metrics["surgery"] = {
        "sample_in_frame": TIMING[0],
        "test_in_frame": TIMING[0] + TIMING[1] + TIMING[2],
        "boundaries": list(range(1, model.grid.frames)),
        "reset": resets(model, max(1, num_clips // 5)),
        "swap": swaps(model, few),
        "decoded": decoded(model, 2 * few, few),
    }
    metrics["verdicts"] = verdicts(metrics)
    return metrics


def verdicts(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was asked of a model, and whether it was measured.

    Args:
        metrics: As `measure` returns them, or "controls" as `controls` does.
    """
    found: dict[str, dict[str, Any]] = {}

    def judge(name: str, value: float, low: float, high: float, **more: Any) -> None:
        found[name] = verdict(value, low, high, **more)

    if "surgery" in metrics:
        judge("with distractors: top1", metrics["with_distractors"]["top1"]["value"], 0.97, 1.0)
        surgery = metrics["surgery"]
        boundaries, cut = surgery["boundaries"], surgery["reset"]
        shares = dict(zip(boundaries, cut["both"]["value"], strict=True))
        inside = {k: share for k, share in shares.items() if k in INSIDE}
        outside = [share for k, share in shares.items() if k not in INSIDE]
        judge("reset inside the delay: most right", max(inside.values()), 0.0, CHANCE + 0.08)
        clean = cut["clean"]["value"]
        judge("reset outside the delay: fewest right", min(outside), clean - 0.03, 1.0)
        donor = surgery["swap"]["forward"]["donor"]["value"]
        most, where = max(
            (share, k) for k, share in zip(boundaries, donor, strict=True) if k in INSIDE
        )
        name = "forward past swapped in the delay: most with the donor's answer"
        judge(name, most, 0.8, 1.0, boundary=where)
        for direction, what in (("forward", "sample"), ("backward", "test")):
            if direction in surgery["decoded"]:
                read = surgery["decoded"][direction]
                name = f"{what} read from {direction} states in the delay: fewest"
                fewest = _fewest(boundaries, read[what]["value"])
                judge(name, fewest, 0.9, 1.0, layer=read["layer"])
                name = f"{what} read from {direction} states that the other direction did not feed"
                rows = [read["by_layer"][what][layer] for layer in unfed(surgery, direction)]
                fewest = max((_fewest(boundaries, row) for row in rows), default=0.0)
                judge(f"{name}: fewest", fewest, CHANCE + 0.08, 1.0)
    for name, control in metrics.get("controls", {}).items():
        if name in ("one_frame_and_index", "sum_of_votes"):
            judge(f"{name}: top1", control["top1"]["value"], 0.0, CHANCE + 0.03)
    return found


def unfed(surgery: dict[str, Any], direction: str) -> list[int]:
    """The layers whose states know nothing that only the other direction can have seen.

    From the second layer on, what a scan reads holds what the other direction has seen. These are
    the layers in which a probe does not find it: the test in forward states before it is shown, or
    the sample in backward states after it, at most a tenth above chance at any boundary.

    Args:
        surgery: As in the metrics.
        direction: "forward" or "backward".
    """
    other = "test" if direction == "forward" else "sample"
    boundaries = surgery["boundaries"]
    hidden = [k <= INSIDE[-1] if direction == "forward" else k >= INSIDE[0] for k in boundaries]
    return [
        layer
        for layer, row in enumerate(surgery["decoded"][direction]["by_layer"][other])
        if max(share for share, is_hidden in zip(row, hidden, strict=True) if is_hidden)
        <= CHANCE + 0.1
    ]


def _fewest(boundaries: Sequence[int], shares: Sequence[float]) -> float:
    """The smallest share at a boundary in the delay."""
    return min(share for k, share in zip(boundaries, shares, strict=True) if k in INSIDE)


def controls(num_clips: int = 1000, steps: int = 400) -> dict[str, Any]:
    """What recall clips give away without memory: classifiers of single frames and of bags of them.

    Args:
        num_clips: Test clips of each.
        steps: Training steps of each.
    Returns:
        "one_frame_and_index": one frame and its number. "sum_of_votes": all frames, each of which
        votes for itself. "bag_of_features": all frames in any order, judged together; in principle
        it could be right on 3 of 4 clips, since only "next" and "previous" differ by the order.
        "best_sum_of_votes" is not a classifier: the most that sums of votes can reach by their
        largest sum, were they chosen with the truth in hand.
    """
    train, test = RecallClips(2), RecallClips(TEST_SEED, backgrounds="test")
    bag = partial(all_frames, train), partial(all_frames, test)
    looks = {
        "one_frame_and_index": Look(
            partial(single_frames, train, 4), partial(single_frames, test, 1), use_index=True
        ),
        "sum_of_votes": Look(*bag, use_index=True, votes=True),
        "bag_of_features": Look(*bag),
    }
    found = train_controls(
        looks,
        num_frames=CONFIG.num_frames,
        num_classes=len(CLASS_NAMES),
        steps=steps,
        num_test=num_clips,
    )
    results: dict[str, Any] = {
        name: {"top1": proportion(predicted == labels).to_dict()}
        for name, predicted, labels, _ in found
    }
    return results | {"best_sum_of_votes": best_votes()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write each model's config.json, model.safetensors and metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--output", type=Path, default=resources.data_dir())
    parser.add_argument("--checkpoints", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, help="of each model; its own if not given")
    parser.add_argument("--clips", type=int, default=1000, help="test clips of the accuracy")
    parser.add_argument("--control-steps", type=int, default=400, help="of each control")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    for name in options.models:
        usual = RECIPE.steps if name == FIRST else TWIN_STEPS
        recipe = replace(RECIPE, steps=options.steps or usual)
        folder = options.output / name
        output_path(folder, "recall_nano", folder=True, parents=True)
        model = beginning(name, options.output / FIRST)
        objective = RecallLoss(model)
        batches = RecallBatches(recipe.steps, TRAIN_SEED)
        checkpoint = options.checkpoints / f"{name}.pt"
        history = fit(model, batches, recipe, checkpoint, options.workers, objective=objective)
        given = f"--models {name} --steps {recipe.steps} --clips {options.clips}"
        command = f"python -m {__spec__.name} {given}"
        how = {"objective": objective.settings(), "steps_without_distractors": EASY_SHARE}
        tests: dict[str, Any] = {"test": measure(model, options.clips)}
        if name == FIRST:  # they belong to the clips
            found = controls(options.clips, options.control_steps)
            tests["controls"] = found | {"verdicts": verdicts({"controls": found})}
        write_subject(model, folder, command, recipe, history, how, tests)


if __name__ == "__main__":
    main()
