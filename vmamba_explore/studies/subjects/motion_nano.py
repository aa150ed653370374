"""Train and measure the bundled model `motion-nano`: `make demo-model`.

It learns to name the motion of the ringed object in motion clips. Every batch holds clips together
with their time-reversed twins: within such a pair only the order of the frames tells the classes
apart, so order is what the gradient speaks about. The run can be stopped and started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips, shuffle_window
from vmamba_explore.intervals import proportion
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.controls import (
    Look,
    Looked,
    all_frames,
    single_frames,
    train_controls,
)
from vmamba_explore.studies.subjects.making import (
    TEST_SEED,
    TRAIN_SEED,
    options_parser,
    parsed,
    verdict,
    write_subject,
)
from vmamba_explore.training.evaluate_videos import predict_logits, within_pair
from vmamba_explore.training.fit import Recipe, fit

CONFIG = VideoMambaConfig(
    num_frames=16,
    img_size=64,
    patch_size=8,
    tubelet_size=2,
    num_classes=len(CLASS_NAMES),
    d_model=64,
    depth=6,
)
RECIPE = Recipe(steps=3600, token_loss=0.8)
PAIRS = 16  # clips a batch, each beside its twin
EASY_SHARE = 0.3  # of the steps, at the start, without distractors


@dataclass(frozen=True)
class MotionBatches:
    """The batch of each step: clips and their twins; after a while half of them with distractors.

    Args:
        steps: Steps of the run; the first `EASY_SHARE` of them have no distractors.
        pairs: Clips of a batch, each beside its twin.
        seed: Of the clips.

    `batches(step)` gives frames uint8 (2 * pairs, num_frames, H, W, 3), labels int64 (2 * pairs,).
    """

    steps: int
    pairs: int = PAIRS
    seed: int = TRAIN_SEED

    def __call__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        distractors: Any = "none" if step < EASY_SHARE * self.steps else "half"
        clips = MotionClips(self.seed, distractors=distractors)
        indices = np.arange(step * self.pairs, (step + 1) * self.pairs)
        frames, labels = clips.batch(indices)
        twins = frames.copy()  # a twin is the clip with its window played backwards
        for twin, (first, last) in zip(twins, clips.plan(indices).windows, strict=True):
            twin[first : last + 1] = twin[first : last + 1][::-1].copy()
        return np.concatenate([frames, twins]), np.concatenate([labels, labels ^ 1])


def measure(model: VideoMamba, num_clips: int = 2000, control_steps: int = 400) -> dict[str, Any]:
    """Measure a model on fresh clips over unseen photographs, with every control.

    Args:
        model: The model.
        num_clips: Test clips a measurement.
        control_steps: Training steps of each control classifier.
    Returns:
        Proportions with 95 % intervals, ready for JSON. `within_pair` counts, for each clip,
        whether its class scores above the class of the time-reversed motion.
    """
    metrics: dict[str, Any] = {}
    generator = np.random.default_rng(TEST_SEED)
    for name in ("none", "all"):
        clips = MotionClips(TEST_SEED, distractors=name, backgrounds="test")
        right: dict[str, list[NDArray[np.bool_]]] = {}
        per_class = []
        for begin in tqdm(range(0, num_clips, 50), desc=f"distractors: {name}", unit="batch"):
            indices = np.arange(begin, min(begin + 50, num_clips))
            frames, labels = clips.batch(indices)
            reversed_frames, reversed_labels = clips.batch(indices, True)
            windows = clips.plan(indices).windows
            shuffled = np.stack(
                [
                    shuffle_window(f, (int(a), int(b)), generator)
                    for f, (a, b) in zip(frames, windows, strict=True)
                ]
            )
            logits = predict_logits(model, frames)
            right.setdefault("top1", []).append(logits.argmax(-1).numpy() == labels)
            right.setdefault("within_pair", []).append(within_pair(logits, labels))
            backwards = predict_logits(model, reversed_frames).argmax(-1).numpy()
            right.setdefault("top1_reversed", []).append(backwards == reversed_labels)
            right.setdefault("within_pair_shuffled_window", []).append(
                within_pair(predict_logits(model, shuffled), labels)
            )
            per_class.append(labels)
        shares = {key: proportion(np.concatenate(value)) for key, value in right.items()}
        result: dict[str, Any] = {key: share.to_dict() for key, share in shares.items()}
        result["reversed_over_forward"] = round(
            shares["top1_reversed"].value / max(shares["top1"].value, 1e-9), 4
        )
        top1, truth = np.concatenate(right["top1"]), np.concatenate(per_class)
        result["top1_by_class"] = {
            word: round(float(top1[truth == k].mean()), 4)
            for k, word in enumerate(CLASS_NAMES)
            if (truth == k).any()
        }
        metrics["without_distractors" if name == "none" else "with_distractors"] = result
    metrics["controls"] = _controls(num_clips, control_steps)
    metrics["verdicts"] = _verdicts(metrics)
    return metrics


def _verdicts(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was asked of the clips and the model, and whether it was measured."""
    verdicts = {}
    chance = 1 / len(CLASS_NAMES)

    def judge(name: str, value: float, low: float, high: float) -> None:
        verdicts[name] = verdict(value, low, high)

    for part, share in (("without_distractors", 0.95), ("with_distractors", 0.85)):
        result = metrics[part]
        judge(f"{part}: top1", result["top1"]["value"], share, 1.0)
        judge(f"{part}: reversed over forward", result["reversed_over_forward"], 0.95, 99.0)
        shuffled = result["within_pair_shuffled_window"]["value"]
        judge(f"{part}: within pair, window shuffled", shuffled, 0.47, 0.53)
    controls = metrics["controls"]
    for name in ("one_frame_and_index", "background"):
        judge(f"{name}: top1", controls[name]["top1"]["value"], 0.0, chance + 0.03)
    judge("order_free: within pair", controls["order_free"]["within_pair"]["value"], 0.47, 0.53)
    return verdicts


def _controls(num_clips: int, steps: int) -> dict[str, Any]:
    """Classifiers on one frame and its index, on the background, and on a bag of frames."""
    train, test = MotionClips(2), MotionClips(TEST_SEED, backgrounds="test")
    looks = {
        "one_frame_and_index": Look(
            partial(single_frames, train, 4), partial(single_frames, test, 1), use_index=True
        ),
        "background": Look(partial(_background, train), partial(_background, test)),
        "order_free": Look(partial(all_frames, train), partial(all_frames, test)),
    }
    return {
        name: {
            "top1": proportion(predicted == labels).to_dict(),
            "within_pair": proportion(within_pair(logits, labels)).to_dict(),
        }
        for name, predicted, labels, logits in train_controls(
            looks,
            num_frames=CONFIG.num_frames,
            num_classes=len(CLASS_NAMES),
            steps=steps,
            num_test=num_clips,
        )
    }


def _background(clips: MotionClips, indices: NDArray[np.int64]) -> Looked:
    pictures = np.stack([clips.background(int(i)) for i in indices])[:, None]
    labels = torch.from_numpy(clips.plan(indices).labels)
    return pictures, np.zeros((len(indices), 1), np.int64), labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write config.json, model.safetensors and metrics.json."""
    parser = options_parser(__doc__, "motion-nano")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, default=2000, help="test clips a measurement")
    parser.add_argument("--control-steps", type=int, default=400, help="of each control")
    options = parsed(parser, arguments, "motion_nano")

    torch.manual_seed(TRAIN_SEED)
    model = VideoMamba(CONFIG).to(options.device)
    model.class_names = CLASS_NAMES
    recipe = replace(RECIPE, steps=options.steps)
    history = fit(model, MotionBatches(recipe.steps), recipe, options.checkpoint, options.workers)
    command = f"python -m vmamba_explore.studies.subjects.motion_nano --steps {options.steps}"
    how = {"clips_per_step": 2 * PAIRS, "steps_without_distractors": EASY_SHARE}
    tests = {"test": measure(model, options.clips, options.control_steps)}
    write_subject(model, options.output, command, recipe, history, how, tests)


if __name__ == "__main__":
    main()
