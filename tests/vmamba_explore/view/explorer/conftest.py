"""Explorations made of plain numbers, and those of a model that was never trained."""

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.explorer import Exploration

LAYERS, FRAMES, ROWS, COLS = (0, 3), 3, 2, 4
SHAPE = (len(LAYERS), 2, FRAMES, ROWS, COLS)


def labeled(values, **attrs):
    coords = {
        "frame": np.arange(FRAMES),
        "clip_frame": ("frame", 2 * np.arange(FRAMES)),
        "seconds": ("frame", 0.25 * np.arange(FRAMES)),
    }
    dims = ("frame", "row", "col")
    if values.ndim == 5:
        coords |= {"layer": list(LAYERS), "direction": ["forward", "backward"]}
        dims = ("layer", "direction", *dims)
    return xr.DataArray(values.astype(np.float32), coords, dims, attrs=attrs)


@pytest.fixture
def make_exploration():
    """Return a function that makes an exploration of 6 clip frames, 2 layers, 3 x 2 x 4 tokens."""

    def make(seed=0, **changes):
        random = np.random.default_rng(seed)
        signed, positive = random.normal(size=SHAPE), random.lognormal(sigma=2, size=SHAPE)
        positive[0, 0, 0] = np.nan
        clip = Clip(
            random.integers(0, 256, (6, 16, 32, 3), dtype=np.uint8),
            np.arange(6) / 8,
            f"clip <b>{seed}</b>.mp4",
            np.arange(6),
        )
        tokens = np.arange(FRAMES * ROWS * COLS).reshape(FRAMES, ROWS, COLS)
        curves = {
            "seen from the start": labeled(random.normal(size=(FRAMES, 1, 1)))[:, 0, 0],
            "seen from the end": labeled(random.normal(size=(FRAMES, 1, 1)))[:, 0, 0],
        }
        for curve, direction in zip(curves.values(), ("forward", "backward"), strict=True):
            curve.attrs = {"unit": "logits", "direction": direction}
        fields = {
            "clip": clip,
            "maps": {
                "contribution": labeled(signed, unit="logits", about="What it adds."),
                "delta": labeled(positive, unit="", log=True),
                "relevance": labeled(random.normal(size=SHAPE[2:]), unit="logits"),
            },
            "curves": curves,
            "classes": [("<i>right</i>", 0.75), ("left", 0.25)],
            "target": "right",
            "explained": (0, None),
            "model": "test model",
            "steps": {"forward": tokens + 1, "backward": tokens.max() - tokens},
            "cls_steps": {"forward": 0, "backward": tokens.size},
        }
        return Exploration(**(fields | changes))

    return make


@pytest.fixture(scope="package")
def motion():
    """Return a motion clip, and a function that explores one through an untrained model."""
    torch.manual_seed(0)
    config = VideoMambaConfig(
        num_frames=8, img_size=32, patch_size=8, d_model=16, depth=2, num_classes=10
    )
    model = VideoMamba(config).eval()
    question = Question(target=1, quantities=["delta"], progress=False)
    clip = MotionClips(3, num_frames=8, img_size=32)[0]
    return clip, lambda clip, **options: gather(model, clip, question, **options)


class Counted:
    """Numbers that keep what they were asked; functions given by name answer in their place."""

    def __init__(self, numbers, **instead):
        self.numbers, self.instead, self.asked = numbers, instead, []

    def __getattr__(self, name):
        def answer(*question):
            self.asked.append((name, *question))
            return self.instead.get(name, getattr(self.numbers, name))(*question)

        return answer


@pytest.fixture(scope="session")
def counted():
    """Return `Counted`."""
    return Counted
