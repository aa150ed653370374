"""What the controls of an answer say, for pages and widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vmamba_explore.analysis.camera_motion import COMPONENTS, THRESHOLD, CameraMotion
from vmamba_explore.analysis.controls import DESCRIPTIONS, Controls, percent
from vmamba_explore.analysis.headline import Decisive
from vmamba_explore.errors import one_line
from vmamba_explore.view.figures.camera import camera_motion
from vmamba_explore.view.figures.layout import PALETTE
from vmamba_explore.view.report import Section
from vmamba_explore.view.tables import Cell, Table

TITLE = "What does this answer rest on?"
WHY = (
    "Three clips in which something is taken away: a label that survives them does not rest on "
    "what was taken. Shuffled frames are averaged over several random orders."
)


def table_of(controls: Controls) -> Table:
    """Return the table of the four answers; a label that survived is bold."""
    return Table(
        ("shown", "the model says", "probability", f'of "{one_line(controls.original.name)}"'),
        [
            [
                Cell(text, bold=each.kind in controls.survives and at == 1)
                for at, text in enumerate(row)
            ]
            for each, row in zip(controls.answers, _rows(controls), strict=True)
        ],
        wraps=True,
    )


def section_of(controls: Controls) -> Section:
    """Return a section of a page: the sentence, and the table under it."""
    return Section(TITLE, [*controls.words, WHY], [table_of(controls)])


def windows_section(found: Sequence[tuple[str, Controls]]) -> Section:
    """Return a section of a page about a few windows of a long video.

    Args:
        found: When each window is shown, in words, and what its controls say.
    """
    rows = [
        [Cell(when), Cell(str(each.original)), *(
            Cell(str(answer), bold=answer.kind in each.survives) for answer in each.answers[1:]
        ), Cell(each.sentence.rpartition(": ")[2])]
        for when, each in found
    ]  # fmt: skip
    titles = ("when", "the window", "first frame held still", "reversed", "shuffled", "so")
    notes = dict.fromkeys(each.note for _, each in found if each.note)
    return Section(TITLE, [*notes, WHY], [Table(titles, rows, wraps=True)])


def packed(controls: Controls | None) -> dict[str, Any] | None:
    """Return the controls as JSON for the browser; None for None."""
    if controls is None:
        return None
    return {
        "title": TITLE,
        "note": controls.note,
        "sentence": controls.sentence,
        "rows": [
            {"shown": shown, "says": says, "probability": probability,
             "survives": each.kind in controls.survives,
             "kind": "" if each.kind == "original" else each.kind}
            for each, (shown, says, probability, _) in zip(
                controls.answers, _rows(controls), strict=True
            )
        ],
    }  # fmt: skip


def packed_headline(found: Decisive | None, opening: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return where a logit is decided as JSON for the browser; None for None.

    Args:
        found: Where.
        opening: The traits of an explorer that shows the place.
    """
    if found is None:
        return None
    return {"sentence": found.sentence, "hedge": found.hedge, "opening": dict(opening)}


def camera_words(motion: CameraMotion) -> str:
    """Say what the camera does, as measured without learning."""
    if not motion.label:
        return "Measured without learning: this clip has too little to measure its camera by."
    return f'Measured without learning: "{motion.label}".'


def camera_section(motion: CameraMotion) -> Section:
    """Return a section of a page: the camera's motion, measured without learning."""
    words = (
        "The one shift, zoom and rotation that most of the picture follows from frame to frame. It "
        "uses no model, so it is a check on what the model says, not a part of it."
    )
    figure = camera_motion(motion)
    return Section(
        "What the camera does, measured without learning", [camera_words(motion), words], [figure]
    )


def packed_camera(motion: CameraMotion | None) -> dict[str, Any] | None:
    """Return the camera's motion as JSON for the browser; None for None."""
    if motion is None:
        return None
    path = motion.measured_path.T
    return {
        "sentence": camera_words(motion),
        "heading": "camera, measured without learning (sides of the picture)",
        "reach": 2 * THRESHOLD,  # a still camera's noise is not drawn as if it were motion
        "lines": [
            {
                "name": name,
                "color": color,
                "values": [float(v) if np.isfinite(v) else None for v in values],
            }
            for name, color, values in zip(COMPONENTS, PALETTE, path, strict=False)
        ],
    }


def _rows(controls: Controls) -> list[tuple[str, str, str, str]]:
    return [
        (DESCRIPTIONS[a.kind], one_line(a.says), percent(a.probability), percent(a.kept))
        for a in controls.answers
    ]
