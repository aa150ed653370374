"""What surgery on the states did: by layer, direction and frame boundary."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.analysis.patching import TwinPatching
from vmamba_explore.analysis.selection import ALL, SelectionSwap
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of
from vmamba_explore.view.figures.layout import NEGLIGIBLE, color_axis, new_figure, text

_U, _SELECTION, _TRUTH = "#4d6a8a", "#e69f00", "#222222"
_GRID = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO = {"zeroline": True, "zerolinecolor": "#888888", "zerolinewidth": 1}
_LEGEND = {
    "orientation": "h", "x": 1, "xanchor": "right", "y": 0.92, "yref": "container",
    "yanchor": "top",
}  # fmt: skip


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
    label = "restored share (no unit)"
    figure = boundary_map(values, "The clip's past in its twin", label, window)
    return _with_residual(figure, patching.residual)


def boundary_map(
    values: xr.DataArray,
    title: str,
    label: str,
    window: tuple[int, int] | np.ndarray | None = None,
) -> go.Figure:
    """Show a signed number for every layer and frame boundary, a panel per direction.

    Args:
        values: Dims layer, direction, frame (the boundary before it); the coordinate `clip_frame`
            is needed to draw a window.
        title: Of the figure.
        label: Name and unit of the number.
        window: First and last clip frame of the motion.
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
    height = 184 + max(26 * len(layers), 100)
    figure = make_subplots(
        1, len(directions), subplot_titles=directions, shared_yaxes=True, horizontal_spacing=0.04,
        figure=new_figure(title, height, r=112, t=104),
    )  # fmt: skip
    for col, direction in enumerate(directions, start=1):
        figure.add_heatmap(
            z=values.values[col - 1], x=frames, y=layers, coloraxis="coloraxis", xgap=1, ygap=1,
            name=direction, row=1, col=col,
            hovertemplate=f"{direction}, layer %{{y}}, boundary before token frame %{{x}}"
            f"<br>{text(label)} %{{z:.3g}}<extra></extra>",
        )  # fmt: skip
        if window is not None:
            first, last = _in_token_frames(values, window)
            figure.add_shape(
                type="rect", x0=first, x1=last, y0=0, y1=1, yref="y domain", row=1, col=col,
                line={"color": _TRUTH, "width": 2, "dash": "dot"}, layer="above",
            )  # fmt: skip
    if window is not None:
        figure.add_scatter(  # carries the legend's line, draws nothing
            x=[None], y=[None], mode="lines", name=f"motion, clip frames {window[0]}–{window[1]}",
            line={"color": _TRUTH, "width": 2, "dash": "dot"}, hoverinfo="skip",
            showlegend=True,
        )  # fmt: skip
    figure.update_xaxes(title="boundary before token frame (number)", dtick=1)
    figure.update_xaxes(range=[frames.min() - 0.5, frames.max() + 0.5])
    figure.update_yaxes(title="layer", type="category", col=1)
    figure.update_yaxes(categoryorder="array", categoryarray=layers, autorange="reversed")
    axis = color_axis(scale_of(values.values, signed=True), label)
    axis["colorbar"]["len"] = height - 196  # type: ignore[index]
    figure.update_layout(coloraxis=axis, legend=_LEGEND)
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
    figure = new_figure(f"Layer {layer}, {direction}: what crosses the boundary", 380)
    color = DIRECTION_COLORS[direction]
    for clip, (first, last) in enumerate(patching.windows):
        place = (at - first) / (last + 1 - first)
        figure.add_scatter(
            x=place, y=lines.isel(clip=clip).values, mode="lines+markers", name=f"pair {clip}",
            line={"color": color, "width": 1.5}, opacity=0.6, showlegend=False, marker={"size": 5},
            customdata=np.stack([lines["frame"].values, at], axis=1),
            hovertemplate=f"pair {clip}, before token frame %{{customdata[0]}} (clip frame "
            "%{customdata[1]})<br>restored share %{y:.3f}<extra></extra>",
        )  # fmt: skip
    for place in (0, 1):
        figure.add_vline(x=place, line={"color": _TRUTH, "width": 1, "dash": "dot"})
    figure.add_annotation(
        text="the motion", x=0.5, y=1, yref="paper", yanchor="bottom", showarrow=False
    )
    figure.update_xaxes(title="place of the boundary: 0 the motion begins, 1 it has ended")
    figure.update_yaxes(title="restored share (no unit)", **_GRID, **_ZERO)
    return _with_residual(figure, patching.residual)


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
    figure = new_figure(title, 360, t=76)
    layers = ["all" if n == ALL else str(n) for n in values["layer"].values]
    for direction in (str(name) for name in values["direction"].values):
        figure.add_bar(
            x=layers, y=values.sel(direction=direction).values, name=direction,
            marker={
                "color": DIRECTION_COLORS[direction],
                "pattern": {"shape": "/" if direction == "backward" else "", "size": 5},
            },
            hovertemplate=f"layer %{{x}}, {direction}<br>{text(label)} %{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="layer", type="category")
    figure.update_yaxes(title=text(label), **_GRID, **_ZERO)
    figure.update_layout(legend=_LEGEND, bargap=0.25)
    return figure


def selection_shares(swap: SelectionSwap) -> go.Figure:
    """Show what u, and what delta, B and C bring of the clip-minus-twin difference.

    Args:
        swap: What `analysis.selection.selection_swap` measured.
    """
    directions = [str(name) for name in swap.values["direction"].values]
    figure = make_subplots(
        1, len(directions), subplot_titles=directions, shared_yaxes=True, horizontal_spacing=0.04,
        column_widths=[1.0 if name != "both" else 0.34 for name in directions],
        figure=new_figure("What each scan takes over from the twin", 420, t=104),
    )  # fmt: skip
    parts = (
        ("u: what is written", swap.by_u, _U, ""),
        ("delta, B, C: how it is chosen", swap.by_selection, _SELECTION, "/"),
    )
    for name, share, color, shape in parts:
        for col, direction in enumerate(directions, start=1):
            line = share.sel(direction=direction).dropna("layer")
            figure.add_bar(
                x=["all" if n == ALL else str(n) for n in line["layer"].values], y=line.values,
                name=name, marker={"color": color, "pattern": {"shape": shape, "size": 5}},
                showlegend=col == 1, legendgroup=name, row=1, col=col,
                hovertemplate=f"{direction}, layer %{{x}}<br>{name}: %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title="layer", type="category")
    figure.update_yaxes(**_GRID, **_ZERO)
    figure.update_yaxes(title="share of clip − twin (no unit)", col=1)
    figure.update_layout(barmode="relative", legend=_LEGEND, bargap=0.25)
    return _with_residual(figure, swap.residual)


def _in_token_frames(
    values: xr.DataArray, window: tuple[int, int] | np.ndarray
) -> tuple[float, float]:
    if "clip_frame" not in values.coords:
        raise ValueError("boundary_map: a window needs the coordinate clip_frame on the frames.")
    tubelet = float(values["clip_frame"].values[0] / values["frame"].values[0])
    return float(window[0]) / tubelet, (float(window[1]) + 1) / tubelet


def _with_residual(figure: go.Figure, residual: float) -> go.Figure:
    """Say in the figure how far a change that should change nothing went."""
    if not residual <= NEGLIGIBLE:  # not a number is not negligible
        figure.add_annotation(
            text=f"residual: surgery that puts back what was there moves this by {residual:.1e}",
            xref="paper", yref="paper", x=0, y=1, yshift=22, xanchor="left", yanchor="bottom",
            showarrow=False, font={"size": 11},
        )  # fmt: skip
    return figure
