"""Hook points: named places in a model where a value can be read or replaced."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

HookFunction = Callable[[Tensor, "HookPoint"], Tensor | None]


class HookPoint(nn.Module):
    """A named place in a model: passes its input on, after the functions attached to it.

    Args:
        axes: Names of the value's axes, among batch, seqlen, d_model, d_inner, d_state. They let
            a trace label the value and predict its size before anything runs.
        read_only: Whether attached functions may replace the value.

    A function gets `(value, hook_point)`; what it returns replaces the value, None keeps it.
    """

    def __init__(self, *axes: str, read_only: bool = False) -> None:
        super().__init__()
        self.axes = axes
        self.read_only = read_only
        self.name = ""  # the dotted path in the model, set by `name_hooks`
        self.functions: list[HookFunction] = []

    @property
    def is_active(self) -> bool:
        """Whether a function is attached."""
        return bool(self.functions)

    def forward(self, value: Tensor) -> Tensor:
        for function in self.functions:
            edited = function(value, self)
            if edited is None or edited is value:
                continue
            if self.read_only:
                raise ValueError(
                    f"{self.name} is computed for reading only and feeds nothing; edit "
                    "hook_delta, hook_B, hook_C, hook_u or hook_h instead."
                )
            if edited.shape != value.shape:
                raise ValueError(
                    f"A function on {self.name} returned shape {tuple(edited.shape)}, expected "
                    f"{tuple(value.shape)} ({', '.join(self.axes)})."
                )
            value = edited
        return value

    def extra_repr(self) -> str:
        return ", ".join(self.axes)


def name_hooks(model: nn.Module) -> None:
    """Write each hook point's dotted path into it (called once, when a model is built)."""
    for name, point in _hook_points(model):
        point.name = name


def hook_names(model: nn.Module) -> list[str]:
    """List the names of all hook points of `model`, from input to output."""
    return [name for name, _ in _hook_points(model)]


def hook_point(model: nn.Module, name: str) -> HookPoint:
    """Find one hook point by name.

    Raises:
        KeyError: no such name; the message gives the nearest one.
    """
    points = dict(_hook_points(model))
    if name not in points:
        raise UnknownHookError(name, list(points))
    return points[name]


class UnknownHookError(KeyError):
    """No hook point has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f" Closest: {close[0]!r}." if close else ""
        self.message = f"No hook named {name!r}.{hint} hook_names(model) lists all of them."
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr
        return self.message


@contextmanager
def attached(model: nn.Module, hooks: Sequence[tuple[str, HookFunction]]) -> Iterator[None]:
    """Attach functions to hook points for the time of a `with` block, whatever happens in it."""
    pairs = [(hook_point(model, name), function) for name, function in hooks]
    try:
        for point, function in pairs:
            point.functions.append(function)
        yield
    finally:
        for point, function in pairs:
            if function in point.functions:
                point.functions.remove(function)


def _hook_points(model: nn.Module) -> Iterator[tuple[str, HookPoint]]:
    for name, module in model.named_modules():
        if isinstance(module, HookPoint):
            yield name, module
