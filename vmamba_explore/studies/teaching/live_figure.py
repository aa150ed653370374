"""LiveFigure: a plotly figure that Python redraws while a reader zooms and hovers in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from vmamba_explore.view.widgets.guarded import Guarded

_UNREAD = "_js2py_widget_layoutDelta"
"""Plotly's page sends the layout under this name, which plotly's Python does not have."""


class LiveFigure(Guarded, go.FigureWidget):
    """A figure widget of plotly's, guarded: a browser tells it of zooms and restyled traces."""

    settable = (
        "_view_count",
        *(name for name in go.FigureWidget.class_trait_names() if name.startswith("_js2py_")),
    )

    def _accepted(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return super()._accepted({name: state[name] for name in state if name != _UNREAD})
