"""Inbox: files that a browser sends in pieces, kept in a folder that goes when they are not needed.

The browser sends pieces of `PIECE` bytes and waits until each was received: a message of more than
10 MB would vanish without a word.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from vmamba_explore.errors import one_line, shown

PIECE = 2**20
MIB = 2**20


class UploadError(ValueError):
    """Why a file was not taken, in one sentence for the reader."""


@dataclass(frozen=True)
class ChosenFile:
    """A file, and what to call it: the name that its owner gave is shown and never opened."""

    path: Path
    name: str
    uploaded: bool = False


@dataclass
class _File:
    """A file of `size` bytes; what has come so far is at `path`."""

    key: str
    path: Path
    name: str
    size: int
    received: int = 0


class Inbox:
    """Receive one file for each of a few slots; a new one takes the old one's place.

    Args:
        slots: What files are for.
        limit_mib: The largest file that is taken, MiB.
    """

    def __init__(self, slots: tuple[str, ...], limit_mib: int = 512) -> None:
        self.slots, self.limit_mib = slots, limit_mib
        self._files: dict[str, _File] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def begin(self, slot: str, key: str, name: str, size: int) -> None:
        """Make room for a file.

        Args:
            slot: What it is for.
            key: Tells this upload from an earlier one, whose pieces may still be on their way.
            name: What its owner calls it.
            size: In bytes.
        Raises:
            UploadError: no such slot, an empty file, or one that is too large.
        """
        if slot not in self.slots:
            raise UploadError(f"Upload: there is no place {shown(slot)} for a file.")
        self.drop(slot)
        name = one_line(name)
        if size <= 0:
            raise UploadError(f"{name}: the file is empty (0 bytes).")
        if size > self.limit_mib * MIB:
            mib = round(min(size, MIB**3) / MIB)  # whatever number a browser names
            raise UploadError(
                f"{name}: {mib} MiB is more than the {self.limit_mib} MiB that an upload may have; "
                "upload a shorter or smaller film."
            )
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vmamba-explore-")
        self._count += 1
        path = Path(self._folder.name) / f"{slot}-{self._count}"
        path.touch(mode=0o600)
        self._files[slot] = _File(key, path, name, size)

    def add(self, slot: str, key: str, start: int, piece: bytes | memoryview) -> int:
        """Append the piece that begins at byte `start`, and return how many bytes have come.

        Raises:
            UploadError: nothing was begun, a piece is missing or too long, or the disk is full.
        """
        file = self._files.get(slot)
        if file is None or file.key != key or file.received == file.size:
            raise UploadError("Upload: this file was removed or replaced; choose it again.")
        if start != file.received or not 0 < len(piece) <= file.size - start:
            self.drop(slot)
            raise UploadError(
                f"{file.name}: a piece of {len(piece)} bytes does not continue the "
                f"{file.received} of {file.size} bytes that had come; upload it again."
            )
        try:
            with file.path.open("ab") as out:
                out.write(piece)
        except OSError as error:
            self.drop(slot)
            raise UploadError(f"{file.name}: could not be kept ({error.strerror}).") from None
        file.received += len(piece)
        return file.received

    def file(self, slot: str) -> ChosenFile | None:
        """Return the file of a slot; None where none has come to its end."""
        file = self._files.get(slot)
        if file is None or file.received < file.size:
            return None
        return ChosenFile(file.path, file.name, uploaded=True)

    def drop(self, slot: str) -> None:
        """Forget a slot's file, whole or not."""
        if slot in self._files:
            self._files.pop(slot).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove every file and their folder."""
        self._files.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
