"""Files that cannot be read, noted once by whichever process meets them first."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class BrokenFiles:
    """Files that cannot be read and why, shared by processes through a CSV file.

    Args:
        file: The CSV file, path and reason in a line, added to; None keeps them in this process.
            What it holds already stays listed but is not in `met`: a file may be back by now.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.met: set[str] = set()  # in this run, as far as this process knows
        self._reasons: dict[str, str] = {}
        self._place = 0  # where in the file the lines begin that were not read yet
        self._catch_up()
        self.met.clear()

    def reasons(self) -> dict[str, str]:
        """The files that could not be read so far, in any process, each with its reason."""
        self._catch_up()
        return dict(self._reasons)

    def add(self, name: str, reason: str) -> bool:
        """Note a file; False where it was listed already."""
        self.met.add(name)
        if self.file is None:
            new = name not in self._reasons
            self._reasons.setdefault(name, reason)
            return new
        self.file.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            with _alone(file):
                self._catch_up()
                if name in self._reasons:
                    return False
                line = io.StringIO()
                csv.writer(line).writerow([name, reason.replace("\n", " ")])
                os.write(file, line.getvalue().encode(errors="surrogateescape"))  # in one piece
                return True
        finally:
            os.close(file)

    def _catch_up(self) -> None:
        """Read the lines that were added since the last time."""
        if self.file is None or not self.file.is_file():
            return
        with self.file.open("rb") as file:
            file.seek(self._place)
            added = file.read()
        added = added[: added.rfind(b"\n") + 1]  # a line that is being written comes next time
        self._place += len(added)
        text = io.StringIO(added.decode(errors="surrogateescape"), newline="")
        lines = {row[0]: row[1] for row in csv.reader(text) if len(row) == 2}
        self._reasons |= lines
        self.met |= lines.keys()


@contextmanager
def _alone(file: int) -> Iterator[None]:
    """Keep other processes from adding to a file until it is closed, where the system can."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):  # some network folders have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
    yield
