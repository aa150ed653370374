"""Figures of experiments: arms beside each other and beside the paper, and how they learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from vmamba_explore.studies.experiments.summary import Comparison
from vmamba_explore.view.figures import layout as draw

ARM_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Source: Okabe and Ito."""

_PAPER_MARKS = {"SSv2": (ARM_COLORS[1], "circle"), "HMDB51": (ARM_COLORS[2], "square")}


def arms(comparison: Comparison) -> go.Figure:
    """Show an experiment's arms: seeds, their mean and interval, and the paper's numbers.

    Args:
        comparison: From `analysis.experiments.compare`.
    Returns:
        Two panels with the same arms from top to bottom, the paper's order.
    """
    table = comparison.arms
    names = [_label(name) for name in table.index]
    figure, (here, paper) = draw.panels(
        comparison.name.replace("_", " "), ["", ""], 40 * len(table), shared_yaxes=True,
        column_widths=[0.62, 0.38],
    )  # fmt: skip
    seeds = table["each"].set_axis(names).explode()
    _dots(
        figure, 100 * seeds.astype(float), list(seeds.index), "one seed", **here,
        marker={"color": ARM_COLORS[0], "opacity": 0.45, "size": 8},
    )  # fmt: skip
    _dots(
        figure, 100 * table["mean"], names, "mean over seeds, 95 %",
        marker={"color": draw.INK, "symbol": "line-ns-open", "size": 18, "line": {"width": 2}},
        error_x={
            "type": "data", "symmetric": False, "color": draw.INK, "thickness": 1.5, "width": 4,
            "array": 100 * (table["high"] - table["mean"]),
            "arrayminus": 100 * (table["mean"] - table["low"]),
        }, **here,
    )  # fmt: skip
    _dots(
        figure, 100 * table["within_pair"], names, "told from its reversal (of 2)",
        marker={"color": draw.GRAY, "symbol": "diamond-open", "size": 9, "line": {"width": 1.5}},
        **here,
    )  # fmt: skip
    figure.add_vline(
        x=100 * comparison.chance, line=draw.DOTTED, annotation_position="top", **here,
        annotation={"text": "chance", "yanchor": "bottom"},
    )  # fmt: skip
    for data_set, (color, mark) in _PAPER_MARKS.items():
        known = table.get(f"paper: {data_set}", pd.Series(dtype=float)).dropna()
        if known.empty:
            continue
        _dots(
            figure, known, [_label(name) for name in known.index], f"paper, {data_set}",
            marker={"color": color, "symbol": mark, "size": 10}, **paper,
        )  # fmt: skip
    figure.update_xaxes(title="top-1 here (%)", **here, **draw.GRID)
    figure.update_xaxes(title="top-1 in the paper (%)", **paper, **draw.GRID)
    figure.update_yaxes(type="category", categoryarray=names, autorange="reversed", **draw.GRID)
    return figure


def _dots(
    figure: go.Figure, x: Iterable[float], names: Sequence[str], label: str, **options: Any
) -> None:
    figure.add_scatter(
        x=x, y=names, mode="markers", name=label,
        hovertemplate=f"%{{y}}<br>%{{x:.1f}} %<extra>{label}</extra>", **options,
    )  # fmt: skip


def learning(curves: pd.DataFrame, chance: float, title: str = "how the arms learn") -> go.Figure:
    """Show how an experiment's arms learned: a thin line for each seed, a thick one for the mean.

    Args:
        curves: From `analysis.experiments.learning_curves`.
        chance: Accuracy of a guess, 0 to 1.
        title: What to write above.
    """
    figure = draw.new_figure(title, 240)
    for (arm, runs), color in zip(curves.groupby("arm", sort=False), ARM_COLORS, strict=False):
        name = _label(arm)
        for seed, run in runs.groupby("seed"):
            draw.add_line(
                figure, run["step"], 100 * run["accuracy"], name, f"{name}, seed {seed}",
                "step %{x}: %{y:.1f} %", color=color, width=1, opacity=0.35, markers=False,
                legend=False,
            )  # fmt: skip
        mean = runs.groupby("step")["accuracy"].mean()
        draw.add_line(
            figure, mean.index, 100 * mean, name, f"{name}, mean", "step %{x}: %{y:.1f} %",
            color=color, width=3, markers=False,
        )  # fmt: skip
    figure.add_hline(y=100 * chance, line=draw.DOTTED)
    figure.update_xaxes(title="training step", **draw.GRID)
    figure.update_yaxes(title="accuracy on training clips (%)", range=[0, 103], **draw.GRID)
    return figure


def _label(arm: object) -> str:
    return draw.text(str(arm).replace("_", " "))
