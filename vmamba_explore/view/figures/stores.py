"""Figures of a store: what its values do over many clips."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.view.figures import layout as draw

_SHOWN = {
    "deviation": ("standard deviation over the clips", "standard deviation", True),
    "sparsity": ("sparsity over the clips", "sparsity (no unit)", False),
    "half_life": ("half-life at the mean step size", "half-life (tokens)", True),
}
"""Statistics: the titles of panel and axis, and whether they span orders of magnitude."""
_SPARSE = "Sparsity is 0 where all values are of one size, near 1 where few are large."
_MIDDLE = (0.1, 0.5, 0.9)


def store_statistics(found: xr.Dataset) -> go.Figure:
    """Show what a store's values do over its clips: directions in use, size, sparsity, half-lives.

    Args:
        found: From `vmamba_explore.statistics`.
    Returns:
        With a dim layer, panels over the layers, forward against backward: the participation ratio
        with its ceiling, then the standard deviation, the sparsity and, where it is known, the
        half-life: the median of the channels and states, its bars from the tenth to the ninetieth
        percentile. Without one, each number of all channels, sorted from the largest down. Values
        that are always 0 have no sparsity and no place on a logarithmic axis; they are left out.
    Raises:
        ValueError: these are no statistics of a store.
    """
    lacking = [name for name in ("deviation", "sparsity", "participation_ratio", "ceiling")
               if name not in found]  # fmt: skip
    if lacking:
        raise ValueError(
            f"store_statistics: the dataset lacks {', '.join(lacking)}; expected what "
            "statistics(store) returns."
        )
    name = str(found.attrs.get("quantity", "values"))
    title = f"{name} of {found.attrs.get('clips', 0):,} clips"
    return _by_layer(found, title) if "layer" in found.dims else _sorted(found, title)


def _by_layer(found: xr.Dataset, title: str) -> go.Figure:
    shown = [statistic for statistic in _SHOWN if statistic in found]
    ceiling = int(found["ceiling"])
    titles = [f"directions in use (at most {ceiling})", *(_SHOWN[each][0] for each in shown)]
    note = "Bars: from the tenth to the ninetieth percentile of channels and states. " + _SPARSE
    figure, cells = draw.panels(title, titles, 190, columns=2, note=note, horizontal_spacing=0.14)
    layers = found["layer"].values
    directed = "direction" in found.dims
    directions = [str(each) for each in found["direction"].values] if directed else [""]
    for at, direction in enumerate(directions):
        here = found.sel(direction=direction) if directed else found
        look, name = draw.directed(direction), direction or "all"
        draw.add_line(
            figure, layers, here["participation_ratio"].values, name, f"{name}, layer %{{x}}",
            "participation ratio %{y:.3g}", legend=directed, **look, **cells[0],
        )  # fmt: skip
        for statistic, cell in zip(shown, cells[1:], strict=True):
            logarithmic = _SHOWN[statistic][2]
            values = here[statistic].transpose("layer", ...).values
            low, middle, high = np.transpose([_middle(each, logarithmic) for each in values])
            draw.add_line(
                figure, layers + 0.12 * at, middle, name, f"{name}, layer %{{customdata[0]}}",
                f"median {statistic.replace('_', '-')} %{{y:.3g}}",
                "10 to 90 %: %{customdata[1]:.3g} to %{customdata[2]:.3g}",
                error_y={"array": high - middle, "arrayminus": middle - low, "symmetric": False},
                customdata=np.stack([layers, low, high], 1), legend=False, **look, **cell,
            )  # fmt: skip
    for statistic, cell in zip(shown, cells[1:], strict=True):
        kind = {"type": "log"} if _SHOWN[statistic][2] else {"range": [0, 1.02]}
        figure.update_yaxes(title=_SHOWN[statistic][1], **kind, **cell)
    figure.update_yaxes(title="participation ratio (number)", rangemode="tozero", **cells[0])
    step = -(-len(layers) // 12)
    figure.update_xaxes(tickvals=layers[::step])
    for cell in cells[-2:]:  # the lowest of each column
        figure.update_xaxes(title="layer (number)", **cell)
    return figure.update_yaxes(**draw.GRID)


def _middle(values: NDArray[np.floating], logarithmic: bool) -> NDArray[np.floating]:
    """The quantiles of what can be drawn; NaN where there is nothing."""
    good = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    return np.quantile(good, _MIDDLE) if good.size else np.full(len(_MIDDLE), np.nan)


def _sorted(found: xr.Dataset, title: str) -> go.Figure:
    ratio = float(np.mean(found["participation_ratio"]))
    note = f"{ratio:.1f} directions in use, of at most {int(found['ceiling'])}. " + _SPARSE
    shown = [statistic for statistic in _SHOWN if statistic in found]
    titles = [_SHOWN[each][0] for each in shown]
    figure, cells = draw.panels(title, titles, 190, note=note)
    for statistic, cell in zip(shown, cells, strict=True):
        dims = [str(dim) for dim in found[statistic].dims]
        values = found[statistic].values
        flat = values.ravel()
        logarithmic = _SHOWN[statistic][2]
        known = np.flatnonzero(np.isfinite(flat) & ((flat > 0) | (not logarithmic)))
        order = known[np.argsort(-flat[known], kind="stable")]
        places = np.stack(np.unravel_index(order, values.shape), -1)
        where = ", ".join(f"{dim} %{{customdata[{n}]}}" for n, dim in enumerate(dims))
        draw.add_line(
            figure, np.arange(1, len(order) + 1), flat[order], statistic,
            draw.text(where).replace("_of_", " of "), f"{statistic.replace('_', '-')} %{{y:.3g}}",
            color=draw.ACCENT, marker={"size": 5}, customdata=places, legend=False, **cell,
        )  # fmt: skip
        kind = {"type": "log"} if logarithmic else {"range": [0, 1.02]}
        figure.update_yaxes(title=_SHOWN[statistic][1], **kind, **cell)
        figure.update_xaxes(title=f"rank, of {flat.size} values (number)", **cell)
    return figure.update_yaxes(**draw.GRID)
