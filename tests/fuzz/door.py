"""Door: one way into the package, what is sent through it and what may come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

HANGS = 4
"""A call that takes so many times as long as its door allows is given up with its process."""
ONE_LINE = 1500
"""The most characters of an error message; a bad value in it is shortened."""


@dataclass(frozen=True)
class Door:
    """One way into the package.

    A case is held when a value comes back, or one of the allowed errors with a message of one line,
    and nothing else happens: see `watch.py`.

    Args:
        name: Names its findings.
        cases: Makes a strategy for what is sent; called once in each process, in an empty folder
            that stays.
        call: Sends a case; gets an empty folder to work in, the current one, and returns the
            result. What it needs to check of the result, it asserts.
        allowed: Errors that the docstrings promise. Others count as allowed only where `ours`
            says so.
        ours: Whether an error of another type was raised on purpose.
        seconds: The longest that a case may take.
        memory_mib: The most memory that a case may take beyond what the process has.
        writes: Whether the call may leave files in its folder.
        starts: Whether the call may start processes.
        draws: Whether the call may draw from torch's global random numbers.
        prints: Whether the call may write to stdout and stderr.
        files: Returns what to save of a case: contents by file name.
    """

    name: str
    cases: Callable[[Path], SearchStrategy[Any]]
    call: Callable[[Any, Path], object]
    allowed: tuple[type[BaseException], ...]
    ours: Callable[[BaseException], bool] = lambda error: False
    seconds: float = 30
    memory_mib: int = 1024
    writes: bool = False
    starts: bool = False
    draws: bool = False
    prints: bool = False
    files: Callable[[Any], dict[str, bytes]] = lambda case: {}


def message_fault(error: BaseException) -> str | None:
    """What is wrong with an error's message; None for one readable line."""
    text = str(error) if not isinstance(error, KeyError) else str(error.args[0])
    if not text.strip():
        return "empty message"
    if len(text.splitlines()) > 1:
        return "message of several lines"
    if len(text) > ONE_LINE:
        return "message of more than 1,500 characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "message with lone surrogates"
    return None
