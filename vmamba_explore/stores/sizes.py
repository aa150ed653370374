"""What a store takes, before anything runs: bytes, files and hours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vmamba_explore.stores.layout import Layout

BLOCK = 4096
"""Bytes that most file systems give out at a time: a file takes a whole number of them."""


@dataclass(frozen=True)
class StoreSize:
    """What a store takes when all videos are in it.

    Args:
        videos: How many.
        clips: Clips of each.
        bytes_by_variable: Bytes of the files of each variable, `path`, `label` and others included;
            the descriptions of the arrays, about a kilobyte each, are not counted.
        files: How many these are, and the descriptions.
        disk: Bytes that the files take where the disk gives out 4,096 at a time.
        seconds_per_video: How long a video takes one process; NaN: not measured.
        measured_on: Of how many videos that is the mean.
        workers: Processes at work.
    """

    videos: int
    clips: int
    bytes_by_variable: Mapping[str, int]
    files: int
    disk: int
    seconds_per_video: float = math.nan
    measured_on: int = 0
    workers: int = 1

    @property
    def total(self) -> int:
        """Bytes of all files, descriptions not counted."""
        return sum(self.bytes_by_variable.values())

    @property
    def hours(self) -> float:
        """How long it takes, if workers do not wait for each other; NaN: not measured."""
        return self.videos * self.seconds_per_video / self.workers / 3600

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [
            f"{self.videos:,} videos, {self.clips} clip{'s' * (self.clips > 1)} each: "
            f"{_amount(self.total)} in {self.files:,} files, {_amount(self.disk)} of a disk that "
            f"gives out {BLOCK:,} bytes at a time"
        ]
        width = max(map(len, self.bytes_by_variable))
        for name, size in self.bytes_by_variable.items():
            each = f"{size / max(1, self.videos):,.0f} bytes a video"
            lines.append(f"  {name:{width}}  {_amount(size):>9}  {each}")
        if self.measured_on:
            many = f" by {self.workers} processes at best" if self.workers > 1 else ""
            lines.append(
                f"about {_time(3600 * self.hours)}{many}: a video took one process "
                f"{self.seconds_per_video:.2g} s here (mean of {self.measured_on})"
            )
        else:
            lines.append("the time is not known: no video was read for it")
        return "\n".join(lines)


def size_of(
    layout: Layout,
    videos: int,
    path_bytes: int | None = None,
    seconds_per_video: float = math.nan,
    measured_on: int = 0,
    workers: int = 1,
) -> StoreSize:
    """Work out what a store takes; nothing is compressed, so that this is exact.

    Args:
        layout: What it has of each video.
        videos: How many there are.
        path_bytes: Of all their paths, in UTF-8; None: 100 for each.
        seconds_per_video, measured_on, workers: As for `StoreSize`.
    """
    sizes, files, disk = {}, 1, 0
    for name, array in layout.arrays(videos).items():
        chunks = math.prod(
            -(-size // chunk) for size, chunk in zip(array["shape"], array["chunks"], strict=True)
        )
        numbers = math.prod(array["chunks"])  # a chunk at the edge is as large as any other
        if name == "error":  # has a file for a broken video only
            chunks, size = 0, 0
        elif array["dtype"] is str:  # a length of 4 bytes before each, and their number
            text = 100 * videos if path_bytes is None else path_bytes
            size = chunks * (4 + 4 * numbers) + text
        else:
            size = chunks * numbers * np.dtype(array["dtype"]).itemsize
        sizes[name] = size
        files += chunks + 1
        disk += chunks * BLOCK * -(-size // max(1, chunks) // BLOCK) + BLOCK
    for places in layout.labels().values():
        words = [4 + len(one) for one in places if isinstance(one, str)]
        size = 4 + sum(words) if words else 8 * len(places)
        sizes["labels of dims"] = sizes.get("labels of dims", 0) + size
        files += 2
        disk += 2 * BLOCK
    return StoreSize(
        videos,
        layout.sampling.clips_per_video,
        sizes,
        files,
        disk + BLOCK,
        seconds_per_video,
        measured_on,
        workers,
    )


def _amount(size: float | int) -> str:
    """Bytes in a unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"


def _time(seconds: float | int) -> str:
    """A time in a unit that fits."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"
