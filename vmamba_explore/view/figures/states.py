"""Figures of the hidden states: their size over time, and one channel in full."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of, with_unit
from vmamba_explore.view.figures.layout import color_axis, every, new_figure, text, time_labels

_DASH = {"forward": "solid", "backward": "dash"}
_PER_ROW = 3


def state_norms(norms: xr.DataArray) -> go.Figure:
    """Show how large the hidden state is in each frame, forward against backward, by layer.

    Args:
        norms: Dims frame, and any of layer, direction, row, col, as `analysis.states.state_norms`
            returns them; rows and columns are averaged.

    Raises:
        ValueError: frame is missing, a dim is unknown, or one is empty.
    """
    known = {"layer", "direction", "frame", "row", "col"}
    if not {"frame"} <= set(norms.dims) <= known or 0 in norms.shape:
        raise ValueError(
            f"state_norms: got dims {dict(norms.sizes)}, expected frame and any of layer, "
            "direction, row, col, none of them empty."
        )
    means = norms.mean([dim for dim in ("row", "col") if dim in norms.dims])
    means = means.expand_dims([dim for dim in ("layer", "direction") if dim not in means.dims])
    means = means.transpose("layer", "direction", "frame")
    layers = [f"layer {n}" if "layer" in means.coords else "" for n in means["layer"].values]
    columns = min(_PER_ROW, len(layers))
    lines = math.ceil(len(layers) / columns)
    figure = new_figure("Size of the hidden state, frame by frame", 130 + 170 * lines)
    grid = make_subplots(
        lines, columns, subplot_titles=layers, shared_yaxes="all", figure=figure,
        horizontal_spacing=0.04, vertical_spacing=min(0.2, 0.34 / lines),
    )  # fmt: skip
    return grid
