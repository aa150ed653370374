"""Figures of the hidden states: their size over time, and one channel in full."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.view.colors import scale_of, with_unit
from vmamba_explore.view.figures import layout as draw

_PER_ROW = 3  # panels
_TICKS = 12  # time labels that a panel has room for


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
    x_title, labels = draw.time_labels(means)
    at = " at %{customdata} s" if x_title.endswith("(s)") else ""
    named = "direction" in means.coords
    for cell, title, by_direction in zip(cells, titles, means, strict=True):
        for values in by_direction:
            direction = str(values["direction"].values) if named else "state"
            draw.add_line(
                figure, means["frame"].values, values.values, direction,
                f"{draw.text(direction)}, {title}, frame %{{x}}{at}", "norm %{y:.4g}",
                customdata=labels, legend=cell == cells[0] and named,
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
