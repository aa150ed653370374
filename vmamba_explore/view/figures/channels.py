"""Figures of the channels of one scan: which are the largest, and the course of one of them."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vmamba_explore.analysis.channels import STATISTICS, Channels
from vmamba_explore.view.colors import DIRECTION_COLORS, with_unit
from vmamba_explore.view.figures.layout import new_figure, text, time_labels

_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_TICKS = 8
_CHOSEN = "#222222"


def channel_browser(
    found: Channels,
    statistic: str,
    channel: int | None = None,
    *,
    top: int = 24,
    frame: int | None = None,
) -> go.Figure:
    """Show the largest channels by a statistic, and one channel's course over the frames.

    Args:
        found: From `analysis.channels.channel_statistics`.
        statistic: One of `found.statistics`.
        channel: Whose course; None: the first one's.
        top: How many bars.
        frame: A token frame to mark.

    Returns:
        Bars, largest first, the chosen channel's outlined and put last where it is not among
        them; beside them its course, with all channels' median below it.

    Raises:
        ValueError: no such statistic or channel.
    """
    ranked = found.ranked(statistic)
    chosen = int(ranked[0]) if channel is None else channel
    if chosen not in ranked:
        raise ValueError(
            f"channel_browser: there is no channel {channel}; there are 0 to {len(ranked) - 1}."
        )
    values, courses = found.values[statistic], found.courses[statistic]
    shown = list(ranked[:top])
    shown += [] if chosen in shown else [chosen]
    color = DIRECTION_COLORS.get(found.direction, "#7f7f7f")
    label = with_unit(statistic, str(values.attrs.get("unit", "")))
    figure = make_subplots(
        1, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.09,
        subplot_titles=[f"the {min(top, len(ranked))} largest of {len(ranked)} channels",
                        f"channel {chosen} over time"],
        figure=new_figure(f"Channels of layer {found.layer}, {found.direction}", 320, t=76, b=60),
    )  # fmt: skip
    log = STATISTICS[statistic].log
    outline = {"color": _CHOSEN, "width": [3 if n == chosen else 0 for n in shown]}
    look: dict[str, Any] = {"mode": "markers"} if log else {}  # a bar needs a zero to stand on
    make = go.Scatter if log else go.Bar
    bars = make(
        x=[str(n) for n in shown], y=values.values[shown], showlegend=False,
        marker={"color": color, "line": outline, **({"size": 9} if log else {})},
        hovertemplate=f"channel %{{x}}<br>{text(statistic)} %{{y:.4g}}<extra></extra>", **look,
    )  # fmt: skip
    figure.add_trace(bars, row=1, col=1)
    x_title, times = time_labels(courses)
    frames = courses["frame"].values
    for name, course, style in (
        ("median of the channels", courses.median("channel").values, "dot"),
        (f"channel {chosen}", courses.values[chosen], "solid"),
    ):
        mine = style == "solid"
        figure.add_scatter(
            x=frames, y=course, mode="lines+markers" if mine else "lines", name=name,
            line={"color": color if mine else "#8a8a8a", "dash": style}, customdata=times,
            hovertemplate=f"{name}, frame %{{x}}<br>{text(statistic)} %{{y:.4g}}<extra></extra>",
            row=1, col=2,
        )  # fmt: skip
    if frame is not None:
        figure.add_vline(x=frame, line={"color": _CHOSEN, "width": 1}, row=1, col=2)
    step = max(1, -(-len(frames) // _TICKS))
    figure.update_xaxes(title="channel (number)", type="category", tickangle=90, row=1, col=1)
    figure.update_xaxes(
        title=x_title, tickvals=frames[::step], ticktext=times[::step], tickangle=0, row=1, col=2
    )
    figure.update_yaxes(
        **({"type": "log", "nticks": 6} if log else {"rangemode": "tozero"}), **_GRID
    )
    figure.update_yaxes(title=label, row=1, col=1)
    figure.update_layout(
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container",
                "yanchor": "top"}
    )  # fmt: skip
    return figure
