"""Train and measure the bundled model `camera-nano`: `make camera-model`.

It names what the camera does in a clip. It learns from clips that a virtual camera films over
photographs; a second head, thrown away in the end, lets each token say how the camera moves the
content under it. The run can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore import resources
from vmamba_explore.clips.camera import CLASS_NAMES
from vmamba_explore.clips.clip import normalize
from vmamba_explore.files import output_path
from vmamba_explore.model.checkpoints import save_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.subjects.camera_batches import FIRST, NEW, CameraBatches, Store
from vmamba_explore.studies.subjects.photographs import FOLDER, fetched
from vmamba_explore.training.fit import fit
from vmamba_explore.training.recipe import Recipe

logger = logging.getLogger(__name__)

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
RECIPE = Recipe(steps=6500, warmup=0.03)
TRAIN_SEED = 0
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
    """Let half of the patch filters start with seeing change only, the others structure only.

    Each is scaled to the same size of response on real frames. Filters drawn at random see mean
    colors above all, and learn for hundreds of steps to look at what moves.
    """
    with torch.no_grad():
        weight = model.patch_embed.proj.weight  # (filters, colors, frames, height, width)
        change, structure = weight[: len(weight) // 2], weight[len(weight) // 2 :]
        change -= change.mean(2, keepdim=True)
        structure[:] = structure.mean(2, keepdim=True)
        structure -= structure.mean((3, 4), keepdim=True)
        gray = weight.mean(1, keepdim=True)
        weight[:] = gray + 0.3 * (weight - gray)
        size = model.patch_embed(normalize(frames)).std((0, 1))
        weight /= 2 * size[:, None, None, None, None]


def new_model(batches: CameraBatches, config: VideoMambaConfig = CONFIG) -> VideoMamba:
    """A model with the classes' names, ready to be trained."""
    torch.manual_seed(TRAIN_SEED)
    model = VideoMamba(config)
    model.class_names = CLASS_NAMES
    set_filters(model, np.stack([batches.store(i)[0] for i in range(0, FIRST, 16)]))
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write config.json, model.safetensors and metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=resources.data_dir() / "camera-nano")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/camera-nano.pt"))
    parser.add_argument("--clips", type=Path, default=Path("runs/camera-clips"))
    parser.add_argument("--photographs", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    options = parser.parse_args(arguments)
    output_path(options.output, "camera_nano", folder=True, parents=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    recipe = replace(RECIPE, steps=options.steps)
    photographs = fetched("train", options.photographs)
    size = FIRST + NEW * (RECIPE.steps + 1)
    batches = CameraBatches(Store(options.clips, TRAIN_SEED, photographs, size))
    model = new_model(batches)
    objective = CameraLoss(model)
    fit(model, batches, recipe, options.checkpoint, options.workers, objective=objective)
    save_model(model, options.output)


if __name__ == "__main__":
    main()
