"""Figures of the channels of one scan: which are the largest, and the course of one of them."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from vmamba_explore.analysis.channels import STATISTICS, Channels
from vmamba_explore.view.colors import DIRECTION_COLORS, with_unit
from vmamba_explore.view.figures import layout as draw


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
    titles = [f"the {min(top, len(ranked))} largest of {len(ranked)} channels",
              f"channel {chosen} over time"]  # fmt: skip
    figure, cells = draw.panels(
        f"Channels of layer {found.layer}, {found.direction}", titles, 190,
        column_widths=[0.58, 0.42],
    )  # fmt: skip
    log = STATISTICS[statistic].log
    outline = {"color": draw.INK, "width": [3 if n == chosen else 0 for n in shown]}
    look: dict[str, Any] = {"mode": "markers"} if log else {}  # a bar needs a zero to stand on
    make = go.Scatter if log else go.Bar
    bars = make(
        x=[str(n) for n in shown], y=values.values[shown], showlegend=False,
        marker={"color": color, "line": outline, **({"size": 9} if log else {})},
        hovertemplate=draw.hover("channel %{x}", f"{draw.text(statistic)} %{{y:.4g}}"), **look,
    )  # fmt: skip
    figure.add_trace(bars, **cells[0])
    _, times = draw.time_labels(courses)
    for name, course, style in (
        ("median of the channels", courses.median("channel").values, "dot"),
        (f"channel {chosen}", courses.values[chosen], "solid"),
    ):
        mine = style == "solid"
        draw.add_line(
            figure, courses["frame"].values, course, name, f"{name}, frame %{{x}}",
            f"{draw.text(statistic)} %{{y:.4g}}", color=color if mine else draw.GRAY, dash=style,
            markers=mine, customdata=times, **cells[1],
        )  # fmt: skip
    if frame is not None:
        figure.add_vline(x=frame, line={"color": draw.INK, "width": 1}, **cells[1])
    figure.update_xaxes(title="channel (number)", type="category", tickangle=90, **cells[0])
    draw.time_axis(figure, courses, cells[1:])
    figure.update_yaxes(
        **({"type": "log", "dtick": "D2"} if log else {"rangemode": "tozero"}), **draw.GRID
    )
    figure.update_yaxes(title=label, row=1, col=1)
    return figure
