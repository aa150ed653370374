"""Tiles side by side: maps over the token grid on one canvas, under the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.view.pictures import first_clip_frames, thumbnail


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


def add_filmstrip(figure: go.Figure, clip: Clip, array: xr.DataArray, x: Any, call: str) -> None:
    """Draw the first frame of a clip in each token frame above that frame's column of tiles.

    Args:
        figure: What to add it to.
        clip: Whose frames.
        array: The maps in the tiles, dims frame, row and col among them.
        x: Center of each frame's column.
        call: Begins the message of an error.

    Raises:
        ValueError: the clip is shorter than the one that the array is about.
    """
    numbers: list[int] = first_clip_frames(array, clip.num_frames).tolist()
    if numbers[-1] >= clip.num_frames:
        raise ValueError(
            f"{call}: the maps reach clip frame {numbers[-1]}, and the clip has "
            f"{clip.num_frames}; expected the clip that they are about."
        )
    rows, cols = array.sizes["row"], array.sizes["col"]
    for center, number in zip(x, numbers, strict=True):
        figure.add_layout_image(
            source=thumbnail(clip.frames[number], side=64), xref="x", yref="y",
            x=center - cols / 2, y=-rows - 2, sizex=cols, sizey=rows, sizing="stretch",
        )  # fmt: skip


def square_cells(figure: go.Figure, width: Any, top: Any, bottom: Any) -> None:
    """Give a canvas square cells: `width` across, rows from `top` down to `bottom`."""
    figure.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", tickangle=0)
    figure.update_yaxes(
        range=[bottom, top], scaleanchor="x", constrain="domain", constraintoward="top"
    )
