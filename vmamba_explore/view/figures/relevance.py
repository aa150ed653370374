"""Figures of relevance: where a logit went, which scan holds it, and what crosses time."""

from __future__ import annotations

import itertools

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.attribution.conservation import INPUTS, Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures import layout as draw


def ledger(conservation: Conservation, clip: int = 0, most: int = 8) -> go.Figure:
    """Show what a logit is the sum of: tokens, positions, class token and every bias.

    Args:
        conservation: As `attribute(method="mamba_lrp")` gives it.
        clip: Which clip of the batch.
        most: Biases to show one by one, the largest; the others stand together.

    Raises:
        ValueError: no such clip.
    """
    draw.check_clip("ledger", clip, len(conservation.logit))
    entries = {name: float(values[clip]) for name, values in conservation.entries.items()}
    biases = sorted(conservation.biases, key=lambda name: -abs(entries[name]))
    rows = [(name, entries[name], draw.ACCENT) for name in INPUTS if name in entries]
    rows += [(name, entries[name], draw.ORANGE) for name in biases[:most]]
    rest = biases[most:]
    if rest:
        name = f"{len(rest)} smaller biases" if len(rest) > 1 else rest[0]
        rows.append((name, sum(entries[name] for name in rest), draw.ORANGE))
    logit, total = float(conservation.logit[clip]), float(conservation.total[clip])
    rows += [("sum of all above", total, draw.INK), ("logit", logit, draw.INK)]
    title = "The ledger of relevance"
    gap = float(conservation.gap[clip])
    if conservation.rules_off:
        title += f", without the rules {', '.join(conservation.rules_off)}"
    note = draw.residual_note(gap, "from the logit, as a part of all |relevance|")
    names, values, colors = zip(*rows, strict=True)
    figure = draw.bar_list(
        title, [draw.text(name) for name in names], values, [f"{value:+.2f}" for value in values],
        "%{y}: %{x:.4g} logits", color=colors, note=note,
    )  # fmt: skip
    low, high = min(0.0, *values), max(0.0, *values)
    reach = (high - low or 1.0) * 0.15
    figure.update_xaxes(title="relevance (logits)", range=[low - reach, high + reach])
    figure.update_xaxes(**draw.GRID, **draw.ZERO)
    return figure


def relevance_flow(
    flow: RelevanceFlow, clip: int = 0, window: tuple[int, int] | None = None
) -> go.Figure:
    """Show which layer, direction and frame hold a logit's relevance, and what is handed on in
    time.

    Args:
        flow: As `attribution.relevance.relevance_flow` returns it.
        clip: Which clip of the batch.
        window: First and last clip frame of what is known to matter; framed.

    Returns:
        Above: relevance of what each scan gives out at the tokens of a frame, and first at the
        class token. Below: relevance
        that its state carries out of a frame to what is read later. The direction says which
        frames come later: a backward scan hands on to earlier frames.

    Raises:
        ValueError: no such clip.
    """
    draw.check_clip("relevance_flow", clip, len(flow.frames))
    dataset = flow.array(clip)
    directions = [str(name) for name in dataset["direction"].values]
    shown = {"frames": "given out at its frames", "handed_on": "handed on by its state"}
    titles = [f"{name} scan: {what}" for what in shown.values() for name in directions]
    layers = dataset.sizes["layer"]
    each = max(130, min(26 * layers, 480))
    figure, cells = draw.panels(
        "Where the relevance is, and what crosses time", titles, each, columns=len(directions),
        shared_xaxes=True, shared_yaxes=True,
    )  # fmt: skip
    x_title, labels = draw.time_labels(dataset["frames"])
    frames = dataset["frame"].values
    maps = {name: dataset[name].transpose("direction", "layer", "frame").values for name in shown}
    x = dict.fromkeys(shown, frames)
    if flow.cls is not None:  # a column of its own, left of the frames
        cls = flow.cls[clip].float().cpu().numpy().T
        maps["frames"] = np.concatenate([cls[..., None], maps["frames"]], axis=-1)
        x["frames"] = np.concatenate([[-1], frames])
    for cell, (name, place) in zip(
        cells, itertools.product(shown, range(len(directions))), strict=True
    ):
        first = name == "frames"
        places = ["class token" if number < 0 else f"frame {number}" for number in x[name]]
        draw.add_heat(
            figure, maps[name][place],
            f"{directions[place]}, layer %{{y}}, {'at' if first else 'out of'} %{{customdata}}",
            "%{z:.4g} logits", coloraxis="coloraxis" if first else "coloraxis2",
            x=x[name], y=dataset["layer"].values, customdata=[places] * layers, **cell,
        )  # fmt: skip
        if window is not None:
            start, end = (draw.token_frame(dataset, edge) for edge in window)
            draw.outline(figure, (start - 0.5, end + 0.5), (-0.5, layers - 0.5), **cell)
    figure.update_yaxes(title="layer (number)", col=1)
    step = max(1, -(-len(frames) * len(directions) // 10))
    ticks, names = list(frames[::step]), labels[::step]
    if flow.cls is not None:
        ticks, names = [-1, *ticks], ["class<br>token", *names]
    figure.update_xaxes(tickvals=ticks, ticktext=names, tickangle=0)
    figure.update_xaxes(title=x_title, row=2)
    figure.update_yaxes(dtick=max(1, layers // 8))
    for axis, name, y in (("coloraxis", "frames", 1.0), ("coloraxis2", "handed_on", 0.43)):
        scale = scale_of(maps[name], signed=True)
        draw.set_colors(figure, scale, "relevance (logits)", axis, y=y, len=each)
    return figure
