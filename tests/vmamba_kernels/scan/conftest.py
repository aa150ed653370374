"""The inputs of scans, on the device of the backend, and how their results are compared."""

from importlib import import_module

import pytest

from tests.vmamba_kernels.scan.runs import kind_of, to

SMALL = {"batch": 1, "d_inner": 33, "seqlen": 17, "d_state": 2}


@pytest.fixture
def inputs_for(scan_inputs, device):
    """Return a function: the inputs of a scan, on the GPU if there is one."""

    def make(*args, **options):
        found = scan_inputs(*args, **options)
        return {n: None if x is None else to(x, device) for n, x in found.items()}

    return make


@pytest.fixture
def small_inputs_for(inputs_for, backend):
    """Return a function: the same, for the GPU so small that Triton's interpreter is quick."""

    def make(**shape):
        return inputs_for(**((SMALL if backend == "gpu" else {}) | shape))

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

    def check(ours, true, kind=None):
        assert ours.keys() == true.keys()
        for name in true:
            error = relative_error(ours[name].cpu(), true[name].cpu())
            assert error < tolerance[kind or kind_of(name)], (name, error)

    return check
