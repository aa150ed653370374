"""Figures of what linear probes read out of the states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.analysis.erasure import AfterCut
from vmamba_explore.analysis.probes import ProbeScores
from vmamba_explore.view.colors import DIRECTION_COLORS
from vmamba_explore.view.figures import layout as draw

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
    figure, cells = draw.panels(
        f"{target[0].upper()}{target[1:]} of held-out clips, read from the state after each token "
        "frame", [f"layer {n}" for n in layers], 120, columns=_PER_ROW, shared_yaxes=True,
    )  # fmt: skip
    frames = array["frame"].values
    for cell, layer in zip(cells, layers, strict=True):
        here, first = array.sel(layer=layer), cell == cells[0]
        for direction in map(str, array["direction"].values):
            state = here.sel(source="state", direction=direction)
            low, high = state["low"].values, state["high"].values
            draw.add_band(
                figure, frames, low, high, DIRECTION_COLORS.get(direction, draw.INK), **cell
            )
            draw.add_line(
                figure, frames, state.values, f"state, {direction}",
                f"layer {layer}, {draw.text(direction)}, frame %{{x}}",
                f"{draw.text(score)} %{{y:.2f}} (%{{customdata[0]:.2f}} to %{{customdata[1]:.2f}})",
                customdata=np.stack([low, high], -1), legend=first, group=direction,
                **draw.directed(direction), **cell,
            )  # fmt: skip
        for source, dash in (("input tokens", "dashdot"), ("shuffled", "dot")):
            control = here.sel(source=source).isel(direction=0).values
            if np.isnan(control).all():
                continue
            name = {"shuffled": "state, shuffled answers"}.get(source, source)
            draw.add_line(
                figure, frames, control, name, f"{name}, layer {layer}, frame %{{x}}",
                f"{draw.text(score)} %{{y:.2f}}", color=draw.GRAY, dash=dash, width=1.5,
                markers=False, legend=first, **cell,
            )  # fmt: skip
    shown = array.sel(source=["state", "input tokens"])
    lowest = float(np.nanmin([0, np.nanmin(shown)]))
    figure.update_yaxes(range=[max(lowest, -0.5) - 0.04, 1.04], **draw.GRID)
    figure.update_yaxes(title="R² (no unit)" if score == "R^2" else "share right (no unit)", col=1)
    figure.update_xaxes(dtick=max(1, len(frames) // 8))
    figure.update_xaxes(title="token frame (number)", row=cells[-1]["row"])
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
    starts = arrays["r2"].isel(lag=0, drop=True).transpose("direction", "layer").values.ravel()
    places = [(layer, direction) for direction in directions for layer in layers]
    titles = [
        f"layer {layer}, {name}\nR² at the jump {start:.2f}"
        for (layer, name), start in zip(places, starts, strict=True)
    ]
    figure, cells = draw.panels(
        "The old position after a jump, read and predicted", titles, 170, columns=len(layers),
        note=f"tokens are not to scale; {found.per_frame} are a frame",
        shared_xaxes=True, shared_yaxes=True,
    )  # fmt: skip
    lags = share["lag"].values
    x = np.arange(len(lags))
    for cell, (layer, direction), start in zip(cells, places, starts, strict=True):
        here = {name: a.sel(layer=layer, direction=direction) for name, a in arrays.items()}
        left, kept, legend = here["share"], here["retention"], cell == cells[0]
        lines: list[tuple[str, np.ndarray, dict[str, Any]]] = [
            ("retention, predicted", kept.values, {"color": draw.INK, "width": 1.5}),
            ("its square", kept.values**2, {"color": draw.INK, "width": 1.5, "dash": "dot"}),
        ]
        if np.isfinite(here["inputs"].values).any():
            inputs = np.where(lags > 0, here["inputs"].values, np.nan) / start
            lines.append(("block's input tokens", inputs, {"color": draw.GRAY, "dash": "dashdot"}))
        for name, values, look in lines:
            draw.add_line(
                figure, x, values, name, draw.text(name),
                "%{y:.2f}, %{customdata} tokens after the jump",
                customdata=lags, markers=False, legend=legend, **look, **cell,
            )  # fmt: skip
        low, high = left["low"].values, left["high"].values
        draw.add_band(figure, x, low, high, DIRECTION_COLORS.get(direction, draw.INK), **cell)
        draw.add_line(
            figure, x, left.values, "decodable share (R²)",
            "%{y:.2f} (%{customdata[2]:.2f} to %{customdata[3]:.2f}) of the R² at the jump; "
            "R² %{customdata[1]:.2f}", "%{customdata[0]} tokens after the jump",
            customdata=np.stack([lags, here["r2"].values, low, high], -1), legend=legend,
            **draw.directed(direction), **cell,
        )  # fmt: skip
    bottom = float(np.nanmin([-0.05, np.nanmin(share.where(share["low"] > -0.5))]))
    figure.update_yaxes(range=[max(bottom, -0.5) - 0.02, 1.05], **draw.GRID)
    figure.update_yaxes(title="share left (no unit)", col=1)
    every = math.ceil(len(lags) * len(layers) / 24)
    ticks = list(range(0, len(lags), every))
    figure.update_xaxes(tickvals=ticks, ticktext=[str(lags[tick]) for tick in ticks], tickangle=0)
    figure.update_xaxes(title="tokens since the jump", row=len(directions))
    return figure
