"""The file behind a clip: the same frames with all their pixels, and small pictures of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.container import explained
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.decoding import Decoded, decode_from
from vmamba_explore.clips.look import Look, look_at
from vmamba_explore.clips.picture import middle_square, square_box

Box = tuple[float, float, float, float]
MOST_PIXELS = 2**24
"""Of all frames together: 40 of 640 x 640. A longer clip gets smaller ones."""
NEARLY = 2.0
"""Mean difference of a clip's frame and the file's, of 255: decoders round in different ways."""
DECODED = 2000
"""A file of more frames is not decoded for its strip: key frames stand for those near them."""


def source_frames(
    clip: Clip, most: int = 640
) -> UInt8[np.ndarray, "num_frames side side 3"] | None:
    """Read the frames of a clip once more, with as many pixels as the file has.

    Args:
        clip: A square clip that was read from a file.
        most: Pixels a side, at most.
    Returns:
        What the clip shows and no more, so that a map over the clip lies where it belongs; None
        where the clip has all the pixels already, or the file shows other frames than the clip,
        as of a clip that was edited.
    Raises:
        ClipError: the file is gone or another one now.
    """
    height, size = clip.frames.shape[1:3]
    if not clip.path or height != size:
        return None
    most = min(most, isqrt(MOST_PIXELS // clip.num_frames))
    sides: list[int] = []  # one, of the first frame

    def fit(pixels: np.ndarray) -> np.ndarray:
        """The picture, and under it what the model sees of it, for a comparison."""
        tall, wide, _ = pixels.shape
        if not sides:
            sides.append(max(size, min(most, tall, wide)))
        small = middle_square(pixels, size)
        if sides[0] == size:
            return small
        square = (sides[0], sides[0])
        box = square_box(tall, wide, size)
        large = Image.fromarray(pixels).resize(square, Image.Resampling.LANCZOS, box)
        under = np.zeros((size, sides[0], 3), np.uint8)
        under[:, :size] = small
        return np.concatenate([np.asarray(large), under])

    def choose(available: int) -> tuple[np.ndarray, int]:
        if clip.indices.max() >= available:
            raise ClipError(f"{clip.source}: the file has changed since the clip was read.")
        return clip.indices, clip.repeated

    with named_as(clip):
        both = load_frames(clip.path, choose, fit, "show").frames
    if sides[0] == size:
        return None
    large, small = both[:, : -size or None], both[:, -size:, :size]
    apart = np.abs(small.astype(np.int16) - clip.frames).mean((1, 2, 3))
    return large if apart.max() <= NEARLY else None


@dataclass(frozen=True, eq=False)
class Strip:
    """Small pictures of a whole file, evenly spaced.

    Attributes:
        pictures: uint8 (height, width, 3); None where none could be decoded.
        numbers: Of their frames.
        seconds: When these are shown.
        count: How many frames the file has.
        size: Height and width of its frames, pixels.
    """

    pictures: list[np.ndarray | None]
    numbers: list[int]
    seconds: list[float]
    count: int
    size: tuple[int, int]


def file_strip(
    clip: Clip,
    count: int = 24,
    side: int = 128,
    report: Callable[[str, float], object] | None = None,
) -> Strip:
    """Look at the whole file of a clip, from one key frame to the next where it is long.

    Args:
        clip: A clip that was read from a file.
        count: Pictures, at most.
        side: Of a picture, pixels, at most.
        report: Told how much is done; what it raises ends it.
    Raises:
        ClipError: the file is gone, or nothing of it can be decoded.
    """
    with named_as(clip):
        look = look_at(clip.path)
        available = look.count or max(1, len(look.times) - len(look.hidden))
        wanted = np.unique(np.linspace(0, available - 1, count).round().astype(int)).tolist()
        numbers, seconds = list(wanted), [look.second(_place(look, n), n) for n in wanted]
        pictures: list[np.ndarray | None] = [None] * len(wanted)
        size = (0, 0)
        with explained(clip.path):
            for at, number, one in _some(look, wanted):
                if report is not None:
                    report("looking at the file", at / len(wanted))
                pixels = one.pixels()
                size = size if any(size) else (pixels.shape[0], pixels.shape[1])
                image = Image.fromarray(pixels)
                image.thumbnail((side, side))
                pictures[at], numbers[at] = np.asarray(image), number
                seconds[at] = look.second(one.place, number)
        if not any(size):
            raise ClipError(f"{look.name}: none of its frames can be decoded.")
    return Strip(pictures, numbers, seconds, available, size)


def _place(look: Look, number: int) -> int:
    return number if look.order is None else look.place(number)


def _some(look: Look, wanted: list[int]) -> Iterator[tuple[int, int, Decoded]]:
    """Decode some frames, or the key frames before them; each with its place among the wanted."""
    container, stream = look.open()
    with container:
        if look.order is None or not look.seekable or look.count <= DECODED:
            asked = {number: at for at, number in enumerate(wanted)}
            for counted, one in enumerate(decode_from(look, container, stream)):
                number = look.number(one.place, counted)
                if number is not None and number in asked and one.frame is not None:
                    yield asked[number], number, one
                last = number is not None and number >= wanted[-1]
                if last or counted > DECODED + len(look.hidden):
                    return
            return
        for at, number in enumerate(wanted):
            start = look.start_before(look.place(number))
            for one in decode_from(look, container, stream, start):
                shown = look.number(one.place, 0)
                if shown is not None and one.frame is not None:
                    yield at, shown, one
                    break


@contextmanager
def named_as(clip: Clip) -> Iterator[None]:
    """Let errors about the file of a clip name it as the clip does: an upload has its own name.

    Raises:
        ClipError: the file is gone.
    """
    if not os.path.isfile(clip.path):
        raise ClipError(
            f"{clip.source}: the file is gone; it was moved or removed since the clip was read."
        )
    try:
        yield
    except ClipError as error:
        if clip.source == os.path.basename(clip.path):
            raise
        raise ClipError(f"{error}".replace(clip.path, clip.source)) from None
