"""timeline_page(): a timeline as one offline page."""

from __future__ import annotations

import os
from pathlib import Path

from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.deprecation import renamed_arguments
from vmamba_explore.files import atomic_write, output_path
from vmamba_explore.view.figures.timeline import timeline as timeline_figure
from vmamba_explore.view.page import FOOTER
from vmamba_explore.view.report import Section, report_page
from vmamba_explore.view.tables import Cell, Table

MAX_ROWS = 300
"""A page lists at most so many segments."""


@renamed_arguments(found="timeline")
def timeline_page(timeline: Timeline, output: str | os.PathLike[str], model: str) -> Path:
    """Write one offline page about what a model said of a long video.

    Args:
        timeline: As `watch` returns it.
        output: The HTML file to write.
        model: What the model is called.
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
    segments = timeline.segments()
    rows = [
        [
            Cell(clock(part.start)),
            Cell(clock(part.end)),
            Cell(part.name or f"failed: {part.reason}", bold=bool(part.reason)),
            Cell("" if part.reason else f"{part.probability:.1%}"),
            Cell(str(part.windows)),
        ]
        for part in segments[:MAX_ROWS]
    ]
    more = len(segments) - len(rows)
    listed = "Windows side by side of which the model says the same, with its mean probability."
    listed += f" {more} more are not listed here." if more else ""
    sections = [
        Section(
            "What it says, moment by moment",
            [
                "Every column is one window of the video (or the mean of several, where the video "
                "is long). Time runs to the right in all panels. Evidence is how far one class is "
                "ahead: large where the model is sure. Delta is the step size of a layer, the mean "
                "over its channels and tokens, against what is usual for this layer in this "
                "video: green where the layer takes in more than usual, purple where it keeps more "
                "of its state."
            ],
            [timeline_figure(timeline)],
        ),
        Section(
            "Where it changes its mind",
            [listed],
            [Table(("from", "to", "class", "probability", "windows"), rows)],
        ),
    ]
    page = report_page(f"A long video: {name}", facts, sections, FOOTER)
    atomic_write(output, page)
    return output


def clock(seconds: float | int) -> str:
    """Return a time as hours, minutes and seconds, "0:12:05.3"."""
    tenths = round(10 * seconds)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
