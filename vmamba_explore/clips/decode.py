"""Read a clip from a video file: decord where it is known to be right, PyAV everywhere else.

PyAV first lists the packets of the file (nothing is decoded): this gives the frames the file
really has, their times, and a clear reason when it is no video. decord 0.6 then fetches the wanted
frames at random. It is skipped where it would return wrong frames without a word: in trimmed files
(it counts the frames that were cut away), in open GOPs (common in H.265) and in containers other
than MP4 and Matroska.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from torch import from_numpy
from torch.nn.functional import interpolate

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.sampling import at_least, frame_indices

DECORD_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
CUT_OFF_SECONDS = 1.0  # a Matroska file whose packets end this long before its duration was cut

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """A readable video file: its name in messages, and its frames in display order."""

    path: str
    name: str
    stream: int
    pts: list[int] | None  # time stamps; None: unreliable, count frames from the first one
    keys: list[int]  # time stamps from which decoding can start
    seconds: np.ndarray
    decord: bool  # whether decord's frame numbers can be trusted


def load_clip(
    path: str | os.PathLike[str],
    num_frames: int = 16,
    stride: int | None = 2,
    start: int | None = None,
    img_size: int | None = 224,
) -> Clip:
    """Read frames from a video file, shaped as a model wants them.

    A source shorter than the clip repeats its last frame; `Clip.repeated` counts how often.

    Args:
        path: A video file that FFmpeg can read (MP4, MOV, MKV, WebM, AVI, ...).
        num_frames: Frames in the clip, >= 1.
        stride: Source frames from one clip frame to the next, >= 1. None spreads the clip evenly
            from `start` to the end of the source.
        start: First frame, as a frame number of the source counted from 0 (not seconds). None
            centers the clip in the source.
        img_size: Side of the square the frames are resized (short side, antialiased bilinear) and
            center-cropped to, pixels. None keeps the size of the source.
    Returns:
        The clip. Its seconds count from the moment a player would start to show the file.
    Raises:
        ClipError: the file is missing, empty, cut off, damaged where the clip lies, has no
            pictures, or is no video. A clip that ends before the damage is read.
        ValueError: num_frames, stride, start or img_size is out of its range.
    """
    if img_size is not None:
        img_size = at_least(1, "img_size", img_size)
    filename = os.fsdecode(path)
    _check_file(filename)
    with _quiet():
        try:
            source = _list_frames(filename)
            if source.pts is None:
                source = _count_frames(source)
            clip = _sample(source, num_frames, stride, start, img_size)
            if clip is None:  # the packets promised other frames than they hold
                clip = _sample(_count_frames(source), num_frames, stride, start, img_size)
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise ClipError(f"{filename}: {_why_unreadable(filename, reason)}.") from None
    if clip is None:
        raise ClipError(f"{filename}: it shows other frames each time it is read.")
    return clip


def _check_file(filename: str) -> None:
    if not os.path.lexists(filename):
        raise ClipError(f"{filename}: no such file (looked from {os.getcwd()}).")
    if os.path.isdir(filename):
        raise ClipError(f"{filename}: a directory; give one video file inside it.")
    if not os.path.isfile(filename):
        raise ClipError(f"{filename}: not a regular file, or a link that leads nowhere.")
    if os.path.getsize(filename) == 0:
        raise ClipError(f"{filename}: the file is empty (0 bytes); download or copy it again.")


def _why_unreadable(filename: str, reason: str) -> str:
    if os.access(filename, os.R_OK):
        with open(filename, "rb") as file:
            if file.read(8)[4:] == b"ftyp":
                return f"an MP4 file that was cut off ({reason}); download or copy it again"
    return f"not a video that can be read ({reason})"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep FFmpeg's messages off stderr: what matters in them becomes a ClipError."""
    level = av.logging.get_level()
    av.logging.set_level(None)
    try:
        yield
    finally:
        av.logging.set_level(level)


def _list_frames(filename: str) -> _Source:
    """List the frames of a file from its packets; none is decoded."""
    path = os.path.abspath(filename)  # never taken for a URL
    with av.open(path, metadata_errors="ignore") as container:
        stream = _video_stream(container, filename)
        index, time_base = stream.index, float(stream.time_base or 0)  # gone once it is closed
        begin, duration = _seconds(container.start_time), _seconds(container.duration)
        shown: list[int | None] = []
        keys: dict[int, int] = {}  # place in the file -> time stamp
        hidden, end, corrupt = 0, 0.0, False
        for packet in container.demux():
            if not packet.size:
                continue
            corrupt = corrupt or packet.is_corrupt
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == index:
                if packet.is_keyframe and packet.pts is not None:
                    keys[len(shown) + hidden] = packet.pts
                if packet.is_discard:  # cut away by an edit list
                    hidden += 1
                else:
                    shown.append(packet.pts)
        kind = container.format.name
        early = "matroska" in kind and end < duration - CUT_OFF_SECONDS
    if corrupt or early:
        raise ClipError(
            f"{filename}: cut off after {min(end, duration):.2f} of {duration:.2f} s; "
            "download or copy it again."
        )
    if not shown:
        raise ClipError(f"{filename}: its video stream has no frame.")
    pts = sorted(time for time in shown if time is not None)
    reliable = len(set(pts)) == len(shown)
    # decord takes a key frame's place in the file for its place in time: wrong in open GOPs
    ordered = reliable and not hidden and all(pts[place] == time for place, time in keys.items())
    return _Source(
        path=path,
        name=filename,
        stream=index,
        pts=pts if reliable else None,
        keys=sorted(keys.values()) if reliable else [],
        seconds=np.array(pts, np.float64) * time_base - begin,
        decord=ordered and kind in DECORD_CONTAINERS,
    )


def _video_stream(container: InputContainer, filename: str) -> VideoStream:
    """Return the stream a player would show; cover pictures and text art are none."""
    cover = Disposition.attached_pic
    pictures = [stream for stream in container.streams.video if not stream.disposition & cover]
    if container.format.name == "tty":
        raise ClipError(f"{filename}: a text file, not a video.")
    if not pictures:
        sounds = len(container.streams.audio)
        streams = f"{sounds} audio stream{'s' * (sounds != 1)}"
        raise ClipError(
            f"{filename}: no video stream ({streams}, {_seconds(container.duration):.1f} s); "
            "give a file with pictures."
        )
    best = container.streams.best("video")
    return next((stream for stream in pictures if stream == best), pictures[0])


def _seconds(av_time: int | None) -> float:
    return (av_time or 0) / av.time_base


def _count_frames(source: _Source) -> _Source:
    """List the frames of a file by decoding them all: slow, and right where packets mislead."""
    source = replace(source, pts=None, decord=False)
    seconds = []
    with av.open(source.path, metadata_errors="ignore") as container:
        begin = _seconds(container.start_time)
        rate = float(_stream(container, source).guessed_rate or 25)
        for number, frame in _decoded(container, source):
            seconds.append(number / rate if frame.time is None else frame.time - begin)
    if not seconds:
        raise ClipError(f"{source.name}: none of its frames can be decoded.")
    if any(later <= earlier for earlier, later in pairwise(seconds)):  # broken time stamps
        seconds = [number / rate for number in range(len(seconds))]
    return replace(source, seconds=np.array(seconds))


def _sample(
    source: _Source,
    num_frames: int,
    stride: int | None,
    start: int | None,
    img_size: int | None,
) -> Clip | None:
    """Choose and read the frames; None if the file does not hold the frames it lists."""
    indices, repeated = frame_indices(len(source.seconds), num_frames, stride, start)
    frames = _read(source, np.unique(indices).tolist(), img_size)
    if frames is None:
        return None
    if len({frame.shape for frame in frames.values()}) > 1:
        raise ClipError(f"{source.name}: its frames change size; img_size=224 makes them equal.")
    return Clip(
        frames=np.stack([frames[index] for index in indices.tolist()]),
        seconds=source.seconds[indices],
        source=os.path.basename(source.path),
        indices=indices,
        repeated=repeated,
    )


def _read(source: _Source, wanted: list[int], img_size: int | None) -> dict[int, np.ndarray] | None:
    """Read the frames with these numbers; None if some are not there."""
    if source.decord:
        try:
            return _read_with_decord(source, wanted, img_size)
        except Exception as error:  # decord's reasons say little, PyAV will find the true one
            logger.debug("%s: decord is missing or failed: %s", source.name, error)
    return _read_with_av(source, wanted, img_size)


def _read_with_decord(
    source: _Source, wanted: list[int], img_size: int | None
) -> dict[int, np.ndarray]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(source.path, ctx=decord.cpu(0), num_threads=1)
    if len(reader) != len(source.seconds):
        raise RuntimeError(f"{len(reader)} frames instead of {len(source.seconds)}")
    frames = {}
    for number in wanted:
        pixels = reader[number].asnumpy()
        if pixels.shape[2] != 3:
            raise RuntimeError("decord took the padding of its rows for a fourth color")
        frames[number] = _fit(pixels, img_size)
    return frames


def _read_with_av(
    source: _Source, wanted: list[int], img_size: int | None
) -> dict[int, np.ndarray] | None:
    frames: dict[int, np.ndarray] = {}
    at = -1
    with av.open(source.path, metadata_errors="ignore") as container:
        decoded = _decoded(container, source)
        for number in wanted:
            if source.pts is not None and source.keys:
                key = source.keys[max(0, bisect_right(source.keys, source.pts[number]) - 1)]
                if key > source.pts[max(at, 0)]:  # skip what lies between
                    container.seek(key, stream=_stream(container, source))
                    decoded = _decoded(container, source, bisect_left(source.pts, key) - 1)
            at, frame = next((pair for pair in decoded if pair[0] >= number), (-1, None))
            if frame is None or at != number:
                return None
            turns = round(frame.rotation / 90) % 4
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
            frames[number] = _fit(pixels, img_size)
    return frames


def _stream(container: InputContainer, source: _Source) -> VideoStream:
    return next(s for s in container.streams.video if s.index == source.stream)


def _decoded(
    container: InputContainer, source: _Source, number: int = -1
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the frames after this one, each with its number in the source."""
    numbers: dict[int | None, int] = {pts: n for n, pts in enumerate(source.pts or [])}
    stream = _stream(container, source)
    if not stream.codec_context.is_open:
        stream.thread_type = "AUTO"
    try:
        for packet in container.demux(stream):
            for frame in stream.decode(packet):
                number = number + 1 if source.pts is None else numbers.get(frame.pts, -1)
                yield number, frame
    except av.error.FFmpegError as error:
        where = f"after frame {number}" if number >= 0 else "at its first frame"
        raise ClipError(
            f"{source.name}: damaged {where} ({error.strerror}); choose a clip that ends before, "
            "or repair the file (ffmpeg -i FILE -c:v libx264 repaired.mp4)."
        ) from None


def _fit(pixels: np.ndarray, img_size: int | None) -> np.ndarray:
    """Resize the short side (antialiased bilinear) and crop the middle; uint8 (H, W, 3)."""
    if img_size is None:
        return pixels
    height, width, _ = pixels.shape
    short = min(height, width)
    size = [max(img_size, round(side * img_size / short)) for side in (height, width)]
    image = from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    image = interpolate(image, size, mode="bilinear", antialias=True)
    top, left = ((side - img_size) // 2 for side in size)
    return image[0, :, top : top + img_size, left : left + img_size].permute(1, 2, 0).numpy()
