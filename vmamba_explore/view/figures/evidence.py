"""Figures of evidence: how a logit grows as a clip is seen, and what it is the sum of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.evidence import EvidenceCurve
from vmamba_explore.analysis.logits import DirectCurves, LogitParts
from vmamba_explore.trace.trace import TokenLabels
from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures import layout as draw

_KINDS = {"prefix": draw.PALETTE[0], "suffix": draw.PALETTE[1]}
_REMOVALS = {"dropped": "solid", "held": "dot"}
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
    draw.check_clip("evidence_curves", clip, len(drawn[0].values))
    figure = draw.new_figure("Evidence as more of the clip is seen", 260)
    for curve in drawn:
        name = f"{curve.kind}, the rest {curve.removal}"
        values, color = curve.values[clip].tolist(), _KINDS[curve.kind]
        last = len(values) - 1
        seen = "frames 0 to %{x}" if curve.kind == "prefix" else f"frames %{{x}} to {last}"
        draw.add_line(
            figure, list(range(len(values))), values, name, name, f"seen: token {seen}",
            "%{y:.3g} logits", color=color, dash=_REMOVALS[curve.removal], marker={"size": 5},
        )  # fmt: skip
        crossing = float(curve.half_crossing()[clip])
        if not math.isnan(crossing):
            figure.add_scatter(
                x=[crossing], y=[values[int(crossing)]], mode="markers", showlegend=False,
                marker={"size": 14, "symbol": "circle-open", "color": color},
                hovertemplate=draw.hover(name, "beyond half for good: token frame %{x}"),
            )  # fmt: skip
    labels = drawn[0].labels
    _add_window(figure, window, labels)
    frames = labels.grid.frames
    figure.update_xaxes(
        title="last (prefix) or first (suffix) token frame seen (number)",
        range=[-0.5, frames - 0.5], nticks=min(frames, 16) + 1,
    )  # fmt: skip
    figure.update_yaxes(title=draw.wrapped(f"{quantity} (logits)", 40), **draw.GRID, **draw.ZERO)
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
    draw.check_clip("logit_parts", clip, len(parts.logit))
    values = parts.array(clip)
    directions = list(parts.directions)
    names = {"cls": "class<br>token", "offset": "conv.<br>bias"}
    sources = [names.get(str(source), str(source)) for source in parts.sources]
    rows = [[{}] * len(directions), [{"colspan": len(directions)}] + [None] * (len(directions) - 1)]
    titles = [f"through the {name} scan" for name in directions] + ["all of them"]
    figure, cells = draw.panels(
        f"{title}: {float(parts.logit[clip]):.2f} logits",
        titles + [""] * (len(directions) - 1), 180, columns=len(directions), gap=104, specs=rows,
        note=draw.residual_note(parts.residual, "from the logit"),
    )  # fmt: skip
    for cell, direction in zip(cells, directions, strict=False):
        draw.add_heat(
            figure, values.sel(direction=direction).values, f"{direction}, layer %{{y}}",
            "source: frame or part %{x}", "%{z:.3g} logits",
            x=sources, y=values["layer"].values, **cell,
        )  # fmt: skip
        if window is not None:
            height = -0.5, values.sizes["layer"] - 0.5
            draw.outline(figure, _span(window, parts.labels), height, **cell)
    sums = values.sum(["layer", "direction"]).values
    bars = {
        "through the scans": (sources, sums, draw.ACCENT),
        "embedding": (sources[:-1], values.attrs["embedding"], draw.ORANGE),
        "head bias": (["head<br>bias"], [values.attrs["bias"]], "#999999"),
    }
    below = cells[len(directions)]
    for name, (x, y, color) in bars.items():
        draw.add_bars(
            figure, x, y, name, f"%{{x}}, {name}", "%{y:.3g} logits", color=color, **below
        )
    _add_window(figure, window, parts.labels, **below)
    source_title = "source: token frame (number), or what else"
    figure.update_xaxes(title=source_title, type="category", tickangle=0)
    figure.update_yaxes(title="layer (number)", dtick=1, row=1, col=1)
    figure.update_yaxes(dtick=1, row=1)
    figure.update_yaxes(title="sum (logits)", **below, **draw.GRID, **draw.ZERO)
    draw.set_colors(figure, scale_of(values.values, signed=True), "contribution (logits)")
    figure.update_layout(barmode="relative")
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
    draw.check_clip("direct_curves", clip, len(curves.values))
    values = curves.array(clip)
    names = [curves.layer_name(layer) for layer in range(values.sizes["layer"])]
    figure, cells = draw.panels(
        "Direct evidence, added up along each scan", names, 110, columns=_PER_ROW,
        shared_yaxes="all",
    )  # fmt: skip
    for layer, (cell, name) in enumerate(zip(cells, names, strict=True)):
        for direction in curves.directions:
            draw.add_line(
                figure, values["frame"].values, values.sel(layer=layer, direction=direction).values,
                direction, f"{direction}, {name}", "read up to token frame %{x}", "%{y:.3g} logits",
                legend=layer == 0, **draw.directed(direction), **cell,
            )  # fmt: skip
        _add_window(figure, window, curves.labels, **cell)
    figure.update_xaxes(title="token frame (number)", row=cells[-1]["row"])
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    figure.update_yaxes(title="sum (logits)", col=1)
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
    titles = [
        f"{name}: {np.trace(table):.0f} of {len(found[name][0])} exact"
        for name, table in counts.items()
    ]
    figure, cells = draw.panels(
        "Where evidence turns, against the truth", titles, 300, shared_yaxes=True
    )
    reach = [-0.5, frames - 0.5]
    for cell, (name, table) in zip(cells, counts.items(), strict=True):
        draw.add_heat(
            figure, np.where(table > 0, table, np.nan), draw.text(name),
            "true token frame %{x}, found %{y}", "%{z} clips", **cell,
        )  # fmt: skip
        draw.add_line(
            figure, reach, reach, name, markers=False, legend=False, **{**draw.DOTTED, **cell}
        )
    figure.update_xaxes(title="true token frame (number)", range=reach, dtick=1, **draw.GRID)
    figure.update_yaxes(range=reach, dtick=1, **draw.GRID)
    figure.update_yaxes(title="token frame found (number)", col=1)
    most = max(float(table.max()) for table in counts.values())
    draw.set_colors(figure, scale_of([0.0, max(most, 1.0)]), "clips (number)")
    return figure


def _span(window: tuple[int, int], labels: TokenLabels) -> tuple[float, float]:
    """The window's two ends on an axis of token frames, of which each is 1 wide."""
    first, last = window
    return first / labels.tubelet_size - 0.5, (last + 1) / labels.tubelet_size - 0.5


def _add_window(
    figure: go.Figure, window: tuple[int, int] | None, labels: TokenLabels, **cell: Any
) -> None:
    """Shade the window."""
    if window is not None:
        draw.shade(figure, *_span(window, labels), **cell)
