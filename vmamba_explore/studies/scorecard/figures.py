"""Figures of how good attributions are: the score card, curves of removals, and sanity checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.errors import check_choice
from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures import layout as draw

_BAND = "rgba(128,128,128,0.16)"
_REMOVALS = {
    "deletion": "deletion\n(low is good)",
    "insertion": "insertion\n(high is good)",
    "lerf_minus_morf": "LeRF − MoRF\n(high is good)",
    "temporal_deletion": "temporal deletion\n(low is good)",
}
_Entries = Mapping[str, Mapping[str, Any]]


def score_card(summary: Mapping[str, Any], sort_by: str = "average_precision") -> go.Figure:
    """Show every method's scores against the truth, and what it costs.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.
        sort_by: The score that orders the methods, best first.

    Returns:
        A panel per score with means and 95 % intervals. Filled: better than every control, clip
        by clip, by the lower bound of the paired difference. The gray bands are the controls'
        intervals. Last panel: seconds a clip.

    Raises:
        ValueError: no such score, or no method.
    """
    methods, scores = _methods(summary, "score_card"), summary["scores"]
    check_choice("score_card: sort_by", sort_by, scores)
    names = _ordered(summary, lambda entry: entry["truth"]["positive"][sort_by]["value"])
    shown = []
    for score in scores:
        values = {name: methods[name]["truth"]["positive"][score] for name in names}
        good = [n for n in names if methods[n].get("beats", {}).get(score, {}).get("all", False)]
        shown.append((values, good, [values[name] for name in summary["controls"]]))
    title = f"The score card{_of(summary)}: {summary['plan']['clips']} clips"
    titles = [*scores.values(), "cost"]
    figure, cells = _dots(title, titles, shown, summary["controls"], "better than every control")
    seconds = [methods[name]["cost"]["seconds"] for name in names]
    cost = [[methods[name]["cost"][k] for k in ("forward", "backward")] for name in names]
    figure.add_scatter(
        x=seconds, y=_rows(names), mode="markers", showlegend=False, customdata=cost, **cells[-1],
        marker={"symbol": "line-ns-open", "size": 9, "color": draw.INK, "line": {"width": 2}},
        hovertemplate=draw.hover("%{y}", "%{x:.3g} s a clip: %{customdata[0]:.0f} clips forward, "
                            "%{customdata[1]:.0f} gradients"),
    )  # fmt: skip
    figure.update_xaxes(type="log", title="seconds<br>a clip", dtick=1, **cells[-1])
    return figure


def for_explorer(summary: Mapping[str, Any]) -> go.Figure:
    """The figure that the explorer shows of a model's card; it says of which weights it is.

    Args:
        summary: What `make scorecard` measured.

    Returns:
        `parts` where the subject has measures of its own, else `score_card`; `layout.meta` holds
        the name of the model, the fingerprint of its weights and the number of clips.
    """
    figure = parts(summary) if "measures" in summary else score_card(summary)
    whose = {name: summary[name] for name in ("model", "weights")}
    return figure.update_layout(meta={**whose, "clips": summary["plan"]["clips"]})


def removal_scores(summary: Mapping[str, Any]) -> go.Figure:
    """Show every method's areas under curves of removals, against ten random orders.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.

    Returns:
        A panel per score, methods in the order of LeRF − MoRF. Filled: better than random orders
        of the same clips; the gray band is theirs. 1 is what a whole clip has above its baseline on
        average.

    Raises:
        ValueError: no method.
    """
    methods = _methods(summary, "removal_scores")
    names = _ordered(summary, lambda entry: entry["removal"]["lerf_minus_morf"]["value"])
    shown = []
    for score in _REMOVALS:
        values = {name: methods[name]["removal"][score] for name in names}
        good = [name for name in names if values[name].get("beats_random", False)]
        shown.append((values, good, [summary["chance"][score]]))
    title = f"Taking tokens away{_of(summary)}: {summary['plan']['faithful']} clips"
    titles = list(_REMOVALS.values())
    return _dots(title, titles, shown, summary["controls"], "better than random")[0]


def parts(summary: Mapping[str, Any]) -> go.Figure:
    """Show how much of every map lies on each part of the cause, beside a map that knows nothing.

    Args:
        summary: What `make scorecard` measured, of a subject with measures of its own.

    Returns:
        A panel per kind of measure, a color per part, methods in the order of the first measure.
        Filled: better than a map that is the same everywhere (dotted), clip by clip, by the lower
        bound of the paired difference.

    Raises:
        ValueError: no method, or no such measures.
    """
    methods = _methods(summary, "parts")
    measures: _Entries = summary.get("measures", {})
    if not measures:
        raise ValueError("parts: this score card has no measures of parts of the truth.")
    first, words = next(iter(measures.items()))
    sign = -1 if words["low_is_good"] else 1
    names = _ordered(summary, lambda entry: sign * entry["measures"][first]["value"])
    kinds = list(dict.fromkeys(each["kind"] for each in measures.values()))
    named = dict.fromkeys(each["part"] for each in measures.values())
    colors = dict(zip(named, draw.PALETTE, strict=False))
    titles, shown = [], set()
    for kind in kinds:
        own = [each for each in measures.values() if each["kind"] == kind]
        title = kind if len(own) > 1 else f"{own[0]['part']}: {kind}"
        titles.append(f"{title}\n(low is good)" if own[0]["low_is_good"] else title)
    figure, cells = draw.panels(
        f"What the maps show{_of(summary)}: {summary['plan']['clips']} clips", titles,
        21 * len(names), shared_yaxes=True, horizontal_spacing=0.03,
    )  # fmt: skip
    figure.update_annotations(font_size=11)
    for key, each in measures.items():
        cell, color = cells[kinds.index(each["kind"])], colors[each["part"]]
        found = {name: methods[name]["measures"][key] for name in names}
        for label, symbol, better in (
            (f"{each['part']}: better than knowing nothing", "circle", True),
            (f"{each['part']}: not shown to be", "circle-open", False),
        ):
            chosen = {n: e for n, e in found.items() if e["beats_chance"] is better}
            new = label not in shown
            shown.add(label)
            _intervals(figure, chosen, label, color, symbol, showlegend=new, **cell)
        line = {"color": color, "width": 1.5, "dash": "dot"}
        figure.add_vline(x=each["chance"]["value"], line=line, **cell)
        figure.update_xaxes(title="score<br>(no unit)", nticks=4, **cell)
    figure.update_xaxes(tickangle=0, **draw.GRID)
    _method_axis(figure, names, summary["controls"])
    more = 22 * len(shown)  # lines of the legend, one below the other where there is little room
    layout = figure.layout
    figure.update_layout(height=layout.height + more, margin_b=layout.margin.b + more)
    return figure


def shortcut(summary: Mapping[str, Any]) -> go.Figure:
    """Show how much of each map lies on a watermark, in a model that reads it and in one that does
    not; and how much of a map is still there without what the model learned.

    Args:
        summary: What `make scorecard` measured. Without a model that reads a watermark, the
            second part alone is shown.

    Raises:
        ValueError: no method.
    """
    methods = _methods(summary, "shortcut")
    planted = all("shortcut" in entry for entry in methods.values())
    names = _ordered(
        summary,
        lambda entry: (
            entry["shortcut"]["planted"]["share"]["value"]
            if planted
            else -entry["sanity"]["twin_spearman"]["value"]
        ),
    )
    titles = ["size of the rank correlation with the map under random weights"]
    figure, cells = draw.panels(
        f"Does the map follow {draw.text(summary.get('model', 'the model'))}?",
        ["share of the map on the watermark", *titles] if planted else titles,
        21 * len(names), shared_yaxes=True, column_widths=[0.6, 0.4] if planted else None,
    )  # fmt: skip
    if planted:
        kinds = {
            "planted": ("the model that reads it", draw.PALETTE[0], "diamond"),
            "clean": ("the model that does not", draw.GRAY, "circle-open"),
        }
        for kind, (label, color, symbol) in kinds.items():
            found = {name: methods[name]["shortcut"][kind]["share"] for name in names}
            _intervals(figure, found, label, color, symbol, **cells[0])
        figure.add_vline(x=methods[names[0]]["shortcut"]["area"], line=draw.DOTTED, **cells[0])
        figure.update_xaxes(title="share (no unit); dotted: its area", **cells[0])
    found = {name: methods[name]["sanity"]["twin_spearman"] for name in names}
    _intervals(
        figure, found, "random weights", draw.ACCENT, "circle", showlegend=False, **cells[-1]
    )
    figure.add_vline(x=0.2, line=draw.DOTTED, **cells[-1])
    figure.update_xaxes(title="|Spearman| (no unit); dotted: 0.2", **cells[-1])
    figure.update_xaxes(**draw.GRID, **draw.ZERO)
    _method_axis(figure, names, summary["controls"])
    return figure


def scores_by_class(summary: Mapping[str, Any], score: str = "share") -> go.Figure:
    """Show one score of every method for each class.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.
        score: Which.

    Raises:
        ValueError: no method, or no such score.
    """
    methods = _methods(summary, "scores_by_class")
    check_choice("scores_by_class: score", score, summary["scores"])
    names = _ordered(summary, lambda entry: entry["truth"]["positive"][score]["value"])
    classes = list(methods[names[0]]["by_class"])
    values = [[methods[n]["by_class"][c][score]["value"] for c in classes] for n in names]
    title = f"{summary['scores'][score].capitalize()}{_of(summary)}, by class"
    figure = draw.new_figure(title, 20 * len(names))
    draw.add_heat(
        figure, values, "%{y}, %{x}", "%{z:.3f}", x=[draw.text(c) for c in classes], y=_rows(names),
        texttemplate="%{z:.2f}", textfont={"size": 10},
    )  # fmt: skip
    figure.update_xaxes(title="class", tickangle=90)
    _method_axis(figure, names, summary["controls"])
    draw.set_colors(figure, scale_of([0.0, float(np.nanmax(values))]), summary["scores"][score])
    return figure


def _of(summary: Mapping[str, Any]) -> str:
    return f" of {draw.text(summary['model'])}" if "model" in summary else ""


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
    titles: Sequence[str],
    shown: Sequence[tuple[_Entries, Sequence[str], Sequence[Mapping[str, Any]]]],
    controls: Sequence[str],
    better: str,
) -> tuple[go.Figure, list[draw.Cell]]:
    """A panel per score: a dot and an interval per method, filled where it is good, over bands."""
    names = list(shown[0][0])
    figure, cells = draw.panels(
        title, titles, 21 * len(names), shared_yaxes=True, horizontal_spacing=0.03
    )
    figure.update_annotations(font_size=11)
    explained = [name for name in names if name not in controls]
    for cell, (values, good, bands) in zip(cells, shown, strict=False):
        groups = (
            (better, "circle", [name for name in explained if name in good]),
            ("not shown to be", "circle-open", [name for name in explained if name not in good]),
            ("control", "diamond-open", controls),
        )
        for label, symbol, members in groups:
            color, first = draw.GRAY if label == "control" else draw.ACCENT, cell["col"] == 1
            chosen = {name: values[name] for name in members}
            _intervals(figure, chosen, label, color, symbol, showlegend=first, **cell)
        for band in bands:
            draw.shade(figure, band["low"], band["high"], _BAND, **cell)
        figure.update_xaxes(title="score<br>(no unit)", nticks=3, **cell)
    figure.update_xaxes(tickangle=0, **draw.GRID)
    _method_axis(figure, names, controls)
    return figure, cells


def _intervals(
    figure: go.Figure, found: _Entries, label: str, color: str, symbol: str, **options: Any
) -> None:
    """A dot with its 95 % interval for every method."""
    value, low, high = (
        np.array([each[k] for each in found.values()], float) for k in ("value", "low", "high")
    )
    figure.add_scatter(
        # a trace without points still shows its symbol in the legend
        x=value if len(value) else [None], y=_rows(found) if found else [None],
        mode="markers", name=label, legendgroup=label,
        marker={"color": color, "symbol": symbol, "size": 8},
        error_x={"type": "data", "array": high - value, "arrayminus": value - low, "width": 0,
                 "thickness": 1.5, "color": color},
        customdata=np.stack([low, high], -1),
        hovertemplate="%{y}<br>%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})"
        f"<extra>{label}</extra>",
        **options,
    )  # fmt: skip


def _method_axis(figure: go.Figure, names: Sequence[str], controls: Sequence[str]) -> None:
    """Methods from the top down, controls last and in italics."""
    shown = [f"<i>{draw.text(name)}</i>" if name in controls else draw.text(name) for name in names]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=_rows(names),
        range=[len(names) - 0.5, -0.5], tickvals=_rows(names), ticktext=shown, **draw.GRID,
    )  # fmt: skip


def _rows(names: Any) -> list[str]:
    return [draw.text(name) for name in names]
