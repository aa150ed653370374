"""One clear error for every argument that does not fit."""

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.types import ScanInputs

Axes = tuple[str, ...]
Tokens = slice | Iterable[int] | Tensor
"""Which tokens: a slice, a range, a list, or a tensor of whole numbers."""
Arguments = dict[str, tuple[Any, Axes]]  # Any: that it is a tensor is the first check


def check_arguments(call: str, arguments: Arguments) -> None:
    """Hold every tensor to its axes, and all tensors to each other.

    Args:
        call: Public function that is running, for the error message.
        arguments: Name -> (tensor, names of its axes). Axes of one name must have one size.

    Raises:
        ValueError: an argument is no tensor, not real floating point, has the wrong number of
            axes, an empty axis, or disagrees with another one on an axis or the device.
    """
    owner: dict[str, str] = {}
    size: dict[str, int] = {}
    first = next(iter(arguments))
    for name, (tensor, axes) in arguments.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise ValueError(f"{call}: {name} must be a torch.Tensor {_axes(axes)}, got {kind}.")
        if not tensor.is_floating_point():
            raise ValueError(
                f"{call}: {name} must be real floating point (float32, float16, bfloat16 or "
                f"float64), got {tensor.dtype}. Convert it, for example with {name}.float()."
            )
        if tensor.dim() != len(axes):
            raise ValueError(
                f"{call}: {name} must have {len(axes)} axes {_axes(axes)}, "
                f"got shape {tuple(tensor.shape)}."
            )
        for axis, length in zip(axes, tensor.shape, strict=True):
            if axis not in owner:
                if length == 0 and axis != "batch":
                    raise ValueError(
                        f"{call}: {name} has {axis} = 0; it must be at least 1. "
                        f"{_described(name, tensor, axes)}."
                    )
                owner[axis], size[axis] = name, length
            elif size[axis] != length:
                other = owner[axis]
                raise ValueError(
                    f"{call}: {other} and {name} disagree on {axis}: {size[axis]} and {length}. "
                    f"{_described(other, *arguments[other])}, {_described(name, tensor, axes)}."
                )
        device = arguments[first][0].device
        if tensor.device != device:
            raise ValueError(
                f"{call}: {first} and {name} are on different devices: {device} and "
                f"{tensor.device}. Move them to one device first."
            )


def check_scan(call: str, given: ScanInputs, z: Tensor | None) -> list[Tensor]:
    """Check the arguments of a selective scan and return its tensors, u first.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    tokens = ("batch", "d_inner", "seqlen")
    axes: dict[str, Axes] = {
        "u": tokens,
        "delta": tokens,
        "A": ("d_inner", "d_state"),
        "B": _selection_axes(call, "B", given.B),
        "C": _selection_axes(call, "C", given.C),
        "D": ("d_inner",),
        "z": tokens,
        "delta_bias": ("d_inner",),
        "initial_state": ("batch", "d_inner", "d_state"),
    }
    tensors = given._asdict() | {"z": z}
    required = ScanInputs._fields[:5]
    arguments: Arguments = {
        name: (tensors[name], names)
        for name, names in axes.items()
        if name in required or tensors[name] is not None
    }
    check_arguments(call, arguments)
    d_inner = given.u.shape[1]
    for name, tensor in (("B", given.B), ("C", given.C)):
        if tensor.dim() == 4 and d_inner % tensor.shape[1]:
            raise ValueError(
                f"{call}: the groups of {name} must divide d_inner: {tensor.shape[1]} groups and "
                f"d_inner = {d_inner}. Channel d reads group d // (d_inner // groups)."
            )
    return [tensor for tensor, _ in arguments.values()]


def check_order(call: str, seqlen: int, reverse: bool, order: Tensor | None) -> None:
    """Check the shape and type of a scan order; the operator checks that it is a permutation.

    Raises:
        ValueError: not int64 (seqlen,), or given beside `reverse`.
    """
    if order is None:
        return
    if reverse:
        raise ValueError(f"{call}: reverse=True and order=... both say how to read; give one.")
    if not isinstance(order, Tensor) or order.dtype != torch.int64 or order.shape != (seqlen,):
        kind = (
            f"{order.dtype} {tuple(order.shape)}"
            if isinstance(order, Tensor)
            else type(order).__name__
        )
        raise ValueError(
            f"{call}: order must be an int64 tensor (seqlen,) = ({seqlen},), the token read at "
            f"each step; got {kind}."
        )


def check_permutation(call: str, order: Tensor) -> None:
    """Raise ValueError unless `order` names every token once."""
    if not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
        raise ValueError(
            f"{call}: order must name each of the {len(order)} tokens once; it holds "
            f"{len(order.unique())} different numbers from {int(order.min())} to "
            f"{int(order.max())}."
        )


def token_indices(
    call: str, tokens: Tokens | None, seqlen: int, what: str = "token", axis: str = "seqlen"
) -> Tensor:
    """The indices of the tokens (or of `what`) meant, int64 on the CPU; None means all of them.

    Raises:
        ValueError: no whole numbers, or one outside -seqlen to seqlen - 1.
    """
    if tokens is None:
        return torch.arange(seqlen, device="cpu")
    if isinstance(tokens, slice):
        return torch.arange(*tokens.indices(seqlen), device="cpu")
    listed = tokens.tolist() if isinstance(tokens, Tensor) else list(tokens)
    if any(isinstance(token, bool) for token in listed):
        raise ValueError(
            f"{call}: {what}s is a mask of True and False; give numbers instead, for "
            "example mask.nonzero().flatten()."
        )
    try:
        numbers = [operator.index(token) for token in listed]
    except TypeError:
        raise ValueError(
            f"{call}: {what}s must be a slice, a range or whole numbers, got {tokens!r}."
        ) from None
    for number in numbers:
        if not -seqlen <= number < seqlen:
            raise ValueError(f"{call}: there is no {what} {number}; {axis} is {seqlen}.")
    return torch.tensor([n % seqlen for n in numbers], dtype=torch.int64, device="cpu")


def _selection_axes(call: str, name: str, tensor: Tensor) -> Axes:
    """Axes of B or C: one for all channels, or one per group of channels."""
    if isinstance(tensor, Tensor) and tensor.dim() == 2:
        raise ValueError(
            f"{call}: {name} has shape {tuple(tensor.shape)}: a constant {name} (d_inner, d_state) "
            f"is not supported. Give one for every token: (batch, d_state, seqlen)."
        )
    grouped = isinstance(tensor, Tensor) and tensor.dim() == 4
    # each of B and C may have its own number of groups
    return ("batch", *([f"groups of {name}"] if grouped else []), "d_state", "seqlen")


def _axes(axes: Axes) -> str:
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _described(name: str, tensor: Tensor, axes: Axes) -> str:
    return f"{name} is {_axes(axes)} = {tuple(tensor.shape)}"
