"""Edits: what is done to a run, held by the thread or task that runs and never by the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar

import torch

T = TypeVar("T")
P = ParamSpec("P")
Addition = tuple["Slot[Any]", Any]


class Edits:
    """Everything that the open blocks of one thread or task do to its runs; immutable.

    Args:
        blocks: The additions of each open block, the outermost block first.
    """

    def __init__(self, blocks: tuple[list[Addition], ...] = ()) -> None:
        self.blocks = blocks

    @cached_property
    def by_slot(self) -> dict[Slot[Any], tuple[Any, ...]]:
        """The values in each slot, in the order in which they were added."""
        found: dict[Slot[Any], list[Any]] = {}
        for block in self.blocks:
            for slot, value in block:
                found.setdefault(slot, []).append(value)
        return {slot: tuple(values) for slot, values in found.items()}


class Slot(Generic[T]):
    """A place for edits on an object that several threads share.

    The object owns the slot; the values belong to the run. A slot compares by identity, and a
    deep copy of its owner has a new, empty one.
    """

    @property
    def values(self) -> tuple[T, ...]:
        """What the open blocks of this thread or task put here, the outermost first."""
        if torch.compiler.is_compiling() and not _open:
            return ()  # Dynamo guards on `_open`, and cannot trace a ContextVar
        return current().by_slot.get(self, ())

    def __bool__(self) -> bool:
        return bool(self.values)

    def last(self, default: T) -> T:
        """What the innermost block put here, or `default`."""
        values = self.values
        return values[-1] if values else default


_current: ContextVar[Edits] = ContextVar("edits", default=Edits())  # noqa: B039, it is immutable
_open: dict[int, list[Addition]] = {}  # the blocks of all threads, by id


def current() -> Edits:
    """The edits of this thread or task."""
    return _current.get()


@contextmanager
def editing(*additions: Addition) -> Iterator[None]:
    """Add values to slots for the duration of the block; removed even on error.

    The values hold for what this thread or asyncio task runs inside the block. Other threads and
    tasks do not see them, a thread started inside the block included, unless it runs in
    `contextvars.copy_context()`; a task created inside the block starts with a copy of its edits.
    Blocks may be left in any order.

    Args:
        additions: Pairs (slot, value).
    """
    mine = list(additions)  # blocks are told apart by identity
    try:
        _open[id(mine)] = mine
        _current.set(Edits((*current().blocks, mine)))
        yield
    finally:
        _current.set(Edits(tuple(block for block in current().blocks if block is not mine)))
        _open.pop(id(mine), None)


def pinned(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` bound to the current edits, whenever and in whichever thread it runs."""
    edits = current()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        before = current()
        _current.set(edits)
        try:
            return function(*args, **kwargs)
        finally:
            _current.set(before)

    return run


def unedited() -> Context:
    """Return a copy of this context without edits, for work that outlives the open blocks."""
    context = copy_context()
    context.run(_current.set, Edits())
    return context
