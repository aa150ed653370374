"""What the videos of a store show: labels from the store, an array, a mapping or a CSV column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore.errors import check_choice, few, one_line, shown
from vmamba_explore.files import AnyPath, read_text
from vmamba_explore.spreadsheets import DELIMITERS, delimiter_of, number, plain_cell, rows_of
from vmamba_explore.stores.opened import class_names

AnyLabels = None | AnyPath | Mapping[Any, Any] | Sequence[Any] | NDArray[Any] | xr.DataArray
Kind = Literal["class", "number"]
PATH = "path"
"""The column of a CSV file that names the videos."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What is to be read from each clip.

    Args:
        values: (video, clip): numbers of classes, or numbers; -1 or NaN where it is not known.
        names: The classes by number; none for numbers.
    """

    values: NDArray[Any]
    names: tuple[str, ...] = ()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where it is known, (video, clip)."""
        return self.values >= 0 if self.names else ~np.isnan(self.values)


def targets_of(
    states: xr.Dataset, labels: AnyLabels, column: str | None, kind: Kind | None
) -> Targets:
    """Match labels to the videos of a store.

    Args:
        states: What `as_states` returned.
        labels, column, kind: As in `probe`.
    Raises:
        ValueError: labels of another number of videos, no video that they name, or labels that are
            not numbers where numbers are wanted.
    """
    if kind is not None:
        check_choice("probe: kind", kind, ("class", "number"))
    count, clips = states.sizes["video"], states.sizes["clip"]
    if labels is None:
        values = np.asarray(states["label"].values)
        names = class_names(states)
        if kind != "number":
            known = np.array([None if one < 0 else one for one in values], object)
            return _classes(_each_clip(known, clips), names)
        found: Any = np.where(values < 0, np.nan, values)
    elif isinstance(labels, str | os.PathLike):
        found = _by_path(states, _column(labels, column), one_line(labels))
    elif isinstance(labels, Mapping):
        found = _by_path(states, labels, "the mapping")
    else:
        found = np.asarray(labels)
        listed = int(states.attrs.get("videos", {}).get("videos", count))
        if found.ndim and len(found) == listed != count:
            found = found[states["video"].values]
        if found.shape not in ((count,), (count, clips)):
            raise ValueError(
                f"probe: labels have the shape {found.shape}, expected one for each of the {count} "
                f"videos that are done (or of the {listed} of the list), or {(count, clips)}, one "
                "for each clip."
            )
    each = _each_clip(found, clips)
    is_number = each.dtype.kind == "f" or (
        each.dtype.kind == "O" and all(isinstance(one, float) for one in each.flat if _given(one))
    )
    if kind == "class" or (kind is None and not is_number):
        return _classes(each)
    try:
        return Targets(np.array([one if _given(one) else np.nan for one in each.flat], np.float64)
                       .reshape(each.shape))  # fmt: skip
    except (TypeError, ValueError):
        odd = next(one for one in each.flat if _given(one) and not isinstance(one, float | int))
        raise ValueError(
            f"probe: {shown(getattr(odd, 'item', lambda: odd)())} is not a number; kind='class' "
            "takes labels as names."
        ) from None


def _each_clip(values: NDArray[Any], clips: int) -> NDArray[Any]:
    return values if values.ndim == 2 else np.repeat(values[:, None], clips, axis=1)


def _given(label: Any) -> bool:
    """Whether a label is known: not None, not empty, not NaN."""
    return label is not None and bool(label != "") and bool(label == label)


def _classes(each: NDArray[Any], names: Sequence[str] = ()) -> Targets:
    """Number the classes that labels name, in the order of their names or numbers."""
    there = {one for one in each.flat if _given(one)}
    try:
        order = sorted(there)
    except TypeError:  # names and numbers
        order = sorted(there, key=str)
    numbers = {one: at for at, one in enumerate(order)}
    values = np.array([numbers[one] if _given(one) else -1 for one in each.flat], np.int64)
    called = tuple(
        names[int(one)] if names and 0 <= int(one) < len(names) else str(one) for one in order
    )
    return Targets(values.reshape(each.shape), called)


def _by_path(states: xr.Dataset, labels: Mapping[Any, Any], source: str) -> NDArray[Any]:
    """Match labels by path: as written, as an absolute path, or by the file's name alone."""
    paths = [str(path) for path in states["path"].values]
    given = {os.fspath(path): value for path, value in labels.items()}
    whole = {os.path.abspath(path): value for path, value in given.items()}
    short: dict[str, list[Any]] = {}
    for path, value in given.items():
        short.setdefault(Path(path).name, []).append(value)
    names = [Path(path).name for path in paths]
    found = np.full(len(paths), None, dtype=object)
    for row, (path, name) in enumerate(zip(paths, names, strict=True)):
        if path in given:
            found[row] = given[path]
        elif os.path.abspath(path) in whole:
            found[row] = whole[os.path.abspath(path)]
        elif len(short.get(name, ())) == 1 and names.count(name) == 1:
            found[row] = short[name][0]
    if all(one is None for one in found):
        raise ValueError(
            f"probe: {source} names none of the {len(paths)} videos of the store (it has "
            f"{few(given)}; the store {few(paths)}); expected their paths or the names of their "
            "files."
        )
    return found


def _column(path: AnyPath, column: str | None) -> dict[str, Any]:
    """Read the labels of a CSV file with a column "path" and one with labels.

    Raises:
        ValueError: it has not these columns, or a cell that is not a number among numbers.
    """
    text = read_text(path, "probe")
    delimiter = delimiter_of(text, [PATH] if column is None else [PATH, column])
    if delimiter is None:
        wanted = PATH if column is None else f"{PATH} and {one_line(column)}"
        raise ValueError(
            f"probe: the first line of {one_line(path)} has no columns {wanted}; expected a CSV "
            f"file with titles, one of them {shown(PATH)}, separated by one of "
            f"{shown(' '.join(DELIMITERS))}."
        )
    (_, titles), *rows = rows_of(text, delimiter, f"probe: {one_line(path)}")
    others = [title for title in titles if title != PATH]
    if column is None:
        if len(others) != 1:
            raise ValueError(
                f"probe: {one_line(path)} has the columns {few(others)}; choose one with column=."
            )
        column = others[0]
    at, where = titles.index(PATH), titles.index(column)
    cells = {
        plain_cell(row[at]): plain_cell(row[where]).strip()
        for _, row in rows
        if len(row) > max(at, where)
    }
    return _as_numbers(cells, delimiter == ";")


def _as_numbers(cells: dict[str, str], decimal_comma: bool) -> dict[str, Any]:
    """Labels as numbers where all of them are."""
    try:
        values = {path: number(cell, decimal_comma) for path, cell in cells.items() if cell}
    except ValueError:
        return dict(cells)
    if any(isinstance(value, float) for value in values.values()):
        return {path: float(value) for path, value in values.items()}
    return dict(values)
