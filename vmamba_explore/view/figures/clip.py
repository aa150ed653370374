"""Figures of the clip itself: its frames, and what a model says about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.figures import layout as draw
from vmamba_explore.view.pictures import Overlay, over_tokens, thumbnail

_PER_ROW = 8
_MAX_PICTURE = 160  # pixels


def frames(
    clip: Clip,
    overlay: xr.DataArray | None = None,
    *,
    name: str = "overlay",
    opacity: float = 0.55,
    max_frames: int = 16,
) -> go.Figure:
    """Show the frames the model saw as a filmstrip with their times.

    Args:
        clip: The clip.
        overlay: A map to lay over the frames, dims frame, row, col: the player's still twin.
        name: What the overlay shows.
        opacity: Of the overlay, 0 to 1.
        max_frames: Longer clips are thinned evenly to this many pictures.

    Raises:
        ValueError: max_frames is less than 1, or the overlay's dims are not frame, row, col.
    """
    if max_frames < 1:
        raise ValueError(f"frames: max_frames is {max_frames}, expected at least 1.")
    shown = np.unique(np.linspace(0, clip.num_frames - 1, max_frames).round().astype(int)).tolist()
    heat = None
    if overlay is not None:
        heat = Overlay.from_map(over_tokens("frames", name, overlay), clip.num_frames)
    height, width = clip.frames.shape[1:3]
    tall, columns = height / width, min(_PER_ROW, len(shown))
    step_x, step_y = 1.06, tall + 0.24  # in picture widths
    across, down = columns * step_x - 0.06, math.ceil(len(shown) / columns) * step_y
    room = draw.WIDTH - (48 if heat is None else 136)
    scale = min(room / across, _MAX_PICTURE)  # pixels a picture width
    what = "the frames the model sees" if heat is None else f"{name} over its frames"
    figure = draw.new_figure(f"{clip.source}: {what}", down * scale)
    figure.update_layout(height=figure.layout.height - 60, margin_b=24)
    x, y, captions, hover = [], [], [], []
    for place, frame in enumerate(shown):
        left, top = place % columns * step_x, place // columns * step_y
        picture = clip.frames[frame] if heat is None else heat.over(clip, frame, opacity)
        figure.add_layout_image(
            source=thumbnail(picture), xref="x", yref="y", x=left, y=top, sizex=1, sizey=tall,
            sizing="stretch", layer="below",
        )  # fmt: skip
        repeated = frame >= clip.num_frames - clip.repeated
        x.append(left + 0.5)
        y.append(top + tall + 0.1)
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
        draw.set_colors(figure, heat.scale, with_unit(name, overlay.attrs.get("unit", "")))
    shape = {"visible": False, "constrain": "domain"}
    figure.update_xaxes(range=[-0.06, across + 0.06], constraintoward="left", **shape)
    figure.update_yaxes(range=[down, 0], scaleanchor="x", constraintoward="top", **shape)
    return figure


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
