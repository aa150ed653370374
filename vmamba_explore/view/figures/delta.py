"""Maps over the token grid, small multiples by layer, direction and frame."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import scale_of, with_unit
from vmamba_explore.view.figures.layout import (
    WIDTH,
    Mosaic,
    add_logarithmic_colors,
    color_axis,
    mosaic,
    new_figure,
    small_integers,
    text,
    time_labels,
)
from vmamba_explore.view.pictures import thumbnail

_DIMS = ("direction", "layer", "frame", "row", "col")
_MARGIN = {"l": 72, "r": 112, "t": 76, "b": 56}  # pixels
_MAX_CELL, _MAX_HEIGHT = 13, 1200  # pixels


def delta_maps(delta: xr.DataArray, clip: Clip | None = None) -> go.Figure:
    """Show delta over the token grid: one tile per layer, direction and frame.

    A large delta means: forget the state and take this token in; a small one: keep the state and
    skip this token. Any other quantity over the token grid can be shown the same way.

    Args:
        delta: Dims row and col, and any of layer, direction, frame, channel; channels are
            averaged. Without frames (``delta.mean("frame")``) the layers stand side by side.
            Its `name` and `attrs["unit"]` go into the legend.
        clip: Draws above each column of tiles the first of the clip's frames it belongs to.

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
    boards = [mosaic(line) for line in lines]
    rows, cols = boards[0].values.shape
    across, down = (cols + 4, 0) if by_frame else (0, rows + 2)
    strip = maps.sizes["row"] + 2 if clip is not None and by_frame else 0
    width, height = cols + across * (len(boards) - 1), rows + down * (len(boards) - 1) + strip
    room = WIDTH - _MARGIN["l"] - _MARGIN["r"]
    cell = min(room / width, _MAX_CELL, _MAX_HEIGHT / height)  # pixels

    title = f"{name[0].upper()}{name[1:]} by layer" + (
        ", direction and frame" if by_frame else " and direction"
    )
    figure = new_figure(title, round(height * cell) + _MARGIN["t"] + _MARGIN["b"], **_MARGIN)
    directions = _labels(maps, "direction")
    for i, (board, direction) in enumerate(zip(boards, directions, strict=True)):
        _add_tiles(figure, board, maps, name, direction, by_frame, (i * across, i * down))
        if by_frame:
            figure.add_annotation(
                text=direction, x=i * across + cols / 2, y=-strip - 0.5, yanchor="bottom",
                showarrow=False, font={"size": 13},
            )  # fmt: skip
        if strip and clip is not None:
            _add_filmstrip(figure, clip, maps, board.x + i * across)

    starts = np.arange(len(boards))[:, None]
    if by_frame:
        x, (x_title, labels) = (boards[0].x + starts * across).flatten(), time_labels(maps)
        y, y_title, y_labels = boards[0].y, "layer", _labels(maps, "layer")
    else:
        x, x_title, labels = boards[0].x, "layer", _labels(maps, "layer")
        y, y_title, y_labels = (boards[0].y + starts * down).flatten(), "direction", directions
    step = math.ceil(32 / ((maps.sizes["col"] + 1) * cell))  # a label is 32 pixels wide
    figure.update_xaxes(
        title=x_title, tickvals=x[::step], ticktext=(labels * len(x))[: len(x)][::step],
        tickangle=0, range=[-0.5, width - 0.5], constrain="domain",
    )  # fmt: skip
    figure.update_yaxes(
        title=y_title, tickvals=y, ticktext=y_labels, range=[height - strip - 0.5, -strip - 0.5],
        scaleanchor="x", constrain="domain",
    )  # fmt: skip
    scale, unit = scale_of(maps.values), str(delta.attrs.get("unit", ""))
    if scale.low > 0:
        add_logarithmic_colors(figure, scale, with_unit(name, unit))
    else:
        figure.update_layout(coloraxis=color_axis(scale, with_unit(name, unit)))
    return figure


def _labels(maps: xr.DataArray, dim: str) -> list[str]:
    """One label per entry of a dim; empty ones where the data does not name them."""
    return [text(value) if dim in maps.coords else "" for value in maps[dim].values]


def _add_tiles(
    figure: go.Figure,
    board: Mosaic,
    maps: xr.DataArray,
    name: str,
    direction: str,
    by_frame: bool,
    origin: tuple[int, int],
) -> None:
    layers, frames = maps["layer"].values, maps["frame"].values
    layer_axis, frame_axis = (0, 1) if by_frame else (1, 0)
    numbers = board.places.copy()
    numbers[..., 0] = layers[board.places[..., layer_axis]]
    numbers[..., 1] = frames[board.places[..., frame_axis]]
    where = [direction] if direction else []
    where += ["layer %{customdata[0]}"] if "layer" in maps.coords else []
    where += ["frame %{customdata[1]}"] if by_frame else ["all frames"]
    figure.add_heatmap(
        z=board.values,
        x0=origin[0],
        y0=origin[1],
        customdata=small_integers(numbers),
        coloraxis="coloraxis",
        hoverongaps=False,
        name=direction,
        hovertemplate=f"{', '.join(where)}, row %{{customdata[2]}}, col %{{customdata[3]}}"
        f"<br>{text(name)} %{{z:.4g}}<extra></extra>",
    )


def _add_filmstrip(figure: go.Figure, clip: Clip, maps: xr.DataArray, x: np.ndarray) -> None:
    frames, rows, cols = (maps.sizes[dim] for dim in ("frame", "row", "col"))
    if "clip_frame" in maps.coords:
        clip_frames = np.atleast_1d(maps["clip_frame"].values)
    else:
        clip_frames = np.arange(frames) * clip.num_frames // frames
    for center, clip_frame in zip(x, clip_frames, strict=True):
        figure.add_layout_image(
            source=thumbnail(clip.frames[int(clip_frame)], side=64), xref="x", yref="y",
            x=center - cols / 2, y=-rows - 2, sizex=cols, sizey=rows, sizing="stretch",
        )  # fmt: skip
