"""One curve over the token frames of a clip."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.view.colors import DIRECTION_COLORS, with_unit
from vmamba_explore.view.figures import layout as draw


def curve(
    values: xr.DataArray,
    name: str = "",
    *,
    window: tuple[int, int] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show how a number goes over the token frames of a clip, as one line or a few.

    Args:
        values: Dim frame, and perhaps one other, such as direction or layer, with a line for each
            of its entries. `attrs["unit"]` and the coordinate `seconds` are used where given.
        name: What is shown, for the axis; "" for the array's own name.
        window: First and last token frame of what is known to matter; shaded.
        title: Of the figure; None for one made of the name, "" for none.

    Raises:
        ValueError: the dims are others, or one of them is empty.
    """
    others = [str(dim) for dim in values.dims if dim != "frame"]
    if "frame" not in values.dims or len(others) > 1 or 0 in values.shape:
        raise ValueError(
            f"curve: the values have dims {dict(values.sizes)}, expected frame and at most one "
            'other, none empty. Reduce the others first, for example with .mean(["row", "col"]).'
        )
    name = name or str(values.name or "value")
    figure = draw.new_figure(f"{name} over the clip" if title is None else title, 220)
    numbers = np.arange(values.sizes["frame"])
    values = values if "frame" in values.coords else values.assign_coords(frame=numbers)
    lines = values.transpose(*others, "frame") if others else values.expand_dims(line=[name])
    known = lines.coords.get(lines.dims[0], np.arange(len(lines)))
    for number, (entry, line) in enumerate(zip(np.asarray(known), lines, strict=True)):
        directed = str(entry) in DIRECTION_COLORS
        label = str(entry) if directed or not others else f"{others[0]} {entry}"
        color = draw.PALETTE[number % len(draw.PALETTE)]
        look = draw.directed(label) if directed else {"color": color}
        draw.add_line(
            figure, line["frame"].values, line.values, label, draw.text(label),
            "token frame %{x}", "%{y:.3g}", legend=bool(others), **look,
        )  # fmt: skip
    if window is not None:
        draw.shade(figure, window[0] - 0.5, window[1] + 0.5)
    draw.time_axis(figure, values)
    unit = str(values.attrs.get("unit", ""))
    figure.update_yaxes(title=draw.wrapped(with_unit(name, unit), 34), **draw.GRID)
    return figure
