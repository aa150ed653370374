"""Figures of the clip itself: its frames, and what a model says about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.clips import Clip
from vmamba_explore.errors import shown
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.pictures import Overlay, enlarged, over_tokens, thumbnail

_PER_ROW = 8
_MAX_PICTURE = 160  # pixels
_MAX_CHOSEN = 280  # pixels, where a few frames were chosen
_BAR_BELOW: dict[str, Any] = {
    "orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "ypad": 4,
    "title.side": "bottom", "len": 200,
}  # fmt: skip


def frames(
    clip: Clip,
    overlay: xr.DataArray | None = None,
    *,
    name: str = "overlay",
    opacity: float = 0.55,
    max_frames: int = 16,
    which: Sequence[int] | None = None,
    title: str | None = None,
) -> go.Figure:
    """Show the frames the model saw, with their times: a filmstrip, or a few chosen ones, larger.

    Args:
        clip: The clip.
        overlay: A map to lay over the frames, dims frame, row, col: the player's still twin.
        name: What the overlay shows.
        opacity: Of the overlay, 0 to 1.
        max_frames: Longer clips are thinned evenly to this many pictures.
        which: The clip frames to show, in this order, in place of all.
        title: Of the figure; None for one that names clip and map, "" for none.

    Raises:
        ValueError: max_frames is less than 1, there is no such frame, or the overlay's dims are not
            frame, row, col.
    """
    if max_frames < 1:
        raise ValueError(f"frames: max_frames is {max_frames}, expected at least 1.")
    chosen = _evenly(clip.num_frames, max_frames) if which is None else _chosen(which, clip)
    heat = None
    if overlay is not None:
        heat = Overlay.from_map(over_tokens("frames", name, overlay), clip.num_frames)
    height, width = clip.frames.shape[1:3]
    tall, columns = height / width, min(_PER_ROW, len(chosen))
    bar = heat is not None  # beside the strip, or under the chosen frames
    room = draw.WIDTH - (136 if bar and which is None else 48)
    across = columns * 1.06 - 0.06  # in picture widths
    scale = min(room / across, _MAX_PICTURE if which is None else _MAX_CHOSEN)  # pixels a width
    step_x, step_y = 1.06, tall + (0.24 if which is None else 28 / scale)
    down = math.ceil(len(chosen) / columns) * step_y
    what = "the frames the model sees" if heat is None else f"{name} over its frames"
    figure = draw.new_figure(f"{clip.source}: {what}" if title is None else title, down * scale)
    below = 64 if bar and which is not None else 24
    figure.update_layout(height=figure.layout.height - 84 + below, margin_b=below)
    x, y, captions, hover = [], [], [], []
    for place, frame in enumerate(chosen):
        left, top = place % columns * step_x, place // columns * step_y
        picture = clip.frames[frame] if heat is None else heat.over(clip, frame, opacity)
        figure.add_layout_image(
            source=thumbnail(picture) if which is None else enlarged(picture, round(scale)),
            xref="x", yref="y", x=left, y=top, sizex=1, sizey=tall, sizing="stretch", layer="below",
        )  # fmt: skip
        repeated = frame >= clip.num_frames - clip.repeated
        x.append(left + 0.5)
        y.append(top + tall + (0.1 if which is None else 12 / scale))
        captions.append(f"{frame} · " + ("held" if repeated else f"{clip.seconds[frame]:.2f} s"))
        hover.append(
            f"frame {frame}, number {clip.indices[frame]} in the source"
            + (", which ends before: its last frame is held" if repeated else "")
        )
    figure.add_scatter(
        x=x, y=y, mode="text", text=captions, hovertext=hover, hoverinfo="text", showlegend=False,
        textfont={"size": 10},
    )  # fmt: skip
    if heat is not None and overlay is not None:
        figure.add_scatter(  # carries the legend, draws nothing
            x=[None], y=[None], mode="markers", hoverinfo="skip", showlegend=False,
            marker={"color": [heat.scale.low], "coloraxis": "coloraxis"},
        )  # fmt: skip
        label = with_unit(name, overlay.attrs.get("unit", ""))
        draw.set_colors(figure, heat.scale, label, **({} if which is None else _BAR_BELOW))
    shape = {"visible": False, "constrain": "domain"}
    figure.update_xaxes(range=[-0.06, across + 0.06], constraintoward="left", **shape)
    figure.update_yaxes(range=[down, 0], scaleanchor="x", constraintoward="top", **shape)
    return figure


def _evenly(count: int, most: int) -> list[int]:
    """Some of the first `count` numbers, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()


def _chosen(which: Sequence[int], clip: Clip) -> list[int]:
    """The chosen frames, which the clip must have."""
    last = clip.num_frames - 1
    wrong = [frame for frame in which if not 0 <= frame <= last]
    if wrong or not len(which):
        found = f"names frame {shown(wrong[0])}" if wrong else "is empty"
        raise ValueError(f"frames: which {found}, expected some of the frames 0 to {last}.")
    return [int(frame) for frame in which]


def class_scores(
    logits: Float[Tensor, " num_classes"],
    class_names: Sequence[str] | None = None,
    top: int = 5,
) -> go.Figure:
    """Show the most probable classes of one clip as bars.

    Args:
        logits: Class scores of one clip, before softmax.
        class_names: One name per class; None numbers them.
        top: How many classes to show.
    """
    probabilities = logits.detach().float().softmax(0)
    order = probabilities.argsort(descending=True)[:top].tolist()
    names = [draw.text(class_names[i]) if class_names else f"class {i}" for i in order]
    percent = [100 * float(probabilities[i]) for i in order]
    figure = draw.bar_list(
        "Most probable classes", list(range(len(order))), percent,
        [f"{value:.1f} %" for value in percent], "%{customdata}: %{x:.2f} %",
    )  # fmt: skip
    figure.data[0].customdata = names
    figure.update_xaxes(title="probability (%)", range=[0, 112], tickvals=[0, 25, 50, 75, 100])
    figure.update_yaxes(title="class", tickvals=list(range(len(order))), ticktext=names)
    return figure
