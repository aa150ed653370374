"""The paper's experiments on motion clips, in a reduced form that a CPU finishes in minutes.

Each arm is one change to one small model; each run is an arm with a seed. Clips come beside their
time-reversed twins, so order is all that tells a class from its partner. Runs stop and go on at any
step, and a finished run is never repeated: `vmamba-explore experiment all`.
"""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.clips.motion import CLASS_NAMES, MotionClips
from vmamba_explore.clips.motion_plan import TURN
from vmamba_explore.clips.sampling import frame_order
from vmamba_explore.errors import shown
from vmamba_explore.files import output_path, read_json, write_json
from vmamba_explore.intervals import proportion
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.inflate import inflate
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.training.evaluate_videos import predict_logits, within_pair
from vmamba_explore.training.fit import Recipe, fit

logger = logging.getLogger(__name__)

NUM_CLASSES = 4  # right, left, down, up
SOURCE_FRAMES = 16  # of a motion clip; fewer are cut from its middle
CONFIG = VideoMambaConfig(
    num_frames=SOURCE_FRAMES,
    img_size=32,
    patch_size=8,
    tubelet_size=2,
    num_classes=NUM_CLASSES,
    d_model=64,
    depth=4,
)
RECIPE = Recipe(steps=400, learning_rate=3e-3, token_loss=0.8)
PAIRS = 16  # clips a batch, each beside its twin
TEST_SEED, TEST_CLIPS = 1_000_003, 1000
BINS = 4  # of each coordinate, for the image model
IMAGE_CONFIG = replace(
    CONFIG,
    num_frames=1,
    tubelet_size=1,
    num_classes=BINS * BINS,
    cls_position="middle",
    direction_merge="mean",
    pos_embed="spatial",
)
IMAGE_RECIPE = Recipe(steps=1000, learning_rate=2e-3)
IMAGE_SEED = 2_000_003


@dataclass(frozen=True)
class Arm:
    """One way to train, and what the paper measured for it.

    Args:
        changes: To the configuration.
        order: Of the frames, in training and in the test.
        from_image: Whether it starts from the image model that names where the object stands.
        paper: Top-1 in per cent by data set, arXiv:2407.08476.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    order: str = "sequential"
    from_image: bool = False
    paper: dict[str, float] = field(default_factory=dict)

    def config(self) -> VideoMambaConfig:
        """The configuration that is trained."""
        changes = dict(self.changes)
        if "d_model" in changes:
            changes.setdefault("dt_rank", None)
        return replace(CONFIG, **changes)


def _position(name: str, ssv2: float, hmdb51: float) -> Arm:
    return Arm({"pos_embed": name}, from_image=True, paper={"SSv2": ssv2, "HMDB51": hmdb51})


def _backward(name: str, ssv2: float, hmdb51: float) -> Arm:
    changes = {"backward_order": name, "cls_position": None}
    return Arm(changes, paper={"SSv2": ssv2, "HMDB51": hmdb51})


EXPERIMENTS: dict[str, dict[str, Arm]] = {
    "frame_order": {
        "sequential": Arm(paper={"HMDB51": 58.9}),
        "block_wise": Arm(order="block_wise", paper={"HMDB51": 56.5}),
        "pairwise": Arm(order="pairwise", paper={"HMDB51": 53.5}),
        "interleaved": Arm(order="interleaved", paper={"HMDB51": 51.3}),
    },
    "backward_order": {
        "spatiotemporal": _backward("spatiotemporal", 64.7, 55.2),
        "temporal": _backward("temporal", 63.3, 52.9),
        "spatial": _backward("spatial", 61.9, 43.3),
    },
    "pos_embed": {
        "temporal_expanding": _position("temporal_expanding", 63.7, 58.9),
        "embedding_interpolation": _position("embedding_interpolation", 63.6, 51.5),
        "token_interpolation": _position("token_interpolation", 63.6, 49.4),
        "random": _position("random", 63.4, 47.9),
        "sinusoidal": _position("sinusoidal", 63.3, 47.5),
        "none": _position("none", 63.2, 48.7),
    },
    "frames": {
        "16": Arm(paper={"SSv2": 63.7, "HMDB51": 58.9}),
        "8": Arm({"num_frames": 8}, paper={"SSv2": 61.0, "HMDB51": 52.7}),
        "4": Arm({"num_frames": 4}),
    },
    "width": {
        "64": Arm(paper={"SSv2": 63.7, "HMDB51": 68.6}),
        "32": Arm({"d_model": 32}, paper={"SSv2": 54.6, "HMDB51": 56.5}),
    },
}


@dataclass(frozen=True)
class OrderedBatches:
    """The batch of each step: motion clips of four classes beside their twins, frames reordered.

    `batches(step)` gives frames uint8 (2 * pairs, num_frames, H, W, 3), labels int64 (2 * pairs,).

    Args:
        arm: Which frames, and in which order.
        seed: Of the clips.
        pairs: Clips of a batch, each beside its twin.
        backgrounds: Which photographs stand behind.
    """

    arm: Arm
    seed: int
    pairs: int = PAIRS
    backgrounds: Literal["train", "test"] = "train"

    def __call__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        clips = MotionClips(
            self.seed,
            num_frames=SOURCE_FRAMES,
            img_size=CONFIG.img_size,
            distractors="none",
            backgrounds=self.backgrounds,
        )
        # Labels are drawn evenly from ten classes: of ten times as many, take the first that fit.
        pool = np.arange(step * self.pairs * 10, (step + 1) * self.pairs * 10)
        chosen = pool[clips.plan(pool).labels < NUM_CLASSES][: self.pairs]
        frames, labels = clips.batch(chosen)
        twins, twin_labels = clips.batch(chosen, True)
        both = np.concatenate([frames, twins])[:, shown_frames(self.arm)]
        return both, np.concatenate([labels, twin_labels])


@dataclass(frozen=True)
class PoseBatches:
    """Single frames, labeled by where the ringed object stands: its row and column among 4 x 4.

    `batches(step)` gives frames uint8 (8 * clips, 1, H, W, 3) and labels int64 (8 * clips,).
    """

    seed: int = IMAGE_SEED
    clips: int = 8

    def __call__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        source = MotionClips(self.seed, num_frames=8, img_size=CONFIG.img_size, distractors="none")
        indices = np.arange(step * self.clips, (step + 1) * self.clips)
        frames, _ = source.batch(indices)
        col, row = np.moveaxis(source.plan(indices).target.poses[..., :2] * BINS // TURN, -1, 0)
        return frames.reshape(-1, 1, *frames.shape[2:]), (row * BINS + col).reshape(-1)


def shown_frames(arm: Arm) -> NDArray[np.int64]:
    """Which frames of a motion clip an arm sees, in its order: the middle ones, where it has fewer,
    at the same distance in time (as the paper's stride of two)."""
    wanted = arm.config().num_frames
    return frame_order(wanted, arm.order) + (SOURCE_FRAMES - wanted) // 2


def train_image_model(checkpoint: Path, recipe: Recipe = IMAGE_RECIPE) -> VideoMamba:
    """Train the small image model that the position-embedding arms start from, or go on with it."""
    torch.manual_seed(IMAGE_SEED)
    model = VideoMamba(IMAGE_CONFIG)
    fit(model, PoseBatches(), recipe, checkpoint)
    return model


def run_arm(
    arm: Arm,
    seed: int,
    checkpoint: Path,
    image_model: VideoMamba | None = None,
    recipe: Recipe = RECIPE,
    test_clips: int = TEST_CLIPS,
) -> dict[str, Any]:
    """Train one arm with one seed, or go on where `checkpoint` stopped, and test it.

    Args:
        arm: What to train.
        seed: Of weights and clips.
        checkpoint: Holds the run while it lasts.
        image_model: What `from_image` arms start from.
        recipe: How long, how fast.
        test_clips: How many to test on; rounded up to whole batches.
    Returns:
        top1 and within_pair on unseen clips over unseen photographs, each with its 95 % interval;
        the training's history and seconds; the fingerprint of the trained model.
    """
    torch.manual_seed(seed)
    config = arm.config()
    if arm.from_image:
        if image_model is None:
            raise ValueError("run_arm: this arm starts from an image model; got None.")
        model = inflate(image_model, config)
    else:
        model = VideoMamba(config)
    history = fit(model, OrderedBatches(arm, seed), recipe, checkpoint)
    logits, labels = [], []
    unseen = OrderedBatches(arm, TEST_SEED, backgrounds="test")
    for step in range(math.ceil(test_clips / (2 * PAIRS))):
        frames, label = unseen(step)
        logits.append(predict_logits(model, frames))
        labels.append(label)
    scores, truth = torch.cat(logits), np.concatenate(labels)
    return {
        "top1": proportion(scores.argmax(-1).numpy() == truth).to_dict(),
        "within_pair": proportion(within_pair(scores, truth)).to_dict(),
        "seconds": history[-1]["seconds"] if history else None,
        "history": history,
        "fingerprint": fingerprint(model),
    }


def key_of(arm: Arm, seed: int) -> str:
    """What tells a run from all others; arms that are the same share their runs."""
    changes = ",".join(f"{k}={v}" for k, v in sorted(arm.changes.items()))
    start = "image" if arm.from_image else "random"
    return f"{changes or 'baseline'} {arm.order} {start} seed={seed}"


def run_experiments(
    names: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    scratch: Path,
    command: str,
    recipe: Recipe = RECIPE,
    image_recipe: Recipe = IMAGE_RECIPE,
    test_clips: int = TEST_CLIPS,
) -> dict[str, Any]:
    """Make the runs of some experiments that `output` does not hold yet.

    Args:
        names: Of `EXPERIMENTS`.
        seeds: One run of every arm for each.
        output: JSON file of all runs; written anew after every run.
        scratch: Folder of unfinished runs.
        command: Noted in the file.
        recipe: Of the runs.
        image_recipe: Of the image model.
        test_clips: See `run_arm`.
    Returns:
        What the file holds.
    Raises:
        ValueError: an unknown experiment, or the file holds runs of another recipe.
    """
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(
                f"run_experiments: no experiment {shown(name)}; there are {', '.join(EXPERIMENTS)}."
            )
    output_path(output, "run_experiments", parents=True)
    output_path(scratch, "run_experiments", folder=True, parents=True)
    found = _read(output, recipe)
    found["command"] = command
    wanted = {
        key_of(arm, seed): (arm, seed)
        for seed in seeds
        for name in names
        for arm in EXPERIMENTS[name].values()
    }
    todo = {key: run for key, run in wanted.items() if key not in found["runs"]}
    image_model = None
    if any(arm.from_image for arm, _ in todo.values()):
        image_model = train_image_model(scratch / "image-model.pt", image_recipe)
        found["image_model"] = _image_report(image_model, image_recipe)
    for key, (arm, seed) in tqdm(todo.items(), desc="runs", unit="run"):
        name = key.replace(" ", "-").replace("=", "-").replace(",", "-")
        checkpoint = scratch / f"{name}.pt"
        found["runs"][key] = run_arm(arm, seed, checkpoint, image_model, recipe, test_clips)
        write_json(output, found)
        checkpoint.unlink(missing_ok=True)
        logger.info("%s: top1 %.3f", key, found["runs"][key]["top1"]["value"])
    return found


def _image_report(image_model: VideoMamba, recipe: Recipe) -> dict[str, Any]:
    frames, labels = zip(*(PoseBatches(TEST_SEED)(step) for step in range(16)), strict=True)
    right = predict_logits(image_model, np.concatenate(frames)).argmax(-1).numpy()
    return {
        "config": IMAGE_CONFIG.to_dict(),
        "recipe": vars(recipe),
        "top1": proportion(right == np.concatenate(labels)).to_dict(),
        "chance": 1 / (BINS * BINS),
    }


def _read(output: Path, recipe: Recipe) -> dict[str, Any]:
    fresh = {
        "config": CONFIG.to_dict(),
        "recipe": vars(recipe),
        "clips": f"motion clips, {', '.join(CLASS_NAMES[:NUM_CLASSES])}, {PAIRS} and their twins "
        "a step, no distractor; tested on unseen clips over unseen photographs",
        "chance": 1 / NUM_CLASSES,
        "machine": f"cpu, {platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "runs": {},
    }
    if not output.is_file():
        return fresh
    found = read_json(output, dict, "run_experiments")
    found["recipe"] = {**vars(Recipe()), **found.get("recipe", {})}  # older ones lack newer fields
    for name in ("config", "recipe"):
        if found.get(name) != fresh[name]:
            raise ValueError(
                f"run_experiments: {output} holds runs of another {name}. Name another --output, "
                "or remove the file."
            )
    return found
