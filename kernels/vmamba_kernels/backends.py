"""Which implementations this machine has, and which one a call gets."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

NAMES = ("naive", "cpu", "gpu")
HAS_LLVMLITE = find_spec("llvmlite") is not None  # found, not imported


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
    cpu = "vector code compiled at run time by llvmlite, float32, tensors on the CPU"
    missing = "llvmlite is not installed: pip install llvmlite"
    return [
        Backend("naive", True, "plain torch, any device, float64, differentiable twice"),
        Backend("cpu", HAS_LLVMLITE, cpu if HAS_LLVMLITE else missing),
        Backend("gpu", False, "not written yet: tensors on a GPU run on naive"),
    ]


def choose_backend(call: str, backend: str, tensors: Sequence[Tensor]) -> str:
    """Name the implementation that a call gets, or say why it cannot have the one it asked for.

    Args:
        call: Public function that is running, for the error message.
        backend: "auto" or one of `NAMES`.
        tensors: Every tensor argument, all on one device.

    Returns:
        "naive" or "cpu". "auto" takes cpu where it can run: on CPU tensors without float64 and
        without tangents of forward-mode differentiation.

    Raises:
        ValueError: `backend` is unknown, or cannot run on these tensors or this machine.
    """
    device = tensors[0].device.type
    doubles = any(t.dtype == torch.float64 for t in tensors)
    # torch drops the tangents of a custom operator without a word
    tangents = any(unpack_dual(t).tangent is not None for t in tensors)
    if backend == "auto":
        fits = device == "cpu" and not doubles and not tangents
        return "cpu" if HAS_LLVMLITE and fits else "naive"
    if backend == "naive":
        return backend
    if backend == "gpu":
        raise ValueError(f'{call}: backend="gpu" is not written yet. Use backend="auto".')
    if backend != "cpu":
        choices = ", ".join(f'"{name}"' for name in ("auto", *NAMES))
        raise ValueError(f"{call}: no backend named {backend!r}. Choose one of {choices}.")
    if not HAS_LLVMLITE:
        raise ValueError(
            f'{call}: backend="cpu" needs llvmlite, which is not installed. Run '
            '"pip install llvmlite", or use backend="auto", which then takes naive.'
        )
    if device != "cpu":
        raise ValueError(
            f'{call}: backend="cpu" needs tensors on the CPU; these are on {device}. '
            'Move them with .cpu(), or use backend="auto".'
        )
    if doubles:
        raise ValueError(
            f'{call}: backend="cpu" computes in float32 and one argument is float64. '
            'Use backend="auto" or "naive" for float64, or cast with .float().'
        )
    if tangents:
        raise ValueError(
            f'{call}: backend="cpu" has no forward-mode gradient and one argument carries a '
            'tangent (forward_ad or torch.func.jvp). Use backend="auto" or "naive".'
        )
    return backend
