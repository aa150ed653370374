"""Figures of the hidden states: their size, their channels, and their path through a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.analysis.channels import STATISTICS, Channels
from vmamba_explore.analysis.trajectories import Trajectory
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of, with_unit
from vmamba_explore.view.figures import layout as draw

_PER_ROW = 3  # panels
_TICKS = 12  # time labels that a panel has room for
_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "diamond", "square")
_NUMBERS = 16  # of frames that a path has room for


def state_norms(norms: xr.DataArray) -> go.Figure:
    """Show how large the hidden state is in each frame, forward against backward, by layer.

    Each layer has its own scale: sizes differ by orders of magnitude between layers.

    Args:
        norms: Dims frame, and any of layer, direction, row, col, as `analysis.states.state_norms`
            returns them; rows and columns are averaged. `attrs["unit"]` goes into the axis title.

    Raises:
        ValueError: frame is missing, a dim is unknown, or one is empty.
    """
    known = {"layer", "direction", "frame", "row", "col"}
    if not {"frame"} <= set(norms.dims) <= known or 0 in norms.shape:
        raise ValueError(
            f"state_norms: got dims {dict(norms.sizes)}, expected frame and any of layer, "
            "direction, row, col, none of them empty. Select the others first."
        )
    means = norms.mean([dim for dim in ("row", "col") if dim in norms.dims])
    means = means.expand_dims([dim for dim in ("layer", "direction") if dim not in means.dims])
    means = means.transpose("layer", "direction", "frame")
    titles = [f"layer {n}" if "layer" in means.coords else "" for n in means["layer"].values]
    figure, cells = draw.panels(
        "Size of the hidden state, forward and backward", titles, 110, columns=_PER_ROW,
        horizontal_spacing=0.08,
    )  # fmt: skip
    times = draw.start_times(means)
    at = " at %{customdata}" if times else ""
    named = "direction" in means.coords
    for cell, title, by_direction in zip(cells, titles, means, strict=True):
        for values in by_direction:
            direction = str(values["direction"].values) if named else "state"
            draw.add_line(
                figure, means["frame"].values, values.values, direction,
                f"{draw.text(direction)}, {title}, token frame %{{x}}{at}", "norm %{y:.4g}",
                customdata=times, legend=cell == cells[0] and named,
                **draw.directed(direction), **cell,
            )  # fmt: skip
    draw.time_axis(figure, means, cells)
    figure.update_yaxes(rangemode="tozero", nticks=5, **draw.GRID)
    figure.update_yaxes(title=with_unit("state norm", norms.attrs.get("unit", "")), col=1)
    return figure


def channel_states(h: xr.DataArray, *, relative: bool = True) -> go.Figure:
    """Show every state of one channel over time, forward above backward.

    Args:
        h: Dims state and frame, and any of direction, row, col. With rows and columns every token
            gets its own column, in natural clip order; without, each frame does (one patch
            followed through time).
        relative: Divide each state by its own largest size in the clip. The scale between the
            states of a layer is arbitrary (what B gains C can lose), so only the course of each
            one means something. False shows h itself.

    Returns:
        A figure with one zero-centered color scale for both directions.

    Raises:
        ValueError: state or frame is missing, another dim is left (such as channel), or one is
            empty.
    """
    known = {"direction", "frame", "row", "col", "state"}
    if not {"frame", "state"} <= set(h.dims) <= known or 0 in h.shape:
        raise ValueError(
            f"channel_states: got dims {dict(h.sizes)}, expected state, frame and any of "
            "direction, row, col, none of them empty. Select the others first, for example "
            "with .sel(layer=0, channel=0)."
        )
    states = h if "direction" in h.dims else h.expand_dims("direction")
    order = [dim for dim in ("frame", "row", "col") if dim in h.dims]
    states = states.transpose("direction", "state", *order)
    name, unit = str(h.name or "h"), str(h.attrs.get("unit", ""))
    if relative:
        name, unit = f"{name}, share of its largest", ""
        largest = abs(states).max(order)
        states = states / largest.where(largest > 0, 1)
    count, frames = states.sizes["state"], states.sizes["frame"]
    per_frame = math.prod(states.sizes[dim] for dim in order[1:])
    names = [draw.text(n) if "direction" in h.coords else "" for n in states["direction"].values]
    figure, cells = draw.panels(
        "One channel's hidden states", names, 160, columns=1, shared_xaxes=True
    )
    places = np.stack(np.unravel_index(np.arange(frames * per_frame), [*states.shape[2:]]), -1)
    places[:, 0] = h["frame"].values[places[:, 0]]
    places = np.broadcast_to(draw.small_integers(places), (count, *places.shape))
    where = ", ".join(f"{dim} %{{customdata[{i}]}}" for i, dim in enumerate(order))
    for cell, direction, values in zip(cells, names, states.values, strict=True):
        draw.add_heat(
            figure, values.reshape(count, -1).astype(np.float32),
            f"{direction}, {where}, state %{{y}}", f"{draw.text(name)} %{{z:.4g}}", gap=0,
            y=h["state"].values if "state" in h.coords else np.arange(count),
            customdata=places, name=direction, **cell,
        )  # fmt: skip
    x_title, labels = draw.time_labels(h)
    centers = (np.arange(frames) + 0.5) * per_frame - 0.5
    step = math.ceil(frames / _TICKS)
    figure.update_xaxes(tickvals=centers[::step], ticktext=labels[::step], tickangle=0)
    figure.update_xaxes(title=x_title, **cells[-1])
    figure.update_yaxes(title="state (number)", nticks=9)
    draw.set_colors(figure, scale_of(states.values, signed=True), with_unit(name, unit))
    return figure


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
    for name, course, style in (
        ("median of the channels", courses.median("channel").values, "dot"),
        (f"channel {chosen}", courses.values[chosen], "solid"),
    ):
        mine = style == "solid"
        draw.add_line(
            figure, courses["frame"].values, course, name, f"{name}, token frame %{{x}}",
            f"{draw.text(statistic)} %{{y:.4g}}", color=color if mine else draw.GRAY, dash=style,
            markers=mine, **cells[1],
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
    times = draw.start_times(points)
    at = "token frame %{customdata[0]}" + (" at %{customdata[1]}" if times else "")
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
                figure, x, y, name, f"{draw.text(name)}, {direction}, {at}", "%{x:.3g}, %{y:.3g}",
                color=color, width=1.5, dash=_DASHES[clip % len(_DASHES)], group=str(clip),
                legend=several and cell["col"] == 1, marker={"symbol": symbol, "size": 7},
                mode="lines+markers+text", text=labels[order], textposition="top center",
                textfont={"size": 10}, customdata=[[int(n), *times[n : n + 1]] for n in order],
                **cell,
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
