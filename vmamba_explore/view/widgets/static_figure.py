"""A place for a figure in a widget: drawn by the notebook itself, no second copy of plotly."""

from __future__ import annotations

import json

import ipywidgets
import plotly.graph_objects as go

from vmamba_explore.view.figures.layout import CONFIG, STYLE
from vmamba_explore.view.widgets.guarded import Guarded

MIMETYPE = "application/vnd.plotly.v1+json"


class StaticFigure(Guarded, ipywidgets.Output):
    """Shows one figure at a time, as the output of a cell would.

    A `go.FigureWidget` brings 5 MB of JavaScript, and as much into every saved notebook; this
    brings the figure's numbers only, and a saved notebook keeps the last one.
    """

    def show(self, figure: go.Figure | None) -> None:
        """Replace what is shown, from any thread; None shows nothing."""
        shown = []
        if figure is not None:
            title = str(figure.layout.title.text or "a figure")
            content = {**json.loads(figure.to_json()), "config": CONFIG}
            for data in (STYLE, {MIMETYPE: content, "text/plain": title}):
                shown.append({"output_type": "display_data", "data": data, "metadata": {}})
        self.set_trait("outputs", tuple(shown))
