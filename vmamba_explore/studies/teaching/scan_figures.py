"""Figures of how a scan computes: courses over tokens, rounds of a scan, states as they form."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures.layout import color_axis, new_figure, text

_STYLES = (
    ("#4d6a8a", "solid"), ("#e69f00", "dash"), ("#56b4e9", "solid"), ("#222222", "dot"),
    ("#009e73", "dash"),
)  # fmt: skip
_KEPT, _WRITTEN = "#4d6a8a", "#e69f00"
_LEGEND = {
    "orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yref": "container", "yanchor": "top",
}  # fmt: skip
Line = Tensor | tuple[Tensor, Tensor]


def courses(
    title: str, panels: Mapping[str, Mapping[str, Line]], x_title: str = "token (number)"
) -> go.Figure:
    """Show how quantities change along the sequence, one panel below the other.

    Args:
        title: Of the figure.
        panels: By the title of its vertical axis, unit included, each panel's lines by name: the
            values at tokens 0, 1, 2, ..., or a pair (x, values). A name has one color throughout.
        x_title: Of the shared horizontal axis, unit included.
    """
    if not panels or not all(panels.values()):
        raise ValueError("courses: expected at least one panel, and a line in each.")
    gap, height = 0.16 / len(panels), 120 + 140 * len(panels)
    figure = make_subplots(
        len(panels), 1, shared_xaxes=True, vertical_spacing=gap,
        figure=new_figure(title, height, l=84, t=64, r=176),
    )  # fmt: skip
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for row, (y_title, lines) in enumerate(panels.items(), start=1):
        legend = "legend" if row == 1 else f"legend{row}"
        for name, line in lines.items():
            y = line[1] if isinstance(line, tuple) else line
            x = line[0].tolist() if isinstance(line, tuple) else list(range(len(y)))
            color, dash = _STYLES[names.index(name) % len(_STYLES)]
            figure.add_scatter(
                x=x, y=y.detach().tolist(), mode="lines", name=text(name), showlegend=True,
                legend=legend, line={"color": color, "dash": dash}, row=row, col=1,
                hovertemplate=f"{text(name)}, {text(x_title)} %{{x:.4g}}<br>%{{y:.4g}}"
                "<extra></extra>",
            )  # fmt: skip
        figure.update_yaxes(title=text(y_title).replace(" (", "<br>("), row=row, col=1)
        top = 1 - (row - 1) * (1 + gap) / len(panels)  # of the panel
        figure.update_layout({legend: {"x": 1.01, "y": top, "yanchor": "top"}})
    figure.update_yaxes(showgrid=True, gridcolor="rgba(128,128,128,0.2)", nticks=5)
    figure.update_xaxes(title=text(x_title), row=len(panels))
    return figure


def scan_rounds(known: Mapping[str, Float[Tensor, "_ seqlen"]]) -> go.Figure:
    """Show how many tokens each state holds after each round, for several ways to scan.

    Args:
        known: By the name of the way, what `analysis.recurrence.tokens_known` counts.
    """
    if not known:
        raise ValueError("scan_rounds: expected at least one scan.")
    counts = {name: values.numpy().astype(int) for name, values in known.items()}
    titles = [f"{text(name)}: {len(values) - 1} rounds" for name, values in counts.items()]
    most = max(len(values) for values in counts.values())
    figure = make_subplots(
        1, len(counts), subplot_titles=titles, horizontal_spacing=0.05, shared_yaxes=True,
        figure=new_figure(
            "How much of the sequence each state holds", 130 + 22 * most, r=112, t=84
        ),
    )  # fmt: skip
    for col, (name, values) in enumerate(counts.items(), start=1):
        figure.add_heatmap(
            z=values, coloraxis="coloraxis", xgap=1, ygap=1, row=1, col=col, name=text(name),
            hovertemplate="after round %{y}, token %{x}: holds %{z} tokens<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="token (number)", nticks=6)
    figure.update_yaxes(range=[most - 0.5, -0.5], nticks=9, ticks="")
    figure.update_yaxes(title="after round (number)", ticks="outside", col=1)
    highest = max(float(values.max()) for values in counts.values())
    figure.update_layout(
        coloraxis=color_axis(scale_of([1.0, max(highest, 2.0)]), "tokens held (number)")
    )
    return figure


def states_forming(
    u: Float[Tensor, " seqlen"], delta: Float[Tensor, " seqlen"], h: Float[Tensor, "d_state seqlen"]
) -> go.Figure:
    """Show one channel's input, its step size, and below them every state after every token.

    Args:
        u: Scan input.
        delta: Step size, after softplus.
        h: States, as `selective_scan_with_states` gives them.
    """
    figure = make_subplots(
        3, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.22, 0.22, 0.56],
        figure=new_figure("One channel's states as they form", 560, r=112),
    )  # fmt: skip
    for row, (name, values) in enumerate({"u": u, "delta": delta}.items(), start=1):
        figure.add_bar(
            y=values.detach().tolist(), marker_color=_STYLES[row - 1][0], name=name,
            showlegend=False, row=row, col=1,
            hovertemplate=f"token %{{x}}<br>{name} %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
        figure.update_yaxes(title=f"{name} (no unit)", nticks=4, row=row, col=1)
    states = h.detach().float().numpy()
    figure.add_heatmap(
        z=states, coloraxis="coloraxis", row=3, col=1, name="h",
        hovertemplate="token %{x}, state %{y}<br>h %{z:.4g}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(title="state (number)", nticks=9, row=3, col=1)
    figure.update_xaxes(title="token (number)", row=3, col=1)
    axis = color_axis(scale_of(states), "h (no unit)")
    figure.update_layout(coloraxis=axis, bargap=0.2)
    figure.layout.coloraxis.colorbar.update(y=0.52, len=200)
    return figure


def token_step(
    u: Float[Tensor, " seqlen"],
    written: Float[Tensor, "d_state seqlen"],
    h: Float[Tensor, "d_state seqlen"],
    token: int = 0,
) -> go.Figure:
    """Show one step of the recurrence: what each state keeps, and what the token writes into it.

    Args:
        u: Scan input of one channel.
        written: B_bar u, what each token adds to each state.
        h: States; what is not written was kept, A_bar h[t-1].
        token: Which step.
    """
    kept_all = (h - written).detach()
    top = float(h.detach().clamp(min=0).max()), float(kept_all.clamp(min=0).max())
    low = float(h.detach().clamp(max=0).min()), float(kept_all.clamp(max=0).min())
    figure = make_subplots(
        2, 1, vertical_spacing=0.2, row_heights=[0.3, 0.7],
        figure=new_figure(step_title(token, h.shape[-1]), 430),
    )  # fmt: skip
    figure.add_bar(
        y=u.detach().tolist(), marker_color=token_colors(token, len(u)), row=1, col=1,
        showlegend=False, hovertemplate="token %{x}<br>u %{y:.4g}<extra></extra>",
    )  # fmt: skip
    parts = {"kept: A_bar h[t-1]": (kept_all, _KEPT), "written: B_bar u[t]": (written, _WRITTEN)}
    for name, (values, color) in parts.items():
        figure.add_bar(
            y=values[:, token].detach().tolist(), name=name, marker_color=color, row=2, col=1,
            hovertemplate=f"state %{{x}}<br>{name} = %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="token (number)", row=1, col=1)
    figure.update_xaxes(title="state (number)", nticks=17, row=2, col=1)
    figure.update_yaxes(title="u (no unit)", nticks=4, row=1, col=1)
    reach = [1.06 * min(low), 1.06 * max(top) or 1.0]
    figure.update_yaxes(title="h (no unit)", range=reach, nticks=6, row=2, col=1)
    figure.update_layout(barmode="relative", legend=_LEGEND, bargap=0.2)
    return figure


def step_title(token: int, seqlen: int) -> str:
    """Return the title of `token_step`'s figure."""
    return f"Token {token} of 0–{seqlen - 1}: h[t] = A_bar h[t-1] + B_bar u[t]"


def token_colors(token: int, seqlen: int) -> list[str]:
    """Return the color of each token's bar in `token_step`: the one that is read stands out."""
    return [_WRITTEN if t == token else "#b9c4d0" for t in range(seqlen)]
