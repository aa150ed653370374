"""Clips of a video file of any length, one after the other: read once, in order, little held.

Where a file is damaged, decoders silently show what is left of each picture until the next key
frame. Here the frames from the first that the decoder reports are not shown: they are one `Damage`,
and reading resumes at the key frame. Bytes that decode to wrong pixels without an error go unseen.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.container import (
    CUT_OFF_SECONDS,
    check_file,
    ends_at,
    in_seconds,
    open_quietly,
    quiet,
    upright,
    video_stream,
)
from vmamba_explore.clips.decode import middle_square
from vmamba_explore.clips.sampling import at_least

HELD_BACK = 16
"""Frames known before the first of them is used: pictures are predicted from later ones, too, so
damage reaches back; H.264 allows no more of them than this."""


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
    pixels: np.ndarray | None = None  # of the frames that clips are made of


def video_seconds(path: str | os.PathLike[str]) -> float:
    """Return how long a file says it is, seconds; 0.0 where it does not say.

    Raises:
        ClipError: the file is missing or empty, cannot be opened, or has no pictures.
    """
    check_file(os.fsdecode(path))
    with open_quietly(os.fsdecode(path)) as container:
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
    filename = os.fsdecode(path)
    check_file(filename)
    frames = _frames(filename, stride, img_size, after)
    return (
        part if isinstance(part, Damage) else _clip(part, filename, num_frames)
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


def _clip(frames: Sequence[_Frame], filename: str, num_frames: int) -> Clip:
    repeated = num_frames - len(frames)
    shown = [*frames, *([frames[-1]] * repeated)]
    return Clip(
        frames=np.stack([frame.pixels for frame in shown if frame.pixels is not None]),
        seconds=np.array([frame.seconds for frame in shown], np.float64),
        source=os.path.basename(filename),
        indices=np.array([frame.number for frame in shown], np.int64),
        repeated=repeated,
    )


def _frames(filename: str, stride: int, img_size: int, after: int) -> Iterator[_Frame | Damage]:
    """Decode every stride-th frame; pixels of those up to `after` are a black point."""
    held: deque[_Frame] = deque()
    damage: Damage | None = None  # that has not ended
    number, run, shown, seconds = -1, 0, 0, 0.0
    with open_quietly(filename) as container:
        reader = _Reader(container, video_stream(container, filename))
        begin, step = in_seconds(container.start_time), 1 / reader.rate
        for frame, why in reader:
            number += 1
            seconds += step
            if frame is not None and frame.pts is not None:
                seconds = frame.pts * reader.time_base - begin
            if frame is None or why:
                if damage is None:
                    start = held[0] if held else _Frame(number, seconds if number else 0.0)
                    damage = Damage(start.number, start.seconds, seconds, why)
                    held.clear()
                continue
            if damage is not None:
                if not frame.key_frame:
                    continue
                yield replace(damage, end=seconds)
                damage, run = None, number
            shown += 1
            pixels = None
            if (number - run) % stride == 0:
                pixels = middle_square(upright(frame), img_size) if number > after else _BLACK
            held.append(_Frame(number, seconds, pixels))
            if len(held) > HELD_BACK and (ready := held.popleft()).pixels is not None:
                yield ready
        if not shown:
            raise ClipError(f"{filename}: none of its frames can be decoded.")
        yield from (frame for frame in held if frame.pixels is not None)
        end = max(seconds + step, in_seconds(container.duration))
        if damage is not None:
            yield replace(damage, end=end)
        elif reader.is_cut_off:
            yield Damage(number + 1, seconds + step, end, "the file was cut off here")


class _Reader:
    """The pictures of a stream, each with what is wrong with it, "" where nothing is.

    There is no picture where a packet could not be decoded.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self._packets, self._end, self._end_of_all = 0, 0.0, 0.0  # and of sounds
        self.rate, self.time_base = float(stream.guessed_rate or 25), float(stream.time_base or 0)

    def __iter__(self) -> Iterator[tuple[av.VideoFrame | None, str]]:
        self._stream.thread_type = "SLICE"  # with threads by frame, an error comes late
        packets = self._container.demux()
        while True:
            try:
                with quiet():
                    packet = next(packets, None)
            except av.error.FFmpegError as error:
                yield None, f"cannot be read on ({error.strerror})"
                return
            if packet is None:
                return
            end = ends_at(packet)
            self._end_of_all = max(self._end_of_all, end)
            if packet.stream.index != self._stream.index:
                continue
            self._packets, self._end = self._packets + (packet.size > 0), max(self._end, end)
            try:
                with quiet():
                    frames = self._stream.decode(packet)
            except av.error.FFmpegError as error:
                yield None, f"damaged ({error.strerror})"
                continue
            for frame in frames:
                yield frame, "damaged (a picture is incomplete)" if frame.is_corrupt else ""

    @property
    def is_cut_off(self) -> bool:
        """Whether the file ended before it says: Matroska says when, MP4 how many pictures.

        An MP4 file may also hold pictures that an edit list cuts away, and says when it ends then.
        """
        if "matroska" in self._container.format.name:
            return self._end_of_all < in_seconds(self._container.duration) - CUT_OFF_SECONDS
        says = ((self._stream.start_time or 0) + (self._stream.duration or 0)) * self.time_base
        return self._packets < self._stream.frames and self._end < says - 0.5 / self.rate
