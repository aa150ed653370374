"""How deeply tuples are nested in a pickle, read from its opcodes alone."""

from __future__ import annotations

import io
import pickletools
from typing import Any

DEEPEST = 1000
"""Python hashes a tuple of tuples by recursion in C, which ends the process and not in an error."""


def is_too_deep(file: io.BytesIO | io.BufferedReader, pickles: int) -> bool:
    """Whether a file begins with a pickle whose tuples are nested too deeply to be read.

    Args:
        file: Open for reading.
        pickles: How many that follow each other to look at; what is not a pickle ends it.
    """
    try:
        return any(_is_too_deep(file) for _ in range(pickles))
    except (
        LookupError,
        MemoryError,
        OverflowError,
        ValueError,
    ):  # damaged, as its reader will notice
        return False


def _is_too_deep(file: io.BytesIO | io.BufferedReader) -> bool:
    stack: list[int | None] = []  # the depth of each value, None for a mark
    memo: dict[Any, int] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name, taken = opcode.name, opcode.stack_before
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1] or 0
            continue
        depths = []
        if pickletools.markobject in taken:
            while (depth := stack.pop()) is not None:
                depths.append(depth)
            taken = taken[: taken.index(pickletools.markobject)]
        depths += [stack.pop() or 0 for _ in taken]
        depth = 1 + max(depths, default=0) if "TUPLE" in name else 0
        if depth > DEEPEST:
            return True
        if name == "DUP":
            depth = depths[0]
        if name in ("GET", "BINGET", "LONG_BINGET"):
            depth = memo[argument]
        stack += [None if kind is pickletools.markobject else depth for kind in opcode.stack_after]
    return False
