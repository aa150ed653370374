"""LiveFigure: a plotly figure that Python redraws while a reader zooms and hovers in it."""

from __future__ import annotations

import plotly.graph_objects as go

from vmamba_explore.view.widgets.guarded import Guarded


class LiveFigure(Guarded, go.FigureWidget):
    """A figure widget of plotly's, guarded: a browser tells it of zooms and restyled traces."""

    settable = tuple(n for n in go.FigureWidget.class_trait_names() if n.startswith("_js2py_"))
