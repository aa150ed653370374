"""Where the tests of the GPU kernels run, and on what."""

from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

from tests.vmamba_kernels.interpreter import fast_interpreter
from tests.vmamba_kernels.scan.gpu_runs import to


@pytest.fixture(scope="module")
def triton_runs(require):
    """Triton is there, and its interpreter, where there is no GPU, is quick."""
    if find_spec("triton") is None:
        require("triton", "triton is not installed")
    with fast_interpreter():
        yield


@pytest.fixture(scope="module")
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def inputs_for(scan_inputs, device):
    """Return a function: the inputs of a scan, on the GPU if there is one."""

    def make(*args, **options):
        found = scan_inputs(*args, **options)
        return {n: None if x is None else to(x, device) for n, x in found.items()}

    return make


@pytest.fixture
def cut_scan(monkeypatch):
    """Return a function: let every scan be cut into splits of so many tiles of 16 tokens."""
    gpu_forward = import_module("vmamba_kernels.scan.gpu_forward")

    def into(tiles: int) -> None:
        monkeypatch.setattr(gpu_forward, "tiles_in_split", lambda channels, seqlen: tiles)

    return into


@pytest.fixture
def agree(relative_error, tolerance):
    """Return a function: hold every named result to naive's, by the table of tolerances."""
    kinds = {"y": "scan y", "last_state": "scan states", "states": "scan states"}

    def check(ours, true, kind=None):
        assert ours.keys() == true.keys()
        for name in true:
            error = relative_error(ours[name].cpu(), true[name].cpu())
            assert error < tolerance[kind or kinds.get(name, "scan gradient")], (name, error)

    return check
