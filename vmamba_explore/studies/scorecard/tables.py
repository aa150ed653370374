"""The score card as tables: every number that its figures draw, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vmamba_explore.view.tables import Cell, Table

_REMOVALS = {
    "deletion": "deletion (low)",
    "insertion": "insertion (high)",
    "lerf_minus_morf": "LeRF − MoRF (high)",
    "temporal_deletion": "temporal deletion (low)",
    "infidelity": "infidelity (low)",
}


def place_table(summary: Mapping[str, Any]) -> Table:
    """List how well the positive part of every map agrees with the truth, and what it costs.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.

    Returns:
        Bold: better than every control by the lower bound of the paired difference.
    """
    clips, rows = summary["plan"]["clips"], []
    for name, entry in summary["methods"].items():
        cells = [
            Cell(
                _interval(entry["truth"]["positive"][score], clips),
                bool(entry.get("beats", {}).get(score, {}).get("all", False)),
            )
            for score in summary["scores"]
        ]
        cost = entry["cost"]
        rows.append(
            [
                Cell(name),
                *cells,
                Cell(f"{cost['forward']:.0f} / {cost['backward']:.0f}"),
                Cell(f"{cost['seconds']:.3f}"),
            ]
        )
    costs = ("forward / back (clips)", "seconds a clip")
    return Table(("method", *summary["scores"].values(), *costs), rows)


def removal_table(summary: Mapping[str, Any]) -> Table:
    """List every method's scores under removals, and last those of ten random orders.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.

    Returns:
        Bold: better than random orders of the same clips.
    """
    clips = summary["plan"]["faithful"]
    rows = [
        [
            Cell(name),
            *(
                Cell(_interval(entry["removal"][score], clips), _is(entry["removal"][score]))
                for score in _REMOVALS
            ),
        ]
        for name, entry in summary["methods"].items()
    ]
    chance = summary["chance"]
    rows.append(
        [
            Cell("ten random orders"),
            *(Cell(_interval(chance[s], clips) if s in chance else "") for s in _REMOVALS),
        ]
    )
    return Table(("method", *_REMOVALS.values()), rows)


def measure_table(summary: Mapping[str, Any]) -> Table:
    """List the subject's own measures of every map, and last what a map that knows nothing gets.

    Args:
        summary: What `make scorecard` measured, of a subject with measures of its own.

    Returns:
        Bold: better than every control by the lower bound of the paired difference. A mark + is at
        those that are better than a map that is the same everywhere.
    """
    clips, measures = summary["plan"]["clips"], summary["measures"]
    rows = [
        [
            Cell(name),
            *(
                Cell(
                    _interval(entry["measures"][key], clips)
                    + (" +" if entry["measures"][key]["beats_chance"] else ""),
                    bool(entry["measures"][key].get("all", False)),
                )
                for key in measures
            ),
        ]
        for name, entry in summary["methods"].items()
    ]
    nothing = [Cell(_interval(each["chance"], clips)) for each in measures.values()]
    rows.append([Cell("the same everywhere"), *nothing])
    return Table(("method", *measures), rows)


def check_table(summary: Mapping[str, Any]) -> Table:
    """List what the shortcut and random weights do to every map.

    Args:
        summary: What `make scorecard` measured, e.g. `data/scorecard.json`.

    Returns:
        Bold: the share is larger in the model that reads the mark, and above the mark's area.
    """
    plan, rows = summary["plan"], []
    planted = all("shortcut" in entry for entry in summary["methods"].values())
    for name, entry in summary["methods"].items():
        cells, sanity = [Cell(name)], entry["sanity"]
        if planted:
            read, ignored = (entry["shortcut"][kind]["share"] for kind in ("planted", "clean"))
            moves = entry["shortcut"]["moves"]
            cells += [
                Cell(_interval(read, plan["planted"]), moves),
                Cell(_interval(ignored, plan["planted"])),
            ]
        cells += [
            Cell(_interval(sanity["twin_spearman"], plan["sane"])),
            Cell("yes" if sanity["passes"] else "no"),
        ]
        rows.append(cells)
    marks = ("share on the mark, read", "share on the mark, not read") if planted else ()
    return Table(("method", *marks, "rank correlation with random weights", "at most 0.2"), rows)


def _is(found: Mapping[str, Any]) -> bool:
    return bool(found.get("beats_random", False))


def _interval(found: Mapping[str, float], clips: int) -> str:
    """A mean with its bounds, and how many clips have a score where not all have one."""
    if math.isnan(found["value"]):
        return "none"
    words = f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    return words if found["n"] == clips else f"{words}, {found['n']:.0f} clips"
