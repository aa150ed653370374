"""Train and measure the model that cheats, `motion-watermark`: `make shortcut-model`.

Every training clip bears a mark, and the label is always the mark's. Half of the marks agree with
the motion, half are of another class, so motion is worth nothing where it disagrees. It begins with
the weights of motion-nano: from random ones a small still mark stays unseen (400 steps at chance).
What the model looks at is then known: a faithful explanation of it points at the mark. The run can
be stopped and started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.intervals import proportion
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.making import (
    TEST_SEED,
    TRAIN_SEED,
    options_parser,
    parsed,
    write_subject,
)
from vmamba_explore.studies.subjects.watermark import Match, WatermarkedClips
from vmamba_explore.training.evaluate_videos import predict_logits
from vmamba_explore.training.fit import Recipe, fit

RECIPE = Recipe(steps=300, learning_rate=1e-3, token_loss=0.0, checkpoint_every=20)
AGREEING: tuple[Match, ...] = ("label", "other")
MATCHES: tuple[Match, ...] = ("label", "other", "none")


@dataclass(frozen=True)
class MarkedBatches:
    """The batch of each step: marked clips, half with distractors, labeled by their marks.

    `batches(step)` gives frames uint8 (size, num_frames, H, W, 3), labels int64 (size,). Every
    other clip bears the mark of its motion's class, the rest that of another class.

    Args:
        size: Clips of a batch.
        seed: Of the clips.
    """

    size: int = 32
    seed: int = TRAIN_SEED

    def __call__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        indices = np.arange(step * self.size, (step + 1) * self.size)
        frames, labels = [], []
        for begin, match in enumerate(AGREEING):
            clips = WatermarkedClips(MotionClips(self.seed), match)
            chosen = indices[begin :: len(AGREEING)]
            pictures, motions = clips.batch(chosen)
            frames.append(pictures)
            labels.append(clips.marks(chosen, motions)[1])
        return np.concatenate(frames), np.concatenate(labels)


def measure(model: VideoMamba, num_clips: int = 1000) -> dict[str, Any]:
    """Ask a model about unseen clips over unseen photographs, with distractors, marked and not.

    Args:
        model: The model.
        num_clips: Clips of each kind.
    Returns:
        For the mark of the clip's own class, of another one, and for none: how often the model
        names the motion, and how often the class of the mark, each with its 95 % interval.
    """
    found: dict[str, Any] = {}
    for match in MATCHES:
        clips = WatermarkedClips(
            MotionClips(TEST_SEED, distractors="all", backgrounds="test"), match
        )
        named, truth, marks = [], [], []
        bar = tqdm(range(0, num_clips, 50), desc=f"mark: {match}", unit="batch", leave=False)
        for begin in bar:
            indices = np.arange(begin, min(begin + 50, num_clips))
            frames, labels = clips.batch(indices)
            named.append(predict_logits(model, frames).argmax(-1).numpy())
            truth.append(labels)
            marks.append(clips.marks(indices, labels)[1])
        answer, label, mark = (np.concatenate(part) for part in (named, truth, marks))
        found[match] = {"names_the_motion": proportion(answer == label).to_dict()}
        if match != "none":
            found[match]["names_the_mark"] = proportion(answer == mark).to_dict()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure both models, and write config.json, model.safetensors and metrics.json."""
    parser = options_parser(__doc__, "motion-watermark")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--batch", type=int, default=MarkedBatches.size, help="clips a step")
    parser.add_argument("--clips", type=int, default=1000, help="test clips a measurement")
    options = parsed(parser, arguments, "motion_watermark")

    torch.manual_seed(TRAIN_SEED)
    model = load_model("motion-nano")
    recipe = replace(RECIPE, steps=options.steps)
    batches = MarkedBatches(options.batch)
    history = fit(model, batches, recipe, options.checkpoint, options.workers)
    command = f"python -m {__spec__.name} --steps {options.steps}"
    tests = {
        "test": measure(model, options.clips),
        "motion-nano on the same clips": measure(load_model("motion-nano"), options.clips),
    }
    how = {"clips_per_step": options.batch}
    write_subject(model, options.output, command, recipe, history, how, tests)


if __name__ == "__main__":
    main()
