"""Names and arguments that are on their way out keep working for one minor release, and say so."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def warn_renamed(old: str, new: str, removal: str) -> None:
    """Warn that `old` is now `new`.

    Args:
        old: What the caller used, as they wrote it.
        new: What to use instead.
        removal: The release that no longer knows `old`, such as "0.4".
    """
    warnings.warn(
        f"{old} is deprecated and will be removed in {removal}; use {new} instead.",
        FutureWarning,
        stacklevel=3,
    )


def renamed_arguments(removal: str, **names: str) -> Callable[[Function], Function]:
    """Accept old names of keyword arguments and warn.

    Args:
        removal: The release that no longer knows the old names.
        names: The new name by the old one.

    Raises:
        TypeError: when called with both names of one argument.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                new = names[old]
                if new in given:
                    raise TypeError(f"{function.__name__}: {old} is now {new}; got both.")
                warn_renamed(f"{function.__name__}({old}=...)", f"{new}=...", removal)
                given[new] = given.pop(old)
            return function(*args, **given)

        return call  # type: ignore[return-value]

    return decorate
