"""Figures of hidden attention: who reads whom, by frame, by layer and direction, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.analysis.attention import AttentionMatrix
from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.truth import ShareInside
from vmamba_explore.clips import Clip
from vmamba_explore.errors import shown
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.view.colors import scale_of, with_unit
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures.delta import delta_maps

_MOST_CELLS = 768  # a side of a drawn matrix


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
    return delta_maps(array, clip, draw.residual_note(float(array.attrs.get("residual", 0.0))))


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
                f"frame_shares: {shown(name)} has dims {dict(array.sizes)}, expected target and "
                "source."
            )
    if not shares:
        raise ValueError("frame_shares: expected at least one panel.")
    figure, cells = draw.panels(
        "Where each frame's output came from", list(shares), 330, shared_yaxes=True,
        note=_worst_residual(shares),
    )  # fmt: skip
    for cell, array in zip(cells, shares.values(), strict=True):
        values = array.transpose("target", "source")
        percent = 100 * values.values
        draw.add_heat(
            figure, percent, "output of %{y}, from %{x}", "%{z:.2f} %", **cell,
            x=[str(name) for name in values["source"].values],
            y=[str(name) for name in values["target"].values],
            text=[[_percent(value) for value in line] for line in percent],
            texttemplate="%{text}", textfont={"size": 9},
        )  # fmt: skip
        if frames is not None:
            span = frames[0] - 0.5, frames[1] + 0.5
            draw.outline(figure, span, span, line={**draw.DOTTED, "width": 1.5}, **cell)
    figure.update_xaxes(title="source: token frame (number)", type="category")
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_yaxes(title="target: token frame (number)", col=1)
    scale = scale_of(100 * np.stack([np.ravel(a.values) for a in shares.values()]), signed=True)
    draw.set_colors(figure, scale, "share of the output (%)")
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
    summed = contributions.sum([d for d in contributions.dims if d not in ("direction", "frame")])
    note = draw.residual_note(float(contributions.attrs.get("residual", 0.0)))
    figure = draw.new_figure(title, 210, note)
    draw.add_direction_bars(figure, contributions["frame"].values, summed, "frame", "%{y:.4g}")
    if window is not None:
        first, last = (draw.token_frame(contributions, edge) for edge in window)
        draw.shade(figure, first - 0.5, last + 0.5)
    name, unit = str(contributions.name or "value"), str(contributions.attrs.get("unit", ""))
    draw.time_axis(figure, contributions)
    figure.update_yaxes(title=with_unit(name, unit), **draw.GRID, **draw.ZERO)
    figure.update_layout(bargap=0.25)
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
    figure, cells = draw.panels(title, [""] * len(panels), 210, note=_worst_residual(panels))
    for cell, (y_title, array) in zip(cells, panels.items(), strict=True):
        draw.add_direction_bars(
            figure, array["layer"].values, array, "layer", "%{y:.4g}", legend=cell["col"] == 1,
            **cell,
        )  # fmt: skip
        figure.update_yaxes(title=draw.wrapped(y_title, 32), **cell)
    figure.update_xaxes(title="layer (number)", dtick=1)
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    figure.update_layout(bargap=0.3)
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
    names = [draw.text(name) for name in shares]
    percent = [100 * share.positive for share in shares.values()]
    areas = [100 * share.area for share in shares.values()]
    figure = draw.bar_list(
        f"How much of each map lies in {region}", names, percent,
        [f"{value:.0f} %" for value in percent], "%{y}: %{x:.1f} % of its positive part",
        name="of the map",
    )  # fmt: skip
    figure.add_scatter(
        x=areas, y=names, mode="markers", name="of the area: a map that knows nothing",
        marker={"symbol": "line-ns-open", "size": 22, "color": "#d55e00", "line": {"width": 2}},
        hovertemplate=draw.hover("%{y}: %{x:.1f} % of the tokens"),
    )  # fmt: skip
    figure.update_xaxes(title="share (%)", range=[0, 112])
    figure.update_yaxes(title="map")
    return figure


def matrix(attention: AttentionMatrix, clip: int = 0) -> go.Figure:
    """Show the mean over channels of a layer's hidden attention, reader against source.

    Args:
        attention: As `attention_matrix` returns it. Above 768 tokens neighbors are averaged.
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
    figure = draw.new_figure(
        f"Who reads whom in layer {attention.layer}, {attention.direction}: {attention.name}",
        640, draw.residual_note(attention.residual),
    )  # fmt: skip
    draw.add_heat(figure, drawn, "%{y}", "reads %{x}", "%{z:.4g}", x=names, y=names, gap=0)
    ruler = "rgba(34,34,34,0.35)" if scale.signed else "rgba(255,255,255,0.3)"
    frame = grid.frame_of_tokens().numpy()[::step]
    starts = [int(np.flatnonzero(frame == number)[0]) for number in range(grid.frames)]
    for start in starts:
        at, ends, look = [start - 0.5] * 2, [-0.5, len(names) - 0.5], {"color": ruler, "width": 1}
        for (x0, x1), (y0, y1) in ((at, ends), (ends, at)):
            figure.add_shape(type="line", line=look, x0=x0, x1=x1, y0=y0, y1=y1)
    every = math.ceil(len(starts) / 16)
    ticks = {"tickvals": [names[s] for s in starts][::every],
             "ticktext": [str(n) for n in range(grid.frames)][::every]}  # fmt: skip
    figure.update_xaxes(title="source: start of token frame (number)", type="category", **ticks)
    figure.update_yaxes(
        title="reader: start of token frame (number)", type="category", autorange="reversed",
        scaleanchor="x", constrain="domain", **ticks,
    )  # fmt: skip
    draw.set_colors(figure, scale, with_unit(attention.name))
    return figure


def _worst_residual(arrays: Mapping[str, xr.DataArray]) -> str:
    return draw.residual_note(max(float(a.attrs.get("residual", 0.0)) for a in arrays.values()))


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
