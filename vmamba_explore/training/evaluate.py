"""How right a model is on labelled clips, with intervals."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.model.videomamba import VideoMamba


@dataclass(frozen=True)
class Proportion:
    """A share of right answers with its 95 % Wilson interval.

    Args:
        value: The share, 0..1.
        low: Lower end.
        high: Upper end.
        n: Answers counted.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float]:
        """Plain values, rounded to 4 digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def proportion(right: NDArray[np.bool_] | Tensor) -> Proportion:
    """Count right answers.

    Source:
        Wilson 1927, JASA 22:209, with z = 1.96.
    """
    n, z = len(right), 1.96
    if n == 0:
        raise ValueError("proportion: no answers to count.")
    share = float(np.asarray(right).mean())
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Proportion(share, max(0.0, center - half), min(1.0, center + half), n)


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
