"""Progress: a report that can stop the work, and a bar that is gone when the work is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tqdm.auto
import tqdm.notebook

Report = Callable[[str, float], None]
"""Told what is being done and the share that is done, 0 to 1; what it raises stops the work."""


class Cancelled(Exception):
    """Raised by a `Report` that wants the work to stop."""


Bar = TypeVar("Bar", bound="PassingBar")


class PassingBar:
    """Show progress while a `with` block works.

    A bar in a notebook is a widget, and a notebook saved after it was closed would say "Error
    displaying widget" in its place; so this one takes its output back.

    Args:
        total: Steps.
        desc: What is done.
        disable: Show nothing.
    """

    def __init__(self, total: int, desc: str, disable: bool = False) -> None:
        self._handle: Any = None
        options = {"total": total, "desc": desc, "unit": "step", "leave": False}
        if disable or not issubclass(tqdm.auto.tqdm, tqdm.notebook.tqdm):
            self._bar = tqdm.auto.tqdm(**options, disable=disable)
            return
        from IPython.display import display

        self._bar = tqdm.auto.tqdm(**options, display=False)
        self._handle = display(self._bar.container, display_id=True)

    def __enter__(self: Bar) -> Bar:
        return self

    def step(self, words: str) -> None:
        """Say what is done now, and count one step more."""
        self._bar.set_postfix_str(words)
        self._bar.update()

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
