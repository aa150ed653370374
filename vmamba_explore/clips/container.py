"""What every reader of video files needs: is it one, which stream is shown, which way is up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vmamba_explore.clips.clip import ClipError

CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg",
    "mpegvideo", "m4v", "flv", "asf", "ogg", "gif", "mxf", "h264", "hevc", "dv", "yuv4mpegpipe",
)  # fmt: skip
"""FFmpeg's names of what holds its pictures itself. A playlist would make it open other files."""

CUT_OFF_SECONDS = 1.0  # a Matroska file whose packets end this long before its duration was cut


def check_file(filename: str) -> None:
    """Raise ClipError where this is no regular file, or one of 0 bytes."""
    if not os.path.lexists(filename):
        raise ClipError(f"{filename}: no such file (looked from {os.getcwd()}).")
    if os.path.isdir(filename):
        raise ClipError(f"{filename}: a directory; give one video file inside it.")
    if not os.path.isfile(filename):
        raise ClipError(f"{filename}: not a regular file, or a link that leads nowhere.")
    if os.path.getsize(filename) == 0:
        raise ClipError(f"{filename}: the file is empty (0 bytes); download or copy it again.")


def check_uploaded(path: str | os.PathLike[str], name: str) -> None:
    """Refuse an uploaded file that is no film, before anything else in it is read.

    Args:
        path: Where it was put.
        name: What its owner calls it, for the message.
    Raises:
        ClipError: FFmpeg takes it for something else than a film: a playlist, say, or text.
    """
    try:
        with av.open(os.fspath(path), options={"format_whitelist": ",".join(CONTAINERS)}):
            pass
    except (av.error.FFmpegError, OSError):
        raise ClipError(
            f"{name}: not a film that holds its pictures itself (MP4, MOV, MKV, WebM, AVI, ...), "
            "or one that was cut off; upload the video file, not a playlist or a link to it."
        ) from None


def open_quietly(filename: str) -> InputContainer:
    """Open a file, never taken for a URL; ClipError where FFmpeg refuses it."""
    with quiet(), explained(filename):
        return av.open(os.path.abspath(filename), metadata_errors="ignore")


@contextmanager
def explained(filename: str) -> Iterator[None]:
    """Turn FFmpeg's errors about a file into ClipErrors of one sentence."""
    try:
        yield
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise ClipError(f"{filename}: {_why_unreadable(filename, reason)}.") from None


def _why_unreadable(filename: str, reason: str) -> str:
    if os.access(filename, os.R_OK):
        with open(filename, "rb") as file:
            if file.read(8)[4:] == b"ftyp":
                return f"an MP4 file that was cut off ({reason}); download or copy it again"
    return f"not a video that can be read ({reason})"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep FFmpeg's messages off stderr: what matters in them becomes a ClipError."""
    level = av.logging.get_level()
    av.logging.set_level(None)
    try:
        yield
    finally:
        av.logging.set_level(level)


def video_stream(container: InputContainer, filename: str) -> VideoStream:
    """Return the stream a player would show; cover pictures and text art are none."""
    cover = Disposition.attached_pic
    pictures = [stream for stream in container.streams.video if not stream.disposition & cover]
    if container.format.name == "tty":
        raise ClipError(f"{filename}: a text file, not a video.")
    if not pictures:
        sounds = len(container.streams.audio)
        streams = f"{sounds} audio stream{'s' * (sounds != 1)}"
        raise ClipError(
            f"{filename}: no video stream ({streams}, {in_seconds(container.duration):.1f} s); "
            "give a file with pictures."
        )
    best = container.streams.best("video")
    return next((stream for stream in pictures if stream == best), pictures[0])


def in_seconds(av_time: int | None) -> float:
    """Turn a container's time, which may be missing, into seconds."""
    return (av_time or 0) / av.time_base


def ends_at(packet: av.Packet) -> float:
    """Return when what a packet holds has been shown, seconds; 0.0 where it has no time."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def upright(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame's pixels, uint8 (H, W, 3), turned as a player would show them."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
