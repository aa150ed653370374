"""Figures of motion and of the hand-built motion detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.studies.teaching.motion_detector import delay_kernel
from vmamba_explore.view.colors import DIVERGING, scale_of
from vmamba_explore.view.figures import layout as draw

LAGS = 2.0 ** torch.arange(-2, 5.1, 0.125)
"""Frames since a flash at which `detector_tuning` draws what is left of it."""

RIGHT, LEFT = DIVERGING[-1], DIVERGING[1]  # what is positive is green, negative purple
_KERNELS = (
    ("first state", draw.ORANGE, "dash"), ("second state", "#56b4e9", "dot"),
    ("first minus second", draw.INK, "solid"),
)  # fmt: skip


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
    figure, cells = draw.panels(
        "A row of pixels over time", titles or [""] * count, 220, shared_yaxes=True
    )
    values = rows.detach().float().numpy()
    for cell, movie in zip(cells, values, strict=True):
        draw.add_heat(
            figure, movie.T, "frame %{y}, pixel %{x}", "brightness %{z:.3f}", gap=0, **cell
        )
    figure.update_xaxes(title="pixel (number)", nticks=6)
    figure.update_yaxes(autorange="reversed", nticks=7)
    figure.update_yaxes(title="frame (number)", col=1)
    draw.set_colors(figure, scale_of(values), "brightness (no unit)")
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
    figure, (memory, answer) = draw.panels(
        "The hand-built motion detector", ["memory of a flash", "response to a dot"], 260
    )
    for (name, color, dash), kernel in zip(_KERNELS, delay_kernel(LAGS, delta, rates), strict=True):
        draw.add_line(
            figure, LAGS.tolist(), kernel.tolist(), name, f"{name}, %{{x:.3g}} frames later",
            "%{y:.3g}", color=color, dash=dash, markers=False, **memory,
        )  # fmt: skip
    lines = (
        ("dot moves right", RIGHT, "solid", rightward),
        ("dot moves left", LEFT, "dash", leftward),
    )
    for name, color, dash, response in lines:
        draw.add_line(
            figure, speeds.tolist(), response.tolist(), name,
            f"{name}, %{{x:.3g}} pixels per frame", "%{y:.3g}", color=color, dash=dash, **answer,
        )  # fmt: skip
    ticks = 2.0 ** np.arange(-4, 7)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:.3g}" for tick in ticks])
    figure.update_xaxes(title="time since the flash (frames)", **memory)
    figure.update_xaxes(title="speed (pixels per frame)", **answer)
    figure.update_yaxes(**draw.GRID, **draw.ZERO, nticks=7)
    figure.update_yaxes(title="state (no unit)", **memory)
    figure.update_yaxes(title="response, positive: says right (no unit)", **answer)
    return figure
