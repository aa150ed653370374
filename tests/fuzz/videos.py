"""Damaged videos, for `load_clip`, `stream_clips`, `video_seconds` and `check_uploaded`."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from hypothesis import strategies as st

from tests.fuzz.door import Door
from tests.fuzz.mutants import Mutant, mutants
from vmamba_explore.clips import Clip, ClipError, load_clip
from vmamba_explore.clips.container import check_uploaded
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.stream import stream_clips, video_seconds

SIZE = (64, 64)  # x265 corrupts memory where a side is less
MAKERS = {  # file name -> codec, pixel format, options
    "b_frames.mp4": ("libx264", "yuv420p", {"bf": "3", "g": "8"}),
    "h265.mkv": ("libx265", "yuv420p", {"x265-params": "log-level=none:keyint=8"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"cpu-used": "8"}),
    "xvid.avi": ("mpeg4", "yuv420p", {"g": "8"}),
    "h264.ts": ("libx264", "yuv420p", {"bf": "2", "g": "8"}),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", {}),
    "palette.gif": ("gif", "rgb8", {}),
    "motion_jpeg.mov": ("mjpeg", "yuvj420p", {}),
    "raw.avi": ("rawvideo", "rgb24", {}),
}


def videos(folder: Path) -> dict[str, bytes]:
    """Write small videos of many kinds and return their bytes by name; an unknown codec is left."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (24, 64, 64, 3)).astype(np.uint8)
    frames = (frames // 8 + np.arange(24, dtype=np.uint8)[:, None, None, None] * 8).astype(np.uint8)
    write_clip(folder / "ours.mp4", frames, fps=8)
    for name, (codec, pixels, options) in MAKERS.items():
        if codec in av.codecs_available:
            _write(folder / name, frames, codec, pixels, options)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    found["playlist.m3u8"] = b"#EXTM3U\n#EXTINF:1,\nours.mp4\n#EXT-X-ENDLIST\n"
    found["concat.txt"] = b"ffconcat version 1.0\nfile ours.mp4\n"
    return found


def _write(path: Path, frames: np.ndarray, codec: str, pixels: str, options: dict) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, pixels
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def sent(folder: Path) -> st.SearchStrategy[Mutant]:
    """Make a strategy for damaged videos; the first of them are whole."""
    found = videos(folder)
    whole = st.sampled_from(sorted(found)).map(lambda name: Mutant(name, (), found[name]))
    return st.one_of(whole, mutants(found), mutants(found), mutants(found))


def put(case: Mutant, folder: Path) -> Path:
    """Write a case as a file, without its ending being one that tells what it is."""
    path = folder / case.origin
    path.write_bytes(case.data)
    return path


def _load(case: Mutant, folder: Path) -> Clip:
    path = put(case, folder)
    try:
        number = len(case.data)
        clip = load_clip(
            path,
            num_frames=1 + number % 16,
            stride=(None, 1, 2)[number % 3],
            start=(None, 0, 7)[number // 3 % 3],
            img_size=(None, 16)[number % 2],
        )
    finally:
        path.unlink()
    assert clip.num_frames == 1 + number % 16, "another number of frames"
    assert np.isfinite(clip.seconds).all(), "seconds that are not finite"
    assert (np.diff(clip.indices) >= 0).all(), "indices that go back"
    return clip


def _stream(case: Mutant, folder: Path) -> None:
    path = put(case, folder)
    try:
        seconds = video_seconds(path)
        assert np.isfinite(seconds) and seconds >= 0, "a length that is not finite"
        ends, last = 0, -1
        for part in stream_clips(path, num_frames=4, stride=2, hop=3, img_size=16):
            index = int(part.indices[0]) if isinstance(part, Clip) else part.index
            assert index > last, "clips that go back"
            last, ends = index, ends + 1
            if ends > 200:  # long enough
                break
    finally:
        path.unlink()


def _check(case: Mutant, folder: Path) -> None:
    path = put(case, folder)
    try:
        check_uploaded(path, "a visitor's name.mp4")
    except ClipError as error:
        assert str(folder) not in str(error), "the server's path in a message"
        raise
    finally:
        path.unlink()


def _files(case: Mutant) -> dict[str, bytes]:
    return {case.origin: case.data}


def _starts_late(error: BaseException) -> bool:
    """Whether `load_clip` says that the file ends before the clip starts."""
    return type(error) is ValueError and "start" in str(error)


LOAD_CLIP = Door("load_clip", sent, _load, (ClipError,), ours=_starts_late, files=_files)
STREAM_CLIPS = Door("stream_clips", sent, _stream, (ClipError,), files=_files)
CHECK_UPLOADED = Door("check_uploaded", sent, _check, (ClipError,), files=_files)
