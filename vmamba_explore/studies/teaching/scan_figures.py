"""Figures of how a scan computes: courses over tokens, rounds of a scan, states as they form."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.view.colors import scale_of
from vmamba_explore.view.figures import layout as draw

_STYLES = (
    (draw.ACCENT, "solid"), (draw.ORANGE, "dash"), ("#56b4e9", "solid"), (draw.INK, "dot"),
    ("#009e73", "dash"),
)  # fmt: skip
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
    figure, cells = draw.panels(
        title, [""] * len(panels), 110, columns=1, gap=26, shared_xaxes=True
    )
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    seen: set[str] = set()
    for cell, (y_title, lines) in zip(cells, panels.items(), strict=True):
        for name, line in lines.items():
            y = line[1] if isinstance(line, tuple) else line
            x = line[0].tolist() if isinstance(line, tuple) else list(range(len(y)))
            color, dash = _STYLES[names.index(name) % len(_STYLES)]
            draw.add_line(
                figure, x, y.detach().tolist(), name,
                f"{draw.text(name)}, {draw.text(x_title)} %{{x:.4g}}", "%{y:.4g}",
                color=color, dash=dash, markers=False, legend=name not in seen, **cell,
            )  # fmt: skip
            seen.add(name)
        figure.update_yaxes(title=draw.wrapped(y_title.replace(" (", "\n("), 20), **cell)
    figure.update_yaxes(nticks=5, **draw.GRID)
    figure.update_xaxes(title=draw.text(x_title), **cells[-1])
    return figure


def scan_rounds(known: Mapping[str, Float[Tensor, "_ seqlen"]]) -> go.Figure:
    """Show how many tokens each state holds after each round, for several ways to scan.

    Args:
        known: By the name of the way, what `analysis.recurrence.tokens_known` counts.
    """
    if not known:
        raise ValueError("scan_rounds: expected at least one scan.")
    counts = {name: values.numpy().astype(int) for name, values in known.items()}
    titles = [f"{name}: {len(values) - 1} rounds" for name, values in counts.items()]
    most = max(len(values) for values in counts.values())
    figure, cells = draw.panels(
        "How much of the sequence each state holds", titles, 22 * most, shared_yaxes=True
    )
    for cell, (name, values) in zip(cells, counts.items(), strict=True):
        draw.add_heat(figure, values, "after round %{y}, token %{x}: holds %{z} tokens",
                 name=draw.text(name), **cell)  # fmt: skip
    figure.update_xaxes(title="token (number)", nticks=6)
    figure.update_yaxes(range=[most - 0.5, -0.5], nticks=9, ticks="")
    figure.update_yaxes(title="after round (number)", ticks="outside", col=1)
    highest = max(float(values.max()) for values in counts.values())
    draw.set_colors(figure, scale_of([1.0, max(highest, 2.0)]), "tokens held (number)",
               len=min(200, 22 * most))  # fmt: skip
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
    figure, cells = draw.panels(
        "One channel's states as they form", [""] * 3, (90, 90, 230), columns=1, gap=22,
        shared_xaxes=True,
    )  # fmt: skip
    for cell, (name, values), color in zip(
        cells, {"u": u, "delta": delta}.items(), (draw.ACCENT, draw.ORANGE), strict=False
    ):
        draw.add_bars(
            figure, None, values.detach().tolist(), name, "token %{x}", f"{name} %{{y:.4g}}",
            color=color, legend=False, **cell,
        )  # fmt: skip
        figure.update_yaxes(title=f"{name} (no unit)", nticks=4, **cell)
    states = h.detach().float().numpy()
    draw.add_heat(
        figure, states, "token %{x}, state %{y}", "h %{z:.4g}", gap=0, name="h", **cells[2]
    )
    figure.update_yaxes(title="state (number)", nticks=9, **cells[2])
    figure.update_xaxes(title="token (number)", **cells[2])
    draw.set_colors(figure, scale_of(states), "h (no unit)", y=0.52)
    figure.update_layout(bargap=0.2)
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
    figure, (tokens, sums) = draw.panels(
        step_title(token, h.shape[-1]), ["", ""], (80, 180), columns=1
    )
    draw.add_bars(figure, None, u.detach().tolist(), "u", "token %{x}", "u %{y:.4g}",
             color=token_colors(token, len(u)), legend=False, **tokens)  # fmt: skip
    parts = {
        "kept: A_bar h[t-1]": (kept_all, draw.ACCENT),
        "written: B_bar u[t]": (written, draw.ORANGE),
    }
    for name, (values, color) in parts.items():
        draw.add_bars(figure, None, values[:, token].detach().tolist(), name, "state %{x}",
                 f"{name} = %{{y:.4g}}", color=color, **sums)  # fmt: skip
    figure.update_xaxes(title="token (number)", **tokens)
    figure.update_xaxes(title="state (number)", nticks=17, **sums)
    figure.update_yaxes(title="u (no unit)", nticks=4, **tokens)
    reach = [1.06 * min(low), 1.06 * max(top) or 1.0]
    figure.update_yaxes(title="h (no unit)", range=reach, nticks=6, **sums)
    figure.update_layout(barmode="relative", bargap=0.2)
    return figure


def step_title(token: int, seqlen: int) -> str:
    """Return the title of `token_step`'s figure."""
    return f"Token {token} of 0–{seqlen - 1}: h[t] = A_bar h[t-1] + B_bar u[t]"


def token_colors(token: int, seqlen: int) -> list[str]:
    """Return the color of each token's bar in `token_step`: the one that is read stands out."""
    return [draw.ORANGE if t == token else "#8d9aa8" for t in range(seqlen)]
