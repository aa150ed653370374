"""Figures of motion and of the hand-built motion detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from vmamba_explore.studies.teaching.motion_detector import delay_kernel
from vmamba_explore.view.colors import DIVERGING, scale_of
from vmamba_explore.view.figures.layout import color_axis, new_figure, text

LAGS = 2.0 ** torch.arange(-2, 5.1, 0.125)
"""Frames since a flash at which `detector_tuning` draws what is left of it."""

RIGHT, LEFT = DIVERGING[-1], DIVERGING[0]  # what is positive is green, negative purple
_KERNELS = (
    ("first state", "#e69f00", "dash"), ("second state", "#56b4e9", "dot"),
    ("first minus second", "#222222", "solid"),
)  # fmt: skip
_GRID = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO = {"zeroline": True, "zerolinecolor": "#888888", "zerolinewidth": 1}


def space_time(
    rows: Float[Tensor, "movies pixels frames"], titles: Sequence[str] | None = None
) -> go.Figure:
    """Show movies of one row of pixels as pictures of space and time: motion is a slant.

    Args:
        rows: Brightness.
        titles: One per movie.
    """
    count = len(rows)
    if count == 0 or (titles is not None and len(titles) != count):
        raise ValueError(
            f"space_time: got {count} movies and "
            f"{'no' if titles is None else len(titles)} titles, expected a title for each movie."
        )
    figure = make_subplots(
        1, count, subplot_titles=None if titles is None else [text(title) for title in titles],
        shared_yaxes=True, horizontal_spacing=0.04,
        figure=new_figure("A row of pixels over time", 340, r=112, t=84),
    )  # fmt: skip
    values = rows.detach().float().numpy()
    for col, movie in enumerate(values, start=1):
        figure.add_heatmap(
            z=movie.T, coloraxis="coloraxis", row=1, col=col,
            hovertemplate="frame %{y}, pixel %{x}<br>brightness %{z:.3f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="pixel (number)", nticks=6)
    figure.update_yaxes(autorange="reversed", nticks=7)
    figure.update_yaxes(title="frame (number)", col=1)
    figure.update_layout(coloraxis=color_axis(scale_of(values), "brightness (no unit)"))
    return figure


def detector_tuning(
    delta: float,
    rates: tuple[float, float],
    speeds: Float[Tensor, " speeds"],
    rightward: Float[Tensor, " speeds"],
    leftward: Float[Tensor, " speeds"],
) -> go.Figure:
    """Show what a motion detector remembers of a flash, and how it answers to both directions.

    Args:
        delta, rates: As in `analysis.motion_detector.detector_inputs`.
        speeds: Pixels per frame.
        rightward, leftward: Response to a dot of each speed; positive says "rightward".
    """
    figure = make_subplots(
        1, 2, horizontal_spacing=0.12, subplot_titles=["memory of a flash", "response to a dot"],
        figure=new_figure("The hand-built motion detector", 400, t=100),
    )  # fmt: skip
    for (name, color, dash), kernel in zip(_KERNELS, delay_kernel(LAGS, delta, rates), strict=True):
        figure.add_scatter(
            x=LAGS.tolist(), y=kernel.tolist(), mode="lines", name=name,
            line={"color": color, "dash": dash}, row=1, col=1,
            hovertemplate=f"{name}, %{{x:.3g}} frames later<br>%{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    lines = (
        ("dot moves right", RIGHT, "solid", rightward),
        ("dot moves left", LEFT, "dash", leftward),
    )
    for name, color, dash, response in lines:
        figure.add_scatter(
            x=speeds.tolist(), y=response.tolist(), mode="lines+markers", name=name,
            line={"color": color, "dash": dash}, row=1, col=2,
            hovertemplate=f"{name}, %{{x:.3g}} pixels per frame<br>%{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    ticks = 2.0 ** np.arange(-4, 7)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:.3g}" for tick in ticks])
    figure.update_xaxes(title="time since the flash (frames)", row=1, col=1)
    figure.update_xaxes(title="speed (pixels per frame)", row=1, col=2)
    figure.update_yaxes(**_GRID, **_ZERO, nticks=7)
    figure.update_yaxes(title="state (no unit)", row=1, col=1)
    figure.update_yaxes(title="response, positive: says right (no unit)", row=1, col=2)
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1,
                                 "yref": "container", "yanchor": "top"})  # fmt: skip
    return figure
