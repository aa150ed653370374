"""NumbersPanel: states, channels, memory and scores behind the explorer's pictures."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
import traitlets

from vmamba_explore.edits import unedited
from vmamba_explore.view.explorer.exploration import Exploration, Viewed
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
        self._sides = sides = explorer.view.sides
        self.answers = Answers(sides)
        self._later: asyncio.TimerHandle | None = None
        self.side = controls.Dropdown(options=_numbered(sides), description="clip", **MENU)
        self.words = controls.HTML()
        self.scores = ScorePanel(
            lambda: (self._sides[self.side.value], self.answers.backend(self.side.value))
        )
        channels = ChannelsTab(self.draw, sides[0].directions)
        tabs = [StatesTab(self.draw), channels, MemoryTab(self.draw), self.scores]
        self.tabs = controls.Tab(tabs)
        self.tabs.titles = ("states", "channels", "memory", "score card")
        super().__init__(self._rows())
        self.add_class("vmx-numbers")
        self.active = active
        explorer.observe(self._follow, FOLLOWED)
        explorer.observe(self._other_sides, "revision")
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
        self.explorer.unobserve(self._other_sides, "revision")
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

    def _rows(self) -> list[ipywidgets.Widget]:
        return [*([self.side] if len(self._sides) > 1 else []), self.words, self.tabs]

    def _other_sides(self, change: dict[str, Any]) -> None:
        """Ask about what the explorer shows now; the same clips with more numbers are the same."""
        before, self._sides = self._sides, self.explorer.view.sides
        numbers = [[id(side.numbers) for side in sides] for sides in (before, self._sides)]
        if numbers[0] == numbers[1]:
            return
        self.answers = Answers(self._sides)
        self.side.unobserve(self._side_changed, "value")
        self.side.options = _numbered(self._sides)  # the first one is chosen
        self.side.observe(self._side_changed, "value")
        self.children = self._rows()
        self._side_changed(change)

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


def _numbered(sides: Sequence[Exploration]) -> list[tuple[str, int]]:
    """The sides for a menu: what they are called, and their numbers."""
    return [(name, number) for number, name in enumerate(side_titles(sides))]
