"""The tabs of the panel of numbers that follow the explorer: states, channels, memory."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets

from vmamba_explore.analysis.channels import STATISTICS, Channels
from vmamba_explore.analysis.trajectory import trajectory
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.explorer.widget import Explorer
from vmamba_explore.view.figures.channels import channel_browser
from vmamba_explore.view.figures.half_lives import half_life_histogram
from vmamba_explore.view.figures.states import channel_states
from vmamba_explore.view.figures.trajectory import state_trajectories
from vmamba_explore.view.widgets.static_figure import StaticFigure

if TYPE_CHECKING:
    from vmamba_explore.view.explorer.panels import NumbersPanel

MENU: dict[str, Any] = {"layout": {"width": "auto", "max_width": "340px"}}
"""How wide a menu is."""


class NumbersTab(ipywidgets.VBox):
    """Controls, a sentence and figures; `draw` brings them up to date."""

    one_side = False
    """Whether it shows the chosen side of two, or both."""

    def __init__(self, panel: NumbersPanel, *controls: ipywidgets.Widget, figures: int = 1) -> None:
        self.panel = panel
        self.about = ipywidgets.HTML("Computed when this is opened, by a running kernel.")
        self.figures = [StaticFigure() for _ in range(figures)]
        rows = [ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"})] if controls else []
        super().__init__([*rows, self.about, *self.figures])

    def draw(self) -> None:
        """Compute what the explorer's state asks for, and show it."""
        raise NotImplementedError

    def say(self, words: str) -> None:
        """Show a sentence, plain text."""
        self.about.value = html.escape(words)

    def redraw(self, change: dict[str, Any]) -> None:
        """Draw, since a control was moved."""
        self.panel.draw()


class StatesTab(NumbersTab):
    """The paths of the states from frame to frame."""

    def __init__(self, panel: NumbersPanel) -> None:
        self.where = ipywidgets.Dropdown(
            options=["after each frame", "at the asked patch"], description="state", **MENU
        )
        super().__init__(panel, self.where)
        self.where.observe(self.redraw, "value")

    def draw(self) -> None:
        panel, layer = self.panel, self.panel.explorer.layer
        query = tuple(panel.explorer.query)
        asked = self.where.value == "at the asked patch"
        place = query[1:] if asked and query else None
        sides = range(len(panel.explorer.explorations))
        states = [panel.ask("states", layer, place, side=side) for side in sides]
        title = f"Where the state of layer {layer} goes, " + (
            "after each frame" if place is None else f"at row {place[0]}, column {place[1]}"
        )
        self.figures[0].show(
            state_trajectories(
                trajectory(states), title, names=side_names(panel.explorer),
                frame=panel.token_frame,
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

    def __init__(self, panel: NumbersPanel) -> None:
        self.statistic = ipywidgets.Dropdown(
            options=list(STATISTICS), description="sorted by", **MENU
        )
        self.direction = ipywidgets.Dropdown(
            options=panel.explorer.directions, description="direction", **MENU
        )
        self.channel = ipywidgets.Dropdown(description="channel", **MENU)
        super().__init__(panel, self.statistic, self.direction, self.channel, figures=2)
        self._listed: tuple[object, ...] | None = None
        self._setting = False
        for control in (self.statistic, self.direction, self.channel):
            control.observe(self.redraw, "value")

    def redraw(self, change: dict[str, Any]) -> None:
        if not self._setting:
            super().redraw(change)

    def draw(self) -> None:
        panel, layer = self.panel, self.panel.explorer.layer
        with _Setting(self):
            self.direction.disabled = panel.direction is not None
            if panel.direction is not None:
                self.direction.value = panel.direction
        direction = self.direction.value
        found: Channels = panel.ask("channels", layer, direction)
        if self.statistic.value not in found.statistics:
            raise ValueError(
                f"There is no {self.statistic.value} here: the run was edited such that its parts "
                "do not sum to the logit. Choose another statistic."
            )
        statistic = self.statistic.value
        self._list_channels(found, statistic, (panel.side.value, layer, direction))
        channel = self.channel.value
        frame = panel.token_frame
        self.figures[0].show(channel_browser(found, statistic, channel, frame=frame))
        states = panel.ask("states", layer, None).sel(direction=direction)
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
        with _Setting(self):
            chosen = self.channel.value if stays else ranked[0]
            self.channel.options = [(f"{n}: {values[n]:.3g} {unit}".strip(), n) for n in ranked]
            self.channel.value = chosen
        self._listed = (*scan, statistic)


class MemoryTab(NumbersTab):
    """How long the states last."""

    def draw(self) -> None:
        panel, layer = self.panel, self.panel.explorer.layer
        names = side_names(panel.explorer)
        lives = {name: panel.ask("half_lives", layer, side=n) for n, name in enumerate(names)}
        self.figures[0].show(
            half_life_histogram(lives, f"How long the states of layer {layer} last")
        )
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


class _Setting:
    """While a tab sets its own controls, they ask for nothing."""

    def __init__(self, tab: ChannelsTab) -> None:
        self.tab = tab

    def __enter__(self) -> None:
        self.tab._setting = True

    def __exit__(self, *_: object) -> None:
        self.tab._setting = False


def side_names(explorer: Explorer) -> list[str]:
    """What to call the sides; two have a letter each, so that no two names are the same."""
    titles = [exploration.title for exploration in explorer.explorations]
    return titles if len(titles) == 1 else [f"{s}: {t}" for s, t in zip("AB", titles, strict=True)]
