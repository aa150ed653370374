"""Open a video file: that file alone, as a film, quietly, with one sentence where it cannot be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vmamba_explore.clips.clip import ClipError
from vmamba_explore.errors import one_line

CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg",
    "mpegvideo", "m4v", "flv", "live_flv", "asf", "ogg", "gif", "mxf", "h264", "hevc", "dv",
    "yuv4mpegpipe", "nut", "ivf", "obu", "av1", "mjpeg", "h261", "h263", "vc1", "vc1test", "rm",
    "wtv", "flic", "swf", "apng", "cavsvideo", "dirac", "gxf", "nsv", "nuv", "mvi", "mlv",
    "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "gif_pipe",
)  # fmt: skip
"""FFmpeg's names of what holds its pictures itself. A playlist would make it open other files."""

OPEN_ONLY = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}

PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<smil", b"<asx", b"v=0")

MAX_PIXELS = 2**26
"""Of one picture (8K has 2**25): a damaged header can claim a size that fills the memory."""


def check_file(filename: str) -> None:
    """Raise ClipError where this is not a regular file, or one of 0 bytes."""
    name = one_line(filename)
    if not os.path.lexists(filename):
        raise ClipError(f"{name}: no such file (looked from {os.getcwd()}).")
    if os.path.isdir(filename):
        raise ClipError(f"{name}: a directory; give one video file inside it.")
    if not os.path.isfile(filename):
        raise ClipError(f"{name}: not a regular file, or a link that leads nowhere.")
    if os.path.getsize(filename) == 0:
        raise ClipError(f"{name}: the file is empty (0 bytes); download or copy it again.")


def check_uploaded(path: str | os.PathLike[str], name: str) -> None:
    """Refuse an uploaded file that is not a film, before anything else in it is read.

    Args:
        path: Where it was put.
        name: What its owner calls it, for the message.
    Raises:
        ClipError: FFmpeg takes it for something else than a film: a playlist, say, or text.
    """
    name = one_line(name)
    try:
        with quiet(), av.open(os.fspath(path), options=OPEN_ONLY, metadata_errors="ignore"):
            pass
    except (av.error.FFmpegError, OSError):
        raise ClipError(
            f"{name}: not a film that holds its pictures itself (MP4, MOV, MKV, WebM, AVI, ...), "
            "or one that was cut off; upload the video file, not a playlist or a link to it."
        ) from None


def open_video(filename: str) -> InputContainer:
    """Open a file, never taken for a URL or a playlist; ClipError where FFmpeg refuses it."""
    check_file(filename)
    with quiet(), explained(filename):
        return av.open(os.path.abspath(filename), options=OPEN_ONLY, metadata_errors="ignore")


@contextmanager
def explained(filename: str) -> Iterator[None]:
    """Turn FFmpeg's errors about a file into ClipErrors of one sentence."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise ClipError(f"{one_line(filename)}: {_why_unreadable(filename, reason)}.") from None


def _why_unreadable(filename: str, reason: str) -> str:
    head = _head(filename)
    if head[4:8] == b"ftyp":
        return f"an MP4 file that was cut off ({reason}); download or copy it again"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
        return "a playlist or a page, which names other files; give the video file itself"
    return f"not a video that can be read ({reason})"


def _head(filename: str) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    if not os.access(filename, os.R_OK):
        return b""
    with open(filename, "rb") as file:
        return file.read(64)


class _Quiet:
    """How many threads want silence, and the level of before."""

    lock, readers = Lock(), 0
    level: int | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep FFmpeg's messages off stderr: what matters in them becomes a ClipError."""
    with _Quiet.lock:
        if not _Quiet.readers:
            _Quiet.level = av.logging.get_level()
            av.logging.set_level(None)
        _Quiet.readers += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if not _Quiet.readers:
                av.logging.set_level(_Quiet.level)


def video_stream(container: InputContainer, filename: str) -> VideoStream:
    """Return the stream a player would show, never a cover picture.

    Raises:
        ClipError: there is no such stream, or FFmpeg does not know how it is coded.
    """
    name, cover = one_line(filename), Disposition.attached_pic
    pictures = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not pictures:
        sounds = len(container.streams.audio)
        streams = f"{sounds} audio stream{'s' * (sounds != 1)}"
        raise ClipError(
            f"{name}: no video stream ({streams}, {in_seconds(container.duration):.1f} s); "
            "give a file with pictures."
        )
    if container.format.name == "webp_pipe" and b"ANIM" in _head(filename):
        raise ClipError(
            f"{name}: an animated WebP picture, which FFmpeg cannot decode; convert it to GIF or "
            "MP4."
        )
    best = container.streams.best("video")
    stream = next((stream for stream in pictures if stream == best), pictures[0])
    if stream.codec_context is None:
        raise ClipError(
            f"{name}: FFmpeg does not know how its pictures are coded, or the file is damaged; "
            "convert it to MP4 with the program that made it."
        )
    without_threads(stream)
    return stream


def without_threads(stream: VideoStream) -> None:
    """Let a stream be decoded in the thread that asks for it, before its decoder is opened.

    A decoder lives on until Python collects garbage. In a forked process, such as a worker that
    loads batches, its threads are missing, and to wait for their end would take forever. Threads by
    frame also tell of damage late.
    """
    stream.codec_context.thread_count = 1


def in_seconds(av_time: int | None) -> float:
    """Turn a container's time, which may be missing, into seconds."""
    return (av_time or 0) / av.time_base
