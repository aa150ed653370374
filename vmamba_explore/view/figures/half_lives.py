"""A figure of how long the states of a layer last, all of them at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.layout import new_figure, text
from vmamba_explore.view.figures.memory import CENSORED

_PER_DECADE = 8  # bars
_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_LINE = "#222222"


def half_life_histogram(
    lives: Mapping[str, xr.DataArray], title: str = "How long the states last"
) -> go.Figure:
    """Count the half-lives of all states of all channels, forward above backward.

    Args:
        lives: By the name of the clip, one or two: from `analysis.channels.clip_half_lives`, of
            the same layer. The second is drawn as a line.
        title: Of the figure.

    Returns:
        Shares of a direction's states on a logarithmic axis in tokens; those that outlast the clip
        are one gray bar of their own. Lines mark as many tokens as a frame and as the clip have.

    Raises:
        ValueError: not one or two clips, or of different models.
    """
    arrays = list(lives.values())
    if len(arrays) not in (1, 2) or any(each.sizes != arrays[0].sizes for each in arrays):
        raise ValueError(
            f"half_life_histogram: got {[dict(each.sizes) for each in arrays]}, expected the "
            "half-lives of one or two clips in the same layer."
        )
    first = arrays[0]
    clip, frame = (float(np.log10(first.attrs[name])) for name in ("clip", "frame"))
    logs = [np.log10(each.values) for each in arrays]
    edges = _edges(min(float(each.min()) for each in logs), clip)
    beyond = edges[-1] + 3 / _PER_DECADE  # where the bar of those stands
    directions = [str(name) for name in first["direction"].values]
    height = 90 + 170 * len(directions)
    figure = make_subplots(
        len(directions), 1, subplot_titles=[text(name) for name in directions], shared_xaxes=True,
        vertical_spacing=0.26 / len(directions), figure=new_figure(title, height, t=84, b=60),
    )  # fmt: skip
    for row, direction in enumerate(directions, start=1):
        for number, (name, values) in enumerate(zip(lives, logs, strict=True)):
            inside, outside = _shares(values[row - 1], edges, clip)
            centers = (edges[1:] + edges[:-1]) / 2
            where = [f"{10**a:.3g} to {10**b:.3g} tokens" for a, b in itertools.pairwise(edges)]
            says = f"{text(name)}, {direction}<br>%{{customdata}}: %{{y:.3g}} %<extra></extra>"
            where_beyond = [f"more than {10**clip:.0f} tokens"]
            color = DIRECTION_COLORS.get(direction)
            if number:
                figure.add_scatter(
                    x=[*centers, None, beyond], y=[*inside, None, outside], name=text(name),
                    mode="lines+markers", line={"color": _LINE, "width": 1.5, "shape": "hvh"},
                    marker={"size": 4}, customdata=[*where, "", *where_beyond], hovertemplate=says,
                    showlegend=row == 1, row=row, col=1,
                )  # fmt: skip
                continue
            figure.add_bar(
                x=centers, y=inside, width=np.diff(edges), marker={"color": color},
                customdata=where, hovertemplate=says, name=text(name), showlegend=row == 1,
                row=row, col=1,
            )  # fmt: skip
            figure.add_bar(
                x=[beyond], y=[outside], width=2 / _PER_DECADE, marker={"color": CENSORED},
                customdata=where_beyond, hovertemplate=says, showlegend=False, row=row, col=1,
            )  # fmt: skip
        for place, words in ((frame, "a frame"), (clip, "the clip")):
            figure.add_vline(
                x=place, line={"color": _LINE, "width": 1, "dash": "dot"}, row=row, col=1,
                annotation={"text": words, "font": {"size": 10}, "yanchor": "bottom", "y": 1},
                annotation_position="top",
            )  # fmt: skip
    powers = np.arange(np.ceil(edges[0]), np.floor(clip) + 1)
    figure.update_xaxes(
        tickvals=[*powers, beyond],
        ticktext=[*(f"{10**p:g}" for p in powers), "longer than<br>the clip"],
        range=[edges[0] - 0.1, beyond + 2 / _PER_DECADE], tickangle=0,
    )  # fmt: skip
    figure.update_xaxes(title="half-life (tokens)", row=len(directions))
    figure.update_yaxes(title="states (%)", rangemode="tozero", **_GRID)
    figure.update_layout(
        bargap=0, showlegend=len(arrays) > 1,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container",
                "yanchor": "top"},
    )  # fmt: skip
    return figure


def _edges(low: float, clip: float) -> np.ndarray:
    """Borders of the bars, log10 of tokens, equal steps that end at the clip's length."""
    count = max(1, int(np.ceil((clip - low) * _PER_DECADE)))
    return clip - np.arange(count, -1, -1) / _PER_DECADE


def _shares(logs: np.ndarray, edges: np.ndarray, clip: float) -> tuple[np.ndarray, float]:
    """Percent of the states between the borders, and beyond the clip."""
    counts, _ = np.histogram(logs[logs <= clip], edges)
    return 100 * counts / logs.size, 100 * float((logs > clip).mean())
