"""RowFile: a table of a long run that grows by a row at a time and can be resumed."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from vmamba_explore.files import atomic_write, write_json


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
                f"{path} is a table and needs the .json name for its settings; "
                f"name it {path.with_suffix('.csv').name}."
            )
        self.path, self.columns, self.words = path, tuple(columns), tuple(words)
        self.finished, self.beside = False, path.with_suffix(".json")
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
            before = self._beside()
            if not self.path.exists():
                for part in self._parts():  # of a run whose file was removed
                    part.unlink()
            elif before is None:
                raise ValueError(
                    f"{self.path} is there already, without the settings it was made with "
                    f"({self.beside.name}). Name another file."
                )
            elif changed := different(before["settings"], settings):
                raise ValueError(
                    f"{self.path} was made with other settings ({', '.join(changed)} differ). "
                    "Name another file, or remove this one to start over."
                )
            else:
                self.finished = "result" in before
            write_json(self.beside, {"settings": settings})
            if not self.path.exists():
                atomic_write(self.path, pd.DataFrame(columns=self.columns).to_csv(index=False))
        self.join()
        return self.read()

    def _beside(self) -> dict[str, Any] | None:
        """Content of the JSON file; None where there is no such file."""
        if not self.beside.is_file():
            return None
        try:
            found = json.loads(self.beside.read_text(encoding="utf-8"))
            if isinstance(found["settings"], dict):
                return dict(found)
        except (ValueError, TypeError, LookupError):
            pass
        raise ValueError(
            f"{self.beside} is there already and is not about {self.path.name}; it is needed for "
            "the settings. Name another file."
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
        self.file = self.mine.open("a", encoding="utf-8", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, **row: Any) -> None:
        """Write one row at once."""
        csv.DictWriter(self.file, self.columns).writerow(row)
        self.file.flush()

    def join(self) -> None:
        """Merge the rows of all processes, those of earlier runs included, into one sorted file."""
        self._wait()
        if self.is_first:
            parts = self._parts()
            rows = pd.concat([self._complete_rows(path) for path in [self.path, *parts]])
            first = self.columns[0]
            rows = rows.drop_duplicates(first, keep="last").sort_values(first)
            atomic_write(self.path, rows.to_csv(index=False))
            for path in parts:
                path.unlink()
        self._wait()

    def _wait(self) -> None:
        if self._processes is not None:
            self._processes.wait_for_everyone()

    def read(self) -> pd.DataFrame:
        """All rows."""
        return self._complete_rows(self.path)

    def _complete_rows(self, path: Path) -> pd.DataFrame:
        """Rows of a file without a last one that is incomplete."""
        text = path.read_text(encoding="utf-8")
        header = "" if text.startswith(self.columns[0]) else ",".join(self.columns) + "\n"
        lines = io.StringIO(header + text[: text.rfind("\n") + 1])
        empty = dict.fromkeys(self.columns, "")  # and "nan" may be a name
        words = dict.fromkeys(self.words, "string")
        found = pd.read_csv(lines, keep_default_na=False, na_values=empty, dtype=words)
        return found.convert_dtypes()
