"""Figures of what a model costs as clips grow longer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.studies.scaling.fit import Curve, PowerLaw, fit_exponent
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.figures import layout as draw

_SYMBOLS = ("circle", "square-open", "diamond-open", "triangle-up-open", "x-open")
_STEPS = {
    "s": (("ms", 1e3), ("s", 1.0)),
    "bytes": (("KiB", 2**-10), ("MiB", 2**-20), ("GiB", 2**-30)),
}
_FINE_GRID = "rgba(128,128,128,0.1)"


def cost_curves(
    curves: Sequence[Curve], *, fit_from: int | None = None, reach: int | None = None
) -> go.Figure:
    """Show costs against the frames of a clip, both axes logarithmic: a power law is a line.

    Args:
        curves: As `CostTable.curves` and `mac_curves` return them; each quantity gets a panel of
            its own.
        fit_from: Fit a power law to clips of this many frames and more, and write its exponent
            into the legend; a curve with fewer than three such clips gets none. None fits nothing.
        reach: Draw the fits on, dotted, to this many frames: an extrapolation.

    Returns:
        A figure. Markers are what the curves hold, solid lines are fits over the fitted clips.

    Raises:
        ValueError: there is nothing to draw.
    """
    drawn = [curve for curve in curves if curve.values]
    if not drawn:
        raise ValueError(
            f"cost_curves: got {len(curves)} curves without a value, expected at least one with "
            "values. Was the measurement interrupted before its first length was done?"
        )
    quantities = list(dict.fromkeys(curve.quantity for curve in drawn))
    models = list(dict.fromkeys(curve.model for curve in drawn))
    title = " and ".join(quantities)
    title, spacing = f"{title[0].upper()}{title[1:]} of longer clips", 0.5 / (len(quantities) + 1)
    figure, cells = draw.panels(title, [""] * len(quantities), 280, horizontal_spacing=spacing)
    frames = sorted({n for curve in drawn for n in curve.num_frames} | {reach or 0} - {0})
    for cell, quantity in zip(cells, quantities, strict=True):
        panel = [curve for curve in drawn if curve.quantity == quantity]
        unit, factor = _readable(panel)
        ticks = _ticks(panel, factor)
        for curve in panel:
            place = models.index(curve.model) % len(_SYMBOLS)
            color, law = draw.PALETTE[place], _fit(curve, fit_from)
            name = draw.text(f"{quantity}: {curve.model}" if len(quantities) > 1 else curve.model)
            if law is not None:
                name += f", exponent {law.exponent:.2f} ± {law.standard_error:.2f}"
            figure.add_scatter(
                x=curve.num_frames, y=[value * factor for value in curve.values], mode="markers",
                name=name, marker={"color": color, "symbol": _SYMBOLS[place], "size": 9,
                                   "line": {"width": 2 if place else 0}},
                hovertemplate=draw.hover(
                    f"{draw.text(curve.model)}, %{{x}} frames", f"%{{y:.4g}} {unit}"
                ), **cell,
            )  # fmt: skip
            if law is not None:
                _add_fit(figure, law, reach, factor, color=color, **cell)
        figure.update_xaxes(
            type="log", tickvals=frames, ticktext=[str(n) for n in frames], tickangle=0,
            range=[math.log10(frames[0] / 1.25), math.log10(frames[-1] * 1.25)],
            title="frames of the clip (log scale)", **draw.GRID, **cell,
        )  # fmt: skip
        figure.update_yaxes(
            type="log", tickvals=ticks, ticktext=[f"{tick:,g}" for tick in ticks],
            minor={"dtick": "D1", "showgrid": True, "gridcolor": _FINE_GRID},
            title=f"{with_unit(draw.text(quantity), unit)}, log scale", **draw.GRID, **cell,
        )  # fmt: skip
    return figure


def _ticks(panel: Sequence[Curve], factor: float) -> list[float]:
    """Powers of ten; where there are too few of them, 2 and 5 in between too."""
    values = [value * factor for curve in panel for value in curve.values if value > 0]
    steps = (1,) if max(values) > 100 * min(values) else (1, 2, 5)
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 4)
    return [step * 10.0**power for power in powers for step in steps]


def _fit(curve: Curve, fit_from: int | None) -> PowerLaw | None:
    if fit_from is None or sum(n >= fit_from for n in curve.num_frames) < 3:
        return None
    return fit_exponent(curve, fit_from)


def _add_fit(
    figure: go.Figure, law: PowerLaw, reach: int | None, factor: float, **look: Any
) -> None:
    first, last = law.num_frames[0], law.num_frames[-1]
    spans = [(first, last, "solid")] + ([(last, reach, "dot")] if reach and reach > last else [])
    for start, end, dash in spans:
        draw.add_line(
            figure, [start, end], [factor * law.at(n) for n in (start, end)], "fit",
            width=1.5, dash=dash, markers=False, legend=False, **look,
        )  # fmt: skip


def _readable(panel: Sequence[Curve]) -> tuple[str, float]:
    """A unit in which the middle of the values is an ordinary number, and the factor to it."""
    unit = panel[0].unit
    values = [value for curve in panel for value in curve.values if value > 0]
    middle = math.exp(np.mean(np.log(values)))
    steps = _STEPS.get(unit, ((unit, 1.0),))
    fitting = [step for step in steps if middle * step[1] >= 0.5]
    return min(fitting or steps[:1], key=lambda step: step[1])
