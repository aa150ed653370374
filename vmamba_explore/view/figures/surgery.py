"""What surgery on the states did: by layer, direction and frame boundary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.analysis.patching import TwinPatching
from vmamba_explore.analysis.selection import ALL, SelectionSwap
from vmamba_explore.analysis.slow_states import OPERATIONS, StateSurgery
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures.attention import by_layer

_MOTION = {**draw.DOTTED, "width": 2}
_UNCHANGED = "moved by surgery that puts back what was there"


def restored_share(patching: TwinPatching, clip: int | None = None) -> go.Figure:
    """Show how much of a clip its past brings back in its twin: layer by boundary.

    Args:
        patching: What `analysis.patching.twin_patching` measured.
        clip: One pair, with the window of its motion drawn in; None: all pairs together.
    """
    if clip is None:
        values, window = patching.restored_overall, None
    else:
        count = patching.clip.sizes["clip"]
        if not 0 <= clip < count:
            raise ValueError(f"restored_share: there is no pair {clip}; there are {count}.")
        values = patching.restored.isel(clip=clip)
        window = None if patching.windows is None else patching.windows[clip]
    title, label = "What a clip's past restores in its twin", "restored share (no unit)"
    return boundary_map(
        values, title, label, window, draw.residual_note(patching.residual, _UNCHANGED)
    )


def boundary_map(
    values: xr.DataArray,
    title: str,
    label: str,
    window: tuple[int, int] | np.ndarray | None = None,
    note: str = "",
) -> go.Figure:
    """Show a signed number for every layer and frame boundary, a panel per direction.

    Args:
        values: Dims layer, direction, frame (the boundary before it); the coordinate `clip_frame`
            is needed to draw a window.
        title: Of the figure.
        label: Name and unit of the number.
        window: First and last clip frame of the motion.
        note: A second, smaller line under the title.
    """
    if set(values.dims) != {"layer", "direction", "frame"} or 0 in values.shape:
        raise ValueError(
            f"boundary_map: got dims {dict(values.sizes)}, expected layer, direction and frame, "
            "none of them empty. Choose a clip, or average over clips, first."
        )
    values = values.transpose("direction", "layer", "frame")
    directions = [str(name) for name in values["direction"].values]
    layers = ["all" if n == ALL else str(n) for n in values["layer"].values]
    frames = values["frame"].values
    each = max(26 * len(layers), 100)
    figure, cells = draw.panels(title, directions, each, note=note, shared_yaxes=True)
    for cell, direction, drawn in zip(cells, directions, values.values, strict=True):
        draw.add_heat(
            figure, drawn, f"{direction}, layer %{{y}}, boundary before token frame %{{x}}",
            f"{draw.text(label)} %{{z:.3g}}", x=frames, y=layers, name=direction, **cell,
        )  # fmt: skip
        if window is not None:
            span = _in_token_frames(values, window)
            draw.outline(figure, span, (0, 1), yref="y domain", line=_MOTION, layer="above", **cell)
    if window is not None:  # a line of the legend that draws nothing
        name = f"motion, clip frames {window[0]}–{window[1]}"
        draw.add_line(figure, [None], [None], name, markers=False, **_MOTION)
    figure.update_xaxes(title="boundary before token frame (number)", dtick=1)
    figure.update_xaxes(range=[frames.min() - 0.5, frames.max() + 0.5])
    figure.update_yaxes(title="layer", type="category", col=1)
    figure.update_yaxes(categoryorder="array", categoryarray=layers, autorange="reversed")
    scale = scale_of(values.values, signed=True)
    draw.set_colors(figure, scale, label, len=max(each, 120))
    return figure


def restored_in_window(patching: TwinPatching, layer: int, direction: str) -> go.Figure:
    """Show for one scan how the restored share runs through the window of the motion.

    Every pair is a line; windows of different length and place are laid over each other. Where
    the motion is what counts, all of the change lies between 0 and 1.

    Args:
        patching: What `analysis.patching.twin_patching` measured, with windows.
        layer, direction: Which scan.
    """
    if patching.windows is None:
        raise ValueError("restored_in_window: give twin_patching the windows of the clips.")
    lines = patching.restored.sel(layer=layer, direction=direction)
    at = lines["clip_frame"].values
    title = f"Layer {layer}, {direction}: what crosses the boundary"
    figure = draw.new_figure(title, 240, draw.residual_note(patching.residual, _UNCHANGED), 16)
    for clip, (first, last) in enumerate(patching.windows):
        draw.add_line(
            figure, (at - first) / (last + 1 - first), lines.isel(clip=clip).values, f"pair {clip}",
            f"pair {clip}, before token frame %{{customdata[0]}} (clip frame %{{customdata[1]}})",
            "restored share %{y:.3f}", color=DIRECTION_COLORS[direction], width=1.5, opacity=0.6,
            legend=False, marker={"size": 5}, customdata=np.stack([lines["frame"].values, at], 1),
        )  # fmt: skip
    for place in (0, 1):
        figure.add_vline(x=place, line=draw.DOTTED)
    figure.add_annotation(
        text="the motion", x=0.5, y=1, yref="paper", yanchor="bottom", showarrow=False
    )
    figure.update_xaxes(title="place of the boundary: 0 the motion begins, 1 it has ended")
    figure.update_yaxes(title="restored share (no unit)", **draw.GRID, **draw.ZERO)
    return figure


def by_boundary(
    values: xr.DataArray,
    title: str,
    label: str,
    spans: Mapping[str, tuple[int, int]] | None = None,
    level: float | None = None,
) -> go.Figure:
    """Show one number for surgery at each frame boundary, over what the frames show.

    Args:
        values: Dims frame (the boundary before it) and, for a line each, direction; the
            coordinates low and high draw an interval.
        title: Of the figure.
        label: Name and unit of the number.
        spans: By name, first and last token frame of something shown, to be shaded.
        level: A number to compare with, dotted, such as that of guessing.
    """
    if "frame" not in values.dims or not {*values.dims} <= {"frame", "direction"}:
        raise ValueError(
            f"by_boundary: got dims {dict(values.sizes)}, expected frame, and perhaps direction. "
            "Choose a clip, or average over clips, first."
        )
    figure = draw.new_figure(title, 220, above=16)
    frames = values["frame"].values
    named = values["direction"].values.tolist() if "direction" in values.dims else [""]
    for number, name in enumerate(named):
        line = values.sel(direction=name) if name else values
        look: dict[str, Any] = {"color": draw.PALETTE[number - 1] if number else draw.INK}
        if name in DIRECTION_COLORS:
            look = draw.directed(name)
        if "low" in line.coords:
            color = str(look["color"])
            draw.add_band(figure, frames, line["low"].values, line["high"].values, color)
        draw.add_line(
            figure, frames, line.values, name or label, f"boundary before frame %{{x}} {name}",
            f"{draw.text(label)} %{{y:.2f}}", legend=bool(name), **look,
        )  # fmt: skip
    for name, (first, last) in (spans or {}).items():
        draw.shade(figure, first, last + 1)
        figure.add_annotation(
            text=draw.text(name), x=(first + last + 1) / 2, y=1, yref="paper", yanchor="bottom",
            showarrow=False,
        )  # fmt: skip
    if level is not None:
        figure.add_hline(y=level, line=draw.DOTTED)
    figure.update_xaxes(title="boundary before token frame (number)", dtick=1)
    figure.update_yaxes(title=label, rangemode="tozero", **draw.GRID)
    return figure


def state_surgery(found: StateSurgery, chance: float) -> go.Figure:
    """Show how many clips are still right with some states kept, without these, or with a donor's.

    Args:
        found: What `analysis.state_surgery` measured.
        chance: The share of right answers of a guess, 0 to 1, dotted.

    Returns:
        A panel for each operation, a line with its 95 % interval for each order of states.
    """
    accuracy = 100 * found.accuracy
    ends = [100 * found.accuracy[name] for name in ("low", "high")]
    operations = accuracy["operation"].values.tolist()
    shares = accuracy["share"].values
    title = "What is right with some of the states"
    titles = [
        f"{name}: donor's answer" if name == OPERATIONS[2] else f"{name}: own answer"
        for name in operations
    ]
    figure, cells = draw.panels(title, titles, 220, shared_yaxes=True)
    x = np.arange(len(shares))
    for cell, operation in zip(cells, operations, strict=True):
        for color, order in zip(draw.PALETTE, accuracy["order"].values.tolist(), strict=False):
            here = {"operation": operation, "order": order}
            line, low, high = (each.sel(here).values for each in (accuracy, *ends))
            draw.add_band(figure, x, low, high, color, **cell)
            draw.add_line(
                figure, x, line, order, f"{draw.text(order)}, {operation}",
                "%{customdata[0]:.3g} % of the states: %{y:.1f} % right "
                "(%{customdata[1]:.1f} to %{customdata[2]:.1f})",
                customdata=np.stack([100 * shares, low, high], -1), color=color,
                legend=cell == cells[0], **cell,
            )  # fmt: skip
        figure.add_hline(y=100 * chance, line=draw.DOTTED, **cell)
    figure.update_xaxes(
        title="states (%)", tickvals=x, ticktext=[f"{100 * share:.3g}" for share in shares],
        tickangle=0,
    )  # fmt: skip
    figure.update_yaxes(range=[-2, 103], **draw.GRID)
    figure.update_yaxes(title="right (%)", col=1)
    return figure


def scan_bars(values: xr.DataArray, title: str, label: str) -> go.Figure:
    """Show one number for every scan: a bar per layer and direction.

    Args:
        values: Dims layer and direction.
        title: Of the figure.
        label: Name and unit of the number.
    """
    if set(values.dims) != {"layer", "direction"} or 0 in values.shape:
        raise ValueError(
            f"scan_bars: got dims {dict(values.sizes)}, expected layer and direction, none of them "
            "empty."
        )
    layers = ["all" if n == ALL else str(n) for n in values["layer"].values]
    figure = by_layer({label: values.assign_coords(layer=layers)}, title)
    return figure.update_xaxes(title="layer", type="category")


def selection_shares(swap: SelectionSwap) -> go.Figure:
    """Show what u, and what delta, B and C bring of the clip-minus-twin difference.

    Args:
        swap: What `analysis.selection.selection_swap` measured.
    """
    directions = [str(name) for name in swap.values["direction"].values]
    figure, cells = draw.panels(
        "What each scan takes over from the twin", directions, 260, shared_yaxes=True,
        note=draw.residual_note(swap.residual, _UNCHANGED),
        column_widths=[1.0 if name != "both" else 0.34 for name in directions],
    )  # fmt: skip
    parts = (
        ("u: what is written", swap.by_u, draw.ACCENT, ""),
        ("delta, B, C: how it is chosen", swap.by_selection, draw.ORANGE, "/"),
    )
    for name, share, color, shape in parts:
        for cell, direction in zip(cells, directions, strict=True):
            line = share.sel(direction=direction).dropna("layer")
            draw.add_bars(
                figure, ["all" if n == ALL else str(n) for n in line["layer"].values], line.values,
                name, f"{direction}, layer %{{x}}", f"{name}: %{{y:.3f}}", color=color, hatch=shape,
                legend=cell["col"] == 1, **cell,
            )  # fmt: skip
    figure.update_xaxes(title="layer", type="category")
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    figure.update_yaxes(title="share of clip − twin (no unit)", col=1)
    figure.update_layout(barmode="relative", bargap=0.25)
    return figure


def _in_token_frames(
    values: xr.DataArray, window: tuple[int, int] | np.ndarray
) -> tuple[float, float]:
    if "clip_frame" not in values.coords:
        raise ValueError("boundary_map: a window needs the coordinate clip_frame on the frames.")
    tubelet = float(values["clip_frame"].values[0] / values["frame"].values[0])
    return float(window[0]) / tubelet, (float(window[1]) + 1) / tubelet
