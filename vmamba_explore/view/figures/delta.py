"""Maps over the token grid, small multiples by layer, direction and frame."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import scale_of, with_unit
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures import tiles

_DIMS = ("direction", "layer", "frame", "row", "col")
_BESIDE = 200  # pixels left and right of the tiles
_MAX_CELL, _MAX_HEIGHT = 13, 1200  # pixels


def delta_maps(delta: xr.DataArray, clip: Clip | None = None, note: str = "") -> go.Figure:
    """Show delta over the token grid: one tile per layer, direction and frame.

    A large delta means: forget the state and take this token in; a small one: keep the state and
    skip this token. Any other quantity over the token grid can be shown the same way.

    Args:
        delta: Dims row and col, and any of layer, direction, frame, channel; channels are
            averaged. Without frames (``delta.mean("frame")``) the layers stand side by side.
            Its `name` and `attrs["unit"]` go into the legend.
        clip: Draws above each column of tiles the first of the clip's frames it belongs to.
        note: A second, smaller line under the title.

    Returns:
        A figure with one color scale for all its tiles, centered on zero where a value is
        negative, logarithmic where all are positive: delta differs much between layers.

    Raises:
        ValueError: row or col is missing, a dim is unknown, or one is empty.
    """
    if not {"row", "col"} <= set(delta.dims) <= {*_DIMS, "channel"} or 0 in delta.shape:
        raise ValueError(
            f"delta_maps: got dims {dict(delta.sizes)}, expected row and col and any of layer, "
            "direction, frame, channel, none of them empty. Select or average the others first."
        )
    name, maps = str(delta.name or "value"), delta
    if "channel" in delta.dims:
        name, maps = f"mean {name}", delta.mean("channel")
    by_frame = "frame" in maps.dims
    maps = maps.expand_dims([dim for dim in _DIMS if dim not in maps.dims]).transpose(*_DIMS)

    # With frames: a line of frames per layer, directions side by side.
    # Without: a line of layers per direction, directions one below the other.
    lines = maps.values if by_frame else maps.values.swapaxes(1, 2)
    boards = [tiles.mosaic(line) for line in lines]
    rows, cols = boards[0].values.shape
    across, down = (cols + 4, 0) if by_frame else (0, rows + 2)
    strip = maps.sizes["row"] + 2 if clip is not None and by_frame else 0
    width, height = cols + across * (len(boards) - 1), rows + down * (len(boards) - 1) + strip
    cell = min((draw.WIDTH - _BESIDE) / width, _MAX_CELL, _MAX_HEIGHT / height)  # pixels
    title = f"{name[0].upper()}{name[1:]} by layer" + (
        ", direction and frame" if by_frame else " and direction"
    )
    figure = draw.new_figure(title, height * cell, note, 20)
    directions = _labels(maps, "direction")
    layer_axis, frame_axis = (0, 1) if by_frame else (1, 0)
    for i, (board, direction) in enumerate(zip(boards, directions, strict=True)):
        numbers = board.places.copy()
        numbers[..., 0] = maps["layer"].values[board.places[..., layer_axis]]
        numbers[..., 1] = maps["frame"].values[board.places[..., frame_axis]]
        where = [direction] if direction else []
        where += ["layer %{customdata[0]}"] if "layer" in maps.coords else []
        where += ["frame %{customdata[1]}"] if by_frame else ["all frames"]
        draw.add_heat(
            figure, board.values,
            f"{', '.join(where)}, row %{{customdata[2]}}, col %{{customdata[3]}}",
            f"{draw.text(name)} %{{z:.4g}}", x0=i * across, y0=i * down, gap=0, name=direction,
            customdata=draw.small_integers(numbers),
        )  # fmt: skip
        if by_frame:
            figure.add_annotation(
                text=direction, x=i * across + cols / 2, y=-strip - 0.5, yanchor="bottom",
                showarrow=False, font={"size": 13},
            )  # fmt: skip
        if strip and clip is not None:
            tiles.add_filmstrip(figure, clip, maps, board.x + i * across, "delta_maps")

    starts = np.arange(len(boards))[:, None]
    if by_frame:
        x, (x_title, labels) = (boards[0].x + starts * across).flatten(), draw.time_labels(maps)
        y, y_title, y_labels = boards[0].y, "layer", _labels(maps, "layer")
    else:
        x, x_title, labels = boards[0].x, "layer", _labels(maps, "layer")
        y, y_title, y_labels = (boards[0].y + starts * down).flatten(), "direction", directions
    narrow = min((draw.NARROW - _BESIDE) / width, cell)
    step = math.ceil(32 / ((maps.sizes["col"] + 1) * narrow))  # a label is 32 pixels wide
    figure.update_xaxes(
        title=x_title, tickvals=x[::step], ticktext=(labels * len(x))[: len(x)][::step]
    )
    figure.update_yaxes(title=y_title, tickvals=y, ticktext=y_labels)
    tiles.square_cells(figure, width, -strip - 0.5, height - strip - 0.5)
    scale, label = scale_of(maps.values), with_unit(name, str(delta.attrs.get("unit", "")))
    if scale.low > 0:
        draw.add_logarithmic_colors(figure, scale, label)
    else:
        draw.set_colors(figure, scale, label)
    return figure


def _labels(maps: xr.DataArray, dim: str) -> list[str]:
    """One label per entry of a dim; empty ones where the data does not name them."""
    return [draw.text(value) if dim in maps.coords else "" for value in maps[dim].values]
