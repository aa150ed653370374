"""Figures of how right and how sure `camera-nano` is, from its metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.clips.camera import CLASS_NAMES
from vmamba_explore.studies.subjects.camera_scores import BINS
from vmamba_explore.view.colors import Scale
from vmamba_explore.view.figures import layout as draw

_METHODS = {
    "model": "camera-nano",
    "reference": "measured without learning",
    "phase_correlation": "phase correlation",
}
_SHORT = (
    "static",
    "pan ←",
    "pan →",
    "tilt ↑",
    "tilt ↓",
    "in",
    "out",
    "↻",
    "↺",
    "cut",
)
_Metrics = Mapping[str, Any]


def camera_reliability(metrics: _Metrics) -> go.Figure:
    """Show how often answers are right, by how probable they are said to be.

    Args:
        metrics: What `data/camera-nano/metrics.json` holds.

    Returns:
        A panel for generated clips and, where they were measured, one for windows of real films.
        The dotted line is that of an honest model; bars are shares of the clips.
    """
    parts = {"clips over unseen photographs": metrics["usual_clips"]}
    parts["slow, cluttered, on the road"] = metrics["hard_clips"]
    if "real_windows" in metrics:
        parts["windows of real films"] = metrics["real_windows"]["model"]
    titles = [
        f"{name}\n{part['accuracy']['value']:.0%} of {part['clips']} right" for name, part in
        parts.items()
    ]  # fmt: skip
    figure, cells = draw.panels("How sure, how right", titles, 260, shared_yaxes=True)
    for number, (part, cell) in enumerate(zip(parts.values(), cells, strict=True)):
        count, said, right = np.array(part["reliability"]["bins"]).T
        share, first = count / count.sum(), number == 0
        place = BINS[np.clip(np.digitize(said, BINS) - 1, 0, len(BINS) - 2)] + 0.05
        draw.add_bars(
            figure, place, share, "share of the clips", "%{y:.0%} of the clips",
            color=draw.GRAY, legend=first, width=0.08, opacity=0.45, **cell,
        )  # fmt: skip
        draw.add_line(
            figure, [0, 1], [0, 1], "honest", color=draw.INK, dash="dot", width=1, markers=False,
            legend=first, **cell,
        )  # fmt: skip
        draw.add_line(
            figure, said, right, "share of right answers",
            "said to be right with %{x:.0%}", "right: %{y:.0%}", legend=first,
            color=draw.PALETTE[0], **cell,
        )  # fmt: skip
        figure.update_xaxes(title="probability (no unit)", range=[0, 1], **cell)
        figure.update_xaxes(tickvals=[0.25, 0.5, 0.75, 1], **cell)
    figure.update_yaxes(title="share (no unit)", range=[0, 1], **cells[0])
    return figure


def camera_confusion(metrics: _Metrics) -> go.Figure:
    """Show what is said for each true class on windows of real films.

    Args:
        metrics: What `data/camera-nano/metrics.json` holds.

    Returns:
        A panel for the model and for each method without learning; rows sum to 1.

    Raises:
        ValueError: no real windows were measured.
    """
    films = metrics.get("real_windows")
    if films is None:
        raise ValueError(
            "camera_confusion: metrics has no real_windows. Measure them: "
            "python -m vmamba_explore.studies.subjects.camera_nano --films FOLDER."
        )
    names = {key: name for key, name in _METHODS.items() if key in films}
    titles = [f"{name}\n{films[key]['accuracy']['value']:.1%}" for key, name in names.items()]
    figure, cells = draw.panels(
        "What is said of windows of real films", titles, 260, columns=1,
        note="rows: the truth; columns: what is said; share of the windows of a class",
    )  # fmt: skip
    classes = list(CLASS_NAMES)
    for key, cell in zip(names, cells, strict=True):
        counts = np.array(films[key]["confusion"], dtype=float)
        total = counts.sum(1, keepdims=True)
        shares = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
        draw.add_heat(
            figure, shares, "%{y}", "named %{x}: %{z:.0%}", x=classes, y=classes, **cell
        )  # fmt: skip
        figure.update_yaxes(autorange="reversed", **cell)
        figure.update_xaxes(tickvals=classes, ticktext=_SHORT, tickangle=0, **cell)
    draw.set_colors(figure, Scale(0.0, 1.0, False), "share (no unit)")
    return figure


def camera_films(metrics: _Metrics) -> go.Figure:
    """Show the share of right answers for each real film, beside methods without learning.

    Args:
        metrics: What `data/camera-nano/metrics.json` holds.

    Returns:
        A row for each film, worst first; the number behind its name is that of its windows.
    """
    films = metrics["real_windows"]
    by_film = films["model"]["by_film"]
    order = sorted(by_film, key=lambda film: -by_film[film]["accuracy"])
    figure = draw.new_figure("Right answers, film by film", 24 * len(order))
    rows = [draw.text(f"{film} ({by_film[film]['clips']})") for film in order]
    looks = {
        "phase_correlation": (draw.GRAY, "circle-open"),
        "reference": (draw.ACCENT, "circle"),
        "model": (draw.PALETTE[0], "diamond"),
    }
    for key, (color, symbol) in looks.items():
        values = [films[key]["by_film"][film]["accuracy"] for film in order]
        figure.add_scatter(
            x=values, y=rows, mode="markers", name=_METHODS[key],
            marker={"color": color, "symbol": symbol, "size": 9},
            hovertemplate=draw.hover("%{y}", "%{x:.0%} right"),
        )  # fmt: skip
    figure.update_xaxes(title="share of right answers (no unit)", range=[-0.03, 1.03])
    return figure
