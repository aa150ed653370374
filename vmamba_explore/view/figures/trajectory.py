"""A figure of the paths that hidden states take through a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vmamba_explore.analysis.trajectory import Trajectory
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.layout import new_figure, text, time_labels

_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "diamond", "square")
_GRID: dict[str, Any] = {
    "showgrid": True, "gridcolor": "rgba(128,128,128,0.2)",
    "zeroline": True, "zerolinecolor": "rgba(128,128,128,0.5)",
}  # fmt: skip
_MARK = "#222222"
_NUMBERS = 16  # of frames that a path has room for


def state_trajectories(
    found: Trajectory,
    title: str = "Where the state goes",
    *,
    names: Sequence[str] | None = None,
    frame: int | None = None,
) -> go.Figure:
    """Show the path of the state from frame to frame, forward beside backward.

    Args:
        found: From `analysis.trajectory.trajectory`.
        title: Of the figure.
        names: One for each clip.
        frame: A token frame to mark.

    Returns:
        A panel for each direction, in its own plane; numbers are token frames, and lines go in
        the order in which the scan reads them. A length is the same along both axes.

    Raises:
        ValueError: not one name for each clip.
    """
    points, clips = found.points, found.points.sizes["clip"]
    if names is None:
        names = [f"clip {number}" for number in range(clips)]
    if len(names) != clips:
        raise ValueError(
            f"state_trajectories: {len(names)} names for {clips} clips, expected one for each."
        )
    directions = [str(name) for name in points["direction"].values]
    several = clips > 1
    figure = make_subplots(
        1, len(directions), subplot_titles=[text(name) for name in directions],
        horizontal_spacing=0.11, figure=new_figure(title, 440, t=96 if several else 76),
    )  # fmt: skip
    x_title, times = time_labels(points)
    unit = " s" if x_title.endswith("(s)") else ""
    frames = points["frame"].values
    step = -(-len(frames) // _NUMBERS)
    labels = np.array([str(n) if n % step == 0 else "" for n in frames])
    for col, direction in enumerate(directions, start=1):
        order = points["step"].sel(direction=direction).values.argsort()
        color = DIRECTION_COLORS.get(direction)
        for clip, name in enumerate(names):
            where = points.isel(clip=clip).sel(direction=direction)
            x, y = where.isel(frame=order).values.T
            figure.add_scatter(
                x=x, y=y, mode="lines+markers+text", text=labels[order],
                textposition="top center", textfont={"size": 10}, name=text(name),
                legendgroup=str(clip), showlegend=several and col == 1,
                line={"color": color, "width": 1.5, "dash": _DASHES[clip % len(_DASHES)]},
                marker={"symbol": _SYMBOLS[clip % len(_SYMBOLS)], "size": 7},
                customdata=[[int(n), times[n]] for n in order],
                hovertemplate=f"{text(name)}, {direction}, frame %{{customdata[0]}}"
                + (f" at %{{customdata[1]}}{unit}" if unit else "")
                + "<br>%{x:.3g}, %{y:.3g}<extra></extra>",
                row=1, col=col,
            )  # fmt: skip
            if frame is not None:
                here = where.sel(frame=frame).values
                figure.add_scatter(
                    x=here[:1], y=here[1:], mode="markers", showlegend=False, hoverinfo="skip",
                    marker={"symbol": f"{_SYMBOLS[clip % len(_SYMBOLS)]}-open", "size": 15,
                            "color": _MARK, "line": {"width": 2.5}},
                    row=1, col=col,
                )  # fmt: skip
        share = 100 * found.explained.sel(direction=direction).values
        titles = [
            f"component {n} ({part:.0f} % of the variance)" for n, part in enumerate(share, 1)
        ]
        figure.update_xaxes(title=titles[0], row=1, col=col)
        anchor = "x" if col == 1 else f"x{col}"
        figure.update_yaxes(title=titles[1], scaleanchor=anchor, row=1, col=col)
    figure.update_xaxes(**_GRID)
    figure.update_yaxes(**_GRID)
    figure.update_layout(
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container",
                "yanchor": "top"}
    )  # fmt: skip
    return figure
