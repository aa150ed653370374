"""The tabs of the panel of numbers that follow the explorer: states, channels, memory."""

from __future__ import annotations

import html
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import traitlets

from vmamba_explore.analysis.channels import STATISTICS, Channels
from vmamba_explore.analysis.trajectories import trajectory
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.explorer.exploration import Exploration, Numbers, ViewState
from vmamba_explore.view.explorer.vocabulary import side_titles
from vmamba_explore.view.figures.memory import half_life_histogram
from vmamba_explore.view.figures.states import (
    channel_browser,
    channel_states,
    state_trajectories,
)
from vmamba_explore.view.widgets import controls
from vmamba_explore.view.widgets.static_figure import StaticFigure

MENU: dict[str, Any] = {"layout": {"width": "auto", "max_width": "340px"}}
"""How wide a menu is."""
_KEPT = 16  # answers


class Answers:
    """Asks the live backends of some sides for numbers, and keeps the last answers.

    Args:
        sides: Whose `numbers` are asked.
    """

    def __init__(self, sides: Sequence[Exploration]) -> None:
        self._sides = sides
        self._kept: dict[tuple[object, ...], Any] = {}

    def backend(self, side: int) -> Numbers:
        """Return the backend of a side.

        Raises:
            ValueError: it has none.
        """
        found = self._sides[side].numbers
        if found is None:
            raise ValueError(
                "There is no model to ask for numbers; explore(...) makes an explorer that has one."
            )
        return found

    def ask(self, what: str, *question: Any, side: int) -> Any:
        """Return the answer of a method of `Numbers`."""
        key = (what, side, *question)
        if key not in self._kept:
            answer = getattr(self.backend(side), what)(*question)
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = answer
        return self._kept[key]


class _AbstractWidget(ABCMeta, traitlets.MetaHasTraits):
    """For widgets that cannot be made before their abstract methods are written."""


class NumbersTab(controls.VBox, metaclass=_AbstractWidget):
    """Controls, a sentence and figures; `draw` brings them up to date.

    Args:
        redraw: Called when one of the controls was moved.
        moved: The controls.
        figures: How many figures there are.
    """

    one_side = False
    """Whether it shows the chosen side of two, or both."""

    def __init__(
        self, redraw: Callable[[], None], *moved: ipywidgets.Widget, figures: int = 1
    ) -> None:
        self._redraw = redraw
        self.about = controls.HTML("Computed when this is opened, by a running kernel.")
        self.figures = [StaticFigure() for _ in range(figures)]
        rows = [controls.HBox(moved, layout={"flex_flow": "row wrap"})] if moved else []
        super().__init__([*rows, self.about, *self.figures])
        for control in moved:
            control.observe(self.moved, "value")

    @abstractmethod
    def draw(self, view: ViewState, answers: Answers, side: int) -> None:
        """Compute what belongs to a view, and show it.

        Args:
            view: What the explorer shows.
            answers: Asks for the numbers.
            side: The chosen side.
        """

    def say(self, words: str) -> None:
        """Show a sentence, plain text."""
        self.about.value = html.escape(words)

    def moved(self, change: dict[str, Any]) -> None:
        """Draw again, since a control was moved."""
        self._redraw()


class StatesTab(NumbersTab):
    """The paths of the states from frame to frame."""

    def __init__(self, redraw: Callable[[], None]) -> None:
        self.where = controls.Dropdown(
            options=["after each frame", "at the asked patch"], description="state", **MENU
        )
        super().__init__(redraw, self.where)

    def draw(self, view: ViewState, answers: Answers, side: int) -> None:
        layer, query = view.layer, view.query
        asked = self.where.value == "at the asked patch"
        place = query[1:] if asked and query else None
        states = [answers.ask("states", layer, place, side=n) for n in range(len(view.sides))]
        title = f"Where the state of layer {layer} goes, " + (
            "after each frame" if place is None else f"at row {place[0]}, column {place[1]}"
        )
        self.figures[0].show(
            state_trajectories(
                trajectory(states), title, names=side_titles(view.sides), frame=view.token_frame,
            )
        )  # fmt: skip
        hint = (
            " No patch is asked yet: click on one in the explorer." if asked and not query else ""
        )
        self.say(
            "Each number is a token frame; lines follow the order of the scan. All channels and "
            "states, each as strongly as it is read, on their two principal components." + hint
        )


class ChannelsTab(NumbersTab):
    """All channels of a scan, sorted; one of them in full."""

    one_side = True

    def __init__(self, redraw: Callable[[], None], directions: Sequence[str]) -> None:
        self.statistic = controls.Dropdown(
            options=list(STATISTICS), description="sorted by", **MENU
        )
        self.direction = controls.Dropdown(options=directions, description="direction", **MENU)
        self.channel = controls.Dropdown(description="channel", **MENU)
        super().__init__(redraw, self.statistic, self.direction, self.channel, figures=2)
        self._listed: tuple[object, ...] | None = None
        self._setting = False

    def moved(self, change: dict[str, Any]) -> None:
        if not self._setting:
            super().moved(change)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """While the tab sets its own controls, they ask for nothing."""
        self._setting = True
        try:
            yield
        finally:
            self._setting = False

    def draw(self, view: ViewState, answers: Answers, side: int) -> None:
        layer = view.layer
        with self._quiet():
            self.direction.disabled = view.one_direction is not None
            if view.one_direction is not None:
                self.direction.value = view.one_direction
        direction = self.direction.value
        found: Channels = answers.ask("channels", layer, direction, side=side)
        if self.statistic.value not in found.statistics:
            raise ValueError(
                f"There is no {self.statistic.value} here: the run was edited such that its parts "
                "do not sum to the logit. Choose another statistic."
            )
        statistic = self.statistic.value
        self._list_channels(found, statistic, (side, layer, direction))
        channel = self.channel.value
        self.figures[0].show(channel_browser(found, statistic, channel, frame=view.token_frame))
        states = answers.ask("states", layer, None, side=side).sel(direction=direction)
        self.figures[1].show(channel_states(states.isel(channel=channel)))
        below = f"Below: the states of channel {channel} after each frame."
        self.say(f"{STATISTICS[statistic].about} {below}")

    def _list_channels(self, found: Channels, statistic: str, scan: tuple[object, ...]) -> None:
        """Offer the channels in their order; one that a reader chose stays while the scan does."""
        if self._listed == (*scan, statistic):
            return
        stays = self._listed is not None and self._listed[:-1] == scan and self.channel.index > 0
        values, unit = found.values[statistic].values, STATISTICS[statistic].unit
        ranked = [int(channel) for channel in found.ranked(statistic)]
        with self._quiet():
            chosen = self.channel.value if stays else ranked[0]
            self.channel.options = [(f"{n}: {values[n]:.3g} {unit}".strip(), n) for n in ranked]
            self.channel.value = chosen
        self._listed = (*scan, statistic)


class MemoryTab(NumbersTab):
    """How long the states last."""

    def draw(self, view: ViewState, answers: Answers, side: int) -> None:
        names = side_titles(view.sides)
        lives = {n: answers.ask("half_lives", view.layer, side=i) for i, n in enumerate(names)}
        title = f"How long the states of layer {view.layer} last"
        self.figures[0].show(half_life_histogram(lives, title))
        first = lives[names[0]]
        shares = [
            f"{name}: median {float(each.median()):.3g} tokens, "
            f"{100 * float((each > each.attrs['clip']).mean()):.3g} % outlast the clip"
            for name, each in zip(first["direction"].values, first, strict=True)
        ]
        self.say(
            f"{with_unit('Half-lives', 'tokens')} of all {first[0].size} states of a direction, at "
            f"the mean step size of their channel. {'; '.join(shares)}."
        )
