"""NumbersPanel: states, channels, memory and scores behind the explorer's pictures."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import traitlets

from vmamba_explore.edits import unedited
from vmamba_explore.view.explorer.exploration import Viewed
from vmamba_explore.view.explorer.score_panel import ScorePanel, sentence
from vmamba_explore.view.explorer.tabs import MENU, Answers, ChannelsTab, MemoryTab, StatesTab
from vmamba_explore.view.explorer.vocabulary import side_titles
from vmamba_explore.view.widgets import controls

FOLLOWED = ("layer", "direction", "query", "frame")
DELAY = 0.15
"""Seconds without a change after which the figures are drawn again: scrubbing draws once."""


class NumbersPanel(controls.VBox):
    """Tabs of figures that follow an explorer's layer, direction, query and frame.

    Only the open tab is computed. Without a kernel nothing is, and the last figures stay.

    Args:
        explorer: The explorer to follow; the `numbers` of its explorations are asked.
        active: Whether to compute anything yet; a panel in a closed accordion waits.

    The trait `active` can be set.
    """

    active = traitlets.Bool(True)

    def __init__(self, explorer: Viewed, *, active: bool = True) -> None:
        self.explorer = explorer
        sides = explorer.view.sides
        self.answers = Answers(sides)
        self._later: asyncio.TimerHandle | None = None
        names = side_titles(sides)
        self.side = controls.Dropdown(
            options=[(name, number) for number, name in enumerate(names)], description="clip",
            **MENU,
        )  # fmt: skip
        self.words = controls.HTML()
        self.scores = ScorePanel(
            lambda: (sides[self.side.value], self.answers.backend(self.side.value))
        )
        channels = ChannelsTab(self.draw, sides[0].directions)
        tabs = [StatesTab(self.draw), channels, MemoryTab(self.draw), self.scores]
        self.tabs = controls.Tab(tabs)
        self.tabs.titles = ("states", "channels", "memory", "score card")
        super().__init__([*([self.side] if len(names) > 1 else []), self.words, self.tabs])
        self.add_class("vmx-numbers")
        self.active = active
        explorer.observe(self._follow, FOLLOWED)
        self.tabs.observe(self.draw, "selected_index")
        self.side.observe(self._side_changed, "value")
        self.observe(self.draw, "active")
        self.draw()

    def close(self) -> None:
        """Let go of the explorer, and end what runs."""
        if self.comm is None:  # closed before
            return
        if self._later is not None:
            self._later.cancel()
        self.explorer.unobserve(self._follow, FOLLOWED)
        self.scores.stop()
        self.side.close()  # with one clip it is not among the children
        super().close()

    def _follow(self, change: dict[str, Any]) -> None:
        if self._later is not None:
            self._later.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so nothing to wait for
            self.draw()
            return
        self._later = loop.call_later(DELAY, self.draw, context=unedited())

    def _side_changed(self, change: dict[str, Any]) -> None:
        self.scores.side_changed()
        self.draw()

    def draw(self, *_: Any) -> None:
        """Bring the open tab up to date."""
        index = self.tabs.selected_index
        if not self.active or index is None:
            return
        self.words.value = ""
        self.side.disabled = not self.tabs.children[index].one_side
        try:
            self.tabs.children[index].draw(self.explorer.view, self.answers, self.side.value)
        except Exception as error:  # a sentence in the panel, not a traceback
            self.words.value = html.escape(sentence(error))
            for figure in self.tabs.children[index].figures:  # of something else
                figure.show(None)
