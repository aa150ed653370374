"""Numbers behind the explorer's pictures: states, channels, memory, and scores of attributions."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import ipywidgets
import traitlets

from vmamba_explore.view.explorer.exploration import Numbers
from vmamba_explore.view.explorer.score_panel import ScorePanel, sentence
from vmamba_explore.view.explorer.tabs import (
    MENU,
    ChannelsTab,
    MemoryTab,
    StatesTab,
    side_names,
)
from vmamba_explore.view.explorer.widget import Explorer

FOLLOWED = ("layer", "direction", "query", "frame")
DELAY = 0.15
"""Seconds without a change after which the figures are drawn again: scrubbing draws once."""
_KEPT = 16  # answers


class NumbersPanel(ipywidgets.VBox):
    """Tabs of figures that follow an explorer's layer, direction, query and frame.

    Only the open tab is computed. Without a kernel nothing is, and the last figures stay.

    Args:
        explorer: Whom to follow. The `numbers` of its explorations are asked.
        active: Whether to compute anything yet; a panel in a closed accordion waits.

    The trait `active` can be set.
    """

    active = traitlets.Bool(True)

    def __init__(self, explorer: Explorer, *, active: bool = True) -> None:
        self.explorer = explorer
        self._answers: dict[tuple[object, ...], Any] = {}
        self._later: asyncio.TimerHandle | None = None
        names = side_names(explorer)
        self.side = ipywidgets.Dropdown(
            options=[(name, number) for number, name in enumerate(names)], description="clip",
            **MENU,
        )  # fmt: skip
        self.words = ipywidgets.HTML()
        self.scores = ScorePanel(lambda: (explorer.explorations[self.side.value], self.numbers()))
        self.tabs = ipywidgets.Tab(
            [StatesTab(self), ChannelsTab(self), MemoryTab(self), self.scores]
        )
        self.tabs.titles = ("states", "channels", "memory", "score card")
        super().__init__([*([self.side] if len(names) > 1 else []), self.words, self.tabs])
        self.add_class("vmx-numbers")
        self.active = active
        explorer.observe(self._follow, FOLLOWED)
        self.tabs.observe(self.draw, "selected_index")
        self.side.observe(self._side_changed, "value")
        self.observe(self.draw, "active")
        self.draw()

    def numbers(self, side: int | None = None) -> Numbers:
        """Return whom to ask about a side; None: the chosen one.

        Raises:
            ValueError: there is nobody.
        """
        side = self.side.value if side is None else side
        found = self.explorer.explorations[side].numbers
        if found is None:
            raise ValueError(
                "There is no model to ask for numbers; explore(...) makes an explorer that has one."
            )
        return found

    def ask(self, what: str, *question: Any, side: int | None = None) -> Any:
        """Return the answer of a method of `Numbers`; the last ones are kept."""
        side = self.side.value if side is None else side
        key = (what, side, *question)
        if key not in self._answers:
            answer = getattr(self.numbers(side), what)(*question)
            while len(self._answers) >= _KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = answer
        return self._answers[key]

    @property
    def token_frame(self) -> int:
        """The token frame of the explorer's clip frame."""
        return self.explorer.token_frames[self.explorer.frame]

    @property
    def direction(self) -> str | None:
        """The one direction that the explorer shows; None where it shows two."""
        shown = self.explorer.direction
        return shown if shown in self.explorer.directions else None

    def close(self) -> None:
        """Let go of the explorer, and end what runs."""
        if self.comm is None:  # closed before
            return
        if self._later is not None:
            self._later.cancel()
        self.explorer.unobserve(self._follow, FOLLOWED)
        self.scores.stop()
        for part in (self.side, self.words, self.tabs, self.layout):
            _close(part)
        super().close()

    def _follow(self, change: dict[str, Any]) -> None:
        if self._later is not None:
            self._later.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so nothing to wait for
            self.draw()
            return
        self._later = loop.call_later(DELAY, self.draw)

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
            self.tabs.children[index].draw()
        except Exception as error:  # a sentence in the panel, not a traceback
            self.words.value = html.escape(sentence(error))
            for figure in self.tabs.children[index].figures:  # of something else
                figure.show(None)


def _close(widget: ipywidgets.Widget) -> None:
    """Close a widget with all that it is made of; each has a line of its own to the browser."""
    parts = [*getattr(widget, "children", ()), getattr(widget, "style", None)]
    for part in (*parts, getattr(widget, "layout", None)):
        if isinstance(part, ipywidgets.Widget):
            _close(part)
    if isinstance(widget, ipywidgets.Widget):
        widget.close()
