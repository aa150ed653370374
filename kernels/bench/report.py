"""What was measured, as a JSON file and as tables between two markers of kernels/README.md."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results"
COLUMNS = ("yardstick", "naive", "two calls, flips", "scan alone")  # then the peers


def markers(device: str) -> tuple[str, str]:
    return (
        f"<!-- {device}: kernels/bench/run.py writes from here -->",
        f"<!-- {device}: to here -->",
    )


def replaced(page: str, device: str, text: str) -> str:
    """The page with `text` between the markers of a device.

    Raises:
        ValueError: the markers are not there, once each and in this order.
    """
    start, end = markers(device)
    if page.count(start) != 1 or page.count(end) != 1 or page.index(start) > page.index(end):
        raise ValueError(f"{README.name} needs one line {start} and, after it, one line {end}.")
    before, rest = page.split(start)
    return f"{before}{start}\n{text.strip()}\n{end}{rest.split(end)[1]}"


def write(device: str, measured: dict[str, Any], text: str) -> None:
    """Write results/<device>.json and the tables of the README."""
    page = replaced(README.read_text(), device, text)  # first: it may raise
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{device}.json").write_text(json.dumps(measured, indent=1) + "\n")
    README.write_text(page)


def rewrite() -> None:
    """Write the tables again from the JSON files, which may come from other machines."""
    for path in sorted(RESULTS.glob("*.json")):
        text = tables(json.loads(path.read_text()))
        README.write_text(replaced(README.read_text(), path.stem, text))


def tables(measured: dict[str, Any]) -> str:
    """Everything a reader of the README sees: one table a shape and type, then how to read it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in measured["results"]:
        groups.setdefault(f"{row['shape']}, {row['dtype']}", []).append(row)
    parts = [f"**{name}**\n\n{table(rows)}" for name, rows in groups.items()]
    return "\n\n".join([*parts, *captions(measured)])


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each row of ours; the others are columns: milliseconds, times slower."""
    present = {row["implementation"] for row in rows if not is_ours(row)}
    others = [*(x for x in COLUMNS if x in present), *sorted(present - set(COLUMNS))]
    lines = [
        ["", "ms", "core ms", "limit ms", "share", *others],
        ["---"] + ["--:"] * (4 + len(others)),
    ]
    for row in filter(is_ours, rows):
        beside = {x["implementation"]: x for x in rows if x["case"] == row["case"]}
        limit, share = "", ""
        if "limit_ms" in row:
            limit = f"{number(row['limit_ms'])} {row['binds']}"
            share = f"{100 * row['limit_ms'] / row['ms']:.0f} %"
        variant = row["implementation"].removeprefix("ours")
        lines.append(
            [row["case"] + variant, number(row["ms"]), number(row["core_ms"]), limit, share]
            + [compared(beside.get(name), row["ms"]) for name in others]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def is_ours(row: dict[str, Any]) -> bool:
    return row["implementation"].startswith("ours")


def compared(other: dict[str, Any] | None, ms: float) -> str:
    """Another implementation's milliseconds, and how many times ours it takes."""
    if other is None:
        return ""
    once = "*" if other["rounds"] == 1 else ""
    return f"{number(other['ms'])}{once} ({number(other['ms'] / ms)}×)"


def number(x: float) -> str:
    """Three digits."""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def captions(measured: dict[str, Any]) -> list[str]:
    """What the columns mean, what the limits are, what machine it was."""
    machine, load = measured["machine"], measured["load"]
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    peers = ", ".join(f"{name} {version}" for name, version in measured["peers"].items())
    columns = (
        f"Medians of {measured['rounds']} interleaved rounds in one process (`*`: timed once). "
        "`core ms` is processor time, summed over threads. The other columns: milliseconds, and "
        "in brackets how many times ours of that row. `two calls, flips` is ours called twice, "
        "with everything the backward scan reads flipped; `scan alone` keeps no states."
    )
    failed: dict[str, set[str]] = {}
    for row in measured["failures"]:
        reason = f"{row['implementation']}: {row['reason'][:100]}"
        failed.setdefault(reason, set()).add(f"{row['case']} in {row['dtype']}")
    missing = [f"{name}: {reason}" for name, reason in measured["missing"].items()]
    parts = [columns, measured["limits"], f"{where}; peers: {peers or 'none'}."]
    parts[2] += f" Load {load[0]:.2f} before, {load[1]:.2f} after."
    if missing:
        parts.append("Not installed: " + "; ".join(missing) + ".")
    if failed:
        reasons = (f"{reason} ({', '.join(sorted(cases))})" for reason, cases in failed.items())
        parts.append("Left out: " + "; ".join(reasons) + ".")
    return parts
