"""Files of long runs: written whole or not at all, or row by row and gone on with."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is never seen half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the settings that are not the same, dotted where they lie deeper."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{deeper}" for deeper in different(old, new)]
        elif old != new:
            found.append(name)
    return found


class RowFile:
    """A CSV file that grows by a row at a time; a run that was stopped goes on behind its last row.

    Settings stand beside it, in a JSON file of the same name: rows of other settings are refused.
    Many processes may write: each has a file of its own until `join` makes them one.

    Args:
        path: The file.
        columns: Its header. The first column numbers the rows, in the order they end up in; of two
            with a number, the later one counts.
        words: Those columns that hold words, also where these look like numbers.
        processes: As `processes.accelerator` makes them.

    Attributes:
        finished: Whether `start` found the rows complete: an earlier run came to `finish`.
    Raises:
        ValueError: the name ends in .json.
    """

    def __init__(
        self, path: Path, columns: Iterable[str], words: Iterable[str], processes: Any
    ) -> None:
        if path.suffix == ".json":
            raise ValueError(
                f"{path} is to be a table with its settings beside it, in a file of that name; "
                f"name it {path.with_suffix('.csv').name}."
            )
        self.path, self.columns, self.processes = path, tuple(columns), processes
        self.words, self.finished = tuple(words), False
        self.beside = path.with_suffix(".json")
        rank = processes.process_index
        self.mine = path.with_name(f"{path.name}.{rank}") if rank else path

    def start(self, settings: dict[str, Any]) -> pd.DataFrame:
        """Give the rows that are there already.

        Raises:
            ValueError: they were made with other settings, or one of the two files is no such one.
        """
        if self.processes.is_main_process:
            before = self._beside()
            if not self.path.exists():
                for part in self._parts():  # of a run whose file was removed
                    part.unlink()
            elif before is None:
                raise ValueError(
                    f"{self.path} is there already, without {self.beside.name}, which would say "
                    "how it was made. Name another file."
                )
            elif changed := different(before["settings"], settings):
                raise ValueError(
                    f"{self.path} was made with other settings ({', '.join(changed)} differ). "
                    "Name another file, or remove this one to start anew."
                )
            else:
                self.finished = "result" in before
            write_whole(self.beside, json.dumps({"settings": settings}, indent=1) + "\n")
            if not self.path.exists():
                write_whole(self.path, pd.DataFrame(columns=self.columns).to_csv(index=False))
        self.join()
        return self.read()

    def _beside(self) -> dict[str, Any] | None:
        """What stands beside the rows; None where nothing does."""
        if not self.beside.is_file():
            return None
        try:
            found = json.loads(self.beside.read_text(encoding="utf-8"))
            if isinstance(found["settings"], dict):
                return dict(found)
        except (ValueError, TypeError, LookupError):
            pass
        raise ValueError(
            f"{self.beside} is there already and is not about {self.path.name}; the settings would "
            "stand there. Name another file."
        )

    def _parts(self) -> list[Path]:
        """The files of other processes."""
        found = self.path.parent.glob(f"{glob.escape(self.path.name)}.*")
        return [path for path in found if path.suffix[1:].isdigit()]

    def finish(self, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Put the result beside the settings."""
        if self.processes.is_main_process:
            both = {"settings": settings, "result": result}
            write_whole(self.beside, json.dumps(both, indent=1) + "\n")

    def __enter__(self) -> RowFile:
        self.file = self.mine.open("a", encoding="utf-8", newline="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()

    def append(self, **row: Any) -> None:
        """Write one row, now."""
        csv.DictWriter(self.file, self.columns).writerow(row)
        self.file.flush()

    def join(self) -> None:
        """Take the rows of all processes, also of an earlier run, into one file, in their order."""
        self.processes.wait_for_everyone()
        if self.processes.is_main_process:
            parts = self._parts()
            rows = pd.concat([self._complete_rows(path) for path in [self.path, *parts]])
            first = self.columns[0]
            rows = rows.drop_duplicates(first, keep="last").sort_values(first)
            write_whole(self.path, rows.to_csv(index=False))
            for path in parts:
                path.unlink()
        self.processes.wait_for_everyone()

    def read(self) -> pd.DataFrame:
        """All rows."""
        return self._complete_rows(self.path)

    def _complete_rows(self, path: Path) -> pd.DataFrame:
        """The rows of a file, without one that was not written to its end."""
        text = path.read_text(encoding="utf-8")
        header = "" if text.startswith(self.columns[0]) else ",".join(self.columns) + "\n"
        lines = io.StringIO(header + text[: text.rfind("\n") + 1])
        empty = dict.fromkeys(self.columns, "")  # and "nan" may be a name
        words = dict.fromkeys(self.words, "string")
        found = pd.read_csv(lines, keep_default_na=False, na_values=empty, dtype=words)
        return found.convert_dtypes()
