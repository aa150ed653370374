"""Read frames with decord, and hear what its decoder says of them.

decord conceals damaged pictures and tells it in FFmpeg's log only. Its log is the one of its own
copy of FFmpeg, which is listened to while it reads.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

ERROR = 16  # AV_LOG_ERROR; lower levels are worse

_lock = Lock()
_listeners: list[list[int]] = []  # the levels of the errors that each one heard


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _hear(_where: Any, level: int, _format: Any, _arguments: Any) -> None:
    if 0 <= level <= ERROR:
        for errors in _listeners:  # whoever reads now: which file it is about is not said
            errors.append(level)


@cache
def _library(name: str) -> ctypes.CDLL:
    """A part of decord's copy of FFmpeg.

    Raises:
        OSError: there is none, or no decord.
    """
    spec = importlib.util.find_spec("decord")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("nowhere")
    for place in (folder.parent / "decord.libs", folder, folder / ".dylibs"):
        for path in sorted(place.glob(f"*{name}*")):
            return ctypes.CDLL(str(path))
    raise OSError(f"no lib{name} beside decord")


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Collect the errors in the log of decord's FFmpeg, which prints none meanwhile."""
    errors: list[int] = []
    library = _library("avutil")
    with _lock:
        _listeners.append(errors)
        library.av_log_set_callback(_hear)
    try:
        yield errors
    finally:
        with _lock:
            _listeners[:] = [other for other in _listeners if other is not errors]
            if not _listeners:
                library.av_log_set_callback(library.av_log_default_callback)


def _check_opens(path: str) -> None:
    """Raise RuntimeError where decord's FFmpeg cannot open a file, of which decord tells stderr."""
    library, container = _library("avformat"), ctypes.c_void_p()
    if library.avformat_open_input(ctypes.byref(container), os.fsencode(path), None, None) < 0:
        raise RuntimeError("its FFmpeg cannot open the file")
    library.avformat_close_input(ctypes.byref(container))


def read_frames(path: str, count: int, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Read frames of a file.

    Args:
        path: The file.
        count: How many frames it has.
        wanted: Numbers of the frames, ascending.
    Yields:
        A number and its frame, RGB, uint8 (H, W, 3).
    Raises:
        RuntimeError: decord counts other frames, or its decoder met an error.
        OSError: its decoder cannot be heard.
        ImportError: there is no decord.
    """
    import decord

    with _listening() as errors:
        decord.logging.set_level(decord.logging.QUIET)
        _check_opens(path)
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
        if len(reader) != count:
            raise RuntimeError(f"{len(reader)} frames instead of {count}")
        for number in wanted:
            pixels = reader[number].asnumpy()
            if errors:
                raise RuntimeError("its decoder met an error")
            if pixels.shape[2] != 3:
                raise RuntimeError("it took the padding of its rows for a fourth color")
            yield number, pixels
