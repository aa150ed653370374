"""Figures of memory: how long states last, how far back a scan looks, what the states share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vmamba_explore.analysis.delta import DeltaContrast
from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.reach import LookBackCourse
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.clips import Clip
from vmamba_explore.errors import shown
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures import tiles
from vmamba_explore.view.figures.delta import delta_maps

CENSORED = "#9a9a9a"
"""The color of a half-life that lies beyond the clip."""

_PER_ROW = 3  # panels
_PER_DECADE = 8  # bars of half-lives


def half_life_maps(lives: HalfLives, clip: Clip | None = None, unit: str = "tokens") -> go.Figure:
    """Show how long the states written at each token last: one tile per layer, direction, frame.

    Where more of the states than the quantile asks for outlast the clip, the half-life is not
    known: those cells are gray, and their hover says how long it is at least.

    Args:
        lives: From `analysis.memory.half_lives`.
        clip: Draws above each column of tiles the first frame it belongs to.
        unit: "tokens" or "frames".

    Returns:
        A figure with one logarithmic color scale for all tiles (linear where a value is 0).

    Raises:
        ValueError: another unit.
    """
    if unit not in ("tokens", "frames"):
        raise ValueError(f"half_life_maps: unit is {shown(unit)}, expected 'tokens' or 'frames'.")
    values = lives.tokens if unit == "tokens" else lives.frames
    name = "median half-life"
    if lives.quantile != 0.5:
        name = f"{100 * lives.quantile:g} % quantile of the half-life"
    name += ", delta frozen" if lives.frozen else ""
    values = values.rename(name)
    if not lives.censored.any():
        return delta_maps(values, clip)
    figure = delta_maps(values.where(~lives.censored), clip, "gray: beyond the end of the scan")
    for gray in delta_maps(values.where(lives.censored)).select_traces({"type": "heatmap"}):
        gray.update(
            hovertemplate=gray.hovertemplate.replace("%{z", "at least %{z"), coloraxis=None,
            colorscale=[[0, CENSORED], [1, CENSORED]], showscale=False,
        )  # fmt: skip
        figure.add_trace(gray)
    return figure


def half_life_histogram(
    lives: Mapping[str, xr.DataArray], title: str = "How long the states last"
) -> go.Figure:
    """Count the half-lives of all states of all channels, forward above backward.

    Args:
        lives: By the name of the clip, one or two: from `analysis.channels.clip_half_lives`, of
            the same layer. The second is drawn as a line.
        title: Of the figure.

    Returns:
        Shares of a direction's states on a logarithmic axis in tokens; those that outlast the clip
        are one gray bar of their own. Lines mark as many tokens as a frame and as the clip have.

    Raises:
        ValueError: not one or two clips, or of different models.
    """
    arrays = list(lives.values())
    if len(arrays) not in (1, 2) or any(each.sizes != arrays[0].sizes for each in arrays):
        raise ValueError(
            f"half_life_histogram: got {[dict(each.sizes) for each in arrays]}, expected the "
            "half-lives of one or two clips in the same layer."
        )
    first = arrays[0]
    clip, frame = (float(np.log10(first.attrs[name])) for name in ("clip", "frame"))
    logs = [np.log10(each.values) for each in arrays]
    edges = _edges(min(float(each.min()) for each in logs), clip)
    beyond = edges[-1] + 3 / _PER_DECADE  # where the bar of those stands
    directions = [str(name) for name in first["direction"].values]
    figure, cells = draw.panels(title, directions, 120, columns=1, shared_xaxes=True)
    figure.update_annotations(x=0, xanchor="left")
    centers, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    where = [f"{10**a:.3g} to {10**b:.3g} tokens" for a, b in itertools.pairwise(edges)]
    where_beyond = [f"more than {10**clip:.0f} tokens"]
    for row, (cell, direction) in enumerate(zip(cells, directions, strict=True)):
        color, legend = DIRECTION_COLORS.get(direction), row == 0 and len(arrays) > 1
        for number, (name, values) in enumerate(zip(lives, logs, strict=True)):
            inside, outside = _shares(values[row], edges, clip)
            says = f"{draw.text(name)}, {direction}", "%{customdata}: %{y:.3g} %"
            if number:
                draw.add_line(
                    figure, [*centers, None, beyond], [*inside, None, outside], name, *says,
                    color=draw.INK, width=1.5, line_shape="hvh", marker={"size": 4}, legend=legend,
                    customdata=[*where, "", *where_beyond], **cell,
                )  # fmt: skip
                continue
            draw.add_bars(figure, centers, inside, name, *says, color=color, legend=legend,
                     width=widths, customdata=where, **cell)  # fmt: skip
            draw.add_bars(figure, [beyond], [outside], name, *says, color=CENSORED, legend=False,
                     width=2 / _PER_DECADE, customdata=where_beyond, **cell)  # fmt: skip
        for place, words in ((frame, "a frame"), (clip, "the clip")):
            figure.add_vline(
                x=place, line=draw.DOTTED, annotation_position="top",
                annotation={"text": words, "font": {"size": 10}, "yanchor": "bottom", "y": 1},
                **cell,
            )  # fmt: skip
    powers = np.arange(np.ceil(edges[0]), np.floor(clip) + 1)
    figure.update_xaxes(
        tickvals=[*powers, beyond],
        ticktext=[*(f"{10**p:g}" for p in powers), "longer than<br>the clip"],
        range=[edges[0] - 0.1, beyond + 2 / _PER_DECADE], tickangle=0,
    )  # fmt: skip
    figure.update_xaxes(title="half-life (tokens)", row=len(directions))
    figure.update_yaxes(title="states (%)", rangemode="tozero", **draw.GRID)
    figure.update_layout(bargap=0)
    return figure


def look_back(course: LookBackCourse) -> go.Figure:
    """Show how far back the scan looks in each frame, by layer, below what it could at most.

    Args:
        course: From `analysis.look_back.look_back_course`; groups of channels are drawn as lines
            that fade from the longest memory to the shortest.
    """
    distance, ceiling = course.distance, course.ceiling.mean("group")
    unit = str(distance.attrs["unit"])
    several = distance.sizes["group"] > 1
    note = "paler: shorter memory" if several else ""
    figure, cells = _panels("How far each layer looks back", distance, note)
    groups = distance["group"].values.tolist()
    for cell, layer, direction in _scans(distance, cells):
        at = {"layer": layer, "direction": direction}
        for group in groups:
            fade = 1 - 0.75 * group / max(len(groups) - 1, 1)
            whose = f", channel group {group}" if several else ""
            _add_course(
                figure, distance.sel(at | {"group": group}), direction,
                f"look-back{whose}: %{{y:.3g}} {unit}", cell, opacity=float(fade),
                legend=cell == cells[0] and group == 0,
            )  # fmt: skip
        _add_course(
            figure, ceiling.sel(at), direction, f"without decay: %{{y:.3g}} {unit}", cell,
            opacity=0.6, dash="dot", width=1.5, markers=False, legend=False,
        )  # fmt: skip
    draw.add_line(figure, [None], [None], "dotted: without decay", markers=False, **draw.DOTTED)
    figure.update_yaxes(title=f"look-back ({unit})", col=1)
    return figure


def retention_from(retention: xr.DataArray, frame: int) -> go.Figure:
    """Show what is left of one frame while the scans read on: to the right forward, else backward.

    Args:
        retention: From `analysis.memory.retention`.
        frame: The token frame that was written.

    Raises:
        ValueError: there is no such frame.
    """
    if frame not in retention["source"].values:
        raise ValueError(
            f"retention_from: there is no frame {frame}; the clip has token frames 0 to "
            f"{retention.sizes['source'] - 1}."
        )
    figure, cells = _panels(f"What is left of frame {frame}", retention)
    for cell, layer, direction in _scans(retention, cells):
        left = 100 * retention.sel(layer=layer, direction=direction, source=frame)
        _add_course(figure, left, direction, "%{y:.3g} % left", cell, legend=cell == cells[0])
    figure.update_yaxes(title="left in the state (%)", col=1)
    return figure


def retention_tiles(retention: xr.DataArray) -> go.Figure:
    """Show for each pair of frames what is left of one at the other, one tile per layer.

    Args:
        retention: From `analysis.memory.retention`. In each tile the frame that was written runs
            from top to bottom, the one that is being read from left to right.
    """
    values = retention.transpose("direction", "layer", "source", "frame")
    board = tiles.mosaic(values.values)
    directions, layers = values["direction"].values, values["layer"].values
    numbers = board.places.copy()
    numbers[..., 1] = layers[board.places[..., 1]]
    rows, cols = board.values.shape
    title = "What is left of one frame (top to bottom) at another (left to right)"
    figure = draw.new_figure(title, rows * min((draw.WIDTH - 170) / cols, 16))
    draw.add_heat(
        figure, board.values, "%{text}, layer %{customdata[1]}: of frame %{customdata[2]} at frame "
        "%{customdata[3]}", "%{z:.3g} left", gap=0, customdata=draw.small_integers(numbers),
        text=directions[board.places[..., 0]],
    )  # fmt: skip
    figure.update_xaxes(title="layer", tickvals=board.x, ticktext=[str(n) for n in layers])
    figure.update_yaxes(title="direction", tickvals=board.y, ticktext=list(directions))
    tiles.square_cells(figure, cols, -0.5, rows - 0.5)
    positive = values.where(values > 0)
    low = max(float(positive.min()), 1e-3)
    draw.add_logarithmic_colors(figure, scale_of([low, 1.0]), "share left (no unit)")
    return figure


def state_similarity(found: StateSimilarity) -> go.Figure:
    """Show how alike forward and backward states are, and how many dimensions each uses.

    Args:
        found: From `analysis.similarity.state_similarity`. Beside the likeness stands the band
            in which 95 % of the time-shifted comparisons lie; beside the dimensions their
            ceiling is named.
    """
    two = found.cka is not None and found.null is not None
    titles = ["forward against backward"] * two + [f"dimensions (at most {found.ceiling})"]
    figure, cells = draw.panels("What the states of a clip share", titles, 250)
    layers = found.participation["layer"].values
    if found.cka is not None and found.null is not None:
        low, middle, high = found.null.quantile([0.025, 0.5, 0.975], "shift").values
        figure.add_scatter(
            x=layers, y=middle, mode="markers", name="shifted in time (95 %)", **cells[0],
            marker={"color": draw.GRAY, "symbol": "line-ew-open", "size": 14},
            error_y={"array": high - middle, "arrayminus": middle - low, "symmetric": False},
            hovertemplate=draw.hover("layer %{x}, shifted: %{y:.2f}"),
        )  # fmt: skip
        figure.add_scatter(
            x=layers, y=found.cka.values, mode="markers", name="same tokens", **cells[0],
            marker={"color": draw.INK, "size": 9}, customdata=found.p_value,
            hovertemplate=draw.hover("layer %{x}: %{y:.2f}, p = %{customdata:.2g}"),
        )  # fmt: skip
        figure.update_yaxes(title="debiased CKA (no unit)", **draw.ZERO, **cells[0])
    for direction in map(str, found.participation["direction"].values):
        draw.add_line(
            figure, layers, found.participation.sel(direction=direction).values, direction,
            f"{direction}, layer %{{x}}: %{{y:.2f}}", **draw.directed(direction), **cells[-1],
        )  # fmt: skip
    figure.update_yaxes(title="participation ratio (number)", rangemode="tozero", **cells[-1])
    figure.update_xaxes(title="layer (number)", tickvals=layers)
    figure.update_yaxes(**draw.GRID)
    return figure


def delta_contrast(contrast: DeltaContrast) -> go.Figure:
    """Show by layer how many times as large delta is on what moves, and in frames with motion.

    Args:
        contrast: From `analysis.delta_contrast.delta_contrast`. Bars span the middle half of the
            clips.
    """
    titles = [
        "moving / still, all frames",
        "moving / still, same frames",
        "still: frames with motion / without",
    ]
    title = "Delta where and when something moves, from shallow to deep"
    figure, cells = draw.panels(title, titles, 250, shared_yaxes=True)
    layers = contrast.ratio["layer"].values
    shown = (contrast.ratio, contrast.ratio_beside, contrast.ratio_frames)
    for cell, values in zip(cells, shown, strict=True):
        for i, direction in enumerate(map(str, values["direction"].values)):
            low, middle, high = values.sel(direction=direction).quantile([0.25, 0.5, 0.75], "clip")
            reach = {"array": (high - middle).values, "arrayminus": (middle - low).values}
            draw.add_line(
                figure, layers + 0.12 * i, middle.values, direction,
                f"{direction}, layer %{{customdata}}", "median of the clips %{y:.3f}",
                error_y={**reach, "symmetric": False}, customdata=layers,
                legend=cell["col"] == 1, **draw.directed(direction), **cell,
            )  # fmt: skip
        figure.add_hline(y=1, line={"color": draw.GRAY, "width": 1}, **cell)
    figure.update_xaxes(title="layer (number)", tickvals=layers)
    figure.update_yaxes(**draw.GRID)
    figure.update_yaxes(title="ratio of mean deltas (no unit)", **cells[0])
    return figure


def _panels(title: str, values: xr.DataArray, note: str = "") -> tuple[go.Figure, list[draw.Cell]]:
    """An empty figure with one panel per layer over the frames of the clip."""
    names = [f"layer {n}" for n in values["layer"].values]
    figure, cells = draw.panels(title, names, 110, columns=_PER_ROW, note=note, shared_yaxes="all")
    draw.time_axis(figure, values, cells)
    figure.update_yaxes(rangemode="tozero", **draw.GRID)
    return figure, cells


def _scans(values: xr.DataArray, cells: list[draw.Cell]) -> Iterator[tuple[draw.Cell, int, str]]:
    """Each layer's panel, its number and each direction."""
    for cell, layer in zip(cells, values["layer"].values, strict=True):
        for direction in values["direction"].values:
            yield cell, layer, str(direction)


def _add_course(
    figure: go.Figure,
    values: xr.DataArray,
    direction: str,
    says: str,
    cell: draw.Cell,
    **options: Any,
) -> None:
    """Add one course over the frames to a panel."""
    draw.add_line(
        figure, values["frame"].values, values.values, direction,
        f"{draw.text(direction)}, frame %{{x}}", says,
        **{**draw.directed(direction), **options}, **cell,
    )  # fmt: skip


def _edges(low: float, clip: float) -> np.ndarray:
    """Borders of the bars, log10 of tokens, equal steps that end at the clip's length."""
    count = max(1, int(np.ceil((clip - low) * _PER_DECADE)))
    return clip - np.arange(count, -1, -1) / _PER_DECADE


def _shares(logs: np.ndarray, edges: np.ndarray, clip: float) -> tuple[np.ndarray, float]:
    """Percent of the states between the borders, and beyond the clip."""
    counts, _ = np.histogram(logs[logs <= clip], edges)
    return 100 * counts / logs.size, 100 * float((logs > clip).mean())
