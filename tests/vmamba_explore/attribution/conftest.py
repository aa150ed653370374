"""What most methods are tried on."""

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy


@pytest.fixture
def model():
    """Return a model in float64."""
    return toy(dtype=torch.float64)


@pytest.fixture
def clips(model):
    """Return two clips for the model."""
    return clips_for(model)
