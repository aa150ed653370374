"""Files of tensors, read without running anything that stands in them."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    AssertionError,
    AttributeError,
    struct.error,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(ValueError):
    """A checkpoint cannot become a model; the message says which tensor and why.

    Args:
        message: One sentence, with the first few tensors that do not fit.
        problems: All of them, a line for each.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def read_tensors(path: Path) -> Mapping[str, Any]:
    """Read what a checkpoint file holds: safetensors, or what torch.save wrote.

    The content decides, not the ending of the name. Of a pickle only tensors and plain values are
    read (`weights_only=True`, and `argparse.Namespace`, in which training scripts keep their
    options); zipped ones are mapped into memory, so that what nobody uses is never read.

    Args:
        path: The file.
    Returns:
        Tensors by name, maybe below a key of a training script, and whatever lay beside them.
    Raises:
        CheckpointError: empty, cut, a web page, a pointer of Git LFS, or something that would
            have to run code to be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(200)
    _refuse_what_is_no_checkpoint(path, start, size)
    try:
        if start[8:9] == b"{":
            return load_file(path)
        found = _unpickled(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"load_model: {path} is damaged or cut ({size:,} bytes; {error}). Fetch it again."
        ) from None
    except UNREADABLE as error:
        raise CheckpointError(_why_unreadable(path, size, str(error))) from None
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"load_model: {path} holds a {type(found).__name__}, expected tensors by name. Save "
            "them with torch.save(model.state_dict(), path)."
        )
    return found


def _unpickled(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()  # torch.load looks at no checksum
        # torch.save may leave checksums out, and then those of its first entry are wrong already
        if wrong is not None and not wrong.endswith("/data.pkl"):
            raise RuntimeError(f"the checksum of {wrong} is wrong")
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def _refuse_what_is_no_checkpoint(path: Path, start: bytes, size: int) -> None:
    text = start.lstrip().lower()
    if size == 0:
        reason = "is empty. Fetch it again"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        reason = (
            "is a web page, not a checkpoint: the download was refused or led elsewhere. Fetch the "
            "file itself (on the Hub: /resolve/, not /blob/)"
        )
    elif start.startswith(b"version https://git-lfs"):
        whole = re.search(rb"size (\d+)", start)
        reason = (
            f"is a pointer of Git LFS, {size} bytes that stand for a file of "
            f"{int(whole[1]) if whole else 0:,}. Run `git lfs pull`, or fetch the file itself"
        )
    elif start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        reason = f"is cut: its end is missing after {size:,} bytes. Fetch it again"
    else:
        return
    raise CheckpointError(f"load_model: {path} {reason}.")


def _why_unreadable(path: Path, size: int, error: str) -> str:
    wanted = re.search(r"nsupported (?:global: )?GLOBAL ([\w.]*\w) ", error)
    if wanted:
        return (
            f"load_model: {path} is a pickle that asks for {wanted[1]}, which could run code; it "
            "was refused and nothing ran. If you trust its origin, save its tensors alone: "
            "torch.save(torch.load(path, weights_only=False)['model'], 'weights.pth')."
        )
    if "TorchScript" in error:
        return (
            f"load_model: {path} is a TorchScript program, which is code. Save its tensors: "
            "torch.save(torch.jit.load(path).state_dict(), new_path)."
        )
    return (
        f"load_model: {path} is damaged, or neither safetensors nor what torch.save writes "
        f"({size:,} bytes). Fetch it again."
    )
