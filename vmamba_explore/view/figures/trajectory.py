"""A figure of the paths that hidden states take through a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.analysis.trajectories import Trajectory
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures import layout as draw

_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "diamond", "square")
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
    figure, cells = draw.panels(title, directions, 300, horizontal_spacing=0.14)
    x_title, times = draw.time_labels(points)
    unit = " s" if x_title.endswith("(s)") else ""
    frames = points["frame"].values
    step = -(-len(frames) // _NUMBERS)
    labels = np.array([str(n) if n % step == 0 else "" for n in frames])
    for cell, direction in zip(cells, directions, strict=True):
        order = points["step"].sel(direction=direction).values.argsort()
        color = DIRECTION_COLORS.get(direction)
        for clip, name in enumerate(names):
            where = points.isel(clip=clip).sel(direction=direction)
            x, y = where.isel(frame=order).values.T
            symbol = _SYMBOLS[clip % len(_SYMBOLS)]
            draw.add_line(
                figure, x, y, name, f"{draw.text(name)}, {direction}, frame %{{customdata[0]}}"
                + (f" at %{{customdata[1]}}{unit}" if unit else ""), "%{x:.3g}, %{y:.3g}",
                color=color, width=1.5, dash=_DASHES[clip % len(_DASHES)], group=str(clip),
                legend=several and cell["col"] == 1, marker={"symbol": symbol, "size": 7},
                mode="lines+markers+text", text=labels[order], textposition="top center",
                textfont={"size": 10}, customdata=[[int(n), times[n]] for n in order], **cell,
            )  # fmt: skip
            if frame is not None:
                here = where.sel(frame=frame).values
                figure.add_scatter(
                    x=here[:1], y=here[1:], mode="markers", showlegend=False, hoverinfo="skip",
                    marker={"symbol": f"{symbol}-open", "size": 15,
                            "color": draw.INK, "line": {"width": 2.5}},
                    **cell,
                )  # fmt: skip
        share = 100 * found.explained.sel(direction=direction).values
        titles = [
            f"component {n} ({part:.0f} % of the variance)" for n, part in enumerate(share, 1)
        ]
        figure.update_xaxes(title=titles[0], **cell)
        anchor = figure.data[-1].xaxis
        figure.update_yaxes(title=titles[1], scaleanchor=anchor, **cell)
    figure.update_xaxes(**draw.GRID, **draw.ZERO)
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    return figure
