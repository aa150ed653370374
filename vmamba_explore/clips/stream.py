"""Clips of a video file of any length, one after the other: read once, in order, little held.

Damaged frames are not shown: they are one `Damage`, and reading resumes at the next key frame.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.container import in_seconds, open_video, video_stream
from vmamba_explore.clips.decoding import decode_from
from vmamba_explore.clips.look import Look, look_at
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.clips.sampling import at_least

_BLACK = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Damage:
    """A stretch of a file that cannot be shown.

    Args:
        index: Number of its first frame, as in `Clip.indices`.
        start: Where it starts, seconds.
        end: Where the next frame is shown, or where the file ends, seconds.
        reason: What is wrong.
    """

    index: int
    start: float
    end: float
    reason: str


@dataclass(frozen=True, eq=False)
class _Frame:
    number: int
    seconds: float
    pixels: np.ndarray


def video_seconds(path: str | os.PathLike[str]) -> float:
    """Return how long a file says it is, seconds; 0.0 where it does not say.

    Raises:
        ClipError: the file is missing or empty, cannot be opened, or has no pictures.
    """
    with open_video(os.fsdecode(path)) as container:
        video_stream(container, os.fsdecode(path))
        return in_seconds(container.duration)


def stream_clips(
    path: str | os.PathLike[str],
    num_frames: int = 16,
    stride: int = 2,
    hop: int | None = None,
    img_size: int = 224,
    after: int = -1,
) -> Iterator[Clip | Damage]:
    """Read a whole file as clips, however long it is; no more than a clip is held.

    The last clip is moved back to end with the file. After a damaged stretch clips start anew, at
    the next key frame. Where less than a clip lies between two such stretches, or in the whole
    file, the last of its frames is repeated (`Clip.repeated`).

    Args:
        path: A video file that FFmpeg can read.
        num_frames: Frames in a clip, >= 1.
        stride: Source frames from one clip frame to the next, >= 1.
        hop: Clip frames from the start of one clip to the start of the next, >= 1; less than
            num_frames overlaps. None puts clips side by side.
        img_size: Side of the square, pixels; frames are resized and cropped as by `load_clip`.
        after: Leaves out what starts at this frame or before, to go on where one stopped. The
            frames are decoded (whether they are damaged is known then only), not resized.
    Yields:
        Clips and damaged stretches in their order; all start at different frames.
    Raises:
        ClipError: the file is missing or empty, is no video, or none of its frames can be shown.
        ValueError: num_frames, stride, hop or img_size is out of its range.
    """
    num_frames = at_least(1, "num_frames", num_frames)
    hop = num_frames if hop is None else at_least(1, "hop", hop)
    stride, img_size = at_least(1, "stride", stride), at_least(1, "img_size", img_size)
    look = look_at(os.fsdecode(path))
    frames = _frames(look, stride, img_size, after)
    return (
        part if isinstance(part, Damage) else _clip(part, look, num_frames)
        for part in _slide(frames, num_frames, hop)
        if (part.index if isinstance(part, Damage) else part[0].number) > after
    )


def _slide(
    frames: Iterator[_Frame | Damage], num_frames: int, hop: int
) -> Iterator[Sequence[_Frame] | Damage]:
    """Group the frames that follow each other undamaged."""
    recent: deque[_Frame] = deque(maxlen=num_frames)
    missing, new = num_frames, 0  # frames until the next clip; those that no clip has shown
    skipped = 0  # of the new ones, those that no clip is to show
    for frame in frames:
        if isinstance(frame, Damage):
            if new > skipped:
                yield recent
            yield frame
            recent.clear()
            missing, new, skipped = num_frames, 0, 0
            continue
        recent.append(frame)
        missing, new = missing - 1, new + 1
        if not missing:
            yield recent
            missing, new, skipped = hop, 0, max(0, hop - num_frames)
    if new > skipped:
        yield recent


def _clip(frames: Sequence[_Frame], look: Look, num_frames: int) -> Clip:
    repeated = num_frames - len(frames)
    shown = [*frames, *([frames[-1]] * repeated)]
    return Clip(
        frames=np.stack([frame.pixels for frame in shown]),
        seconds=np.array([frame.seconds for frame in shown], np.float64),
        source=os.path.basename(look.path),
        indices=np.array([frame.number for frame in shown], np.int64),
        repeated=repeated,
        reader="PyAV (in order)",
        path=look.path,
    )


def _frames(look: Look, stride: int, img_size: int, after: int) -> Iterator[_Frame | Damage]:
    """Decode every stride-th frame; pixels of those up to `after` are a black point."""
    damage: Damage | None = None  # that has not ended
    number, run, shown, seconds, start = -1, 0, 0, 0.0, 0
    container, stream = look.open()
    with container:
        for counted, one in enumerate(decode_from(look, container, stream)):
            at = look.number(one.place, counted)
            if at is None:
                continue
            if damage is not None and at <= number:
                continue  # what is left of the order in a damaged stretch
            number, seconds = at, look.second(one.place, at)
            if one.reason and damage is None:
                damage = Damage(number, seconds, seconds, one.reason)
                start = one.start
            if one.reason or (damage is not None and one.start == start):
                continue
            if damage is not None:
                yield replace(damage, end=seconds)
                damage, run = None, number
            shown += 1
            if (number - run) % stride == 0:
                pixels = middle_square(one.pixels(), img_size) if number > after else _BLACK
                yield _Frame(number, seconds, pixels)
    if not shown:
        reason = f": {damage.reason}" if damage else ""
        raise ClipError(f"{look.name}: none of its frames can be decoded as it was{reason}.")
    end = max(seconds + 1 / look.rate, look.duration)
    if damage is not None:
        yield replace(damage, end=end)
    elif look.cut_off:
        yield Damage(number + 1, seconds + 1 / look.rate, end, f"the file was {look.cut_off}")
