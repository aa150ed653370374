"""Figures of what linear probes read out of the states."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.analysis.after_cut import AfterCut
from vmamba_explore.analysis.probes import ProbeScores
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures.layout import new_figure, text

_DASH = {"forward": "solid", "backward": "dash"}
_SYMBOLS = {"forward": "circle", "backward": "diamond"}
_CONTROL, _PREDICTED = "#8a8a8a", "#222222"
_GRID = "rgba(128,128,128,0.2)"
_LEGEND = {
    "orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "yanchor": "top",
}  # fmt: skip
_PER_ROW = 3


def probe_scores(scores: ProbeScores, target: str) -> go.Figure:
    """Show how well one thing can be read from the states after each token frame, by layer.

    Args:
        scores: As `analysis.probes.probe` returns them.
        target: Which of its targets.

    Returns:
        A panel per layer: each direction with its 95 % interval, and in gray the same read from the
        input tokens of that frame and from the states with shuffled answers.
    """
    array = scores.array(target)
    score = array.attrs["score"]
    layers = array["layer"].values
    columns = min(_PER_ROW, len(layers))
    lines = math.ceil(len(layers) / columns)
    figure = make_subplots(
        lines, columns, subplot_titles=[f"layer {n}" for n in layers], shared_yaxes=True,
        horizontal_spacing=0.04, vertical_spacing=0.3 / lines,
        figure=new_figure(
            f"{target[0].upper()}{target[1:]} of held-out clips, read from the state after each "
            "token frame",
            130 + 190 * lines, t=104, b=64,
        ),
    )  # fmt: skip
    frames = array["frame"].values
    for i, layer in enumerate(layers):
        cell = {"row": i // columns + 1, "col": i % columns + 1}
        here = array.sel(layer=layer)
        for direction in map(str, array["direction"].values):
            state = here.sel(source="state", direction=direction)
            color = DIRECTION_COLORS.get(direction, _PREDICTED)
            _band(figure, frames, state["low"].values, state["high"].values, color, cell)
            figure.add_scatter(
                x=frames, y=state.values, mode="lines+markers", name=text(f"state, {direction}"),
                legendgroup=direction, showlegend=i == 0,
                line={"color": color, "dash": _DASH.get(direction)},
                marker={"symbol": _SYMBOLS.get(direction), "size": 6},
                customdata=np.stack([state["low"].values, state["high"].values], -1),
                hovertemplate=f"layer {layer}, {text(direction)}, frame %{{x}}<br>{text(score)} "
                "%{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<extra></extra>",
                **cell,
            )  # fmt: skip
        for source, dash in (("input tokens", "dashdot"), ("shuffled", "dot")):
            first = here.sel(source=source).isel(direction=0)
            if np.isnan(first.values).all():
                continue
            name = {"shuffled": "state, shuffled answers"}.get(source, source)
            figure.add_scatter(
                x=frames, y=first.values, mode="lines", name=name, legendgroup=source,
                showlegend=i == 0, line={"color": _CONTROL, "dash": dash, "width": 1.5},
                hovertemplate=f"{name}, layer {layer}, frame %{{x}}<br>{text(score)} %{{y:.2f}}"
                "<extra></extra>",
                **cell,
            )  # fmt: skip
    shown = array.sel(source=["state", "input tokens"])
    lowest = float(np.nanmin([0, np.nanmin(shown)]))
    figure.update_yaxes(range=[max(lowest, -0.5) - 0.04, 1.04], showgrid=True, gridcolor=_GRID)
    figure.update_yaxes(
        title="share right (no unit)" if target == "label" else "R² (no unit)", col=1
    )
    figure.update_xaxes(dtick=max(1, len(frames) // 8))
    figure.update_xaxes(title="token frame (number)", row=lines)
    figure.update_layout(legend={**_LEGEND, "y": 1 - 40 / figure.layout.height})
    return figure


def after_cut(found: AfterCut) -> go.Figure:
    """Show what is left of the old position after a jump, beside what was to be expected.

    Args:
        found: As `analysis.after_cut.after_cut` returns it.

    Returns:
        A panel per layer and direction. Colored, with its 95 % interval: the part of the R^2 at the
        jump that a probe still reaches. Black: the predicted part of the state that is left, and
        dotted its square, since R^2 counts squares. Gray: R^2 from the block's own input tokens of
        the frame being read, as a part of the same; where it is not zero, the state may have the
        old position from there.
    """
    arrays = {name: found.array(name) for name in ("r2", "share", "retention", "inputs")}
    share = arrays["share"]
    layers, directions = share["layer"].values, [str(d) for d in share["direction"].values]
    titles = []
    for direction in directions:
        for layer in layers:
            start = float(arrays["r2"].sel(layer=layer, direction=direction, lag=0))
            titles.append(f"layer {layer}, {direction}<br>R² at the jump {start:.2f}")
    figure = make_subplots(
        len(directions), len(layers), subplot_titles=titles, shared_xaxes=True, shared_yaxes=True,
        horizontal_spacing=0.03, vertical_spacing=0.13,
        figure=new_figure(
            "The old position after a jump, read and predicted", 150 + 240 * len(directions),
            t=124, b=64,
        ),
    )  # fmt: skip
    for row, direction in enumerate(directions, start=1):
        for col, layer in enumerate(layers, start=1):
            here = {name: array.sel(layer=layer, direction=direction) for name, array in
                    arrays.items()}  # fmt: skip
            _course(figure, here, direction, row == col == 1, {"row": row, "col": col})
    figure.update_annotations(font_size=12)
    low = float(np.nanmin([-0.05, np.nanmin(share.where(share["low"] > -0.5))]))
    figure.update_yaxes(range=[max(low, -0.5) - 0.02, 1.05], showgrid=True, gridcolor=_GRID)
    figure.update_yaxes(title="share left (no unit)", col=1)
    lags = share["lag"].values.tolist()
    every = math.ceil(len(lags) * len(layers) / 24)
    ticks = list(range(0, len(lags), every))
    figure.update_xaxes(tickvals=ticks, ticktext=[str(lags[tick]) for tick in ticks], tickangle=0)
    title = f"tokens read since the jump (number, not to scale; {found.per_frame} are a frame)"
    figure.add_annotation(
        text=title, x=0.5, y=0, xref="paper", yref="paper", yshift=-30, yanchor="top",
        showarrow=False, font={"size": 14},
    )  # fmt: skip
    figure.update_layout(legend={**_LEGEND, "y": 1 - 40 / figure.layout.height})
    return figure


def _course(
    figure: go.Figure,
    here: dict[str, xr.DataArray],
    direction: str,
    legend: bool,
    cell: dict[str, int],
) -> None:
    """Draw one layer and direction of `after_cut`."""
    share, kept = here["share"], here["retention"]
    lags = share["lag"].values
    x = np.arange(len(lags))
    color = DIRECTION_COLORS.get(direction, _PREDICTED)
    lines = [
        ("retention, predicted", kept.values, {"color": _PREDICTED, "width": 1.5}),
        ("its square", kept.values**2, {"color": _PREDICTED, "width": 1.5, "dash": "dot"}),
    ]
    start = float(here["r2"].values[0])
    if np.isfinite(here["inputs"].values).any():
        inputs = np.where(lags > 0, here["inputs"].values, np.nan) / start
        lines.append(("block's input tokens", inputs, {"color": _CONTROL, "dash": "dashdot"}))
    for name, values, line in lines:
        figure.add_scatter(
            x=x, y=values, mode="lines", name=text(name), legendgroup=name, showlegend=legend,
            line=line, customdata=lags,
            hovertemplate=f"{text(name)}<br>%{{y:.2f}}, %{{customdata}} tokens after the jump"
            "<extra></extra>",
            **cell,
        )  # fmt: skip
    _band(figure, x, share["low"].values, share["high"].values, color, cell)
    figure.add_scatter(
        x=x, y=share.values, mode="lines+markers", name="decodable share (R²)", legendgroup="share",
        showlegend=legend, line={"color": color, "dash": _DASH.get(direction)},
        marker={"symbol": _SYMBOLS.get(direction), "size": 6},
        customdata=np.stack([lags, here["r2"].values, share["low"].values, share["high"].values],
                            -1),
        hovertemplate="%{y:.2f} (%{customdata[2]:.2f} to %{customdata[3]:.2f}) of the R² at the "
        "jump; R² %{customdata[1]:.2f}<br>%{customdata[0]} tokens after the jump<extra></extra>",
        **cell,
    )  # fmt: skip


def _band(
    figure: go.Figure,
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    color: str,
    cell: dict[str, int],
) -> None:
    """Shade an interval."""
    good = np.isfinite(low) & np.isfinite(high)
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=np.concatenate([x[good], x[good][::-1]]),
        y=np.concatenate([high[good], low[good][::-1]]),
        fill="toself", fillcolor=f"rgba({red},{green},{blue},0.18)", line={"width": 0},
        mode="lines", hoverinfo="skip", showlegend=False, **cell,
    )  # fmt: skip
