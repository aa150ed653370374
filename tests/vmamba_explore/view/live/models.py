"""Small models of every kind for tests of the JavaScript, and what to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vmamba_explore.clips.clip import normalize
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

VARIANTS: dict[str, dict[str, Any]] = {
    "front": {},
    "middle": {"cls_position": "middle"},
    "mean pooling": {"cls_position": None},
    "directions averaged": {"direction_merge": "mean"},
    "forward only": {"backward_order": None, "cls_position": None},
    "spatial": {"backward_order": "spatial"},
    "temporal": {"backward_order": "temporal", "cls_position": None},
    "temporal, class token": {"backward_order": "temporal"},
    "sinusoidal": {"pos_embed": "sinusoidal"},
    "no positions": {"pos_embed": "none", "cls_position": None},
    "spatial table": {"pos_embed": "spatial", "num_frames": 2, "cls_position": "middle"},
    "tables of space and time": {"pos_embed": "spatial_temporal", "tubelet_size": 1},
    "the same, class token in the middle": {
        "pos_embed": "spatial_temporal", "cls_position": "middle",
    },
    "the same, no class token": {"pos_embed": "spatial_temporal", "cls_position": None},
    "long tubelets": {"tubelet_size": 4, "num_frames": 8, "patch_size": 8, "img_size": 24},
    "odd sizes": {
        "d_model": 9, "expand": 3, "d_state": 5, "d_conv": 3, "dt_rank": 2, "num_classes": 7,
        "cls_position": None,
    },
    "one state, one tap": {"d_model": 5, "expand": 1, "d_state": 1, "d_conv": 1, "dt_rank": 1},
    "one token": {"num_frames": 2, "img_size": 16, "cls_position": None},
}  # fmt: skip
"""By name: how each differs from the preset "toy"."""


def model_of(seed: int = 0, **changes: Any) -> VideoMamba:
    """A toy model with random numbers in all its weights."""
    torch.manual_seed(seed)
    model = VideoMamba(VideoMambaConfig.preset("toy", **changes)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


def frames_of(model: VideoMamba, seed: int = 0) -> np.ndarray:
    """Random pixels that the model reads, uint8 (num_frames, height, width, 3)."""
    config = model.config
    size = (config.num_frames, config.img_size, config.img_size, 3)
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def tensor_of(frames: np.ndarray) -> torch.Tensor:
    """The batch of one clip that a model reads."""
    return normalize(frames)[None]


def apart(got: np.ndarray, want: Any) -> float:
    """The largest difference, as a share of the largest value."""
    want = np.asarray(want, np.float64)
    got = np.asarray(got, np.float64).reshape(want.shape)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))
