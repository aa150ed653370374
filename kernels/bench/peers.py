"""Other implementations, where they are installed: found, tried once, never required.

Each one's own code runs, as its package ships it. A scan takes (u, delta, A, B, C, D, z,
delta_bias), (batch, channels, seqlen) with softplus, and gives y; a convolution takes (x, weight,
bias) and applies SiLU.
"""

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

INSTALL = {
    "mambapy": "pip install mambapy",
    "transformers": "pip install 'transformers>=5.20'",
    "mamba_ssm": "MAMBA_KEEP_CUDA_BUILD=TRUE pip install mamba-ssm --no-build-isolation "
    "(it compiles: needs nvcc of torch's CUDA version)",
    "causal_conv1d": "pip install causal-conv1d --no-build-isolation (likewise)",
}


class Peer(NamedTuple):
    """One installed implementation.

    Args:
        name: Package.
        version: As installed.
        scan, conv: What it offers of the two.
        token_major: It wants (batch, seqlen, channels) memory, seen transposed.
        no_cpu_gradient: Why its gradient is not timed on a CPU; empty: it is.
    """

    name: str
    version: str
    scan: Callable[..., Tensor] | None = None
    conv: Callable[..., Tensor] | None = None
    token_major: bool = False
    no_cpu_gradient: str = ""


def mambapy() -> Peer:
    """The parallel scan in plain torch; bias, softplus and gate as its block makes them."""
    scan = importlib.import_module("mambapy.mamba").MambaBlock.selective_scan

    def run(
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        z: Tensor,
        bias: Tensor,
    ) -> Tensor:
        y = scan(None, u.mT, F.softplus(delta.mT + bias), A, B.mT, C.mT, D)  # self is not used
        return (y * F.silu(z.mT)).mT

    return Peer("mambapy", importlib.metadata.version("mambapy"), run, token_major=True)


def transformers() -> Peer:
    """The path in plain torch that a model takes where mamba_ssm's kernels are missing."""
    module = importlib.import_module("transformers.models.mamba.modeling_mamba")
    scan = inspect.unwrap(module.mamba_selective_scan)  # beneath it may be mamba_ssm

    def run(*args: Tensor) -> Tensor:
        *others, delta_bias = args
        return scan(*others, delta_bias=delta_bias, delta_softplus=True)

    reason = "not timed: its gradient is quadratic in seqlen, minutes for 1569 tokens"
    return Peer(
        "transformers", importlib.metadata.version("transformers"), run, None, False, reason
    )


def mamba_ssm() -> Peer:
    """The published CUDA kernel."""
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")

    def run(*args: Tensor) -> Tensor:
        return module.selective_scan_fn(*args, delta_softplus=True)

    return Peer("mamba_ssm", importlib.metadata.version("mamba_ssm"), run)


def causal_conv1d() -> Peer:
    """The published CUDA kernel of the convolution."""
    module = importlib.import_module("causal_conv1d")

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return module.causal_conv1d_fn(x, weight, bias, activation="silu")

    version = importlib.metadata.version("causal_conv1d")
    return Peer("causal_conv1d", version, conv=run)


ON_CPU = (mambapy, transformers)
ON_GPU = (*ON_CPU, mamba_ssm, causal_conv1d)


def find(device: str) -> tuple[list[Peer], dict[str, str]]:
    """The peers that run on "cpu" or "cuda", and why each other one does not, with what helps."""
    found, missing = [], {}
    for load in ON_GPU if device == "cuda" else ON_CPU:
        name = load.__name__
        try:
            peer = load()
            _try(peer, device)
        except Exception as error:  # whatever a foreign package may raise: it is then not there
            lines = str(error).splitlines() or [type(error).__name__]
            missing[name] = f"{lines[0]} ({INSTALL[name]})"
            sys.modules.pop(name, None)  # half imported
        else:
            found.append(peer)
    return found, missing


def _try(peer: Peer, device: str) -> None:
    """Run it on 8 tokens of 8 channels."""
    u, delta, z = (torch.rand(1, 8, 8, device=device) for _ in range(3))
    B, C = (torch.rand(1, 4, 8, device=device) for _ in range(2))
    A, bias = -torch.rand(8, 4, device=device), torch.rand(8, device=device)
    if peer.scan:
        peer.scan(u, delta, A, B, C, bias, z, bias)
    if peer.conv:
        peer.conv(u, torch.rand(8, 4, device=device), bias)
