"""Names and arguments that are on their way out keep working for a while, and say so."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def renamed(old: str, new: str, since: str = "0.2", removal: str = "0.4") -> str:
    """Return the sentence that tells users of an old name about the new one.

    Args:
        old: The name that was used.
        new: The name to use instead.
        since: The version that renamed it.
        removal: The version in which the old name stops working.
    """
    return f"{old} is called {new} since version {since}; the old name goes in {removal}."


def renamed_arguments(**names: str) -> Callable[[Function], Function]:
    """Accept old names of keyword arguments, with a FutureWarning.

    Args:
        names: The new name of each old one.

    Raises:
        TypeError: from the decorated function, when both names of an argument are given.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                if names[old] in given:
                    raise TypeError(f"{function.__name__}: got both {old} and {names[old]}.")
                words = renamed(f"{function.__name__}({old}=)", names[old])
                warnings.warn(words, FutureWarning, stacklevel=2)
                given[names[old]] = given.pop(old)
            return function(*args, **given)

        return call  # type: ignore[return-value]

    return decorate
