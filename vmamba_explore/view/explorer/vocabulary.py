"""Keys and names that Python and the browser share: written here, sent with the data as `terms`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vmamba_explore.errors import one_line
from vmamba_explore.view.colors import LEVELS, MISSING, with_unit
from vmamba_explore.view.explorer.exploration import (
    STATE_ABOUT,
    STATE_LABEL,
    STATE_MAP,
    Exploration,
)

BOTH: Final = "both"
DIFFERENCE: Final = "difference"
"""Of two directions (the first less the second), or of two sides (the second less the first)."""

DIRECTION_NAMES = {BOTH: "both", DIFFERENCE: "forward − backward"}
SIDE_NAMES = {0: "A", 1: "B", DIFFERENCE: "B − A"}
STATE = (
    "frame", "quantity", "layer", "direction", "query", "opacity", "path", "scale", "speed",
    "channel", "state_number", "pixels",
)  # fmt: skip
"""The traits that say what is shown."""
ADDRESS: Final = "view:"
"""Begins the part of a page's address that holds them."""

LATE: Final = "late"
"""The run that computes what is missing when an explorer is first shown."""

CHANGE: Final = "change"
"""The run that shows the model with other changes."""

PICTURES: Final = "pictures"
"""The run that reads a clip's frames with all the pixels that the file has."""
STRIP: Final = "strip"
"""The run that reads small pictures of the whole file."""
WINDOW: Final = "window"
"""The run that moves the clip to another stretch of the file."""
FLOOR: Final = 1e-6
"""On a logarithmic scale values below this part of the largest are drawn as this part."""
SOURCE, MODEL = "source", "model"
"""Whose pixels are shown: the file's, or those that the model sees."""

FILES = {
    "png": "image/png",
    "html": "text/html",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "csv": "text/csv",
}
"""What an explorer can be saved as: media types by suffix."""

TERMS: dict[str, Any] = {
    "both": BOTH,
    "difference": DIFFERENCE,
    "directions": DIRECTION_NAMES,
    "sides": {str(side): name for side, name in SIDE_NAMES.items()},
    "state": list(STATE),
    "address": ADDRESS,
    "files": list(FILES),
    "late": LATE,
    "change": CHANGE,
    "one_state": STATE_MAP,
    "state_label": STATE_LABEL,
    "state_about": STATE_ABOUT,
    "pictures": PICTURES,
    "strip": STRIP,
    "window": WINDOW,
    "pixels": {"source": SOURCE, "model": MODEL},
    "norm": "state norm",  # the map whose means the timeline shows
    "readout": "hidden attention",  # the map that says what the logits are read from
    "reading": {"reads": "reads", "read_by": "is read by"},
    "levels": LEVELS,
    "missing": MISSING,
    "floor": FLOOR,
}


def side_titles(sides: Sequence[Exploration]) -> list[str]:
    """Return what to call the sides; two have a letter each, so that their names differ."""
    if len(sides) == 1:
        return [sides[0].title]
    return [f"{SIDE_NAMES[number]}: {side.title}" for number, side in enumerate(sides)]


def heading(sides: Sequence[Exploration]) -> str:
    """Return the heading: the sides, and the model where one has run."""
    titles = " — ".join(side_titles(sides))
    return f"{titles} · model: {one_line(sides[0].model)}" if sides[0].model else titles


def evidence_label(side: Exploration) -> str:
    """Return the label of a side's curves; empty where it has none."""
    units = [str(curve.attrs.get("unit", "")) for curve in side.curves.values()]
    return with_unit(f"evidence for {one_line(side.target)}", units[0]) if units else ""
