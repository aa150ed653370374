"""A long video on one time axis: what a model says, how surely, and what its step sizes do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.view.colors import Scale, scale_of
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures.camera import SIGNS

MAX_COLUMNS = 400
"""More windows than this are drawn as means over equally many neighbors."""
_CLASSES = 10  # rows
_MAX_CUTS = 500  # marked
_PIXELS = {"class": 20, "layer": 8, "frame": 12, "line": 110, "least": 72, "between": 34}
_CLOCK = "%H:%M:%S"
_MIDNIGHT = 946_684_800_000.0  # of some day: numbers near 0 would be taken for years
_HATCH = {"shape": "/", "fgcolor": draw.GRAY, "bgcolor": "rgba(128,128,128,0.1)", "size": 7}


_Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class _Panel:
    """A strip of the figure: one row, or one line, of values for each label."""

    title: str
    labels: list[str]
    values: _Numbers  # (label, window)
    pixels: int
    scale: Scale | None  # None: lines
    rows: str
    bar: str  # "": the panel above has the same colors
    hover: str
    raw: _Numbers | None = None  # what hovering tells, where it is not what is drawn
    cuts: bool = False  # whether the camera's cuts are marked


def timeline(found: Timeline) -> go.Figure:
    """Show a timeline: the classes' probabilities, the margin, what the frames of each window add
    to it where that was asked for, and the step sizes of both directions. Windows that failed are
    hatched. Beside a model that names the camera's motion stands what was measured of the camera
    without learning, with its cuts as orange lines.

    Args:
        found: As `watch` returns it; a part of a video will do.

    Returns:
        A figure of less than 1 MB, however long the video is.
    """
    name = found.path.replace("\\", "/").rpartition("/")[2]
    title = f"{name}: {len(found)} windows"
    if failed := int(found.failed.sum()):
        title += f", {failed} failed (hatched)"
    if cuts := len(found.cuts):
        title += f", {cuts} {'cut' if cuts == 1 else 'cuts'} measured"
        title += " (orange)" if cuts <= _MAX_CUTS else ""
    if not found.finished:
        title += ", not finished"
    if found.failed.all():
        return _empty(title, found)
    groups = _groups(len(found))
    strips = _panels(found, groups)
    heights = [strip.pixels for strip in strips]
    figure, cells = draw.panels(
        title, [strip.title for strip in strips], heights, columns=1, gap=_PIXELS["between"],
        shared_xaxes=True,
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left")
    each = found.spans
    spans = np.array([[each[group][0, 0], each[group][-1, 1]] for group in groups])
    inner = below = sum(heights) + _PIXELS["between"] * (len(strips) - 1)
    for cell, strip in zip(cells, strips, strict=True):
        below -= strip.pixels
        values = _means(strip.values, groups)
        if strip.scale is None:
            _lines(figure, cell, strip, values, spans)
        else:
            axis = _color_axis(cell["row"])
            length = max(64, min(strip.pixels, 160))
            bar = {"y": (below + strip.pixels / 2) / inner, "yanchor": "middle", "len": length}
            draw.set_colors(figure, strip.scale, strip.bar, axis, **bar, nticks=length // 24)
            figure.layout[axis].showscale = bool(strip.bar)
            raw = None if strip.raw is None else _means(strip.raw, groups)
            _heatmap(figure, cell, strip, values, spans, raw)
        height = (-0.5, len(strip.labels) - 0.5) if strip.scale else _reach(strip.values)
        _hatch(figure, cell, found, height)
        if strip.cuts and 0 < cuts <= _MAX_CUTS:
            _mark(figure, cell, found.cuts, height)
        below -= _PIXELS["between"]
    stops = [
        {"dtickrange": [None, 1000], "value": "%M:%S.%L"},
        {"dtickrange": [1000, None], "value": _CLOCK},
    ]
    reach = [_time(spans[0, 0]), _time(spans[-1, 1])]
    figure.update_xaxes(type="date", tickformatstops=stops, range=reach)
    figure.update_xaxes(title="time in the video (h:min:s)", **cells[-1])
    figure.update_layout(bargap=0)
    return figure


def _panels(found: Timeline, groups: list[slice]) -> list[_Panel]:
    likely = found.probabilities.iloc[:, :_CLASSES]
    names = [draw.text(name) for name in likely.columns]
    strips = [
        _Panel(
            title="probability of each class", rows="", bar="probability (0 to 1)", labels=names,
            values=likely.to_numpy(np.float64).T,
            pixels=max(_PIXELS["least"], _PIXELS["class"] * len(names)),
            scale=Scale(0.0, 1.0, signed=False), hover="%{y}: %{z:.1%}", cuts=True,
        ),
        *_camera(found, list(likely.columns)),
    ]  # fmt: skip
    against = _explained(found)
    strips.append(
        _Panel(
            title=f"evidence: {against}", labels=["margin"], rows="logits",
            pixels=_PIXELS["line"], scale=None,
            values=found.table[["margin"]].to_numpy(np.float64).T, bar="", hover="%{y:.3g} logits",
        )
    )  # fmt: skip
    if found.evidence is not None:
        values = found.evidence.T
        strips.append(
            _Panel(
                title="evidence by the window's token frames", rows="frame", values=values,
                labels=[str(frame) for frame in range(len(values))],
                pixels=max(_PIXELS["least"], _PIXELS["frame"] * len(values)),
                scale=scale_of(_means(values, groups), signed=True), bar="adds (logits)",
                hover="token frame %{y}: %{z:.3g} logits",
            )
        )  # fmt: skip
    delta = found.delta
    with np.errstate(divide="ignore", invalid="ignore"):
        change = cast(xr.DataArray, np.log2(delta / delta.median("window")))
    shown = _means(change.values.reshape(len(found), -1).T, groups)
    finite = np.abs(shown[np.isfinite(shown)])
    reach = float(np.quantile(finite, 0.995)) if finite.size else 0.0
    for direction in delta["direction"].values.tolist():
        layers = delta["layer"].values.tolist()
        strips.append(
            _Panel(
                title=f"step size delta, {direction} scan, against each layer's median",
                labels=[str(layer) for layer in layers], rows="layer",
                values=change.sel(direction=direction).values.T,
                pixels=max(_PIXELS["least"], _PIXELS["layer"] * len(layers)),
                scale=Scale(-(reach or 1.0), reach or 1.0, signed=True),
                bar="log2 of ratio" if direction == delta["direction"].values[0] else "",
                hover="layer %{y}: mean delta %{customdata:.3g}, 2^%{z:.2f} of the median",
                raw=delta.sel(direction=direction).values.T,
            )
        )  # fmt: skip
    return strips


def _camera(found: Timeline, names: list[str]) -> list[_Panel]:
    """What was measured of the camera: its label in the rows of the classes, and its speed."""
    if found.camera is None:
        return []
    measured = found.table["camera"].to_numpy(str)
    rows = [*names, *sorted({*measured.tolist()} - {*names, ""})]
    return [
        _Panel(
            title="the camera, measured without learning", rows="", bar="",
            labels=[draw.text(name) for name in rows],
            values=np.array([np.where(found.failed, np.nan, measured == row) for row in rows]),
            pixels=max(_PIXELS["least"], _PIXELS["class"] * len(rows)),
            scale=Scale(0.0, 1.0, signed=False), hover="%{y}: %{z:.0%} of these windows", cuts=True,
        ),
        _Panel(
            title="speed of the camera, measured without learning", rows="sides / s",
            labels=[f"{name} ({sign} is positive)" for name, sign in SIGNS.items()],
            values=found.camera.to_numpy(np.float64).T, pixels=_PIXELS["line"], scale=None, bar="",
            hover="%{y:+.3f} sides of the picture in a second", cuts=True,
        ),
    ]  # fmt: skip


def _explained(found: Timeline) -> str:
    """What the margin is, in words."""
    words = []
    for what, otherwise in (("target", "most probable class"), ("minus", "runner-up")):
        chosen = found.settings.get(what)
        chosen = found.class_name(chosen) if isinstance(chosen, int) else chosen
        words.append(f"logit of {chosen}" if chosen else f"logit of the {otherwise}")
    return " less ".join(words)


def _groups(windows: int) -> list[slice]:
    """Neighbors that are drawn as one column."""
    size = math.ceil(windows / MAX_COLUMNS)
    return [slice(start, start + size) for start in range(0, windows, size)]


def _means(values: _Numbers, groups: list[slice]) -> NDArray[np.float32]:
    """The mean of each group, failed windows left out; NaN where all of them failed."""
    columns = []
    for group in groups:
        part = values[:, group]
        known = np.isfinite(part)
        count = known.sum(1)
        total = np.where(known, part, 0).sum(1)
        columns.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


def _color_axis(row: int) -> str:
    return "coloraxis" if row == 1 else f"coloraxis{row}"


def _time(seconds: float) -> float:
    """A place on a date axis, which counts milliseconds and has hours, minutes and seconds."""
    return _MIDNIGHT + round(1000 * float(seconds), 3)


def _heatmap(
    figure: go.Figure,
    cell: draw.Cell,
    panel: _Panel,
    values: _Numbers,
    spans: _Numbers,
    raw: _Numbers | None,
) -> None:
    edges, columns = [_time(spans[0, 0])], []
    for place, (start, end) in enumerate(spans):
        if _time(start) > edges[-1]:  # between windows that do not touch
            columns.append(-1)
            edges.append(_time(start))
        columns.append(place)
        edges.append(_time(end))
    blank = np.full((len(values), 1), np.nan, np.float32)
    if raw is not None:
        raw = np.concatenate([raw, blank], 1)[:, columns]
    draw.add_heat(
        figure, np.concatenate([values, blank], 1)[:, columns], f"%{{x|{_CLOCK}}}", panel.hover,
        x=edges, y=np.arange(len(panel.labels)), customdata=raw, gap=0,
        coloraxis=_color_axis(cell["row"]), **cell,
    )  # fmt: skip
    every = math.ceil(len(panel.labels) * 16 / panel.pixels)
    figure.update_yaxes(
        tickvals=list(range(0, len(panel.labels), every)), ticktext=panel.labels[::every],
        range=[len(panel.labels) - 0.5, -0.5], title=panel.rows, **cell,
    )  # fmt: skip


def _lines(
    figure: go.Figure, cell: draw.Cell, panel: _Panel, values: _Numbers, spans: _Numbers
) -> None:
    several = len(panel.labels) > 1
    for name, color, each in zip(panel.labels, draw.PALETTE, values, strict=False):
        draw.add_line(
            figure, [_time(at) for at in spans.mean(1)], each, name, f"%{{x|{_CLOCK}}}",
            *([name] if several else []), panel.hover, color=color if several else draw.ACCENT,
            width=1.5, marker={"size": 3}, legend=several, **cell,
        )  # fmt: skip
    figure.update_yaxes(title=panel.rows, **cell, **draw.GRID, **draw.ZERO)


def _reach(values: _Numbers) -> tuple[float, float]:
    """The lowest and the highest of some values and 0."""
    known = values[np.isfinite(values)]
    low, high = float(known.min(initial=0)), float(known.max(initial=0))
    return low, high if high > low else low + 1.0


def _mark(
    figure: go.Figure, cell: draw.Cell, cuts: Iterable[float], reach: tuple[float, float]
) -> None:
    """Draw a dotted line at each cut."""
    x = [place for cut in cuts for place in (_time(cut), _time(cut), None)]
    draw.add_line(
        figure, x, [*reach, None] * (len(x) // 3), "cut", "cut at %{x|%H:%M:%S.%L}",
        color=draw.ORANGE, dash="dot", width=1.5, markers=False, legend=False, **cell,
    )  # fmt: skip


def _hatch(figure: go.Figure, cell: draw.Cell, found: Timeline, reach: tuple[float, float]) -> None:
    """Hatch the windows that failed; neighbors with the same reason are one."""
    failed = [segment for segment in found.segments() if segment.reason][:MAX_COLUMNS]
    if not failed:
        return
    low, high = reach
    figure.add_bar(
        x=[_time((s.start + s.end) / 2) for s in failed],
        width=[1000 * (s.end - s.start) for s in failed],
        y=[high - low] * len(failed), base=low, showlegend=False, **cell,
        marker={"color": _HATCH["bgcolor"], "pattern": _HATCH, "line_width": 0},
        hovertext=[f"{draw.text(s.reason)} ({s.windows} windows)" for s in failed],
        hoverinfo="text",
    )  # fmt: skip


def _empty(title: str, found: Timeline) -> go.Figure:
    """Words in place of panels."""
    reasons = list(dict.fromkeys(segment.reason for segment in found.segments()))
    words = "No window was watched yet."
    if reasons:
        words = f"Every window failed: {reasons[0]}"
        words += f", and {len(reasons) - 1} other reasons." if len(reasons) > 1 else "."
    figure = draw.new_figure(title, 90)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    figure.add_annotation(
        text=draw.wrapped(words, 90), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False
    )
    return figure
