"""ExplorerPage: a chooser on top, the explorer it led to, and the panel of numbers, folded away."""

from __future__ import annotations

from typing import Any

import ipywidgets

from vmamba_explore.view.explorer.widget import Explorer
from vmamba_explore.view.widgets import controls
from vmamba_explore.view.widgets.chooser import ClipChooser

NUMBERS = "Numbers: trajectories, channels, memory, score card"


class ExplorerPage(controls.VBox):
    """Show one explorer at a time under a chooser; the panel of numbers is made when it is opened.

    Args:
        chooser: Stands on top.
    """

    def __init__(self, chooser: ClipChooser) -> None:
        self.chooser = chooser
        self.explorer: Explorer | None = None
        self._fold: controls.Accordion | None = None
        self._shown: tuple[ipywidgets.Widget, ...] = ()
        super().__init__([chooser])

    def show(self, explorer: Explorer) -> None:
        """Put an explorer in place of the one before, which is closed."""
        old = list(self._shown)
        fold = controls.Accordion([controls.VBox()], titles=(NUMBERS,))
        fold.observe(self._unfold, "selected_index")
        self.explorer, self._fold = explorer, fold
        self._shown = (explorer, fold)
        self.children = (self.chooser, *self._shown)
        for widget in old:
            widget.close()

    def _unfold(self, change: dict[str, Any]) -> None:
        """Make the panel of numbers when it is first looked at."""
        fold, explorer = self._fold, self.explorer
        if change["new"] is None or fold is None or explorer is None:
            return
        (box,) = fold.children
        if not box.children:
            box.children = (explorer.numbers(),)
