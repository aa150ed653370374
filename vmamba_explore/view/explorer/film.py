"""What the explorer sends of the file behind a clip: its frames with more pixels, and a strip."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.film import Strip, file_strip, source_frames
from vmamba_explore.clips.picture import square_box
from vmamba_explore.view.explorer.exploration import Exploration
from vmamba_explore.view.explorer.runs import Work
from vmamba_explore.view.explorer.vocabulary import STRIP
from vmamba_explore.view.progress import Report


def film_key(clip: Clip) -> str:
    """Return what tells the frames of a clip from others; "" where there is no file behind them."""
    if not clip.path:
        return ""
    return hashlib.blake2b(clip.frames.tobytes(), digest_size=8).hexdigest()


def pack_pictures(clip: Clip) -> tuple[dict[str, Any], list[bytes]]:
    """Read a clip's frames with all their pixels, as JPEG, and where each starts and ends.

    Returns no offsets where the file has no more pixels than the clip, or shows other frames.

    Raises:
        ClipError: the file is gone or another one now.
    """
    frames = source_frames(clip)
    return _packed([] if frames is None else list(frames))


def pack_strip(strip: Strip, size: int) -> tuple[dict[str, Any], list[bytes]]:
    """Return what the browser is told of a whole file.

    Args:
        strip: Its pictures.
        size: Side of the square that the model sees; "box" has it in shares of a picture.
    """
    content, buffers = _packed(strip.pictures)
    height, width = strip.size
    left, top, right, bottom = square_box(height, width, size)
    box = [left / width, top / height, right / width, bottom / height]
    told = {"numbers": strip.numbers, "seconds": strip.seconds, "count": strip.count, "box": box}
    return {**content, **told}, buffers


def films(sides: Sequence[Exploration]) -> list[dict[str, Any]]:
    """Return the frames of every clip with all the pixels of its file, for a page alone.

    Raises:
        ClipError: a file is gone or another one now.
        ValueError: none has more pixels than the model sees.
    """
    found = []
    for film, clip in _by_key(sides).items():
        told, (frames,) = pack_pictures(clip)
        if told["offsets"]:
            found.append({**told, "film": film, "frames": frames})
    if not found:
        raise ValueError(
            "Explorer.to_html: source=True, but there is no file with more pixels than the model "
            "sees; leave it out."
        )
    return found


def film_work(kind: str, film: Any, sides: Sequence[Exploration]) -> tuple[str, Work]:
    """Return the name and the work of a run that reads a file.

    Args:
        kind: `STRIP` of the first side's file, or the frames of a clip (`PICTURES`).
        film: The key of the frames that are to be read, as a browser sent it.
        sides: What is shown.
    Raises:
        ValueError: there is no such file.
    """
    clip = sides[0].clip if kind == STRIP else _by_key(sides).get(str(film))
    if clip is None or not clip.path:
        raise ValueError("Explorer: there is no file of these frames, or they are shown no more.")

    def strip(report: Report) -> tuple[dict[str, Any], list[bytes]]:
        return pack_strip(file_strip(clip, report=report), clip.frames.shape[1])

    def pictures(report: Report) -> tuple[dict[str, Any], list[bytes]]:
        report("reading the file", 0.0)
        return pack_pictures(clip)

    return (kind, strip) if kind == STRIP else (f"{kind} {film}", pictures)


def _by_key(sides: Sequence[Exploration]) -> dict[str, Clip]:
    return {film_key(side.clip): side.clip for side in sides if side.clip.path}


def _packed(
    pictures: list[npt.NDArray[np.uint8] | None] | list[npt.NDArray[np.uint8]],
) -> tuple[dict[str, Any], list[bytes]]:
    """Offsets of pictures in one buffer; of one that is missing, start and end are the same."""
    encoded = [b"" if picture is None else _jpeg(picture) for picture in pictures]
    offsets = [0, *np.cumsum([len(each) for each in encoded]).tolist()]
    return {"offsets": offsets if encoded else []}, [b"".join(encoded)]


def _jpeg(frame: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
