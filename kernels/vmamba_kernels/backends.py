"""Which implementations this machine has, and which one a call gets."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

NAMES = ("naive", "cpu", "gpu")
HAS_LLVMLITE = find_spec("llvmlite") is not None  # found, not imported
HAS_TRITON = find_spec("triton") is not None
INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's interpreter is on: it runs the GPU kernels on CPU tensors, slowly, for tests."""


class Backend(NamedTuple):
    """One implementation: its name, whether it can run here, and why (or why not)."""

    name: str
    available: bool
    reason: str


def backends() -> list[Backend]:
    """List every implementation with whether it can run here, and why.

    Returns:
        One `Backend` each for "naive", "cpu" and "gpu", in this order.
    """
    return [
        Backend("naive", True, "plain torch, any device, float64, differentiable twice"),
        Backend("cpu", *_cpu()),
        Backend("gpu", *_gpu()),
    ]


def choose_backend(call: str, backend: str, tensors: Sequence[Tensor]) -> str:
    """Name the implementation that a call gets, or say why it cannot have the one it asked for.

    Args:
        call: Public function that is running, for the error message.
        backend: "auto" or one of `NAMES`.
        tensors: Every tensor argument, all on one device.

    Returns:
        One of `NAMES`. "auto" takes the tensors' own device's backend where it can run: without
        float64 and without tangents of forward-mode differentiation. Otherwise it takes naive.

    Raises:
        ValueError: `backend` is unknown, or cannot run on these tensors or this machine.
    """
    device = tensors[0].device.type
    doubles = any(t.dtype == torch.float64 for t in tensors)
    # torch drops the tangents of a custom operator without a word
    tangents = any(unpack_dual(t).tangent is not None for t in tensors)
    if backend == "auto":
        own = {"cpu": "cpu", "cuda": "gpu"}.get(device)
        if own is None or doubles or tangents:
            return "naive"
        return own if _available(own)[0] else "naive"
    if backend == "naive":
        return backend
    if backend not in NAMES:
        choices = ", ".join(f'"{name}"' for name in ("auto", *NAMES))
        raise ValueError(f"{call}: no backend named {backend!r}. Choose one of {choices}.")
    available, reason = _available(backend)
    if not available:
        raise ValueError(
            f'{call}: backend="{backend}" cannot run here: {reason}. '
            'backend="auto" takes what this machine has.'
        )
    if device != "cpu" if backend == "cpu" else device != "cuda" and not INTERPRETING:
        wanted, move = ("the CPU", ".cpu()") if backend == "cpu" else ("a GPU", ".cuda()")
        raise ValueError(
            f'{call}: backend="{backend}" needs tensors on {wanted}; these are on {device}. '
            f'Move them with {move}, or use backend="auto".'
        )
    if doubles:
        raise ValueError(
            f'{call}: backend="{backend}" computes in float32 and one argument is float64. '
            'Use backend="auto" or "naive" for float64, or cast with .float().'
        )
    if tangents:
        raise ValueError(
            f'{call}: backend="{backend}" has no forward-mode gradient and one argument carries a '
            'tangent (forward_ad or torch.func.jvp). Use backend="auto" or "naive".'
        )
    return backend


def _available(backend: str) -> tuple[bool, str]:
    return _cpu() if backend == "cpu" else _gpu()


def _cpu() -> tuple[bool, str]:
    if not HAS_LLVMLITE:
        return False, "llvmlite is not installed: pip install llvmlite"
    return True, "vector code compiled at run time by llvmlite, float32, tensors on the CPU"


def _gpu() -> tuple[bool, str]:
    if not HAS_TRITON:
        return False, "triton is not installed: pip install triton (torch's CUDA builds bring it)"
    if INTERPRETING:
        return True, "Triton's interpreter (TRITON_INTERPRET=1): for tests, very slow"
    if not torch.cuda.is_available():
        return False, "torch sees no GPU: it needs a CUDA device and a CUDA build of torch"
    return True, "Triton kernels compiled at run time, float32, tensors on a GPU"
