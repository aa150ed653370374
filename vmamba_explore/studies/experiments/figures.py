"""Figures of experiments: arms beside each other and beside the paper, and how they learnt."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vmamba_explore.studies.experiments.summary import Comparison
from vmamba_explore.view.figures.layout import new_figure, text

ARM_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Source: Okabe and Ito."""

_GRID = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
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
    figure = new_figure(comparison.name.replace("_", " "), 150 + 44 * len(table), l=160)
    figure = go.Figure(
        make_subplots(
            figure=figure, rows=1, cols=2, shared_yaxes=True, column_widths=[0.62, 0.38],
            horizontal_spacing=0.04,
        )
    )  # fmt: skip
    seeds = [
        (name, value) for name, each in zip(names, table["each"], strict=True) for value in each
    ]
    figure.add_scatter(
        x=[100 * value for _, value in seeds], y=[name for name, _ in seeds], mode="markers",
        marker={"color": ARM_COLORS[0], "opacity": 0.45, "size": 8}, name="one seed",
        hovertemplate="%{y}<br>%{x:.1f} %<extra>one seed</extra>", row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=100 * table["mean"], y=names, mode="markers",
        marker={"color": "#222222", "symbol": "line-ns-open", "size": 18, "line": {"width": 2}},
        error_x={
            "type": "data", "symmetric": False, "color": "#222222", "thickness": 1.5, "width": 4,
            "array": 100 * (table["high"] - table["mean"]),
            "arrayminus": 100 * (table["mean"] - table["low"]),
        },
        name="mean over seeds, 95 %",
        hovertemplate="%{y}<br>%{x:.1f} %<extra>mean</extra>", row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=100 * table["within_pair"], y=names, mode="markers",
        marker={"color": "#777777", "symbol": "diamond-open", "size": 9, "line": {"width": 1.5}},
        name="told from its reversal (of 2)",
        hovertemplate="%{y}<br>%{x:.1f} %<extra>told from its reversal, mean</extra>",
        row=1, col=1,
    )  # fmt: skip
    figure.add_vline(
        x=100 * comparison.chance, line={"color": "#777777", "dash": "dot"}, row=1, col=1,
        annotation={"text": "chance", "font": {"color": "#555555"}, "yanchor": "bottom"},
        annotation_position="top",
    )  # fmt: skip
    for data_set, (color, mark) in _PAPER_MARKS.items():
        known = table.get(f"paper: {data_set}", pd.Series(dtype=float)).dropna()
        if known.empty:
            continue
        figure.add_scatter(
            x=known, y=[_label(name) for name in known.index], mode="markers",
            marker={"color": color, "symbol": mark, "size": 10}, name=f"paper, {data_set}",
            hovertemplate=f"%{{y}}<br>%{{x:.1f}} %<extra>{data_set}</extra>", row=1, col=2,
        )  # fmt: skip
    figure.update_xaxes(title_text="top-1 here (%)", row=1, col=1, **_GRID)
    figure.update_xaxes(title_text="top-1 in the paper (%)", row=1, col=2, **_GRID)
    figure.update_yaxes(type="category", categoryarray=names, autorange="reversed", **_GRID)
    figure.update_layout(
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 1,
                "xanchor": "right"},
    )  # fmt: skip
    return figure


def learning(curves: pd.DataFrame, chance: float, title: str = "how the arms learn") -> go.Figure:
    """Show how an experiment's arms learnt: a thin line for each seed, a thick one for the mean.

    Args:
        curves: From `analysis.experiments.learning_curves`.
        chance: Accuracy of a guess, 0 to 1.
        title: What to write above.
    """
    figure = new_figure(title, 360)
    for (arm, runs), color in zip(curves.groupby("arm", sort=False), ARM_COLORS, strict=False):
        name = _label(arm)
        for seed, run in runs.groupby("seed"):
            figure.add_scatter(
                x=run["step"], y=100 * run["accuracy"], mode="lines", showlegend=False,
                line={"color": color, "width": 1}, opacity=0.35,
                hovertemplate=f"{name}, seed {seed}<br>step %{{x}}: %{{y:.1f}} %<extra></extra>",
            )  # fmt: skip
        mean = runs.groupby("step")["accuracy"].mean()
        figure.add_scatter(
            x=mean.index, y=100 * mean, mode="lines", name=name, line={"color": color, "width": 3},
            hovertemplate=f"{name}, mean<br>step %{{x}}: %{{y:.1f}} %<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=100 * chance, line={"color": "#777777", "dash": "dot"})
    figure.update_xaxes(title_text="training step", **_GRID)
    figure.update_yaxes(title_text="accuracy on training clips (%)", range=[0, 103], **_GRID)
    return figure


def _label(arm: object) -> str:
    return text(str(arm).replace("_", " "))
