"""The batch of each step of a training on videos; a file that cannot be read stops nothing."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from vmamba_explore.clips.clip import ClipError
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.picture import middle_square, short_side
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.datasets.augment import Augment
from vmamba_explore.datasets.lists import Video, VideoList
from vmamba_explore.errors import check_fields, one_line
from vmamba_explore.files import lock
from vmamba_explore.spreadsheets import plain_cell, safe_cell

logger = logging.getLogger(__name__)

ROOM = 8 / 7  # short side read for a random crop, in img_size: 256 pixels for 224


@dataclass(eq=False, kw_only=True)
class VideoBatches:
    """Clips of videos, step by step; a step gives the same batch in any process.

    Every epoch shows every video once, in its own order and cut at a random time. Epochs follow
    without a gap, so every batch is full. A file that cannot be read is noted, and another video,
    drawn by step and row, replaces it.

    Args:
        videos: The data set.
        batch_size: Clips of a step.
        num_frames: Frames of a clip.
        img_size: Height and width, pixels.
        stride: Source frames from one frame of a clip to the next.
        seed: Seed of everything that is drawn.
        augment: How clips are changed; None crops the middle.
        broken: CSV file that lists the files that cannot be read and why, shared by all processes;
            None keeps the list in memory.
    Raises:
        ValueError: an empty batch or data set.
    """

    videos: VideoList = field(kw_only=False)
    batch_size: int
    num_frames: int
    img_size: int
    stride: int = 2
    seed: int = 0
    augment: Augment | None = None
    broken: InitVar[Path | None] = None

    def __post_init__(self, broken: Path | None) -> None:
        check_fields(
            self,
            batch_size=(self.batch_size >= 1, "at least 1"),
            seed=(self.seed >= 0, "at least 0"),
        )
        if not self.videos.videos:
            raise ValueError(
                f"VideoBatches: {self.videos.name} has no videos, expected at least 1."
            )
        self._broken = BrokenFiles(broken)
        self._unread: set[str] = set()  # by this process, whatever others found

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every video has come."""
        return math.ceil(len(self.videos) / self.batch_size)

    def __call__(
        self, step: int
    ) -> tuple[UInt8[np.ndarray, "batch num_frames height width 3"], Int64[np.ndarray, " batch"]]:
        """Read the batch of a step; see `rows`."""
        return self.rows(step, range(self.batch_size))

    def rows(
        self, step: int, chosen: Sequence[int]
    ) -> tuple[UInt8[np.ndarray, "rows num_frames height width 3"], Int64[np.ndarray, " rows"]]:
        """Read some rows of the batch of a step.

        Args:
            step: From 0.
            chosen: Which rows.
        Returns:
            Frames, uint8, and labels.
        Raises:
            ValueError: more than half of the data set's files cannot be read.
        """
        clips = [self._row(step, row) for row in chosen]
        return np.stack([frames for frames, _ in clips]), np.array([label for _, label in clips])

    def broken_files(self) -> dict[str, str]:
        """The files that could not be read so far, in any process, each with its reason."""
        return self._broken.reasons()

    def _row(self, step: int, row: int) -> tuple[np.ndarray, int]:
        for video in self._candidates(step, row):
            name = str(video.path)
            if name in self._unread:
                continue
            try:
                return self._read(video, step, row), video.label
            except (ClipError, OSError) as error:
                self._note(name, str(error))
        raise AssertionError("candidates do not end")

    def _candidates(self, step: int, row: int) -> Iterator[Video]:
        """The video whose turn it is, then those that may stand in for it."""
        count = len(self.videos)
        epoch, place = divmod(step * self.batch_size + row, count)
        yield self.videos.videos[_order(count, self.seed, epoch)[place]]
        draw = np.random.default_rng((self.seed, step, row, 1))
        while True:
            yield self.videos.videos[draw.integers(count)]

    def _read(self, video: Video, step: int, row: int) -> np.ndarray:
        seed = (self.seed, step, row)
        time = np.random.default_rng(seed).random()

        def choose(available: int) -> tuple[np.ndarray, int]:
            last = max(0, available - 1 - (self.num_frames - 1) * self.stride)
            start = int(time * (last + 1))
            return frame_indices(available, self.num_frames, self.stride, start)

        if self.augment is None:
            fit = partial(middle_square, size=self.img_size)
            return load_frames(video.path, choose, fit).frames
        fit = partial(short_side, size=round(self.img_size * ROOM))
        frames = load_frames(video.path, choose, fit).frames
        return self.augment(frames, self.img_size, (*seed, 2))

    def _note(self, name: str, reason: str) -> None:
        """Keep in mind that a file cannot be read; stop where that is the rule."""
        self._unread.add(name)
        if self._broken.add(name, reason):
            logger.warning("skipped %s", reason)
        if 2 * len(self._broken.met) <= self._files:
            return
        broken = len(self._broken.met & {str(video.path) for video in self.videos.videos})
        if 2 * broken > self._files:
            file = self._broken.file
            raise ValueError(
                f"VideoBatches: {broken} of the {self._files} videos of {self.videos.name} cannot "
                f"be read, the last one: {reason} Check the folder"
                + (f"; {one_line(file)} lists them." if file else ".")
            )

    @cached_property
    def _files(self) -> int:
        """How many files the data set has; a list may name one several times."""
        return len({video.path for video in self.videos.videos})


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch's videos."""
    return np.random.default_rng((seed, epoch)).permutation(count)


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
            lock(file)
            self._catch_up()
            if name in self._reasons:
                return False
            line = io.StringIO()
            csv.writer(line).writerow(
                [safe_cell(name), safe_cell(one_line(reason.replace("\n", " "), 1000))]
            )
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
        text = added.decode(errors="surrogateescape").removeprefix("\ufeff")
        with suppress(csv.Error):  # a cell too long for anything that was written here
            for row in csv.reader(io.StringIO(text, newline="")):
                if len(row) == 2:
                    name, reason = map(plain_cell, row)
                    self._reasons[name] = reason
                    self.met.add(name)
