"""Train and measure the bundled model `camera-nano`: `make camera-model`.

It names what the camera does in a clip. It learns from clips that a virtual camera films over
photographs; a second head, thrown away in the end, lets each token say how the camera moves the
content under it. The run can be stopped and resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.clips.camera import CLASS_NAMES
from vmamba_explore.clips.camera_path import MIXED, Level
from vmamba_explore.clips.clip import normalize
from vmamba_explore.intervals import proportion
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.camera_batches import (
    EASY_CLIPS,
    EASY_STEPS,
    CameraBatches,
    Clips,
    Store,
    clips_of,
    clips_until,
)
from vmamba_explore.studies.subjects.camera_scores import (
    Answers,
    best_temperature,
    best_threshold,
    fold_temperature,
    judge,
)
from vmamba_explore.studies.subjects.making import options_parser, parsed, write_subject
from vmamba_explore.studies.subjects.photographs import FOLDER, fetch, fetched
from vmamba_explore.studies.subjects.real_windows import (
    ask,
    judge_windows,
    phase_correlation,
    read_windows,
    reference,
)
from vmamba_explore.training.evaluate_videos import predict_logits
from vmamba_explore.training.fit import History, fit
from vmamba_explore.training.recipe import Recipe

CONFIG = VideoMambaConfig(
    num_frames=16,
    img_size=64,
    patch_size=8,
    tubelet_size=4,
    num_classes=len(CLASS_NAMES),
    d_model=64,
    depth=6,
    cls_position=None,
)


@dataclass(frozen=True)
class Run:
    """A part of the training, from the weights of the part before.

    Args:
        recipe: How.
        until: The step that ends it, which may be before the recipe does.
        focus: Whether its batches dwell on what is hard.
    """

    recipe: Recipe
    until: int
    focus: bool = False


RUNS = (
    Run(Recipe(steps=5500, warmup=0.03), 5500),
    Run(Recipe(steps=3600, learning_rate=1e-3, warmup=0.03), 2300),
    Run(Recipe(steps=2200, learning_rate=7e-4, warmup=0.03), 2200, focus=True),
)
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 0, 1, 2
TESTED: tuple[Level, ...] = ("usual", "hard")
FLOW_WEIGHT = 1.0


class CameraLoss(nn.Module):
    """Cross-entropy with soft targets, and each token's own account of the camera's flow.

    Args:
        model: The model.

    `loss(clips, labels, progress, targets, flows)` maps normalized clips and the truth of
    `CameraBatches` to the loss, (), and the logits, (batch, 10).
    """

    def __init__(self, model: VideoMamba) -> None:
        super().__init__()
        self.model = model
        self.flow_head = nn.Linear(model.config.d_model, 2)

    def forward(
        self, clips: Tensor, labels: Tensor, progress: float, targets: Tensor, flows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits."""
        model = self.model
        residual = model.encode(clips)
        logits = model.read_out(residual)
        video, _ = model.grid.split(residual, dim=1)
        told = self.flow_head(model.norm_f(video.flatten(1, 3)))
        flow_loss = F.smooth_l1_loss(told, flows, beta=0.5)
        return F.cross_entropy(logits, targets) + FLOW_WEIGHT * flow_loss, logits


def set_filters(model: VideoMamba, frames: NDArray[np.uint8]) -> None:
    """Start the patch filters as random mixtures of five that movement can be read from.

    They see, in gray, the slope of the brightness to the right and down, its change with time, and
    the changes of both slopes: a patch's shift is the ratio of a change and a slope. Half of the
    filters see mainly slopes, half mainly changes, each with a response of about 1 on real frames,
    and a tenth of what was drawn before. From filters drawn at random, or from an even choice of
    spatial frequencies, products of two responses hardly ever tell a direction, and training stays
    at chance for hundreds of steps.
    """
    with torch.no_grad():
        weight = model.patch_embed.proj.weight  # (filters, colors, frames, height, width)
        length, side = weight.shape[2], weight.shape[3]
        time = torch.arange(length) - (length - 1) / 2
        place = torch.arange(side) - (side - 1) / 2
        hill = torch.exp(-((place / (0.35 * side)) ** 2) / 2)
        slope = place * hill
        shapes = [hill[:, None] * slope, slope[:, None] * hill, hill[:, None] * hill]
        kept, change = torch.ones(length)[:, None, None], time[:, None, None]
        pairs = ((kept, 0), (kept, 1), (change, 2), (change, 0), (change, 1))
        basis = torch.stack([when * shapes[i] for when, i in pairs])[:, None]
        basis = basis.expand(-1, 3, -1, -1, -1)
        drawn = weight.clone()
        weight[: len(basis)] = basis
        basis = basis / model.patch_embed(normalize(frames)).std((0, 1))[:5, None, None, None, None]
        half = len(weight) // 2
        mixture = torch.randn(len(weight), 5) * torch.tensor([1, 1, 1, 0.5, 0.5])
        mixture[:half, 2:] *= 0.3
        mixture[half:, :2] *= 0.3
        weight[:] = torch.einsum("fb,bcthw->fcthw", mixture, basis)
        weight += 0.1 * drawn * weight.std() / drawn.std()
        size = model.patch_embed(normalize(frames)).std((0, 1))
        weight /= 2 * size[:, None, None, None, None]


def new_model(batches: CameraBatches, config: VideoMambaConfig = CONFIG) -> VideoMamba:
    """A model with the classes' names, ready to be trained."""
    torch.manual_seed(TRAIN_SEED)
    model = VideoMamba(config)
    model.class_names = CLASS_NAMES
    set_filters(model, np.stack([batches.store(i)[0] for i in range(0, EASY_CLIPS, 33)]))
    return model


def calibrate(model: VideoMamba, clips: Sequence[Clips]) -> dict[str, Any]:
    """Fold the best temperature into a model's head, and choose the threshold for "mixed".

    Args:
        model: The model, changed in place.
        clips: Camera clips over unseen photographs.
    Returns:
        `temperature` and `undecided_below`.
    """
    frames, labels, targets = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    logits = predict_logits(model, frames, desc="calibration").double().numpy()
    temperature = best_temperature(logits, targets)
    fold_temperature(model, temperature)
    answers = Answers(_softmax(logits / temperature), labels, labels.astype(str))
    return {"temperature": round(temperature, 4), "undecided_below": best_threshold(answers)}


def measure_clips(model: VideoMamba, clips: Clips, threshold: float) -> dict[str, Any]:
    """Scores on camera clips; what is said about mixed ones apart, see `judge`."""
    frames, labels, _ = clips
    probabilities = _softmax(predict_logits(model, frames, desc="camera clips").double().numpy())
    mixed = labels == MIXED
    answers = Answers(probabilities, labels, np.arange(len(labels)).astype(str))
    sure = probabilities.max(1) >= threshold
    return {
        **judge(answers[~mixed], threshold),
        "mixed": {
            "undecided": proportion(~sure[mixed]).to_dict(),
            "undecided_of_clear_ones": proportion(~sure[~mixed]).to_dict(),
        },
    }


def measure_films(model: VideoMamba, folder: Path, threshold: float) -> dict[str, Any]:
    """Scores on windows of real films, beside those of two methods without learning."""
    windows = read_windows(folder)
    frames = np.stack([window.frames for window in windows])
    probabilities = _softmax(predict_logits(model, frames, desc="real windows").double().numpy())
    others = {"reference": reference, "phase_correlation": phase_correlation}
    judged = {"model": judge_windows(windows, probabilities, threshold)}
    for name, method in others.items():
        answers = judge_windows(windows, ask(windows, method, name), 0.5)
        judged[name] = {key: value for key, value in answers.items() if key != "reliability"}
    return judged


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).softmax(-1).numpy()


def shortened(run: Run, share: float) -> Run:
    """The same run with a share of its steps."""
    steps, until = (max(1, round(share * value)) for value in (run.recipe.steps, run.until))
    return replace(run, recipe=replace(run.recipe, steps=steps), until=until)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, calibrate, measure, and write config.json, model.safetensors and metrics.json."""
    parser = options_parser(__doc__, "camera-nano")
    parser.add_argument("--clips", type=Path, default=Path("runs/camera-clips"))
    parser.add_argument("--photographs", type=Path, default=FOLDER)
    parser.add_argument("--films", type=Path, help="folder of windows of real films, truth.json")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each run")
    parser.add_argument("--tests", type=int, default=1100, help="clips of a measurement")
    options = parsed(parser, arguments, "camera_nano")

    fetch(options.photographs)
    runs = [shortened(run, options.share) for run in RUNS]
    photographs = fetched("train", options.photographs)
    size = clips_until(sum(run.until for run in runs) + 1)
    batches = CameraBatches(Store(options.clips, TRAIN_SEED, photographs, size))
    model = new_model(batches)
    objective = CameraLoss(model)
    history: History = []
    for number, run in enumerate(runs, 1):
        name = options.checkpoint.with_stem(f"{options.checkpoint.stem}-{number}")
        source = replace(batches, start=sum(earlier.until for earlier in runs[: number - 1]))
        source = replace(source, focus=run.focus)
        rows = fit(
            model, source, run.recipe, name, options.workers, until=run.until, objective=objective
        )
        before = history[-1]["seconds"] if history else 0
        history += [
            {**row, "step": source.start + row["step"], "seconds": before + row["seconds"]}
            for row in rows
        ]

    unseen = fetched("test", options.photographs)
    chosen = [clips_of(unseen, VALIDATION_SEED, level, options.tests // 2) for level in TESTED]
    calibration = calibrate(model, chosen)
    threshold = calibration["undecided_below"]
    tests: dict[str, Any] = {"calibration": calibration}
    for level in TESTED:
        clips = clips_of(unseen, TEST_SEED, level, options.tests)
        tests[f"{level}_clips"] = measure_clips(model, clips, threshold)
    if options.films is not None:
        tests["real_windows"] = measure_films(model, options.films, threshold)
    how = {
        "runs": [asdict(run) for run in runs],
        "clips_per_step": batches.batch_size,
        "clips": size,
        "steps_with_easy_clips": EASY_STEPS,
        "photographs": len(photographs),
        "unseen_photographs": len(unseen),
        "flow_weight": FLOW_WEIGHT,
    }
    command = "make camera-model"
    write_subject(model, options.output, command, runs[-1].recipe, history, how, tests)


if __name__ == "__main__":
    main()
