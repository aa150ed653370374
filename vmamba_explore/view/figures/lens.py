"""Figures of a state lens."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.analysis.lens import SCORES, LensReading
from vmamba_explore.errors import check_choice
from vmamba_explore.view.colors import Scale
from vmamba_explore.view.figures import layout as draw

_ROW = 24  # pixels of a layer
_ROOM = 100  # letters, about, that the cells of a row have room for


def state_lens(reading: LensReading, target: str | None = None) -> go.Figure:
    """Show what can be decoded from the state after each token frame, by layer and direction.

    Args:
        reading: As `StateLens.read` returns it.
        target: What is read, such as "sample color"; None: the first target.

    Returns:
        A panel per direction, a row per layer: in each cell the most probable answer (shortened),
        and how probable it is as its color. The hover says in which share of held-out clips such a
        read-out is right, and that of probes fitted to shuffled labels.

    Raises:
        ValueError: there is no such target.
    """
    target = reading.targets[0] if target is None else target
    check_choice("state_lens: target", target, reading.targets)
    found, scores = reading.probabilities[target], reading.scores[target]
    names, best = reading.answers(target), found.max("answer")
    directions = [str(name) for name in found["direction"].values]
    layers, frames = found["layer"].values, found["frame"].values
    figure, cells = draw.panels(
        f"{target[0].upper()}{target[1:]}, read from the state after each token frame",
        directions, _ROW * len(layers), columns=1, note=reading.note,
    )  # fmt: skip
    letters = max(1, _ROOM // len(frames))
    for cell, direction in zip(cells, directions, strict=True):
        here = scores.sel(direction=direction)
        words = names.sel(direction=direction).values
        short = [[_shortened(str(word), letters) for word in row] for row in words]
        percent = [np.round(100 * here[name].values) for name in SCORES]
        told = np.stack([np.vectorize(draw.text)(words), *percent], axis=-1)
        draw.add_heat(
            figure, best.sel(direction=direction).values,
            f"{draw.text(direction)}, layer %{{y}}, token frame %{{x}}",
            "%{customdata[0]}, probability %{z:.2f}",
            f"{reading.clips} held-out clips: right in %{{customdata[1]}} % "
            "(%{customdata[2]} to %{customdata[3]})", "shuffled labels: %{customdata[4]} %",
            x=frames, y=layers, customdata=told, text=short, texttemplate="%{text}",
            textfont={"size": 10}, **cell,
        )  # fmt: skip
    figure.update_yaxes(title="layer", tickvals=layers)
    draw.set_colors(figure, Scale(0.0, 1.0, False), "probability (no unit)")
    draw.time_axis(figure, found, cells)
    return figure


def _shortened(word: str, letters: int) -> str:
    return draw.text(word if len(word) <= letters else f"{word[: max(1, letters - 1)]}…")
