"""Files of tensors, read without running anything that stands in them."""

from __future__ import annotations

import argparse
import errno
import io
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from vmamba_explore.errors import first_line, one_line
from vmamba_explore.model.pickle_depth import is_too_deep

GROWTH = 2**27  # bytes that even a small file may describe
UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(ValueError):
    """A checkpoint cannot become a model; the message says which tensor and why.

    Args:
        message: One sentence, with the first few tensors that do not fit.
        problems: All of them, a line for each.
        misfits: What is wrong with each tensor that does not fit, by its name in the file.

    `config` is what the checkpoint describes, where that could be read: a `VideoMambaConfig`.
    """

    def __init__(
        self,
        message: str,
        problems: tuple[str, ...] = (),
        misfits: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.problems = problems
        self.misfits = dict(misfits)  # a plain one, so that the error can be pickled
        self.config: Any = None


def read_tensors(
    path: Path,
    *,
    mapped: bool = True,
    call: str = "load_model",
    advice: str = "Fetch it again",
) -> Mapping[str, Any]:
    """Read what a checkpoint file holds: safetensors, or what torch.save wrote.

    The content decides, not the ending of the name. Of a pickle only tensors and plain values are
    read (`weights_only=True`, and `argparse.Namespace`, in which training scripts keep their
    options). Nothing is allocated by what a file claims: its parts are compared with its size
    first.

    Args:
        path: The file.
        mapped: Map its tensors into memory, so that what is never used is never read.
        call: Begins the message of an error.
        advice: What to do about a file that is damaged.
    Returns:
        Tensors by name, maybe below a key of a training script, and whatever lay beside them.
    Raises:
        CheckpointError: empty, cut, a web page, a pointer of Git LFS, a file that claims more
            than it holds, or something that would have to run code to be read.
        OSError: it cannot be read now.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(200)
    try:
        if reason := _why_not_a_checkpoint(path, start, size, advice):
            raise _Refused(reason)
        found = load_file(path) if start[8:9] == b"{" else _unpickled(path, size, mapped)
        if isinstance(found, Mapping):
            return found
        reason = (
            f"holds a {type(found).__name__}, expected tensors by name. Save them with "
            "torch.save(model.state_dict(), path)"
        )
    except _Refused as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        raise
    except SafetensorError as error:
        reason = f"is damaged or cut ({size:,} bytes; {first_line(error)}). {advice}"
    except UNREADABLE as error:
        reason = _why_unreadable(size, str(error), advice)
    raise CheckpointError(f"{call}: {one_line(path)} {reason}.")


def limit_of(path: Path, max_bytes: int | None) -> int:
    """Most bytes that what a file describes may take: its size, or `max_bytes` if that is more."""
    return max(path.stat().st_size, GROWTH if max_bytes is None else max_bytes)


class _Refused(Exception):
    """What the message of a CheckpointError says after the path."""


def saved_metadata(path: Path) -> dict[str, str]:
    """Read the strings in the header of a safetensors file; none of any other or damaged file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def _unpickled(path: Path, size: int, mapped: bool) -> Any:
    claimed: Counter[int] = Counter()

    def on_the_cpu(storage: Any, location: str) -> Any:
        claimed[storage.nbytes()] += 1
        return storage

    zipped = zipfile.is_zipfile(path)
    stored, starts = _stored_sizes(path, size) if zipped else (None, [0])
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            if is_too_deep(file, 1 if zipped else 5):  # without a zip five precede the tensors
                raise RuntimeError("tuples are nested too deeply")
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the error says it, if there is one
        found = torch.load(path, map_location=on_the_cpu, weights_only=True, mmap=zipped and mapped)
    claimed.pop(0, None)
    if stored is not None and claimed - stored:
        raise RuntimeError("a tensor has not as many bytes as its entry of the zip")
    return found


def _stored_sizes(path: Path, size: int) -> tuple[Counter[int], list[int]]:
    """How many tensors of a zip have which size, and where its pickles begin.

    Raises:
        _Refused: an entry is compressed, which may claim any size.
        RuntimeError: a program, or the entries claim more than the file has, or a checksum is
            wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise RuntimeError("TorchScript")
            if packed := next((e for e in entries if e.compress_type or e.flag_bits & 1), None):
                raise _Refused(
                    f"has a compressed entry ({one_line(packed.filename)}), and torch.save "
                    "compresses nothing. Save the tensors with torch.save, or as safetensors"
                )
            if sum(entry.file_size for entry in entries) > size:
                raise RuntimeError("its entries claim more bytes than the file has")
            wrong = archive.testzip()  # torch.load looks at no checksum
    except OSError as error:
        if error.errno != errno.EINVAL:  # to seek before the start of the file
            raise
        raise RuntimeError("an entry begins before the file") from None
    # torch.save may leave checksums out, and then those of its first entry are wrong already
    if wrong is not None and not wrong.endswith("/data.pkl"):
        raise RuntimeError(f"the checksum of {wrong} is wrong")
    sizes = Counter(entry.file_size for entry in entries if "/data/" in entry.filename)
    with path.open("rb") as file:
        return sizes, [_start(file, e) for e in entries if e.filename.endswith("/data.pkl")]


def _start(file: io.BufferedReader, entry: zipfile.ZipInfo) -> int:
    """Where the content of a zip's entry begins, behind its header of 30 bytes and two strings."""
    file.seek(entry.header_offset + 26)
    return entry.header_offset + 30 + sum(struct.unpack("<2H", file.read(4)))


def _why_not_a_checkpoint(path: Path, start: bytes, size: int, advice: str) -> str | None:
    text = start.lstrip().lower()
    if size == 0:
        return f"is empty. {advice}"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "is a web page, not a checkpoint: the download was refused or led elsewhere. Fetch the "
            "file itself (on the Hub: /resolve/, not /blob/)"
        )
    if start.startswith(b"version https://git-lfs"):
        whole = re.search(rb"size (\d{1,18})", start)
        return (
            f"is a pointer of Git LFS, {size} bytes that stand for a file of "
            f"{int(whole[1]) if whole else 0:,}. Run `git lfs pull`, or fetch the file itself"
        )
    if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return f"is cut: its end is missing after {size:,} bytes. {advice}"
    return None


def _why_unreadable(size: int, error: str, advice: str) -> str:
    wanted = re.search(r"nsupported (?:global: )?GLOBAL ([\w.]*\w) ", error)
    if wanted:
        return (
            f"is a pickle that asks for {one_line(wanted[1])}, which could run code; it was "
            "refused and nothing ran. If you trust its origin, save its tensors alone: "
            "torch.save(torch.load(path, weights_only=False)['model'], 'weights.pth')"
        )
    if "TorchScript" in error:
        return (
            "is a TorchScript program, which is code. Save its tensors: "
            "torch.save(torch.jit.load(path).state_dict(), new_path)"
        )
    return (
        f"is damaged, or neither safetensors nor what torch.save writes ({size:,} bytes). {advice}"
    )
