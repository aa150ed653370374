"""The house style of every figure: one template, and the builders that all figures share.

A figure has no width: it takes that of its place, and everything in it fits from `NARROW` pixels
on. Its background is transparent. Text and lines are drawn in `INK`, a gray that is readable on
white and on black; where `theme.css` is loaded, it replaces that one color by the text color of
JupyterLab, of VS Code, or of the page.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import plotly.io as pio
import xarray as xr
from IPython.display import display
from plotly.subplots import make_subplots

from vmamba_explore.errors import one_line
from vmamba_explore.view.colors import DIRECTION_COLORS, LEVELS, Scale, color_table

WIDTH, NARROW = 848, 640
"""Pixels: the width that heights are computed for, and the least that labels must fit into."""

THEME_CSS = (Path(__file__).parent / "theme.css").read_text("utf-8")
"""Gives `INK` the text color of what the figure is shown in."""

STYLE = {"text/html": f"<style>{THEME_CSS}</style>", "text/plain": ""}
"""The same as an output of a cell: what a figure is shown after."""

INK, GRAY, ACCENT, ORANGE = "#767677", "#8a8a8a", "#4d6a8a", "#e69f00"
PALETTE = ("#009e73", "#cc79a7", "#56b4e9", ORANGE, INK, "#8c564b", "#7f3fbf", "#7f7f7f")
"""Colors of lines that are not scan directions. Source: the first four, Okabe and Ito."""

GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
ZERO: dict[str, Any] = {"zeroline": True, "zerolinecolor": GRAY, "zerolinewidth": 1}
DOTTED: dict[str, Any] = {"color": INK, "width": 1, "dash": "dot"}
WINDOW = "rgba(230,159,0,0.18)"
"""The shade over what is known to matter."""

HATCH = {"backward": "/"}
_DASH = {"backward": "dash"}
_SYMBOL = {"backward": "diamond"}
_PLACES = np.linspace(0, 1, 65)  # of a color axis's stops
_GAP, _BELOW = 58, 76  # pixels between rows of panels, and under the last one

NEGLIGIBLE = 1e-4
"""A figure shows a residual unless it is at most this, relative; NaN is shown."""

Cell = dict[str, Any]
"""Row and column of a panel."""

CONFIG = {"responsive": True, "displaylogo": False}
"""Plotly's options wherever a figure is shown."""

_AXIS = {
    "showgrid": False, "zeroline": False, "automargin": True, "linecolor": INK, "tickcolor": INK,
    "title": {"standoff": 8, "font": {"size": 12}},
}  # fmt: skip
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "title": {
            "font": {"size": 15}, "x": 0, "xanchor": "left", "yref": "container", "y": 1,
            "yanchor": "top", "pad": {"l": 12},
        },
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GRAY, "activecolor": INK},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)  # fmt: skip


class Figure(go.Figure):
    """A figure that follows the theme of the notebook that shows it."""

    def _ipython_display_(self) -> None:
        if not (pio.renderers.render_on_display and pio.renderers.default):
            super()._ipython_display_()
            return
        display(STYLE, raw=True)
        pio.show(self, config=CONFIG)


def styled(figure: go.Figure) -> Figure:
    """Return a figure of your own in the house style: as wide as its place, in its theme's colors.

    Args:
        figure: Any plotly figure, such as one of plotly express; it stays as it is.
    """
    return Figure(figure).update_layout(template=TEMPLATE, width=None)


def text(words: object) -> str:
    """Return words for a figure such that any HTML in them shows as text, in one line."""
    return html.escape(one_line(words), quote=False)


def wrapped(words: object, width: int) -> str:
    """Return text in lines of at most `width` characters, broken at spaces and line breaks."""
    parts = [one_line(part, 400) for part in str(words)[:2000].split("\n")]
    lines = [line for part in parts for line in textwrap.wrap(part, width)]
    return "<br>".join(map(text, lines))


def hover(*lines: str) -> str:
    """Return a hover template without plotly's second box."""
    return "<br>".join(lines) + "<extra></extra>"


def residual_note(residual: float, what: str = "from what the model computed") -> str:
    """Return the note about a residual; nothing where it is rounding.

    Args:
        residual: How far what is drawn is from where it should be, relative.
        what: Where it should be.
    """
    return "" if residual <= NEGLIGIBLE else f"residual {residual:.1e}: how far this is {what}"


def token_frame(array: xr.DataArray | xr.Dataset, clip_frame: int) -> int:
    """Return the token frame that holds a clip frame, among those that the array has."""
    held = array["frame"].values[array["clip_frame"].values <= clip_frame]
    return int(held[-1] if len(held) else array["frame"].values[0])


def check_clip(call: str, clip: int, batch: int) -> None:
    """Raise a ValueError unless a batch has this clip."""
    if not 0 <= clip < batch:
        raise ValueError(
            f"{call}: there is no clip {clip} in this batch of {batch}; expected 0 to {batch - 1}."
        )


def new_figure(title: str, height: int | float, note: str = "", above: int = 0) -> Figure:
    """Return an empty figure in the house style, as wide as its place.

    Args:
        title: Any text.
        height: Of the plot, pixels; title, axis and legend come on top of it.
        note: A second, smaller line.
        above: Pixels to leave free between the title and the plot.
    """
    title, note = wrapped(title, 76), wrapped(note, 110)
    top = (38 if title else 12) + 19 * title.count("<br>") + above
    if note:
        top += 16 + 14 * note.count("<br>")
        title += f"<br><sup>{note}</sup>"
    figure = Figure()
    margin = {"l": 24, "r": 24, "t": top, "b": _BELOW}
    figure.update_layout(
        template=TEMPLATE,
        title={"text": title, "pad": {"t": 22 if "<br>" in title else 12}},
        height=round(height) + top + _BELOW,
        margin=margin,
    )
    return figure


def panels(
    title: str,
    titles: Sequence[object],
    each: int | float | Sequence[int | float],
    *,
    columns: int | None = None,
    note: str = "",
    gap: int = _GAP,
    **options: Any,
) -> tuple[Figure, list[Cell]]:
    """Return a figure of panels, and the row and column of each.

    Args:
        title: Of the figure.
        titles: One for each panel, line by line; broken where a panel is too narrow for it.
        each: Height of a panel, pixels; a sequence has that of each line of panels.
        columns: Panels side by side; None puts all of them there.
        note: A second, smaller line under the title.
        gap: Pixels between two lines of panels.
        options: Passed on to `make_subplots`.
    """
    columns = min(columns or len(titles), len(titles))
    rows = math.ceil(len(titles) / columns)
    parts = options.get("column_widths") or [1] * columns
    chars = [int(84 * part / sum(parts)) for part in parts]
    shown = [wrapped(name, chars[i % columns]) for i, name in enumerate(titles)]
    lines = max((name.count("<br>") + 1 for name in shown if name), default=0)
    heights = [each] * rows if isinstance(each, int | float) else list(each)
    height = sum(heights) + (rows - 1) * gap
    figure = new_figure(title, height, note, 8 + 16 * lines)
    options = {
        "horizontal_spacing": 0.04 if options.get("shared_yaxes") else 0.4 / (columns + 1),
        "vertical_spacing": gap / height if rows > 1 else 0,
        "row_heights": heights,
        **options,
    }
    make_subplots(rows, columns, subplot_titles=shown, figure=figure, **options)
    figure.update_annotations(font_size=12)
    cells = [{"row": i // columns + 1, "col": i % columns + 1} for i in range(len(titles))]
    return figure, cells


def directed(direction: str) -> dict[str, Any]:
    """Return the look of a scan direction's line, for `add_line`."""
    return {
        "color": DIRECTION_COLORS.get(direction),
        "dash": _DASH.get(direction, "solid"),
        "marker": {"symbol": _SYMBOL.get(direction, "circle"), "size": 6},
    }


def add_line(
    figure: go.Figure,
    x: Any,
    y: Any,
    name: str,
    *says: str,
    color: str | None = None,
    dash: str = "solid",
    width: int | float = 2,
    markers: bool = True,
    legend: bool = True,
    group: str | None = None,
    **options: Any,
) -> None:
    """Add a line.

    Args:
        figure: What to add it to.
        x, y: Places and values.
        name: In the legend, plain text.
        says: Lines of the hover, plotly's template; none: nothing is hovered.
        color, dash, width: Of the line.
        markers: Whether each value is a dot.
        legend: Whether the legend lists it.
        group: Lines of one group are switched on and off together; None takes the name.
        options: Passed on to plotly, such as row and col.
    """
    told = {"hovertemplate": hover(*says)} if says else {"hoverinfo": "skip"}
    look: dict[str, Any] = {
        "mode": "lines+markers" if markers else "lines",
        "line": {"color": color, "dash": dash, "width": width},
        **told,
    }
    figure.add_scatter(
        x=x, y=y, name=text(name), legendgroup=group or name, showlegend=legend, **look | options
    )


def add_bars(
    figure: go.Figure,
    x: Any,
    y: Any,
    name: str,
    *says: str,
    color: Any = ACCENT,
    hatch: str = "",
    legend: bool = True,
    **options: Any,
) -> None:
    """Add bars; the arguments are those of `add_line`, `hatch` is plotly's pattern."""
    figure.add_bar(
        x=x, y=y, name=text(name), legendgroup=name, showlegend=legend, hovertemplate=hover(*says),
        marker={"color": color, "pattern": {"shape": hatch, "size": 5}}, **options,
    )  # fmt: skip


def add_direction_bars(
    figure: go.Figure, x: Any, values: xr.DataArray, axis: str, says: str, **options: Any
) -> None:
    """Add bars for each scan direction, side by side.

    Args:
        figure: What to add them to.
        x: Their places, along the other dim of `values`.
        values: Dims direction and one other, or only the other.
        axis: What `x` counts, for the hover.
        says: The hover's second line.
        options: Those of `add_bars`.
    """
    named = "direction" in values.dims
    for each in values.transpose("direction", ...) if named else [values]:
        direction = str(each["direction"].values) if named else "both"
        add_bars(
            figure, x, each.values, direction, f"{text(direction)}, {axis} %{{x}}", says,
            color=DIRECTION_COLORS.get(direction, ACCENT), hatch=HATCH.get(direction, ""),
            **{"legend": named, **options},
        )  # fmt: skip


def bar_list(
    title: str, names: Sequence[Any], values: Sequence[float], words: Sequence[str], *says: str,
    note: str = "", color: Any = ACCENT, name: str = "",
) -> Figure:  # fmt: skip
    """Return a figure of horizontal bars from the top down, each with words at its end.

    Args:
        title: Of the figure.
        names: Of the bars, escaped, or their places.
        values: Their lengths.
        words: What stands at their ends.
        says: Lines of the hover.
        note: A second, smaller line under the title.
        color: One, or one for each bar.
        name: Of all bars, in the legend.
    """
    figure = new_figure(title, 30 * len(names), note)
    figure.add_bar(
        x=values, y=names, orientation="h", marker_color=color, text=words, name=name,
        textposition="outside", cliponaxis=False, showlegend=bool(name),
        hovertemplate=hover(*says),
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(bargap=0.3)
    return figure


def add_heat(figure: go.Figure, z: Any, *says: str, gap: int = 1, **options: Any) -> None:
    """Add a map with the figure's colors, its cells `gap` pixels apart."""
    figure.add_heatmap(
        z=z, xgap=gap, ygap=gap, hoverongaps=False, hovertemplate=hover(*says),
        **{"coloraxis": "coloraxis", **options},
    )  # fmt: skip


def add_band(figure: go.Figure, x: Any, low: Any, high: Any, color: str, **cell: Any) -> None:
    """Shade an interval around a line, where both its ends are finite."""
    x, low, high = (np.asarray(values) for values in (x, low, high))
    good = np.isfinite(low) & np.isfinite(high)
    x, low, high = x[good], low[good], high[good]
    red, green, blue = bytes.fromhex(color[1:])
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)", line={"width": 0}, mode="lines",
        hoverinfo="skip", showlegend=False, **cell,
    )  # fmt: skip


def shade(
    figure: go.Figure, x0: int | float, x1: int | float, color: str = WINDOW, **cell: Any
) -> None:
    """Shade what lies between two places, behind everything else."""
    figure.add_vrect(x0=x0, x1=x1, fillcolor=color, line_width=0, layer="below", **cell)


def outline(figure: go.Figure, x: Sequence[Any], y: Sequence[Any], **options: Any) -> None:
    """Frame a part of a map."""
    look = {"line": {"color": ORANGE, "width": 2}, **options}
    figure.add_shape(type="rect", x0=x[0], x1=x[1], y0=y[0], y1=y[1], **look)


def time_axis(figure: go.Figure, values: xr.DataArray, cells: Sequence[Cell] = ({},)) -> None:
    """Number token frames, with their times below, as many as fit; the lowest panels have a title.

    Args:
        figure: Whose x axes count token frames.
        values: With the coordinate frame, and perhaps seconds.
        cells: The panels, as `panels` returns them; none: the figure is one panel.
    """
    title, labels = time_labels(values)
    frames = values["frame"].values
    step = math.ceil(len(frames) * max(cell.get("col", 1) for cell in cells) / 16)
    last = max(cell.get("row", 1) for cell in cells)
    for cell in cells:
        here = {"title": title} if cell.get("row", 1) == last else {}
        figure.update_xaxes(
            tickvals=frames[::step], ticktext=labels[::step], tickangle=0, **here, **cell
        )


def set_colors(
    figure: go.Figure, scale: Scale, label: str, axis: str = "coloraxis", **bar: Any
) -> None:
    """Give a figure's color axis a scale and a labeled legend; `bar` changes the legend."""
    colors: Any = color_axis(scale, label)
    colors["colorbar"].update(bar)
    figure.update_layout({axis: colors})


def color_axis(scale: Scale, label: str) -> dict[str, object]:
    """Return a color axis with the scale's limits, its table, and a labeled legend.

    Args:
        scale: Limits and table.
        label: Name and unit.
    """
    label = label if len(label) <= 32 else label.replace(" (", "\n(")
    return {
        "cmin": scale.low,
        "cmax": scale.high,
        "colorscale": _colors_at(_PLACES, scale),
        "colorbar": {
            "title": {"text": wrapped(label, 32), "side": "right", "font": {"size": 12}},
            "thickness": 12,
            "outlinewidth": 0,
            "x": 1.01,
            "y": 1,
            "yanchor": "top",
            "lenmode": "pixels",
            "len": 200,
            "nticks": 6,
        },
    }


def add_logarithmic_colors(figure: go.Figure, scale: Scale, label: str) -> None:
    """Space a figure's colors by the logarithm of the value, for values of different magnitude.

    The values that are drawn and hovered stay as they are. The bar of a color axis is always
    linear in what it measures, so the legend is that of a second axis, of logarithms.

    Args:
        figure: Its traces with `coloraxis="coloraxis"` get these colors; one trace that draws
            nothing is added, to carry the legend.
        scale: Limits, both positive, and table.
        label: Name and unit.
    """
    ratio = scale.high / scale.low
    place = (ratio**_PLACES - 1) / (ratio - 1)
    place[-1] = 1.0
    colors = {"cmin": scale.low, "cmax": scale.high, "colorscale": _colors_at(place, scale)}
    low, high = np.log10([scale.low, scale.high])
    legend = color_axis(Scale(low, high, scale.signed), label)
    ticks = _logarithmic_ticks(scale.low, scale.high)
    figure.update_layout(coloraxis={**colors, "showscale": False}, coloraxis2=legend)
    figure.layout.coloraxis2.colorbar.update(
        tickvals=[math.log10(tick) for tick in ticks], ticktext=[f"{tick:.3g}" for tick in ticks]
    )
    figure.add_scatter(
        x=[None], y=[None], mode="markers", hoverinfo="skip", showlegend=False,
        marker={"color": [low], "coloraxis": "coloraxis2"},
    )  # fmt: skip


def _colors_at(places: npt.NDArray[np.float64], scale: Scale) -> list[list[object]]:
    """The colors of a scale's table, from the first to the last, put at these places, 0 to 1."""
    table = color_table(scale.signed)[np.rint(_PLACES * (LEVELS - 1)).astype(int)]
    return [[float(at), f"#{bytes(c).hex()}"] for at, c in zip(places, table, strict=True)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the limits; round numbers between them where there are too few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 8)]
    return [float(tick) for tick in np.geomspace(low, high, 4)]


def small_integers(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return numbers for a figure's hover in the smallest type that holds them."""
    return numbers.astype(np.min_scalar_type(-int(numbers.max(initial=0)) - 1))


def time_labels(values: xr.DataArray) -> tuple[str, list[str]]:
    """Return the title of an axis of token frames and one label per frame: its number, and below it
    its start in seconds, or its first clip frame where no seconds are known."""
    frames = np.atleast_1d(values["frame"].values)
    numbers = [str(frame) for frame in frames]
    times = start_times(values)
    if times:
        title, below = "token frame, and its start (s)", [time.removesuffix(" s") for time in times]
    elif "clip_frame" in values.coords:
        title = "token frame, and its first clip frame"
        below = [str(frame) for frame in np.atleast_1d(values["clip_frame"].values)]
    else:
        return "token frame (number)", numbers
    if below == numbers:  # each token frame is one clip frame
        return "token frame (number)", numbers
    return title, [
        f'{number}<br><span style="font-size:10px">{under}</span>'
        for number, under in zip(numbers, below, strict=True)
    ]


def start_times(values: xr.DataArray) -> list[str]:
    """Return at which second each token frame starts; nothing where that is unknown."""
    if "seconds" not in values.coords or np.isnan(values["seconds"]).any():
        return []
    return [f"{value:.2f} s" for value in np.atleast_1d(values["seconds"].values)]
