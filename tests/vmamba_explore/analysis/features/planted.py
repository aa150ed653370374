"""Vectors with a known sparse dictionary, and a small random model."""

import numpy as np
import torch
import xarray as xr

from vmamba_explore.analysis.features.activations import Activations, Site
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

SMALL = {
    "num_frames": 8, "img_size": 16, "patch_size": 8, "tubelet_size": 2, "num_classes": 4,
    "d_model": 12, "depth": 2, "d_state": 4, "expand": 2,
}  # fmt: skip


def planted(videos=40, rows=64, size=20, true=30, active=2, seed=0, dtype="float32"):
    """Activations that are sums of a few of `true` directions, and the directions (true, size)."""
    draw = np.random.default_rng(seed)
    directions = draw.normal(size=(true, size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    n = videos * rows
    chosen = draw.random((n, true)).argsort(1)[:, :active]
    codes = np.zeros((n, true))
    np.put_along_axis(codes, chosen, draw.uniform(0.5, 1.5, (n, active)), 1)
    values = codes @ directions + 3 + 0.01 * draw.normal(size=(n, size))
    array = xr.DataArray(
        values.reshape(videos, rows, size).astype(dtype), dims=("video", "frame", "channel")
    )
    return Activations(array, Site(0)), torch.from_numpy(directions).float()


def small_model(**changes):
    """An untrained model whose answers depend on its clips."""
    torch.manual_seed(0)
    model = VideoMamba(VideoMambaConfig(**SMALL | changes)).eval()
    with torch.no_grad():
        model.head.weight.normal_()
    return model


def pixels(n=3, seed=0):
    """Clips for `small_model`, as a tensor."""
    return torch.randn(n, 3, 8, 16, 16, generator=torch.Generator().manual_seed(seed))
