"""Figures of attributions: maps side by side, how much they agree, how faithful they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import xarray as xr
from jaxtyping import Bool
from numpy.typing import NDArray

from vmamba_explore.attribution.removal_scores import Faithfulness, Kind, Of, RandomControl
from vmamba_explore.attribution.result import Attribution, Part
from vmamba_explore.attribution.sanity import Agreement, WeightRandomization
from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.figures import tiles

_MAX_CELL = 13  # pixels
_PEAKS = 72  # pixels, between the tiles and the color bar
_MOST_FRAMES = 16
_TRUTH = "#d55e00"
_DASHES = ("solid", "dash", "dot", "dashdot")


def attribution_maps(
    clip: Clip,
    attributions: Mapping[str, Attribution],
    index: int = 0,
    *,
    truth: Bool[np.ndarray, "frame row col"] | None = None,
    part: Part = "signed",
    frames: Sequence[int] | None = None,
    title: str = "What each method shows",
) -> go.Figure:
    """Show the token maps of several methods under the frames of a clip, a line for each method.

    Methods measure in different units, so every line has its own scale: its colors are shares of
    its largest size, which stands beside it.

    Args:
        clip: The clip; above each column of tiles stands the first of the frames it belongs to.
        attributions: By name, of the same clips.
        index: Which clip of the batch.
        truth: The tokens that should be found, such as `analysis.truth.touched` gives them;
            outlined in every tile.
        part: "signed", "positive" or "abs", see `Attribution.tokens`.
        frames: Token frames to show. None: all, longer clips thinned evenly to 16.
        title: Of the figure.

    Raises:
        ValueError: no map, no such clip or frame, or maps on different grids.
    """
    maps = _maps(attributions, index, part)
    grid = next(iter(maps.values())).shape
    if truth is not None and truth.shape != grid:
        raise ValueError(
            f"attribution_maps: the truth is {truth.shape}, the maps (frame, row, col) {grid}."
        )
    shown = _shown(frames, grid[0])
    rows, cols = grid[1:]
    values = np.stack([array.values[shown] for array in maps.values()])
    peaks = np.abs([array.values for array in maps.values()]).max(axis=(1, 2, 3))
    board = tiles.mosaic(values / np.where(peaks > 0, peaks, 1)[:, None, None, None])

    height, width = board.values.shape
    strip = rows + 2
    beside = min(200, 20 + 7 * max(map(len, maps))) + _PEAKS + 96
    cell = min((draw.WIDTH - beside) / width, _MAX_CELL)
    pixels = (height + strip) * cell
    figure = draw.new_figure(title, pixels)
    numbers = board.places[..., 1:].copy()
    numbers[..., 0] = np.asarray(shown)[numbers[..., 0]]
    for line, name in enumerate(maps):
        here = slice(line * (rows + 1), line * (rows + 1) + rows)
        draw.add_heat(
            figure, board.values[here], draw.text(name),
            "frame %{customdata[0]}, row %{customdata[1]}, col %{customdata[2]}",
            f"%{{z:.3f}} of {peaks[line]:.3g}",
            customdata=draw.small_integers(numbers[here]), x0=0, y0=here.start, gap=0,
            name=draw.text(name),
        )  # fmt: skip
        figure.add_annotation(
            text=f"peak {peaks[line]:.3g}", x=width - 0.5, y=board.y[line], xanchor="left",
            showarrow=False, font={"size": 11},
        )  # fmt: skip
    array = next(iter(maps.values())).isel(frame=shown)
    tiles.add_filmstrip(figure, clip, array, board.x, "attribution_maps")
    if truth is not None:
        _add_outlines(figure, truth[shown], len(maps))
    x_title, labels = draw.time_labels(array)
    figure.update_xaxes(title=x_title, tickvals=board.x, ticktext=labels)
    figure.update_yaxes(tickvals=board.y, ticktext=[draw.text(name) for name in maps], ticks="")
    tiles.square_cells(figure, width, -strip - 0.5, height - 0.5)
    label = "share of the line's peak (no unit)"
    bar = {"len": min(200, round(pixels)), "xpad": _PEAKS}
    draw.set_colors(figure, scale_of([-1.0, 1.0]), label, **bar)
    return figure


def _maps(
    attributions: Mapping[str, Attribution], index: int, part: Part
) -> dict[str, xr.DataArray]:
    """The token map of one clip by each method, all on one grid."""
    if not attributions:
        raise ValueError("attribution_maps: got no attribution, expected at least one.")
    maps = {}
    for name, attribution in attributions.items():
        draw.check_clip("attribution_maps", index, len(attribution.values))
        maps[name] = attribution.array(index, part)
    shapes = {array.shape for array in maps.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"attribution_maps: the maps are on different grids (frame, row, col): "
            f"{', '.join(map(str, sorted(shapes)))}; expected attributions of one model."
        )
    return maps


def _shown(frames: Sequence[int] | None, count: int) -> list[int]:
    """The token frames to show."""
    if frames is None:
        even = np.linspace(0, count - 1, min(count, _MOST_FRAMES))
        return [int(frame) for frame in even.round()]
    for frame in frames:
        if not 0 <= frame < count:
            raise ValueError(
                f"attribution_maps: there is no token frame {frame}; expected 0 to {count - 1}."
            )
    if not len(frames):
        raise ValueError("attribution_maps: frames is empty, expected at least one.")
    return list(frames)


def _add_outlines(figure: go.Figure, truth: NDArray[np.bool_], lines: int) -> None:
    """Draw the border of the true tokens in every tile, as one line with gaps."""
    rows, cols = truth.shape[1:]
    x: list[float | None] = []
    y: list[float | None] = []
    for column, region in enumerate(truth):
        for x0, y0, x1, y1 in _border(region):
            for line in range(lines):
                left, top = column * (cols + 1) - 0.5, line * (rows + 1) - 0.5
                x += [left + x0, left + x1, None]
                y += [top + y0, top + y1, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": _TRUTH, "width": 1.5}, hoverinfo="skip",
        name="where it should be", showlegend=True,
    )  # fmt: skip


def _border(region: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Edges between a region's cells and the rest, as x0, y0, x1, y1 in cells."""
    padded = np.pad(region, 1).astype(np.int8)
    upright = [(x, y - 1, x, y) for y, x in np.argwhere(np.diff(padded, axis=1))]
    level = [(x - 1, y, x, y) for y, x in np.argwhere(np.diff(padded, axis=0))]
    return [tuple(map(int, edge)) for edge in upright + level]  # type: ignore[misc]


def agreement_matrix(agreement: Agreement) -> go.Figure:
    """Show how much methods agree: rank correlations of their maps, means over clips.

    Args:
        agreement: As `attribution.sanity.agreement` returns it.
    """
    names = [draw.text(name) for name in agreement.methods]
    means = agreement.mean().numpy()
    figure = draw.new_figure("Do methods agree?", 22 * len(names) + 120)
    draw.add_heat(
        figure, means, "%{y} and %{x}", "%{z:.3f}", x=names, y=names,
        texttemplate="%{z:.1f}" if len(names) <= 24 else None, textfont={"size": 9},
    )  # fmt: skip
    figure.update_xaxes(title="method", tickangle=90, type="category", dtick=1)
    figure.update_yaxes(autorange="reversed", type="category", dtick=1)
    draw.set_colors(figure, scale_of([-1.0, 1.0]), "rank correlation (no unit)")
    return figure


def faithfulness_curves(
    found: Mapping[str, Faithfulness],
    control: RandomControl | None = None,
    *,
    clip: int | None = None,
    of: Of = "logits",
) -> go.Figure:
    """Show what happens to the answer when the highest values are taken away, or put in, first.

    Args:
        found: By method.
        control: Random orders of the same clips; drawn gray.
        clip: Which clip of the batch; None: the mean over the clips.
        of: "logits" or "probabilities".

    Returns:
        Deletion, where a curve that falls fast is good, beside insertion, where one that rises
        fast is. The area under each, its mean height, stands in the legend.

    Raises:
        ValueError: nothing to draw, or no such clip.
    """
    if not found:
        raise ValueError("faithfulness_curves: got no method, expected at least one.")
    first = next(iter(found.values())).deletion
    batch = len(first.fractions)
    if clip is not None:
        draw.check_clip("faithfulness_curves", clip, batch)
    rows = slice(None) if clip is None else slice(clip, clip + 1)
    kinds: tuple[Kind, ...] = ("deletion", "insertion")
    figure, cells = draw.panels(
        f"{first.unit}, baseline {first.baselines}" + (
            f": mean of {batch} clips" if clip is None and batch > 1 else ""),
        ["deletion: highest taken away first", "insertion: highest put in first"], 300,
        shared_yaxes=True, note="in the legend: areas (deletion, insertion)",
    )  # fmt: skip
    for first_panel, kind, cell in zip((True, False), kinds, cells, strict=True):
        for number, run in enumerate(control.runs if control is not None else ()):
            x, y = _mean(run, kind, rows, of)
            draw.add_line(
                figure, x, y, "random orders", color="rgba(128,128,128,0.5)",
                width=1, markers=False, legend=first_panel and number == 0, **cell,
            )  # fmt: skip
        for number, (name, each) in enumerate(found.items()):
            x, y = _mean(each, kind, rows, of)
            areas = [getattr(each, k).area(of)[rows].mean() for k in kinds]
            draw.add_line(
                figure, x, y, f"{name}: {areas[0]:.2f}, {areas[1]:.2f}",
                draw.text(name), "%{x:.0%} of the tokens", "%{y:.3g}", marker={"size": 4},
                legend=first_panel, group=name, **_style(number), **cell,
            )  # fmt: skip
    unit = "explained number (logits)" if of == "logits" else "probability (no unit)"
    figure.update_xaxes(title="part of the tokens (no unit)", **draw.GRID)
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    figure.update_yaxes(title=unit, col=1)
    return figure


def _mean(run: Faithfulness, kind: Kind, rows: slice, of: Of) -> tuple[list[float], list[float]]:
    """The mean curve over some of the clips."""
    curve = getattr(run, kind)
    return curve.fractions[rows].mean(0).tolist(), curve.values(of)[rows].mean(0).tolist()


def _style(number: int) -> dict[str, Any]:
    """The color and dash of the nth method."""
    dash = _DASHES[number // len(draw.PALETTE) % len(_DASHES)]
    return {"color": draw.PALETTE[number % len(draw.PALETTE)], "dash": dash}


def sanity(found: Sequence[WeightRandomization]) -> go.Figure:
    """Show what is left of maps as a model loses what it learned, from the head to the tokenizer.

    Args:
        found: One for each method, means over clips are drawn.

    Returns:
        Rank correlation beside structural similarity with the map of the trained model. A map of
        the model, and not of the clip, falls to zero.

    Raises:
        ValueError: nothing to draw.
    """
    if not found:
        raise ValueError("sanity: got no method, expected at least one.")
    figure, cells = draw.panels(
        "The model loses its weights, from the head down",
        ["rank correlation", "structural similarity"], 280,
    )  # fmt: skip
    for number, each in enumerate(found):
        for cell, values in zip(cells, (each.spearman, each.ssim), strict=True):
            means = torch.cat([torch.ones(1).double(), values.nanmean(0)])
            draw.add_line(
                figure, ["trained", *each.stages], means.tolist(), each.method,
                f"{draw.text(each.method)}, down to %{{x}}", "%{y:.3f}", legend=cell["col"] == 1,
                **_style(number), **cell,
            )  # fmt: skip
    figure.update_xaxes(title="drawn anew, with all to its left", tickangle=90)
    figure.update_yaxes(title="with the trained model's map<br>(no unit)", col=1)
    figure.update_yaxes(**draw.GRID, **draw.ZERO)
    return figure
