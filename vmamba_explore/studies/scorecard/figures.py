"""Figures of how good attributions are: the score card, curves of removals, and sanity checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures.layout import color_axis, new_figure, text

_METHOD, _CONTROL, _BAND = "#1b5e7d", "#8a8a8a", "rgba(128,128,128,0.16)"
_PLANTED, _CLEAN = "#009e73", "#8a8a8a"
_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO: dict[str, Any] = {"zeroline": True, "zerolinecolor": "#888888", "zerolinewidth": 1}
_LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "yanchor": "top"}
_BELOW_TITLE = 36  # pixels
_REMOVALS = {
    "deletion": "deletion<br>(low is good)",
    "insertion": "insertion<br>(high is good)",
    "lerf_minus_morf": "LeRF − MoRF<br>(high is good)",
    "temporal_deletion": "temporal deletion<br>(low is good)",
}
_Entries = Mapping[str, Mapping[str, Any]]


def score_card(summary: Mapping[str, Any], sort_by: str = "average_precision") -> go.Figure:
    """Show every method's scores against the truth, and what it costs.

    Args:
        summary: What `data/scorecard.json` holds.
        sort_by: The score that orders the methods, best first.

    Returns:
        A panel per score with means and 95 % intervals. Filled: better than every control, clip
        by clip, by the lower bound of the paired difference. The gray bands are the controls'
        intervals. Last panel: seconds a clip.

    Raises:
        ValueError: no such score, or no method.
    """
    methods, scores = _methods(summary, "score_card"), summary["scores"]
    if sort_by not in scores:
        raise ValueError(f"score_card: no score {sort_by!r}; there are {', '.join(scores)}.")
    names = _ordered(summary, lambda entry: entry["truth"]["positive"][sort_by]["value"])
    panels = {
        _lines(title): {
            name: (
                methods[name]["truth"]["positive"][score],
                methods[name].get("beats", {}).get(score, {}).get("all", False),
            )
            for name in names
        }
        for score, title in scores.items()
    }
    figure = _dots(
        f"The score card: {summary['plan']['clips']} clips", panels, summary["controls"], cost=True
    )
    seconds = [methods[name]["cost"]["seconds"] for name in names]
    cost = [[methods[name]["cost"][k] for k in ("forward", "backward")] for name in names]
    last = len(panels) + 1
    figure.add_scatter(
        x=seconds, y=_rows(names), mode="markers", showlegend=False, row=1, col=last,
        marker={"symbol": "line-ns-open", "size": 9, "color": "#222222", "line": {"width": 2}},
        customdata=cost, hovertemplate="%{y}<br>%{x:.3g} s a clip: %{customdata[0]:.0f} clips "
        "forward, %{customdata[1]:.0f} gradients<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="log", title="seconds a clip", dtick=1, row=1, col=last)
    return figure


def removal_scores(summary: Mapping[str, Any]) -> go.Figure:
    """Show every method's areas under curves of removals, against ten random orders.

    Args:
        summary: What `data/scorecard.json` holds.

    Returns:
        A panel per score, methods in the order of LeRF − MoRF. Filled: better than random orders
        of the same clips; the gray band is theirs. 1 is what a whole clip has above its baseline on
        average.

    Raises:
        ValueError: no method.
    """
    methods = _methods(summary, "removal_scores")
    names = _ordered(summary, lambda entry: entry["removal"]["lerf_minus_morf"]["value"])
    panels = {
        title: {
            name: (
                methods[name]["removal"][score],
                methods[name]["removal"][score].get("beats_random", False),
            )
            for name in names
        }
        for score, title in _REMOVALS.items()
    }
    title = f"Taking tokens away: {summary['plan']['faithful']} clips"
    figure = _dots(title, panels, summary["controls"], bands=False)
    for col, score in enumerate(_REMOVALS, start=1):
        chance = summary["chance"][score]
        figure.add_vrect(
            x0=chance["low"], x1=chance["high"], fillcolor=_BAND, line_width=0, layer="below",
            row=1, col=col,
        )  # fmt: skip
    return figure


def shortcut(summary: Mapping[str, Any]) -> go.Figure:
    """Show how much of each map lies on a watermark, in a model that reads it and in one that does
    not; and how much of a map is still there without what the model learned.

    Args:
        summary: What `data/scorecard.json` holds.

    Raises:
        ValueError: no method.
    """
    methods = _methods(summary, "shortcut")
    names = _ordered(summary, lambda entry: entry["shortcut"]["planted"]["share"]["value"])
    figure = make_subplots(
        1, 2, shared_yaxes=True, horizontal_spacing=0.05, column_widths=[0.6, 0.4],
        subplot_titles=["share of the map on the watermark", "size of the rank correlation with<br>"
                        "the map under random weights"],
        figure=new_figure("Does the map follow the model?", 170 + 21 * len(names), l=190, t=112),
    )  # fmt: skip
    kinds = {
        "planted": ("the model that reads it", _PLANTED, "diamond"),
        "clean": ("the model that does not", _CLEAN, "circle-open"),
    }
    for kind, (label, color, symbol) in kinds.items():
        found = {name: methods[name]["shortcut"][kind]["share"] for name in names}
        _intervals(figure, found, label, color, symbol, {"row": 1, "col": 1}, showlegend=True)
    found = {name: methods[name]["sanity"]["twin_spearman"] for name in names}
    _intervals(figure, found, "random weights", _METHOD, "circle", {"row": 1, "col": 2})
    area = methods[names[0]]["shortcut"]["area"]
    for x, col in ((area, 1), (0.2, 2)):
        figure.add_vline(x=x, line={"color": "#444444", "dash": "dot", "width": 1}, row=1, col=col)
    figure.update_xaxes(title="share (no unit); dotted: its area", row=1, col=1)
    figure.update_xaxes(title="|Spearman| (no unit); dotted: 0.2", row=1, col=2)
    figure.update_xaxes(**_GRID, **_ZERO)
    _method_axis(figure, names, summary["controls"])
    figure.update_layout(legend={**_LEGEND, "y": 1 - _BELOW_TITLE / figure.layout.height})
    return figure


def scores_by_class(summary: Mapping[str, Any], score: str = "share") -> go.Figure:
    """Show one score of every method for each class.

    Args:
        summary: What `data/scorecard.json` holds.
        score: Which.

    Raises:
        ValueError: no method, or no such score.
    """
    methods = _methods(summary, "scores_by_class")
    if score not in summary["scores"]:
        raise ValueError(
            f"scores_by_class: no score {score!r}; there are {', '.join(summary['scores'])}."
        )
    names = _ordered(summary, lambda entry: entry["truth"]["positive"][score]["value"])
    classes = list(methods[names[0]]["by_class"])
    values = [[methods[n]["by_class"][c][score]["value"] for c in classes] for n in names]
    title = f"{summary['scores'][score].capitalize()}, by class"
    figure = new_figure(title, 150 + 20 * len(names), l=190, r=112, t=56, b=72)
    figure.add_heatmap(
        z=values, x=[text(c) for c in classes], y=_rows(names), coloraxis="coloraxis",
        xgap=1, ygap=1, texttemplate="%{z:.2f}", textfont={"size": 10},
        hovertemplate="%{y}, %{x}<br>%{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="class")
    _method_axis(figure, names, summary["controls"])
    axis = color_axis(scale_of([0.0, float(np.nanmax(values))]), f"{summary['scores'][score]}")
    figure.update_layout(coloraxis=axis)
    return figure


def _methods(summary: Mapping[str, Any], call: str) -> _Entries:
    methods: _Entries = summary.get("methods", {})
    if not methods:
        raise ValueError(f"{call}: the summary holds no method; run `make scorecard`.")
    return methods


def _ordered(summary: Mapping[str, Any], key: Any) -> list[str]:
    """The methods, best first, and then the controls."""
    methods, controls = summary["methods"], summary["controls"]
    explained = [name for name in methods if name not in controls]
    ranked = sorted(explained, key=lambda name: -np.nan_to_num(key(methods[name]), nan=-np.inf))
    return [*ranked, *controls]


def _dots(
    title: str,
    panels: Mapping[str, Mapping[str, tuple[Mapping[str, float], bool]]],
    controls: Sequence[str],
    bands: bool = True,
    cost: bool = False,
) -> go.Figure:
    """A panel per score with a dot and an interval per method; filled where it is good."""
    names = list(next(iter(panels.values())))
    titles = [*panels, *(["cost"] if cost else [])]
    figure = make_subplots(
        1, len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.018,
        figure=new_figure(title, 170 + 21 * len(names), l=190, r=16, t=116, b=56),
    )  # fmt: skip
    figure.update_annotations(font_size=11)
    explained = [name for name in names if name not in controls]
    groups = (
        ("better than every control" if bands else "better than random", "circle", True, explained),
        ("not shown to be", "circle-open", False, explained),
        ("control", "diamond-open", False, controls),
    )
    for col, entries in enumerate(panels.values(), start=1):
        for label, symbol, good, members in groups:
            chosen = {
                name: entries[name][0] for name in members
                if name in controls or bool(entries[name][1]) is good
            }  # fmt: skip
            color = _CONTROL if label == "control" else _METHOD
            _intervals(
                figure, chosen, label, color, symbol, {"row": 1, "col": col}, showlegend=col == 1
            )
        for name in controls if bands else ():
            found = entries[name][0]
            figure.add_vrect(
                x0=found["low"], x1=found["high"], fillcolor=_BAND, line_width=0, layer="below",
                row=1, col=col,
            )  # fmt: skip
        figure.update_xaxes(title="score (no unit)", nticks=4, row=1, col=col)
    figure.update_xaxes(tickangle=0, **_GRID)
    _method_axis(figure, names, controls)
    figure.update_layout(legend={**_LEGEND, "y": 1 - _BELOW_TITLE / figure.layout.height})
    return figure


def _intervals(
    figure: go.Figure,
    found: Mapping[str, Mapping[str, float]],
    label: str,
    color: str,
    symbol: str,
    cell: Mapping[str, int],
    showlegend: bool = False,
) -> None:
    """A dot with its 95 % interval for every method."""
    value, low, high = (
        np.array([each[k] for each in found.values()], float) for k in ("value", "low", "high")
    )
    figure.add_scatter(
        # a trace without points still shows its symbol in the legend
        x=value if len(value) else [None], y=_rows(found) if found else [None],
        mode="markers", name=label, legendgroup=label, showlegend=showlegend,
        marker={"color": color, "symbol": symbol, "size": 8},
        error_x={"type": "data", "array": high - value, "arrayminus": value - low, "width": 0,
                 "thickness": 1.5, "color": color},
        customdata=np.stack([low, high], -1),
        hovertemplate="%{y}<br>%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})"
        f"<extra>{label}</extra>",
        **cell,
    )  # fmt: skip


def _method_axis(figure: go.Figure, names: Sequence[str], controls: Sequence[str]) -> None:
    """Methods from the top down, controls last and in italics."""
    shown = [f"<i>{text(name)}</i>" if name in controls else text(name) for name in names]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=_rows(names),
        range=[len(names) - 0.5, -0.5], tickvals=_rows(names), ticktext=shown, **_GRID,
    )  # fmt: skip


def _rows(names: Any) -> list[str]:
    return [text(name) for name in names]


def _lines(title: str) -> str:
    """A panel's title, broken in two near its middle."""
    words = text(title).split(" ")
    half = max(1, round(len(words) / 2))
    return " ".join(words[:half]) + "<br>" + " ".join(words[half:])
