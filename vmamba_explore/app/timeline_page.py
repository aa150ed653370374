"""timeline_page(): a timeline as one offline page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vmamba_explore.analysis.controls import Controls
from vmamba_explore.analysis.timeline import CUT, Timeline
from vmamba_explore.deprecation import renamed_arguments
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.view.figures.timeline import timeline as timeline_figure
from vmamba_explore.view.page import FOOTER
from vmamba_explore.view.report import Section, report_page
from vmamba_explore.view.tables import Cell, Table
from vmamba_explore.view.trust import windows_section

CAMERA = (
    "The camera is measured beside it without learning: the one shift, zoom and rotation that most "
    "of the picture follows from frame to frame, and the cuts, where there is none. It uses no "
    "model, so it is a check on what the model says."
)
MAX_ROWS = 300
"""A page lists at most so many segments."""


@renamed_arguments(found="timeline")
def timeline_page(
    timeline: Timeline,
    output: str | os.PathLike[str],
    model: str,
    controls: Sequence[tuple[str, Controls]] = (),
) -> Path:
    """Write one offline page about what a model said of a long video.

    Args:
        timeline: As `watch` returns it.
        output: The HTML file to write.
        model: What the model is called.
        controls: When some of its windows are shown, in words, and their controls.
    Returns:
        The path of the page.
    Raises:
        FileNotFoundError: the folder of `output` does not exist.
        IsADirectoryError: `output` is a folder.
        FileExistsError: it is the video.
    """
    output = output_path(output, "timeline_page", [timeline.path])
    name = os.path.basename(timeline.path)
    failed = int(timeline.failed.sum())
    facts = {"Video": f"{name}, {clock(timeline.seconds)}", "Model": model}
    facts["Windows"] = f"{len(timeline)}, of which {failed} failed"
    if not timeline.finished:
        facts["Windows"] += "; interrupted before the end"
    measured = timeline.camera is not None
    if measured:
        facts["Cuts"] = f"{len(timeline.cuts)}, measured without learning"
    segments = timeline.segments()
    rows = [
        [
            Cell(clock(part.start)),
            Cell(clock(part.end)),
            Cell(part.name or f"failed: {part.reason}", bold=bool(part.reason)),
            Cell("" if part.reason else f"{part.probability:.1%}"),
            Cell(str(part.windows)),
            *([Cell(part.measured or ("" if part.reason else "not measured"))] * measured),
        ]
        for part in segments[:MAX_ROWS]
    ]
    more = len(segments) - len(rows)
    listed = "Windows side by side of which the model says the same, with its mean probability."
    if measured:
        listed += " A change lies at a measured cut where there is one within half a window."
    listed += f" {more} more are not listed here." if more else ""
    titles = ("from", "to", "class", "probability", "windows")
    sections = [
        Section(
            "What it says, moment by moment",
            [
                "Every column is one window of the video (or the mean of several, where the video "
                "is long). Time runs to the right in all panels. Evidence is how far one class is "
                "ahead: large where the model is sure. Delta is the step size of a layer, the mean "
                "over its channels and tokens, against what is usual for this layer in this "
                "video: green where the layer takes in more than usual, purple where it keeps more "
                "of its state.",
                *([CAMERA] * measured),
            ],
            [timeline_figure(timeline)],
        ),
        Section(
            "Where it changes its mind",
            [listed],
            [Table((*titles, *(["measured without learning"] * measured)), rows, wraps=True)],
        ),
    ]
    if len(timeline.cuts):
        sections.append(_cuts(timeline))
    if controls:
        sections.append(windows_section(controls))
    page = report_page(f"A long video: {name}", facts, sections, FOOTER)
    atomic_write(output, page)
    return output


def _cuts(timeline: Timeline) -> Section:
    """List the cuts, and whether the model says so, too."""
    spans, said = timeline.spans, np.array(timeline.said)
    rows = []
    for cut in timeline.cuts[:MAX_ROWS]:
        near = said[(spans[:, 0] <= cut) & (cut <= spans[:, 1])]  # two at a boundary
        rows.append([Cell(clock(cut)), Cell("yes" if CUT in near else "no")])
    more = len(timeline.cuts) - len(rows)
    words = "Measured without learning: no motion relates one frame to the next."
    words += f" {more} more are not listed here." if more else ""
    return Section("Cuts", [words], [Table(("new shot from", "the model says cut"), rows)])


def clock(seconds: float | int) -> str:
    """Return a time as hours, minutes and seconds, "0:12:05.3"."""
    tenths = round(10 * seconds)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
