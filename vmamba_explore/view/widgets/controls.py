"""ipywidgets' controls, guarded: each takes from a browser what a reader does with it, only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import traitlets

from vmamba_explore.view.widgets.guarded import Guarded


class VBox(Guarded, ipywidgets.VBox):
    """A column."""


class HBox(Guarded, ipywidgets.HBox):
    """A row."""


class HTML(Guarded, ipywidgets.HTML):
    """Text with its markup."""


class FloatProgress(Guarded, ipywidgets.FloatProgress):
    """A progress bar."""


class Accordion(Guarded, ipywidgets.Accordion):
    """Sections that can be folded."""

    settable = ("selected_index",)


class Tab(Guarded, ipywidgets.Tab):
    """Tabs."""

    settable = ("selected_index",)


class Dropdown(Guarded, ipywidgets.Dropdown):
    """A menu."""

    settable = ("index",)

    def _accepted(self, state: Mapping[str, Any]) -> dict[str, Any]:
        accepted = super()._accepted(state)
        if accepted.get("index", 0) is None:
            raise traitlets.TraitError("Dropdown: index is None, expected that of an option.")
        return accepted


class SelectMultiple(Guarded, ipywidgets.SelectMultiple):
    """A list of which several can be chosen."""

    settable = ("index",)


class ToggleButton(Guarded, ipywidgets.ToggleButton):
    """A button that stays down."""

    settable = ("value",)


class Button(Guarded, ipywidgets.Button):
    """A button."""

    messages = ("event",)


class IntSlider(Guarded, ipywidgets.IntSlider):
    """A slider of whole numbers."""

    settable = ("value",)


class FloatLogSlider(Guarded, ipywidgets.FloatLogSlider):
    """A slider of positive numbers."""

    settable = ("value",)


class Play(Guarded, ipywidgets.Play):
    """Buttons that play through a slider."""

    settable = ("value", "playing", "repeat")
