"""What all figures share: the page they are drawn on, the color bar, tiles side by side."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.view.colors import LEVELS, Scale, color_table

WIDTH = 960
"""Pixels; fits a notebook's column."""

_PLACES = np.linspace(0, 1, 65)  # of a color axis's stops

NEGLIGIBLE = 1e-4
"""A figure shows a residual unless it is at most this, relative; one that is no number is shown."""

_AXIS = {"showgrid": False, "zeroline": False, "title": {"standoff": 8}}
_TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "title": {"x": 0.012, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 14}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def text(words: object) -> str:
    """Return words for a figure such that any HTML in them shows as text."""
    return html.escape(str(words), quote=False)


def new_figure(title: str, height: int, **margin: int) -> go.Figure:
    """Return an empty figure in the house style, `WIDTH` pixels wide.

    Args:
        title: Any text.
        height: Pixels.
        margin: Any of l, r, t, b, pixels.
    """
    margin = {"l": 72, "r": 24, "t": 56, "b": 56, **margin}
    figure = go.Figure()
    figure.update_layout(
        template=_TEMPLATE, title=text(title), width=WIDTH, height=height, margin=margin
    )
    return figure


def color_axis(scale: Scale, label: str) -> dict[str, object]:
    """Return a color axis with the scale's limits, its table, and a labelled legend.

    Args:
        scale: Limits and table.
        label: Name and unit.
    """
    return {
        "cmin": scale.low,
        "cmax": scale.high,
        "colorscale": _colors_at(_PLACES, scale),
        "colorbar": {
            "title": {"text": text(label), "side": "right"},
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
    """Return the title of a time axis and one label per frame: seconds where they are known."""
    if "seconds" in values.coords and not np.isnan(values["seconds"]).any():
        seconds = np.atleast_1d(values["seconds"].values)
        return "start of the token frame (s)", [f"{value:.2f}" for value in seconds]
    return "token frame (number)", [str(value) for value in np.atleast_1d(values["frame"].values)]


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Equal tiles on one canvas, one missing cell between them.

    Attributes:
        values: float32 (canvas rows, canvas cols).
        places: int16 (canvas rows, canvas cols, 4): tile row, tile col, row, col of each cell.
        x: Canvas x of each tile column's center.
        y: Canvas y of each tile row's center.
    """

    values: npt.NDArray[np.float32]
    places: npt.NDArray[np.int16]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]


def mosaic(tiles: npt.NDArray[np.floating]) -> Mosaic:
    """Lay out tiles (tile rows, tile cols, rows, cols), so that one trace draws all of them."""
    tile_rows, tile_cols, rows, cols = tiles.shape
    top, left = np.arange(tile_rows) * (rows + 1), np.arange(tile_cols) * (cols + 1)
    values = np.full((top[-1] + rows, left[-1] + cols), np.nan, np.float32)
    places = np.zeros((*values.shape, 4), np.int16)
    for i, y in enumerate(top):
        for j, x in enumerate(left):
            here = slice(y, y + rows), slice(x, x + cols)
            values[here] = tiles[i, j]
            places[here][..., :2] = i, j
            places[here][..., 2:] = np.moveaxis(np.mgrid[:rows, :cols], 0, -1)
    return Mosaic(values, places, left + (cols - 1) / 2, top + (rows - 1) / 2)
