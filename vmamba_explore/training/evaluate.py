"""A model's answers for many labeled clips."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.model.videomamba import VideoMamba


def predict_logits(
    model: VideoMamba, frames: NDArray[np.uint8], batch_size: int = 50, desc: str | None = None
) -> Tensor:
    """Run a model over many clips.

    Args:
        model: The model.
        frames: uint8 (n, num_frames, H, W, 3).
        batch_size: Clips at a time.
        desc: Label of the progress bar; None shows none.
    Returns:
        Logits (n, num_classes) on the CPU.
    """
    device = model.head.weight.device
    starts = range(0, len(frames), batch_size)
    with torch.inference_mode():
        return torch.cat(
            [
                model(normalize(frames[i : i + batch_size]).to(device)).cpu()
                for i in tqdm(starts, desc=desc, disable=desc is None, unit="batch", leave=False)
            ]
        )


def within_pair(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the right class of each time-reversed pair (2k, 2k + 1) scores higher, (n,)."""
    label = torch.from_numpy(labels)
    right = logits.gather(1, label[:, None]) > logits.gather(1, (label ^ 1)[:, None])
    return right[:, 0].numpy()
