"""Figures of memory: how long states last, how far back a scan looks, what the states share."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vmamba_explore.analysis.delta_contrast import DeltaContrast
from vmamba_explore.analysis.look_back import LookBackCourse
from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import DIRECTION_COLORS, scale_of
from vmamba_explore.view.figures.delta import delta_maps
from vmamba_explore.view.figures.layout import (
    add_logarithmic_colors,
    mosaic,
    new_figure,
    small_integers,
    text,
    time_labels,
)

DASH = {"forward": "solid", "backward": "dash"}
CENSORED = "#c8c8c8"
"""The color of a half-life that lies beyond the clip."""

_PER_ROW = 3  # panels
_GRID = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_LEGEND = {
    "orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container", "yanchor": "top",
}  # fmt: skip


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
        raise ValueError(f"half_life_maps: unit is {unit!r}, expected 'tokens' or 'frames'.")
    values = lives.tokens if unit == "tokens" else lives.frames
    name = "median half-life"
    if lives.quantile != 0.5:
        name = f"{100 * lives.quantile:g} % quantile of the half-life"
    name += ", delta frozen" if lives.frozen else ""
    values = values.rename(name)
    if not lives.censored.any():
        return delta_maps(values, clip)
    figure = delta_maps(values.where(~lives.censored), clip)
    for tiles in delta_maps(values.where(lives.censored)).select_traces({"type": "heatmap"}):
        hover = tiles.hovertemplate.replace("%{z", "at least %{z")
        gray = {"coloraxis": None, "colorscale": [[0, CENSORED], [1, CENSORED]]}
        figure.add_heatmap(
            z=tiles.z, x0=tiles.x0, y0=tiles.y0, customdata=tiles.customdata, name=tiles.name,
            hoverongaps=False, showscale=False, hovertemplate=hover, **gray,
        )  # fmt: skip
    figure.update_layout(title=f"{figure.layout.title.text}; gray: beyond the end of the scan")
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
    paler = "; paler: shorter memory" if several else ""
    figure = _panels(f"How far each layer looks back{paler}", distance)
    groups = distance["group"].values.tolist()
    for i, layer in enumerate(distance["layer"].values):
        for direction in distance["direction"].values:
            at = {"layer": layer, "direction": direction}
            for group in groups:
                fade = 1 - 0.75 * group / max(len(groups) - 1, 1)
                whose = f", channel group {group}" if several else ""
                _add_line(
                    figure, i, str(direction), distance.sel(at | {"group": group}),
                    f"look-back{whose}: %{{y:.3g}} {unit}", fade, legend=group == 0,
                )  # fmt: skip
            _add_line(
                figure, i, str(direction), ceiling.sel(at),
                f"without decay: %{{y:.3g}} {unit}", 0.6, dotted=True, legend=False,
            )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="lines", name="dotted: without decay",
        line={"color": "#888888", "dash": "dot"},
    )  # fmt: skip
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
    figure = _panels(f"What is left of frame {frame}", retention)
    for i, layer in enumerate(retention["layer"].values):
        for direction in retention["direction"].values:
            left = 100 * retention.sel(layer=layer, direction=direction, source=frame)
            _add_line(figure, i, str(direction), left, "%{y:.3g} % left", 1.0)
    figure.update_yaxes(title="left in the state (%)", col=1)
    return figure


def retention_tiles(retention: xr.DataArray) -> go.Figure:
    """Show for each pair of frames what is left of one at the other, one tile per layer.

    Args:
        retention: From `analysis.memory.retention`. In each tile the frame that was written runs
            from top to bottom, the one that is being read from left to right.
    """
    values = retention.transpose("direction", "layer", "source", "frame")
    board = mosaic(values.values)
    directions, layers = values["direction"].values, values["layer"].values
    numbers = board.places.copy()
    numbers[..., 1] = layers[board.places[..., 1]]
    rows, cols = board.values.shape
    cell = min(820 / cols, 16)
    figure = new_figure(
        "What is left of one frame (top to bottom) at another (left to right)",
        round(rows * cell) + 132, t=76, r=112,
    )  # fmt: skip
    figure.add_heatmap(
        z=board.values, customdata=small_integers(numbers), coloraxis="coloraxis",
        hoverongaps=False, text=directions[board.places[..., 0]],
        hovertemplate="%{text}, layer %{customdata[1]}: of frame %{customdata[2]} at frame "
        "%{customdata[3]}<br>%{z:.3g} left<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(
        title="layer", tickvals=board.x, ticktext=[str(n) for n in layers], constrain="domain"
    )
    figure.update_yaxes(
        title="direction", tickvals=board.y, ticktext=list(directions),
        range=[rows - 0.5, -0.5], scaleanchor="x", constrain="domain",
    )  # fmt: skip
    positive = values.where(values > 0)
    low = max(float(positive.min()), 1e-3)
    add_logarithmic_colors(figure, scale_of([low, 1.0]), "share left (no unit)")
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
    figure = make_subplots(
        1, len(titles), subplot_titles=titles, horizontal_spacing=0.12,
        figure=new_figure("What the states of a clip share", 400, t=92),
    )  # fmt: skip
    layers = found.participation["layer"].values
    if found.cka is not None and found.null is not None:
        low, middle, high = found.null.quantile([0.025, 0.5, 0.975], "shift").values
        figure.add_scatter(
            x=layers, y=middle, mode="markers", name="shifted in time (95 %)", row=1, col=1,
            marker={"color": "#888888", "symbol": "line-ew-open", "size": 14},
            error_y={"array": high - middle, "arrayminus": middle - low, "symmetric": False},
            hovertemplate="layer %{x}, shifted: %{y:.2f}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=layers, y=found.cka.values, mode="markers", name="same tokens", row=1, col=1,
            marker={"color": "#222222", "size": 9}, customdata=found.p_value,
            hovertemplate="layer %{x}: %{y:.2f}, p = %{customdata:.2g}<extra></extra>",
        )  # fmt: skip
        figure.update_yaxes(title="debiased CKA (no unit)", zeroline=True, row=1, col=1)
        figure.update_yaxes(zerolinecolor="#888888", row=1, col=1)
    for direction in found.participation["direction"].values:
        figure.add_scatter(
            x=layers, y=found.participation.sel(direction=direction).values,
            mode="lines+markers", name=str(direction), row=1, col=len(titles),
            line={"color": DIRECTION_COLORS.get(str(direction)), "dash": DASH.get(str(direction))},
            hovertemplate=f"{direction}, layer %{{x}}: %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(
        title="participation ratio (number)", rangemode="tozero", row=1, col=len(titles)
    )
    figure.update_xaxes(title="layer (number)", tickvals=layers)
    figure.update_yaxes(**_GRID)
    figure.update_layout(legend=_LEGEND)
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
    figure = make_subplots(
        1, 3, subplot_titles=titles, horizontal_spacing=0.05, shared_yaxes=True,
        figure=new_figure("Delta where and when something moves, from shallow to deep", 400, t=92),
    )  # fmt: skip
    layers = contrast.ratio["layer"].values
    shown = (contrast.ratio, contrast.ratio_beside, contrast.ratio_frames)
    for col, values in enumerate(shown, start=1):
        for i, direction in enumerate(values["direction"].values):
            low, middle, high = values.sel(direction=direction).quantile([0.25, 0.5, 0.75], "clip")
            figure.add_scatter(
                x=layers + 0.12 * i, y=middle.values, mode="lines+markers", name=str(direction),
                legendgroup=str(direction), showlegend=col == 1, row=1, col=col,
                line={"color": DIRECTION_COLORS.get(direction), "dash": DASH.get(direction)},
                error_y={
                    "array": (high - middle).values, "arrayminus": (middle - low).values,
                    "symmetric": False,
                },
                customdata=layers,
                hovertemplate=f"{direction}, layer %{{customdata}}<br>median of the clips "
                "%{y:.3f}<extra></extra>",
            )  # fmt: skip
        figure.add_hline(y=1, line={"color": "#888888", "width": 1}, row=1, col=col)
    figure.update_xaxes(title="layer (number)", tickvals=layers)
    figure.update_yaxes(**_GRID)
    figure.update_yaxes(title="ratio of mean deltas (no unit)", row=1, col=1)
    figure.update_layout(legend=_LEGEND)
    return figure


def _panels(title: str, values: xr.DataArray) -> go.Figure:
    """An empty figure with one panel per layer over the frames of the clip."""
    names = [f"layer {n}" for n in values["layer"].values]
    columns = min(_PER_ROW, len(names))
    lines = math.ceil(len(names) / columns)
    figure = make_subplots(
        lines, columns, subplot_titles=names, horizontal_spacing=0.06, shared_yaxes="all",
        vertical_spacing=0.32 / lines, figure=new_figure(title, 110 + 175 * lines, t=84, b=64),
    )  # fmt: skip
    x_title, labels = time_labels(values)
    frames = values["frame"].values
    step = math.ceil(len(frames) / 8)
    figure.update_xaxes(tickvals=frames[::step], ticktext=labels[::step], tickangle=0)
    figure.update_xaxes(title=x_title, row=lines)
    figure.update_yaxes(rangemode="tozero", **_GRID)
    figure.update_layout(legend=_LEGEND)
    return figure


def _add_line(
    figure: go.Figure,
    panel: int,
    direction: str,
    values: xr.DataArray,
    says: str,
    opacity: float,
    dotted: bool = False,
    legend: bool = True,
) -> None:
    """Add one course over the frames to a panel; the first panel's lines are in the legend."""
    figure.add_scatter(
        x=values["frame"].values, y=values.values, name=text(direction), legendgroup=direction,
        mode="lines" if dotted else "lines+markers", opacity=float(opacity),
        showlegend=panel == 0 and legend,
        line={
            "color": DIRECTION_COLORS.get(direction),
            "dash": "dot" if dotted else DASH.get(direction),
            "width": 1.5 if dotted else 2,
        },
        hovertemplate=f"{text(direction)}, frame %{{x}}<br>{says}<extra></extra>",
        row=panel // _PER_ROW + 1, col=panel % _PER_ROW + 1,
    )  # fmt: skip
