"""Figures of evidence: how a logit grows as a clip is seen, and what it is the sum of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from vmamba_explore.analysis.evidence import EvidenceCurve
from vmamba_explore.analysis.logit_parts import DirectCurves, LogitParts
from vmamba_explore.trace.trace import TokenLabels
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of
from vmamba_explore.view.figures.layout import NEGLIGIBLE, color_axis, new_figure, text

# Okabe and Ito's, without the two that stand for scan directions
_KINDS = {"prefix": "#009e73", "suffix": "#cc79a7"}
_REMOVALS = {"dropped": "solid", "held": "dot"}
_DIRECTIONS = {"forward": "solid", "backward": "dash"}
_WINDOW = "rgba(230,159,0,0.16)"
_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO: dict[str, Any] = {"zeroline": True, "zerolinecolor": "#888888", "zerolinewidth": 1}
_LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container",
           "yanchor": "top"}  # fmt: skip
_PER_ROW = 3  # panels


def evidence_curves(
    curves: EvidenceCurve | Sequence[EvidenceCurve],
    clip: int = 0,
    window: tuple[int, int] | None = None,
    quantity: str = "true minus twin logit",
) -> go.Figure:
    """Show how a logit grows as more of a clip is seen: prefixes from the left, suffixes from the
    right. A ring marks where a curve passes half of its full value for good.

    Args:
        curves: One or several, of the same clips.
        clip: Which clip of the batch.
        window: First and last clip frame of what is known to matter; shaded.
        quantity: Name of the vertical axis.

    Raises:
        ValueError: no curve, or no such clip.
    """
    drawn = [curves] if isinstance(curves, EvidenceCurve) else list(curves)
    if not drawn:
        raise ValueError("evidence_curves: got no curve, expected at least one.")
    _check_clip("evidence_curves", clip, len(drawn[0].values))
    figure = new_figure("Evidence as more of the clip is seen", 400, r=196)
    for curve in drawn:
        name = f"{curve.kind}, the rest {curve.removal}"
        values = curve.values[clip].tolist()
        line = {"color": _KINDS[curve.kind], "dash": _REMOVALS[curve.removal], "width": 2}
        seen = "frames 0 to %{x}" if curve.kind == "prefix" else f"frames %{{x}} to {_last(curve)}"
        figure.add_scatter(
            y=values, mode="lines+markers", name=name, line=line, marker={"size": 5},
            hovertemplate=f"{name}<br>seen: token {seen}<br>%{{y:.3g}} logits<extra></extra>",
        )  # fmt: skip
        crossing = float(curve.half_crossing()[clip])
        if not math.isnan(crossing):
            figure.add_scatter(
                x=[crossing], y=[values[int(crossing)]], mode="markers", showlegend=False,
                marker={"size": 14, "symbol": "circle-open", "color": line["color"]},
                hovertemplate=f"{name}<br>beyond half for good: token frame %{{x}}<extra></extra>",
            )  # fmt: skip
    labels = drawn[0].labels
    _add_window(figure, window, labels)
    frames = labels.grid.frames
    figure.update_xaxes(
        title="last (prefix) or first (suffix) token frame seen (number)",
        range=[-0.5, frames - 0.5], nticks=min(frames, 16) + 1,
    )  # fmt: skip
    figure.update_yaxes(title=f"{text(quantity)} (logits)", **_GRID, **_ZERO)
    figure.update_layout(legend={"x": 1.01, "y": 1, "yanchor": "top"})
    return figure


def logit_parts(
    parts: LogitParts,
    clip: int = 0,
    window: tuple[int, int] | None = None,
    title: str = "What the logit is the sum of",
) -> go.Figure:
    """Show what each layer, direction and source put into a logit, and below it their sums.

    Args:
        parts: As `analysis.logit_parts.logit_parts` returns them.
        clip: Which clip of the batch.
        window: First and last clip frame of what is known to matter; marked.
        title: Of the figure.

    Raises:
        ValueError: no such clip.
    """
    _check_clip("logit_parts", clip, len(parts.logit))
    values = parts.array(clip)
    directions = list(parts.directions)
    names = {"cls": "class<br>token", "offset": "conv.<br>bias"}
    sources = [names.get(str(source), str(source)) for source in parts.sources]
    told = f": {float(parts.logit[clip]):.2f} logits"
    if not parts.residual <= NEGLIGIBLE:
        told += f"; the parts miss it by {parts.residual:.1e} of it"
    figure = make_subplots(
        2, len(directions), row_heights=[0.6, 0.4], vertical_spacing=0.24, horizontal_spacing=0.06,
        specs=[[{}] * len(directions), [{"colspan": len(directions)}] + [None] * (
            len(directions) - 1)],
        subplot_titles=[f"through the {name} scan" for name in directions] + ["all of them"],
        figure=new_figure(title + told, 580, r=196, t=84),
    )  # fmt: skip
    for col, direction in enumerate(directions, start=1):
        figure.add_heatmap(
            z=values.sel(direction=direction).values, x=sources, y=values["layer"].values,
            coloraxis="coloraxis", xgap=1, ygap=1, row=1, col=col,
            hovertemplate=f"{direction}, layer %{{y}}<br>source: frame or part %{{x}}"
            "<br>%{z:.3g} logits<extra></extra>",
        )  # fmt: skip
    sums = values.sum(["layer", "direction"]).values
    bars = {
        "through the scans": (sources, sums, "#4d6a8a"),
        "embedding": (sources[:-1], values.attrs["embedding"], "#e69f00"),
        "head bias": (["head<br>bias"], [values.attrs["bias"]], "#999999"),
    }
    for name, (x, y, color) in bars.items():
        figure.add_bar(
            x=x, y=y, name=name, marker_color=color, row=2, col=1,
            hovertemplate=f"%{{x}}, {name}<br>%{{y:.3g}} logits<extra></extra>",
        )  # fmt: skip
    for row, col in [*((1, col) for col in range(1, len(directions) + 1)), (2, 1)]:
        _mark_window(figure, window, parts.labels, row, col, values.sizes["layer"])
    source_title = "source: token frame (number), or what else"
    figure.update_xaxes(title=source_title, type="category", tickangle=0)
    figure.update_yaxes(title="layer (number)", dtick=1, row=1, col=1)
    figure.update_yaxes(dtick=1, row=1)
    figure.update_yaxes(title="sum (logits)", row=2, col=1, **_GRID, **_ZERO)
    axis = color_axis(scale_of(values.values, signed=True), "contribution (logits)")
    legend = {"x": 1.01, "y": 0.3, "yanchor": "top"}
    figure.update_layout(coloraxis=axis, barmode="relative", legend=legend)
    return figure


def direct_curves(
    curves: DirectCurves, clip: int = 0, window: tuple[int, int] | None = None
) -> go.Figure:
    """Show what the logit reads from each layer's scans, added up in the order of the scan.

    All layers share one vertical scale. The ends tell the direction: a forward curve ends at the
    last frame, a backward curve that reverses time at the first.

    Args:
        curves: As `LogitParts.direct` returns them.
        clip: Which clip of the batch.
        window: First and last clip frame of what is known to matter; shaded.

    Raises:
        ValueError: no such clip.
    """
    _check_clip("direct_curves", clip, len(curves.values))
    values = curves.array(clip)
    count = values.sizes["layer"]
    columns = min(_PER_ROW, count)
    lines = math.ceil(count / columns)
    figure = make_subplots(
        lines, columns, subplot_titles=[curves.layer_name(layer) for layer in range(count)],
        shared_yaxes="all", horizontal_spacing=0.04, vertical_spacing=0.32 / lines,
        figure=new_figure("Direct evidence, added up along each scan", 110 + 175 * lines, t=84),
    )  # fmt: skip
    for layer in range(count):
        cell = {"row": layer // columns + 1, "col": layer % columns + 1}
        for direction in curves.directions:
            figure.add_scatter(
                x=values["frame"].values, y=values.sel(layer=layer, direction=direction).values,
                mode="lines+markers", name=direction, legendgroup=direction,
                showlegend=layer == 0, marker={"size": 5},
                line={"color": DIRECTION_COLORS[direction], "dash": _DIRECTIONS[direction]},
                hovertemplate=f"{direction}, {curves.layer_name(layer)}<br>read up to token frame "
                "%{x}<br>%{y:.3g} logits<extra></extra>",
                **cell,
            )  # fmt: skip
        _add_window(figure, window, curves.labels, **cell)
    figure.update_xaxes(title="token frame (number)", row=lines)
    figure.update_yaxes(**_GRID, **_ZERO)
    figure.update_yaxes(title="sum (logits)", col=1)
    figure.update_layout(legend=_LEGEND)
    return figure


def crossings(
    found: Mapping[str, tuple[Float[Tensor, " clips"], Float[Tensor, " clips"]]], frames: int
) -> go.Figure:
    """Show where curves crossed, against where they should have: right ones lie on the diagonal.

    Args:
        found: By name, for each clip the token frame of the crossing and the true one.
        frames: Token frames of a clip.

    Raises:
        ValueError: nothing to draw.
    """
    if not found:
        raise ValueError("crossings: expected at least one name with its crossings and truths.")
    counts = {}
    for name, (crossed, true) in found.items():
        known = ~crossed.isnan()
        table = np.zeros((frames, frames))
        np.add.at(table, (crossed[known].long().numpy(), true[known].long().numpy()), 1)
        counts[name] = table
    titles = []
    for name, table in counts.items():
        exact = f"{text(name)}: {np.trace(table):.0f} of {len(found[name][0])} exact"
        titles.append(exact)
    figure = make_subplots(
        1, len(counts), subplot_titles=titles, horizontal_spacing=0.06, shared_yaxes=True,
        figure=new_figure("Where evidence turns, against the truth", 440, r=112, t=84),
    )  # fmt: skip
    for col, (name, table) in enumerate(counts.items(), start=1):
        figure.add_heatmap(
            z=np.where(table > 0, table, np.nan), coloraxis="coloraxis", xgap=1, ygap=1,
            row=1, col=col, hoverongaps=False,
            hovertemplate=f"{text(name)}<br>true token frame %{{x}}, found %{{y}}"
            "<br>%{z} clips<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[-0.5, frames - 0.5], y=[-0.5, frames - 0.5], mode="lines", hoverinfo="skip",
            line={"color": "#888888", "dash": "dot", "width": 1}, showlegend=False, row=1, col=col,
        )  # fmt: skip
    reach = [-0.5, frames - 0.5]
    figure.update_xaxes(title="true token frame (number)", range=reach, dtick=1, **_GRID)
    figure.update_yaxes(range=reach, dtick=1, **_GRID)
    figure.update_yaxes(title="token frame found (number)", col=1)
    most = max(float(table.max()) for table in counts.values())
    figure.update_layout(coloraxis=color_axis(scale_of([0.0, max(most, 1.0)]), "clips (number)"))
    return figure


def _last(curve: EvidenceCurve) -> int:
    return curve.values.shape[1] - 1


def _check_clip(call: str, clip: int, batch: int) -> None:
    if not 0 <= clip < batch:
        raise ValueError(f"{call}: there is no clip {clip} in this batch of {batch}.")


def _span(window: tuple[int, int], labels: TokenLabels) -> tuple[float, float]:
    """The window's two ends on an axis of token frames, of which each is 1 wide."""
    first, last = window
    return first / labels.tubelet_size - 0.5, (last + 1) / labels.tubelet_size - 0.5


def _add_window(
    figure: go.Figure, window: tuple[int, int] | None, labels: TokenLabels, **cell: int
) -> None:
    """Shade the window."""
    if window is not None:
        x0, x1 = _span(window, labels)
        figure.add_vrect(x0=x0, x1=x1, fillcolor=_WINDOW, line_width=0, layer="below", **cell)


def _mark_window(
    figure: go.Figure,
    window: tuple[int, int] | None,
    labels: TokenLabels,
    row: int,
    col: int,
    layers: int,
) -> None:
    """Frame the window on a map of layers, or shade it behind bars."""
    if window is None:
        return
    if row == 2:
        _add_window(figure, window, labels, row=row, col=col)
        return
    x0, x1 = _span(window, labels)
    figure.add_shape(
        type="rect", x0=x0, x1=x1, y0=-0.5, y1=layers - 0.5, row=row, col=col,
        line={"color": "#e69f00", "width": 2},
    )  # fmt: skip
