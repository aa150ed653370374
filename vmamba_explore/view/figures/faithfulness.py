"""Figures of how faithful attributions are: curves of removals, and sanity checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from vmamba_explore.attribution.removal_scores import Faithfulness, Kind, Of, RandomControl
from vmamba_explore.attribution.sanity import WeightRandomization
from vmamba_explore.view.figures import layout as draw

_DASHES = ("solid", "dash", "dot", "dashdot")


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
