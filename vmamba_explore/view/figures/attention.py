"""Figures of hidden attention: who reads whom, by frame, by layer and direction, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.analysis.attention_matrix import AttentionMatrix
from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.truth import ShareInside
from vmamba_explore.clips import Clip
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of, with_unit
from vmamba_explore.view.figures.delta import delta_maps
from vmamba_explore.view.figures.layout import NEGLIGIBLE, color_axis, new_figure, text, time_labels

_SHADE = "rgba(230, 159, 0, 0.18)"
_HATCH = {"forward": "", "backward": "/"}
_MOST_CELLS = 768  # a side of a drawn matrix
_LEGEND = {
    "orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container", "yanchor": "top",
}  # fmt: skip


def residual_line(residual: float) -> str:
    """Return what a figure says below its title about a residual; nothing where it is rounding.

    Args:
        residual: Relative distance of what is drawn to what the model computed.
    """
    if residual <= NEGLIGIBLE:
        return ""
    return f"<br><sup>residual {residual:.1e}: how far this is from what the model computed</sup>"


def attention_maps(array: xr.DataArray, clip: Clip | None = None) -> go.Figure:
    """Show what one token reads, or where it goes, as maps by layer, direction and frame.

    Args:
        array: Dims row and col, and any of layer, direction, frame, as
            `TokenAttention.array` and `Rollout.array` return it.
        clip: Draws above each column of tiles the first of the clip's frames it belongs to.

    Returns:
        One color scale for all tiles, centered on zero where a value is negative.

    Raises:
        ValueError: row or col is missing, a dim is unknown, or one is empty.
    """
    figure = delta_maps(array, clip)
    line = residual_line(float(array.attrs.get("residual", 0.0)))
    figure.update_layout(title=figure.layout.title.text + line)
    return figure


def frame_shares(
    shares: Mapping[str, xr.DataArray], frames: tuple[int, int] | None = None
) -> go.Figure:
    """Show from which frame each frame's output came, one panel beside the other.

    Args:
        shares: By the panel's title, dims target and source, rows that sum to 1, as
            `FrameContributions.array` returns them.
        frames: First and last token frame to rule off on both axes, such as those with motion.

    Raises:
        ValueError: no panel, or dims that are not target and source.
    """
    for name, array in shares.items():
        if set(array.dims) != {"target", "source"}:
            raise ValueError(
                f"frame_shares: {name!r} has dims {dict(array.sizes)}, expected target and source."
            )
    if not shares:
        raise ValueError("frame_shares: expected at least one panel.")
    worst = max(float(array.attrs.get("residual", 0.0)) for array in shares.values())
    figure = make_subplots(
        1, len(shares), subplot_titles=[text(name) for name in shares], shared_yaxes=True,
        horizontal_spacing=0.06, figure=new_figure("Where each frame's output came from",
                                                   460, r=112, t=84),
    )  # fmt: skip
    for col, array in enumerate(shares.values(), start=1):
        values = array.transpose("target", "source")
        percent = 100 * values.values
        figure.add_heatmap(
            z=percent, coloraxis="coloraxis", xgap=1, ygap=1, row=1, col=col,
            x=[str(name) for name in values["source"].values],
            y=[str(name) for name in values["target"].values],
            text=[[_percent(value) for value in line] for line in percent],
            texttemplate="%{text}", textfont={"size": 9},
            hovertemplate="output of %{y}, from %{x}<br>%{z:.2f} %<extra></extra>",
        )  # fmt: skip
        if frames is not None:
            low, high = frames[0] - 0.5, frames[1] + 0.5
            figure.add_shape(
                type="rect", x0=low, x1=high, y0=low, y1=high, row=1, col=col,
                line={"color": "#222222", "width": 1.5, "dash": "dot"},
            )  # fmt: skip
    figure.update_xaxes(title="source: token frame (number)", type="category")
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_yaxes(title="target: token frame (number)", col=1)
    scale = scale_of(100 * np.stack([np.ravel(a.values) for a in shares.values()]), signed=True)
    figure.update_layout(
        coloraxis=color_axis(scale, "share of the output (%)"),
        title=figure.layout.title.text + residual_line(worst),
    )
    return figure


def by_frame(
    contributions: xr.DataArray,
    window: tuple[int, int] | None = None,
    title: str = "What each frame's tokens add, by direction",
) -> go.Figure:
    """Show what the tokens of each frame add, forward beside backward, all layers together.

    Args:
        contributions: Dims frame, and any of layer, direction, row, col, which are summed (but
            direction), as `TokenAttention.array` returns it.
        window: First and last clip frame of what is known to matter; every token frame that
            holds one of them is shaded, as `analysis.truth.in_window` counts them.
        title: Of the figure.

    Raises:
        ValueError: no frames.
    """
    if "frame" not in contributions.dims:
        raise ValueError(f"by_frame: got dims {dict(contributions.sizes)}, expected frame.")
    named = "direction" in contributions.dims
    summed = contributions if named else contributions.expand_dims("direction")
    summed = summed.sum([d for d in summed.dims if d not in ("direction", "frame")])
    figure = new_figure(title, 340, t=72)
    x_title, labels = time_labels(contributions)
    frames = contributions["frame"].values
    for values in summed:
        direction = str(values["direction"].values) if named else "both"
        figure.add_bar(
            x=frames, y=values.values, name=text(direction), showlegend=named,
            marker={"color": DIRECTION_COLORS.get(direction, "#4d6a8a"),
                    "pattern": {"shape": _HATCH.get(direction, "")}},
            hovertemplate=f"{text(direction)}, frame %{{x}}<br>%{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    if window is not None:
        first, last = (_token_frame(contributions, edge) for edge in window)
        figure.add_vrect(
            x0=first - 0.5, x1=last + 0.5, fillcolor=_SHADE, line_width=0, layer="below"
        )
    name, unit = str(contributions.name or "value"), str(contributions.attrs.get("unit", ""))
    figure.update_xaxes(title=x_title, tickvals=frames, ticktext=labels)
    figure.update_yaxes(
        title=with_unit(name, unit), zeroline=True, zerolinecolor="#222222",
        showgrid=True, gridcolor="rgba(128,128,128,0.2)",
    )  # fmt: skip
    line = residual_line(float(contributions.attrs.get("residual", 0.0)))
    figure.update_layout(legend=_LEGEND, bargap=0.25, title=figure.layout.title.text + line)
    return figure


def by_layer(
    panels: Mapping[str, xr.DataArray], title: str = "Forward and backward, layer by layer"
) -> go.Figure:
    """Show one number per layer and direction, one panel beside the other.

    Args:
        panels: By the title of its vertical axis, unit included: dims layer and direction.
        title: Of the figure.

    Raises:
        ValueError: no panel, or other dims.
    """
    if not panels or any(set(a.dims) != {"layer", "direction"} for a in panels.values()):
        dims = {name: dict(a.sizes) for name, a in panels.items()}
        raise ValueError(f"by_layer: got {dims}, expected panels of dims layer and direction.")
    figure = make_subplots(
        1, len(panels), horizontal_spacing=0.11, figure=new_figure(title, 320, t=72)
    )
    for col, (y_title, array) in enumerate(panels.items(), start=1):
        for values in array.transpose("direction", "layer"):
            direction = str(values["direction"].values)
            figure.add_bar(
                x=array["layer"].values, y=values.values, name=text(direction),
                legendgroup=direction, showlegend=col == 1, row=1, col=col,
                marker={"color": DIRECTION_COLORS.get(direction, "#4d6a8a"),
                        "pattern": {"shape": _HATCH.get(direction, "")}},
                hovertemplate=f"{text(direction)}, layer %{{x}}<br>%{{y:.4g}}<extra></extra>",
            )  # fmt: skip
        figure.update_yaxes(title=text(y_title).replace(" (", "<br>("), col=col)
    figure.update_xaxes(title="layer (number)", dtick=1)
    figure.update_yaxes(
        showgrid=True, gridcolor="rgba(128,128,128,0.2)", zeroline=True, zerolinecolor="#222222"
    )
    worst = max(float(array.attrs.get("residual", 0.0)) for array in panels.values())
    title = figure.layout.title.text + residual_line(worst)
    figure.update_layout(legend=_LEGEND, bargap=0.3, title=title)
    return figure


def rollout_parts(rollout: Rollout, clip: int = 0) -> go.Figure:
    """Show through which direction a roll-out went, and how much of its bound is really there.

    Args:
        rollout: As `attention_rollout` returns it.
        clip: Which clip of the batch.
    """
    coords = {"layer": list(rollout.layers), "direction": list(rollout.directions)}
    attrs = {"residual": rollout.residual}
    panels = {
        "weight moved (share)": rollout.through,
        "size / bound (share)": rollout.cancellation,
    }
    return by_layer(
        {
            name: xr.DataArray(values[clip].cpu().numpy(), coords, ("layer", "direction"),
                               attrs=attrs)
            for name, values in panels.items()
        },
        "The roll-out: through which direction, and how much is there",
    )  # fmt: skip


def shares_inside(shares: Mapping[str, ShareInside], region: str = "the window") -> go.Figure:
    """Compare how much of several maps lies inside a region that is known to matter.

    Args:
        shares: By the name of the map, as `analysis.truth.share_inside` returns them, all of one
            region.
        region: Its name.

    Raises:
        ValueError: no map.
    """
    if not shares:
        raise ValueError("shares_inside: expected at least one map.")
    names = [text(name) for name in shares]
    percent = [100 * share.positive for share in shares.values()]
    areas = [100 * share.area for share in shares.values()]
    title = f"How much of each map lies in {region}"
    figure = new_figure(title, 120 + 32 * len(names), l=24, t=64)
    figure.add_bar(
        x=percent, y=names, orientation="h", marker_color="#4d6a8a", name="of the map",
        text=[f"{value:.0f} %" for value in percent], textposition="outside", cliponaxis=False,
        hovertemplate="%{y}: %{x:.1f} % of its positive part<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=areas, y=names, mode="markers", name="of the area: a map that knows nothing",
        marker={"symbol": "line-ns-open", "size": 22, "color": "#d55e00", "line": {"width": 2}},
        hovertemplate="%{y}: %{x:.1f} % of the tokens<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="share (%)", range=[0, 108])
    figure.update_yaxes(title="map", autorange="reversed", automargin=True)
    figure.update_layout(legend=_LEGEND, bargap=0.35)
    return figure


def matrix(attention: AttentionMatrix, clip: int = 0) -> go.Figure:
    """Show the mean over channels of a layer's hidden attention, reader against source.

    Args:
        attention: As `attention_matrix` returns it. Above 768 tokens neighbours are averaged.
        clip: Which clip of the batch.

    Returns:
        One line per reader. Frames are ruled off. The color spans 99.5 % of the sizes off the
        diagonal, which would hide the rest: cells beyond it have the outermost color.
    """
    values = attention.values[clip].cpu().numpy()
    grid = attention.labels.grid
    step = math.ceil(len(values) / _MOST_CELLS)
    names = _token_names(grid)[::step]
    drawn = _pooled(values, step)
    other = np.abs(drawn[~np.eye(len(drawn), dtype=bool)])
    reach = float(np.quantile(other, 0.995)) if other.size else 1.0
    scale = scale_of([-reach, reach] if drawn.min() < 0 else [0.0, reach])
    figure = new_figure(
        f"Who reads whom in layer {attention.layer}, {attention.direction}: {attention.name}",
        820, l=96, r=128, t=64,
    )  # fmt: skip
    figure.add_heatmap(
        z=drawn, x=names, y=names, coloraxis="coloraxis",
        hovertemplate="%{y}<br>reads %{x}<br>%{z:.4g}<extra></extra>",
    )  # fmt: skip
    ruler = "rgba(34,34,34,0.35)" if scale.signed else "rgba(255,255,255,0.3)"
    frame = grid.frame_of_tokens().numpy()[::step]
    starts = [int(np.flatnonzero(frame == number)[0]) for number in range(grid.frames)]
    for start in starts:
        for axis in ("x", "y"):
            other_axis = "y" if axis == "x" else "x"
            figure.add_shape(
                type="line", line={"color": ruler, "width": 1},
                **{f"{axis}0": start - 0.5, f"{axis}1": start - 0.5,
                   f"{other_axis}0": -0.5, f"{other_axis}1": len(names) - 0.5},
            )  # fmt: skip
    every = math.ceil(len(starts) / 16)
    ticks = {"tickvals": [names[s] for s in starts][::every],
             "ticktext": [str(n) for n in range(grid.frames)][::every]}  # fmt: skip
    figure.update_xaxes(title="source: start of token frame (number)", type="category", **ticks)
    figure.update_yaxes(
        title="reader: start of token frame (number)", type="category", autorange="reversed",
        scaleanchor="x", constrain="domain", **ticks,
    )  # fmt: skip
    figure.update_layout(
        coloraxis=color_axis(scale, with_unit(attention.name)),
        title=figure.layout.title.text + residual_line(attention.residual),
    )
    return figure


def _token_frame(array: xr.DataArray, clip_frame: int) -> int:
    """The token frame that holds a clip frame, among those that the array has."""
    held = array["frame"].values[array["clip_frame"].values <= clip_frame]
    return int(held[-1] if len(held) else array["frame"].values[0])


def _pooled(values: npt.NDArray[np.floating], step: int) -> npt.NDArray[np.floating]:
    """Means over blocks of step x step, the last ones smaller."""
    if step == 1:
        return values
    starts = np.arange(0, len(values), step)
    widths = np.diff([*starts, len(values)])
    summed = np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1)
    return summed / np.outer(widths, widths)


def _token_names(grid: TokenGrid) -> list[str]:
    """One label per token in natural order."""
    places = (grid.position(index) for index in range(grid.seqlen))
    return [
        "class token" if place is None else "frame {}, row {}, col {}".format(*place)
        for place in places
    ]


def _percent(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 0.5 else ""
