"""Hook points: named places in a model where a value can be read or replaced."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import Tensor, nn

from vmamba_explore.edits import Slot, editing
from vmamba_explore.errors import shown

Model = TypeVar("Model", bound=nn.Module)
HookFunction = Callable[[Tensor, "HookPoint"], Tensor | None]
NamesFilter = str | Iterable[str] | Callable[[str], bool] | None


class UnknownNameError(KeyError):
    """A name that matches nothing; the message gives the nearest one."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class HookPoint(nn.Module):
    """A named place in a model: passes its input on, after the functions attached to it.

    Functions are attached to the runs of one thread or task (see `edits`), not to the model.

    Args:
        axes: Names of the value's axes, among batch, seqlen, d_model, d_inner, d_state. They let
            a trace label the value and predict its size before anything runs.
        at_least_float32: Whether the value is float32 even where the weights are narrower.
        read_only: Whether attached functions may only read the value.
        on_demand: Whether the value is computed, or recorded, only where it is asked for by name;
            what is read-only always is.

    A function gets `(value, hook_point)`; what it returns replaces the value, None keeps it. It
    must not write into the value it gets.
    """

    def __init__(
        self,
        *axes: str,
        at_least_float32: bool = False,
        read_only: bool = False,
        on_demand: bool = False,
    ) -> None:
        super().__init__()
        self.axes = axes
        self.at_least_float32 = at_least_float32
        self.read_only = read_only
        self.on_demand = on_demand or read_only
        self.name = ""  # the dotted path in the model, set by `name_hooks`
        self.functions: Slot[HookFunction] = Slot()
        self.observers: Slot[Callable[[Tensor], object]] = Slot()

    @property
    def is_active(self) -> bool:
        """Whether a function is attached to the runs of this thread or task."""
        return bool(self.functions)

    def forward(self, value: Tensor) -> Tensor:
        for function in self.functions.values:
            version = None if value.is_inference() else value._version
            edited = function(value, self)
            if version is not None and value._version != version:
                raise ValueError(
                    f"A function on {self.name} wrote into the value it was given, which others "
                    "read too. Return an edited copy: value = value.clone()."
                )
            if edited is None or edited is value:
                continue
            self._check(value, edited)
            value = edited
        for observe in self.observers.values:
            observe(value)
        return value

    def _check(self, value: Tensor, edited: object) -> None:
        if self.read_only:
            raise ValueError(
                f"{self.name} is computed for reading only and feeds nothing; edit "
                "hook_delta, hook_B, hook_C, hook_u, hook_write or hook_h instead."
            )
        wanted = f"{value.dtype} {tuple(value.shape)} ({', '.join(self.axes)}), or None"
        if not isinstance(edited, Tensor):
            raise ValueError(
                f"A function on {self.name} returned {type(edited).__name__}, expected a tensor, "
                f"{wanted}."
            )
        if edited.shape != value.shape or edited.dtype != value.dtype:
            raise ValueError(
                f"A function on {self.name} returned {edited.dtype} {tuple(edited.shape)}, "
                f"expected {wanted}."
            )

    def extra_repr(self) -> str:
        return ", ".join(self.axes)


def plain(model: Model) -> Model:
    """Take a model out of `torch.compile`'s wrapper; it has the same weights, and runs unfused.

    Raises:
        TypeError: it is inside another wrapper, such as DataParallel, or is not a model.
    """
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        return plain(inner)  # type: ignore[return-value]
    kind = type(model).__name__
    if isinstance(getattr(model, "module", None), nn.Module):
        raise TypeError(f"The model is inside a {kind}; pass the model itself, model.module.")
    modules = model.modules() if isinstance(model, nn.Module) else ()
    if not any(isinstance(module, HookPoint) for module in modules):
        raise TypeError(f"The model is a {kind}, expected what load_model(...) returns.")
    return model


def hook_points(model: nn.Module) -> dict[str, HookPoint]:
    """All hook points of `model` by name, from input to output."""
    modules = plain(model).named_modules()
    return {name: module for name, module in modules if isinstance(module, HookPoint)}


def name_hooks(model: nn.Module) -> None:
    """Write each hook point's dotted path into it (called once, when a model is built)."""
    for name, point in hook_points(model).items():
        point.name = name


def hook_names(model: nn.Module, names_filter: NamesFilter = None) -> list[str]:
    """List the names of the hook points of `model`, from input to output.

    Args:
        model: The model.
        names_filter: Which: a name; a pattern with any number of wildcards, such as
            "layers.[0-3].*.ssm_*.hook_h*" (`*`: any text, `?`: any character, `[03]`, `[0-3]`: one
            of these, `[!0]`: any other); a list of these; a function of the name; None for all.
    Raises:
        KeyError: the filter, or an entry of it, matches none; the message gives the nearest name.
    """
    known = list(hook_points(model))
    if names_filter is None:
        return known
    if callable(names_filter):
        chosen = {name for name in known if names_filter(name)}
    else:
        chosen = set()
        for pattern in [names_filter] if isinstance(names_filter, str) else names_filter:
            matches = {name for name in known if name == pattern or fnmatchcase(name, pattern)}
            if not matches:
                raise unknown_hook(pattern, known)
            chosen |= matches
    if not chosen:
        raise UnknownNameError(
            f"names_filter={shown(names_filter)} chooses none of the {len(known)} hook points. "
            "hook_names(model) lists all of them; None takes them all."
        )
    return [name for name in known if name in chosen]


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name most like `name`, one that ends in the same word if there is one."""
    same_end = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    return max(same_end or known, key=lambda k: difflib.SequenceMatcher(None, name, k).ratio())


def unknown_hook(name: str, known: Sequence[str]) -> UnknownNameError:
    """The error for a hook name, or a pattern, that matches nothing."""
    return UnknownNameError(
        f"No hook named {shown(name)}. Closest: {shown(nearest(name, known))}. "
        "hook_names(model) lists all of them."
    )


def attached(
    model: nn.Module, hooks: Sequence[tuple[str, HookFunction]]
) -> AbstractContextManager[None]:
    """Attach functions to hook points for the duration of the block; detached even on error.

    Raises:
        KeyError: a name is unknown; nothing is attached then.
    """
    points = hook_points(model)
    for name, _ in hooks:
        if name not in points:
            raise unknown_hook(name, list(points))
    return editing(*((points[name].functions, function) for name, function in hooks))
