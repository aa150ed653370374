"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def atomic_write(
    path: str | os.PathLike[str],
    content: str | bytes | Callable[[BinaryIO], object],
    *,
    fsync: bool = False,
) -> None:
    """Write a file whole or not at all; a failure keeps what was there before.

    The content goes to a file beside it, which then replaces it. Missing folders are created, a
    link stays a link, and an existing file keeps its permissions; one that may not be written to
    is not replaced. What is not a regular file, such as a pipe, is written to directly.

    Args:
        path: The file.
        content: Text (written as UTF-8), bytes, or a function that writes to an open binary file.
        fsync: Wait until the content is on the disk, so that it survives a power cut.
    Raises:
        OSError: the file cannot be written; the error is of the kind that the system reports.
    """
    direct = os.path.exists(path) and not os.path.isfile(path)
    target = Path(path if direct else os.path.realpath(path))  # a pipe has no path of its own
    name = f"{target.name}.{os.getpid()}-{threading.get_native_id()}.part"
    unfinished = target if direct else target.with_name(name)
    try:
        if target.is_file() and not os.access(target, os.W_OK):  # replacing it needs no permission
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        with unfinished.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        if not direct:
            if target.exists():
                unfinished.chmod(target.stat().st_mode)
            os.replace(unfinished, target)
    except BaseException as error:
        if not direct:
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            message = f"cannot write the file ({error.strerror}); what was there before is kept"
            raise OSError(error.errno, message, str(path)) from None
        raise


def _remove_leftovers(target: Path) -> None:
    """Remove unfinished files that a process left behind when it was killed an hour ago or more."""
    for old in target.parent.glob(f"{glob.escape(target.name)}.*-*.part"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink()


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a JSON file as `atomic_write` does."""
    atomic_write(path, json.dumps(content, indent=1) + "\n")
