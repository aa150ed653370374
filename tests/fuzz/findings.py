"""What came of the cases that a worker sent."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Finding:
    """What should not have happened.

    Args:
        signature: The same for findings of the same cause.
        case: What was sent.
        detail: The traceback, or what else is known.
        files: What was sent as files: contents by name.
    """

    signature: str
    case: str
    detail: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write a text about it, and its files beside it."""
        name = re.sub(r"\W+", "-", self.signature)[:120].strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        text = f"{self.signature}\n\n{self.case}\n\n{self.detail}\n"
        (folder / f"{name}.txt").write_text(text, "utf-8", "backslashreplace")
        for file, data in self.files.items():
            (folder / f"{name}.{file.replace('/', '_')}").write_bytes(data)


@dataclass
class Report:
    """What came of the cases: their number, how often what, and one finding for each cause."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep the report, whole, for `read`."""
        path.with_suffix(".part").write_bytes(pickle.dumps(self))
        path.with_suffix(".part").replace(path)

    @staticmethod
    def read(path: Path) -> Report:
        """Return what `write` kept; an empty report where nothing was."""
        return pickle.loads(path.read_bytes()) if path.exists() else Report()
