"""Figures of what the camera does."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from vmamba_explore.analysis.camera_motion import COMPONENTS, THRESHOLD, CameraMotion
from vmamba_explore.clips.labeled import runs
from vmamba_explore.view.figures import layout as draw

SIGNS = {"pan": "right", "tilt": "down", "zoom": "in", "roll": "clockwise"}
"""Which way each component is positive."""
_COLORS = dict(zip(COMPONENTS, draw.PALETTE, strict=False))
_NOT_MEASURED = "rgba(128,128,128,0.22)"


def camera_motion(motion: CameraMotion) -> go.Figure:
    """Show how the camera moved: the four components summed up over time, and below them how much
    of the picture follows. A camera that stays between the dashed lines is called static.

    Args:
        motion: As `measure_camera` returns it.
    """
    said = motion.label or "not measurable"
    if len(motion.cuts):
        said = ", ".join(f"cut at {motion.seconds[frame]:.2f} s" for frame in motion.cuts[:3])
        said += " …" if len(motion.cuts) > 3 else ""
    marks = ["gray: not measured"] * (not motion.applies.all())
    marks += ["dotted: a cut"] * (len(motion.cuts) > 0)
    figure, cells = draw.panels(
        f"{motion.source}: the camera, measured without learning: {said}",
        ["moved since the first frame", "share of the picture's structure that follows"],
        [200, 80], columns=1, shared_xaxes=True,
        note="; ".join(marks),
    )  # fmt: skip
    path, times = motion.measured_path, motion.seconds
    gaps = (~motion.applies).nonzero()[0] + 1
    for place, (name, sign) in enumerate(SIGNS.items()):
        x, y = (np.insert(values, gaps, np.nan) for values in (times, path[:, place]))
        draw.add_line(
            figure, x, y, f"{name} ({sign} is positive)", f"{name}, %{{x:.2f}} s",
            "%{y:+.3f} of the picture's side", color=_COLORS[name], marker={"size": 4}, **cells[0],
        )  # fmt: skip
    between = (times[1:] + times[:-1]) / 2
    draw.add_line(
        figure, between, motion.inliers, "follows the camera", "%{x:.2f} s", "%{y:.0%}",
        color=draw.ACCENT, marker={"size": 4}, legend=False, **cells[1],
    )  # fmt: skip
    for first, last in runs(~motion.applies):
        for cell in cells:
            draw.shade(figure, times[first], times[last + 1], _NOT_MEASURED, **cell)
    for frame in motion.cuts:
        for cell in cells:
            figure.add_vline(x=between[frame - 1], line=draw.DOTTED, **cell)
    for edge in (-THRESHOLD, THRESHOLD):
        figure.add_hline(
            y=edge, line={**draw.DOTTED, "dash": "dash", "color": draw.GRAY}, **cells[0]
        )
    low = min(motion.path.min(), -2 * THRESHOLD)
    high = max(motion.path.max(), 2 * THRESHOLD)
    margin = 0.05 * (high - low)
    figure.update_yaxes(
        title="sides of the picture", range=[low - margin, high + margin], **cells[0],
        **draw.GRID, **draw.ZERO,
    )  # fmt: skip
    figure.update_yaxes(title="share", range=[0, 1.05], tickformat=".0%", **cells[1], **draw.GRID)
    figure.update_xaxes(title="time (s)", **cells[1])
    figure.update_xaxes(range=[times[0], times[-1]])
    return figure
