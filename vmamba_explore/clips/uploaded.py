"""Is an uploaded file a film? A playlist would make FFmpeg open the other files that it names."""

from __future__ import annotations

import os

import av

from vmamba_explore.clips.clip import ClipError

CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg",
    "mpegvideo", "m4v", "flv", "asf", "ogg", "gif", "mxf", "h264", "hevc", "dv", "yuv4mpegpipe",
)  # fmt: skip
"""FFmpeg's names of what holds its pictures itself."""


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
