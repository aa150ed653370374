"""Figures of relevance: where a logit went, which scan holds it, and what crosses time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.attribution.conservation import INPUTS, Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures.layout import NEGLIGIBLE, color_axis, new_figure, text, time_labels

_INPUT, _BIAS, _LOGIT = "#4d6a8a", "#e69f00", "#222222"
_WINDOW = "#e69f00"
_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO: dict[str, Any] = {"zeroline": True, "zerolinecolor": "#222222", "zerolinewidth": 1}


def ledger(conservation: Conservation, clip: int = 0, most: int = 8) -> go.Figure:
    """Show what a logit is the sum of: tokens, positions, class token and every bias.

    Args:
        conservation: As `attribute(method="mamba_lrp")` gives it.
        clip: Which clip of the batch.
        most: Biases to show one by one, the largest; the others stand together.

    Raises:
        ValueError: no such clip.
    """
    batch = len(conservation.logit)
    if not 0 <= clip < batch:
        raise ValueError(f"ledger: there is no clip {clip} in this batch of {batch}.")
    entries = {name: float(values[clip]) for name, values in conservation.entries.items()}
    biases = sorted(conservation.biases, key=lambda name: -abs(entries[name]))
    rows = [(name, entries[name], _INPUT) for name in INPUTS if name in entries]
    rows += [(name, entries[name], _BIAS) for name in biases[:most]]
    rest = biases[most:]
    if rest:
        name = f"{len(rest)} smaller biases" if len(rest) > 1 else rest[0]
        rows.append((name, sum(entries[name] for name in rest), _BIAS))
    logit, total = float(conservation.logit[clip]), float(conservation.total[clip])
    rows += [("sum of all above", total, _LOGIT), ("logit", logit, _LOGIT)]
    title = "The ledger of relevance"
    gap = float(conservation.gap[clip])
    if conservation.rules_off:
        title += f", without the rules {', '.join(conservation.rules_off)}"
    note = (
        ""
        if gap <= NEGLIGIBLE
        else f"<br><sup>the sum misses the logit by {gap:.1e} of the summed |relevance|</sup>"
    )
    figure = new_figure(title, 130 + 26 * len(rows), l=24, t=64)
    names, values, colors = zip(*rows, strict=True)
    figure.add_bar(
        x=values, y=[text(name) for name in names], orientation="h", marker_color=colors,
        text=[f"{value:+.2f}" for value in values], textposition="outside", cliponaxis=False,
        showlegend=False, hovertemplate="%{y}: %{x:.4g} logits<extra></extra>",
    )  # fmt: skip
    low, high = min(0.0, *values), max(0.0, *values)
    reach = (high - low or 1.0) * 0.12
    figure.update_xaxes(title="relevance (logits)", range=[low - reach, high + reach])
    figure.update_xaxes(**_GRID, **_ZERO)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(title=figure.layout.title.text + note, bargap=0.3)
    return figure


def relevance_flow(
    flow: RelevanceFlow, clip: int = 0, window: tuple[int, int] | None = None
) -> go.Figure:
    """Show which layer, direction and frame hold a logit's relevance, and what is handed on in
    time.

    Args:
        flow: As `attribution.relevance.relevance_flow` returns it.
        clip: Which clip of the batch.
        window: First and last clip frame of what is known to matter; framed.

    Returns:
        Above: relevance of what each scan gives out at the tokens of a frame, and first at the
        class token. Below: relevance
        that its state carries out of a frame to what is read later. The direction says which
        frames come later: a backward scan hands on to earlier frames.

    Raises:
        ValueError: no such clip.
    """
    batch = len(flow.frames)
    if not 0 <= clip < batch:
        raise ValueError(f"relevance_flow: there is no clip {clip} in this batch of {batch}.")
    dataset = flow.array(clip)
    directions = [str(name) for name in dataset["direction"].values]
    shown = {"frames": "given out at its frames", "handed_on": "handed on by its state"}
    titles = [f"{name} scan: {what}" for what in shown.values() for name in directions]
    layers = dataset.sizes["layer"]
    height = 190 + 2 * max(130, min(26 * layers, 480))
    figure = make_subplots(
        2, len(directions), subplot_titles=titles, shared_xaxes=True, shared_yaxes=True,
        horizontal_spacing=0.05, vertical_spacing=0.14,
        figure=new_figure("Where the relevance is, and what crosses time", height, r=120, t=84),
    )  # fmt: skip
    x_title, labels = time_labels(dataset["frames"])
    frames = dataset["frame"].values
    maps = {name: dataset[name].transpose("direction", "layer", "frame").values for name in shown}
    x = dict.fromkeys(shown, frames)
    if flow.cls is not None:  # a column of its own, left of the frames
        cls = flow.cls[clip].float().cpu().numpy().T
        maps["frames"] = np.concatenate([cls[..., None], maps["frames"]], axis=-1)
        x["frames"] = np.concatenate([[-1], frames])
    for row, name in enumerate(shown, start=1):
        axis = "coloraxis" if row == 1 else "coloraxis2"
        for col, direction in enumerate(directions, start=1):
            places = ["class token" if number < 0 else f"frame {number}" for number in x[name]]
            figure.add_heatmap(
                z=maps[name][col - 1], x=x[name], y=dataset["layer"].values, coloraxis=axis,
                xgap=1, ygap=1, row=row, col=col, customdata=[places] * layers,
                hovertemplate=f"{direction}, layer %{{y}}, {'at' if row == 1 else 'out of'} "
                "%{customdata}<br>%{z:.4g} logits<extra></extra>",
            )  # fmt: skip
            if window is not None:
                first, last = (_token_frame(dataset, edge) for edge in window)
                figure.add_shape(
                    type="rect", x0=first - 0.5, x1=last + 0.5, y0=-0.5, y1=layers - 0.5,
                    line={"color": _WINDOW, "width": 2}, row=row, col=col,
                )  # fmt: skip
        figure.update_yaxes(title="layer (number)", row=row, col=1)
    step = max(1, math.ceil(len(frames) / 10))
    ticks, names = list(frames[::step]), labels[::step]
    if flow.cls is not None:
        ticks, names = [-1, *ticks], ["class<br>token", *names]
    figure.update_xaxes(tickvals=ticks, ticktext=names, tickangle=0)
    figure.update_xaxes(title=x_title, row=2)
    figure.update_yaxes(dtick=max(1, layers // 8))
    for number, name in enumerate(shown):
        key = "coloraxis" if number == 0 else "coloraxis2"
        axis_of = color_axis(scale_of(maps[name], signed=True), "relevance (logits)")
        axis_of["colorbar"].update(y=1 - 0.57 * number, len=(height - 190) / 2)  # type: ignore[attr-defined]
        figure.update_layout({key: axis_of})
    return figure


def _token_frame(dataset: xr.Dataset, clip_frame: int) -> int:
    """The token frame that holds a clip frame."""
    return int((dataset["clip_frame"].values <= clip_frame).sum()) - 1
