"""A place for a figure in a widget: drawn by the notebook itself, no second copy of plotly."""

from __future__ import annotations

import json

import ipywidgets
import plotly.graph_objects as go

MIMETYPE = "application/vnd.plotly.v1+json"


class StaticFigure(ipywidgets.Output):
    """Shows one figure at a time, as the output of a cell would.

    A `go.FigureWidget` brings 5 MB of JavaScript, and as much into every saved notebook; this
    brings the figure's numbers only, and a saved notebook keeps the last one.
    """

    def show(self, figure: go.Figure | None) -> None:
        """Replace what is shown, from any thread; None shows nothing."""
        shown = []
        if figure is not None:
            words = str(figure.layout.title.text or "a figure")
            content = json.loads(figure.to_json())
            content["layout"].pop("width", None)  # as wide as its place, which may be narrow
            content["config"] = {"responsive": True, "displaylogo": False}
            data = {MIMETYPE: content, "text/plain": words}
            shown.append({"output_type": "display_data", "data": data, "metadata": {}})
        self.set_trait("outputs", tuple(shown))
