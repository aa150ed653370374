"""Figures of how faithful attributions are: curves of removals, and sanity checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from vmamba_explore.attribution.curves import Faithfulness, Kind, Of, RandomControl
from vmamba_explore.attribution.sanity import WeightRandomization
from vmamba_explore.view.figures.layout import new_figure, text

# Okabe and Ito's, without the two that stand for scan directions
_COLORS = ("#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222", "#8c564b", "#7f3fbf", "#7f7f7f")
_DASHES = ("solid", "dash", "dot", "dashdot")
_GRID: dict[str, Any] = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.2)"}
_ZERO: dict[str, Any] = {"zeroline": True, "zerolinecolor": "#888888", "zerolinewidth": 1}


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
    if clip is not None and not 0 <= clip < batch:
        raise ValueError(f"faithfulness_curves: there is no clip {clip} in this batch of {batch}.")
    rows = slice(None) if clip is None else slice(clip, clip + 1)
    kinds: tuple[Kind, ...] = ("deletion", "insertion")
    figure = make_subplots(
        1, 2, shared_yaxes=True, horizontal_spacing=0.05,
        subplot_titles=["deletion: highest taken away first", "insertion: highest put in first"],
        figure=new_figure(
            f"{first.unit}, baseline {first.baselines}" + (
                f": mean of {batch} clips" if clip is None and batch > 1 else ""),
            440, t=84, r=24, b=56 + 24 * (2 + len(found) // 3),
        ),
    )  # fmt: skip
    for col, kind in enumerate(kinds, start=1):
        cell = {"row": 1, "col": col}
        for number, run in enumerate(control.runs if control is not None else ()):
            curve = getattr(run, kind)
            figure.add_scatter(
                x=curve.fractions[rows].mean(0).tolist(), y=curve.values(of)[rows].mean(0).tolist(),
                mode="lines", line={"color": "rgba(128,128,128,0.35)", "width": 1},
                hoverinfo="skip", name="random orders", legendgroup="random",
                showlegend=col == 1 and number == 0, **cell,
            )  # fmt: skip
        for number, (name, each) in enumerate(found.items()):
            curve = getattr(each, kind)
            areas = [getattr(each, k).area(of)[rows].mean() for k in kinds]
            label = f"{text(name)}: {areas[0]:.2f}, {areas[1]:.2f}"
            figure.add_scatter(
                x=curve.fractions[rows].mean(0).tolist(), y=curve.values(of)[rows].mean(0).tolist(),
                mode="lines+markers", name=label, legendgroup=name, showlegend=col == 1,
                marker={"size": 4},
                line={"color": _COLORS[number % len(_COLORS)], "width": 2,
                      "dash": _DASHES[number // len(_COLORS) % len(_DASHES)]},
                hovertemplate=f"{text(name)}<br>%{{x:.0%}} of the tokens<br>%{{y:.3g}}"
                "<extra></extra>",
                **cell,
            )  # fmt: skip
    unit = "explained number (logits)" if of == "logits" else "probability (no unit)"
    figure.update_xaxes(title="part of the tokens (no unit)", **_GRID)
    figure.update_yaxes(**_GRID, **_ZERO)
    figure.update_yaxes(title=unit, col=1)
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top",
                "title": {"text": "areas (deletion, insertion)  "}}
    )  # fmt: skip
    return figure


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
    figure = make_subplots(
        1, 2, horizontal_spacing=0.09, subplot_titles=["rank correlation", "structural similarity"],
        figure=new_figure(
            "The model loses its weights, from the head down", 460, t=84, r=190, b=116
        ),
    )  # fmt: skip
    for number, each in enumerate(found):
        for col, values in enumerate((each.spearman, each.ssim), start=1):
            means = torch.cat([torch.ones(1).double(), values.nanmean(0)])
            figure.add_scatter(
                x=["trained", *each.stages], y=means.tolist(), mode="lines+markers",
                name=text(each.method), legendgroup=each.method, showlegend=col == 1,
                line={"color": _COLORS[number % len(_COLORS)],
                      "dash": _DASHES[number // len(_COLORS) % len(_DASHES)]},
                hovertemplate=f"{text(each.method)}, down to %{{x}}<br>%{{y:.3f}}<extra></extra>",
                row=1, col=col,
            )  # fmt: skip
    figure.update_xaxes(title="drawn anew, with all to its left", tickangle=40)
    figure.update_yaxes(title="with the trained model's map (no unit)", col=1)
    figure.update_yaxes(**_GRID, **_ZERO)
    figure.update_layout(legend={"x": 1.01, "y": 1, "yanchor": "top"})
    return figure
