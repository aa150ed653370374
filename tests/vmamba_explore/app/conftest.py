"""Small models and clips for the explorer."""

import numpy as np
import pytest
import torch

from vmamba_explore.clips import Clip
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba


@pytest.fixture(scope="session")
def small_model():
    """Return a function that makes a random model: 4 x 4 x 4 tokens, 2 layers, 5 classes."""

    def make(**changes):
        torch.manual_seed(0)
        fields = {
            "num_frames": 8, "img_size": 32, "patch_size": 8, "d_model": 16, "depth": 2,
            "num_classes": 5,
        }  # fmt: skip
        return VideoMamba(VideoMambaConfig(**(fields | changes))).eval()

    return make


@pytest.fixture(scope="session")
def noise_clip():
    """Return a function that makes the random clip that fits a model."""

    def make(model, seed=0, **changes):
        config = model.config
        shape = (config.num_frames, config.img_size, config.img_size, 3)
        frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        numbers = np.arange(config.num_frames)
        fields = {"frames": frames, "seconds": numbers / 8, "indices": numbers}
        return Clip(**({"source": f"noise {seed}"} | fields | changes))

    return make


@pytest.fixture
def model(small_model):
    """Return a model of its own for each test."""
    return small_model()
