"""Inputs, comparison and the one table of tolerances for all kernel tests."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.vmamba_kernels.interpreter import fast_interpreter

# Allowed relative error (Frobenius norm of the difference, against naive in float64), and beside it
# the worst one measured over these tests, with AVX-512.
TOLERANCES = {
    "scan y": 1e-6,  # 1.9e-7
    "scan states": 1e-6,  # 2.3e-7
    "scan gradient": 3e-6,  # 1.1e-6 where the gradient is a single number; else 5e-7
    "conv": 5e-7,  # 8.8e-8
    "conv gradient": 3e-6,  # 2.0e-7
    "float16": 1e-3,  # 2.9e-4; half a unit in the last place is 4.9e-4
    "bfloat16": 8e-3,  # 2.5e-3; half a unit in the last place is 3.9e-3
    "exp2": 2.5e-7,  # 1.5e-7, largest over 400 001 numbers from -125 to 125
    "softplus": 2e-6,  # 1.1e-6, from -20 to 20: exp(-20) inherits the rounding of its exponent
    "logistic": 2e-6,  # 1.1e-6, likewise
}

Inputs = dict[str, Tensor | None]


@pytest.fixture(autouse=True)
def fresh_memory_is_nan() -> Iterator[None]:
    """Fill new buffers with NaN: reading what was never written then shows in every result."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")
    assert torch.empty(1).isnan()
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture
def scan_inputs() -> Callable[..., Inputs]:
    """Return a function that makes the tensor arguments of a scan, token-major, for softplus."""

    def make(
        batch: int = 2,
        d_inner: int = 40,
        seqlen: int = 37,
        d_state: int = 4,
        groups: int | tuple[int, int] = 1,
        without: tuple[str, ...] = (),
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> Inputs:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def tokens(*shape: int) -> Tensor:
            *outer, channels = shape
            return normal(*outer, seqlen, channels).transpose(-1, -2).to(dtype)

        for_B, for_C = (groups, groups) if isinstance(groups, int) else groups
        inputs: Inputs = {
            "u": tokens(batch, d_inner),
            "delta": tokens(batch, d_inner) - 2,
            "A": -8 * torch.rand(d_inner, d_state, generator=generator) - 0.05,
            "B": tokens(batch, for_B, d_state),
            "C": tokens(batch, for_C, d_state),
            "D": normal(d_inner),
            "z": tokens(batch, d_inner),
            "delta_bias": 0.5 * normal(d_inner),
            "initial_state": normal(batch, d_inner, d_state),
        }
        return inputs | dict.fromkeys(without)

    return make


@pytest.fixture(scope="module")
def triton_runs(require) -> Iterator[None]:
    """Triton is there, and its interpreter, where there is no GPU, is quick."""
    if find_spec("triton") is None:
        require("triton", "triton is not installed")
    with fast_interpreter():
        yield


@pytest.fixture(params=["cpu", "gpu"])
def backend(request) -> str:
    """Each backend; a test of its own list of them says so with `parametrize`."""
    if request.param == "gpu":
        request.getfixturevalue("triton_runs")
    return request.param


@pytest.fixture
def device(request) -> str:
    """Where the tensors of a test lie; those for the GPU on the CPU where there is none."""
    chosen = request.getfixturevalue("backend") if "backend" in request.fixturenames else "gpu"
    return "cuda" if chosen == "gpu" and torch.cuda.is_available() else "cpu"


@pytest.fixture
def by_threads() -> Iterator[Callable[..., list]]:
    """Return a function: what another function gives on each number of threads."""
    before = torch.get_num_threads()

    def run(function: Callable[[], Any], *counts: int) -> list:
        found = []
        for threads in counts or (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(function())
        return found

    yield run
    torch.set_num_threads(before)


@pytest.fixture
def tolerance() -> dict[str, float]:
    return TOLERANCES


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """Return a function: norm of the difference over norm of the second tensor."""

    def error(ours: Tensor, true: Tensor) -> float:
        assert ours.shape == true.shape
        difference = ours.double() - true.double()
        return (difference.norm() / true.double().norm().clamp_min(1e-30)).item()

    return error


@pytest.fixture(scope="session")
def run_python() -> Callable[[str], str]:
    """Return a function: what a new Python process prints that runs this code."""

    def run(code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
