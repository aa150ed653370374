"""Read a clip from a video file: decord where it is known to be right, PyAV everywhere else.

PyAV first lists the packets of the file (nothing is decoded): this gives the frames the file
really has, their times, and a clear reason when it is no video. decord 0.6 then fetches the wanted
frames at random. It is skipped where it would return wrong frames without a word: in trimmed files
(it counts the frames that were cut away), in open GOPs (common in H.265) and in containers other
than MP4 and Matroska. A damaged header can promise billions of frames: decord makes room for all of
them before it looks, and where there is no room it ends the process.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import from_numpy
from torch.nn.functional import interpolate

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.container import (
    CUT_OFF_SECONDS,
    check_file,
    ends_at,
    explained,
    in_seconds,
    quiet,
    upright,
    video_stream,
)
from vmamba_explore.clips.sampling import at_least, frame_indices

DECORD_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
PROMISE = 100  # a header that promises so many times the frames there are is damaged

logger = logging.getLogger(__name__)

Choose = Callable[[int], tuple[np.ndarray, int]]
Fit = Callable[[np.ndarray], np.ndarray]


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

    def choose(available: int) -> tuple[np.ndarray, int]:
        return frame_indices(available, num_frames, stride, start)

    fit = (lambda pixels: pixels) if img_size is None else partial(middle_square, size=img_size)
    return load_frames(path, choose, fit)


def load_frames(path: str | os.PathLike[str], choose: Choose, fit: Fit) -> Clip:
    """Read the frames of a video file that a function chooses, the file being looked at once.

    Args:
        path: A video file that FFmpeg can read.
        choose: Gets the number of frames the file has; returns which to read, int64, in the order
            wanted, and how many of them repeat the last one for want of more.
        fit: Makes of a frame, uint8 (H, W, 3), what is kept of it; the same size for all.
    Returns:
        The frames as a clip.
    Raises:
        ClipError: as `load_clip`.
    """
    filename = os.fsdecode(path)
    check_file(filename)
    with quiet(), explained(filename):
        source = _list_frames(filename)
        if source.pts is None:
            source = _count_frames(source)
        clip = _sample(source, choose, fit)
        if clip is None:  # the packets promised other frames than they hold
            clip = _sample(_count_frames(source), choose, fit)
    if clip is None:
        raise ClipError(f"{filename}: it shows other frames each time it is read.")
    return clip


def _list_frames(filename: str) -> _Source:
    """List the frames of a file from its packets; none is decoded."""
    path = os.path.abspath(filename)  # never taken for a URL
    with av.open(path, metadata_errors="ignore") as container:
        stream = video_stream(container, filename)
        index, time_base = stream.index, float(stream.time_base or 0)  # gone once it is closed
        begin, duration = in_seconds(container.start_time), in_seconds(container.duration)
        shown: list[int | None] = []
        keys: dict[int, int] = {}  # place in the file -> time stamp
        hidden, end, corrupt = 0, 0.0, False
        for packet in container.demux():
            if not packet.size:
                continue
            corrupt = corrupt or packet.is_corrupt
            end = max(end, ends_at(packet))
            if packet.stream.index == index:
                if packet.is_keyframe and packet.pts is not None:
                    keys[len(shown) + hidden] = packet.pts
                if packet.is_discard:  # cut away by an edit list
                    hidden += 1
                else:
                    shown.append(packet.pts)
        kind = container.format.name
        promised = stream.frames or float(stream.average_rate or 0) * duration
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
        decord=ordered and kind in DECORD_CONTAINERS and promised < PROMISE * len(shown),
    )


def _count_frames(source: _Source) -> _Source:
    """List the frames of a file by decoding them all: slow, and right where packets mislead."""
    source = replace(source, pts=None, decord=False)
    seconds = []
    with av.open(source.path, metadata_errors="ignore") as container:
        begin = in_seconds(container.start_time)
        rate = float(_stream(container, source).guessed_rate or 25)
        for number, frame in _decoded(container, source):
            seconds.append(number / rate if frame.time is None else frame.time - begin)
    if not seconds:
        raise ClipError(f"{source.name}: none of its frames can be decoded.")
    if any(later <= earlier for earlier, later in pairwise(seconds)):  # broken time stamps
        seconds = [number / rate for number in range(len(seconds))]
    return replace(source, seconds=np.array(seconds))


def _sample(source: _Source, choose: Choose, fit: Fit) -> Clip | None:
    """Choose and read the frames; None if the file does not hold the frames it lists."""
    indices, repeated = choose(len(source.seconds))
    frames = _read(source, np.unique(indices).tolist(), fit)
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


def _read(source: _Source, wanted: list[int], fit: Fit) -> dict[int, np.ndarray] | None:
    """Read the frames with these numbers; None if some are not there."""
    if source.decord:
        try:
            return _read_with_decord(source, wanted, fit)
        except Exception as error:  # decord's reasons say little, PyAV will find the true one
            logger.debug("%s: decord is missing or failed: %s", source.name, error)
    return _read_with_av(source, wanted, fit)


def _read_with_decord(source: _Source, wanted: list[int], fit: Fit) -> dict[int, np.ndarray]:
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
        frames[number] = fit(pixels)
    return frames


def _read_with_av(source: _Source, wanted: list[int], fit: Fit) -> dict[int, np.ndarray] | None:
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
            frames[number] = fit(upright(frame))
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


def middle_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize the short side of a frame, uint8 (H, W, 3), to `size` pixels and crop the middle."""
    image = short_side(pixels, size)
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def short_side(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame, uint8 (H, W, 3), until its short side has `size` pixels (antialiased
    bilinear)."""
    height, width, _ = pixels.shape
    short = min(height, width)
    wanted = [max(size, round(side * size / short)) for side in (height, width)]
    image = from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    image = interpolate(image, wanted, mode="bilinear", antialias=True)
    return image[0].permute(1, 2, 0).numpy()
