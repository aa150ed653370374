"""RowFile: a table of a long run that grows by a row at a time and can be resumed."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from vmamba_explore.errors import one_line, shown
from vmamba_explore.files import atomic_write, read_json, read_text, write_json
from vmamba_explore.spreadsheets import (
    csv_text,
    delimiter_of,
    number,
    plain_cell,
    rows_of,
    safe_cell,
)

UNTOUCHED = "The file is left as it is; undo what was changed, or name another file."


def different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the settings that differ, dotted for nested ones."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{deeper}" for deeper in different(old, new)]
        elif old != new:
            found.append(name)
    return found


class RowFile:
    """A CSV file that grows by a row at a time; a stopped run resumes after its last row.

    A JSON file of the same name holds the settings: rows of other settings are refused. Several
    processes may write: each has its own file until `join` merges them.

    A file that a spreadsheet saved (semicolons, tabs, decimal commas, a byte order mark, blank
    rows, rows pasted twice, columns in another order) is read as well, and written in its first
    form when it is resumed. Any other change is refused, and the file stays as it is. Text that a
    spreadsheet would run as a formula has a ' before it in the file.

    Args:
        path: The file.
        columns: Its header. The first column numbers the rows and sorts them; of two rows with the
            same number, the later one counts.
        words: Columns that hold text, even where it looks like a number.
        processes: The processes that write together, an `accelerate.Accelerator`; None for this one
            alone.

    Attributes:
        finished: Whether `start` found the rows complete: an earlier run reached `finish`.
    Raises:
        ValueError: the name ends in .json.
    """

    def __init__(
        self, path: Path, columns: Iterable[str], words: Iterable[str], processes: Any = None
    ) -> None:
        if path.suffix == ".json":
            raise ValueError(
                f"{one_line(path)} is a table and needs the .json name for its settings; "
                f"name it {one_line(path.with_suffix('.csv').name)}."
            )
        self.path, self.columns, self.words = path, tuple(columns), tuple(words)
        self.finished, self.beside = False, path.with_suffix(".json")
        self._settings: dict[str, Any] = {}
        rank = 0 if processes is None else processes.process_index
        self.is_first, self._processes = rank == 0, processes
        self.mine = path.with_name(f"{path.name}.{rank}") if rank else path

    def start(self, settings: dict[str, Any]) -> pd.DataFrame:
        """Return the rows of earlier runs.

        Raises:
            ValueError: they were made with other settings, or a file of that name is something
                else.
        """
        if self.is_first:
            before = self._check(settings)
            self._settings, self.finished = settings, "result" in before
            if not self.path.exists():
                for part in self._parts():  # of a run whose file was removed
                    part.unlink()
                self.finished = False
                write_json(self.beside, {"settings": settings})
                atomic_write(self.path, csv_text(pd.DataFrame(columns=self.columns)))
        self.join()
        return self.read()

    def _check(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what the JSON file holds, after a look at whether its rows can be resumed."""
        before = self._beside()
        if not self.path.exists():
            return {}
        if not before:
            raise ValueError(
                f"{one_line(self.path)} is there already, without the settings it was made with "
                f"({one_line(self.beside.name)}). Name another file."
            )
        if changed := different(before["settings"], settings):
            raise ValueError(
                f"{one_line(self.path)} was made with other settings ({', '.join(changed)} "
                "differ). Name another file, or remove this one to start over."
            )
        return before

    def _beside(self) -> dict[str, Any]:
        """Content of the JSON file; empty where there is no such file."""
        if not self.beside.is_file():
            return {}
        try:
            found = read_json(self.beside, dict, "resume")
            if isinstance(found["settings"], dict):
                return dict(found)
        except (ValueError, LookupError):
            pass
        raise ValueError(
            f"{one_line(self.beside)} is there already and is not about {one_line(self.path.name)};"
            " it is needed for the settings. Name another file."
        )

    def _parts(self) -> list[Path]:
        """Files of the other processes."""
        found = self.path.parent.glob(f"{glob.escape(self.path.name)}.*")
        return [path for path in found if path.suffix[1:].isdigit()]

    def finish(self, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Store the result beside the settings."""
        if self.is_first:
            write_json(self.beside, {"settings": settings, "result": result})

    def __enter__(self) -> RowFile:
        if self.is_first and self.finished:  # not any more
            write_json(self.beside, {"settings": self._settings})
        self.file = self.mine.open("a", encoding="utf-8", errors="backslashreplace", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, **row: Any) -> None:
        """Write one row at once."""
        safe = {name: safe_cell(str(row[name])) for name in self.words if row.get(name) is not None}
        csv.DictWriter(self.file, self.columns).writerow(row | safe)
        self.file.flush()

    def join(self) -> None:
        """Merge the rows of all processes, those of earlier runs included, into one sorted file."""
        self._wait()
        if self.is_first:
            parts = self._parts()
            rows = pd.concat([self._rows(path) for path in [self.path, *parts]])
            first = self.columns[0]
            text = csv_text(rows.drop_duplicates(first, keep="last").sort_values(first))
            if text.encode(errors="backslashreplace") != self.path.read_bytes():
                atomic_write(self.path, text)
            for path in parts:
                path.unlink()
        self._wait()

    def _wait(self) -> None:
        if self._processes is not None:
            self._processes.wait_for_everyone()

    def read(self) -> pd.DataFrame:
        """All rows."""
        return self._rows(self.path)

    def _rows(self, path: Path) -> pd.DataFrame:
        """Rows of a file, without a last one that is incomplete.

        Raises:
            ValueError: the file was changed in a way that leaves open what its rows are.
        """
        where, header = one_line(path), list(self.columns)
        text = read_text(path, "resume", whole=False)
        complete = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
        if self.finished and path == self.path:
            complete = text  # some programs leave the last line without an end
        titles, delimiter = header, ","
        if path == self.path and complete.strip():
            delimiter = delimiter_of(complete, header) or ","
            titles = next((row for _, row in rows_of(complete, delimiter, where)), [])
            if sorted(titles) != sorted(header):
                raise ValueError(
                    f"{where} does not start with its columns ({', '.join(header)}). {UNTOUCHED}"
                )
        given = [row for row in rows_of(complete, delimiter, where) if row[1] != titles]
        if given and len(given[-1][1]) < len(header) and not self.finished:
            del given[-1]  # killed inside a cell of several lines
        for line, row in given:
            if len(row) != len(header):
                raise ValueError(
                    f"{where}, line {line}: {len(row)} cells, expected {len(header)}. {UNTOUCHED}"
                )
        numeric = [place for place, name in enumerate(titles) if name not in self.words]
        cells = [row[place] for _, row in given for place in numeric]
        comma = delimiter != "," and not any("." in cell for cell in cells)
        table: dict[str, pd.Series] = {}
        for name in header:
            place = titles.index(name)
            values: list[Any] = []
            for line, row in given:
                try:
                    values.append(_value(row[place], place in numeric, comma))
                except ValueError:
                    raise ValueError(
                        f"{where}, line {line}: {name} is {shown(row[place], 60)}, expected "
                        f"a number. {UNTOUCHED}"
                    ) from None
            table[name] = pd.Series(values, dtype="string" if name in self.words else "object")
        return pd.DataFrame(table).convert_dtypes()


def _value(cell: str, numeric: bool, decimal_comma: bool) -> Any:
    """What a cell holds; None where it is empty."""
    if not cell:
        return None
    return number(cell, decimal_comma) if numeric else plain_cell(cell)
