"""Golden files of the two sister projects."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

FOLDER = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def load_golden():
    """Return a function that gives a golden file's configuration, state dict and all tensors."""

    def load(name):
        with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            config = json.loads(file.metadata()["config"])
        state = {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith("state_dict.")}
        return config, state, tensors

    return load
