"""Look at a video file before it is decoded: which frames, when, from where, by which reader.

Every packet is read once. What is decided here holds for all who read the file: which stream is
shown, the number and the time of each frame, where decoding can start, and whether decord can be
trusted. Packets mislead where a container holds no display times (AVI, ASF), where times are
missing or repeat, or where a picture hides among them. Then the kinds of the pictures tell their
order in MPEG-1, 2 and 4; of other codecs, frames are counted as they are decoded.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vmamba_explore.clips.bitstream import Bitstream
from vmamba_explore.clips.clip import ClipError
from vmamba_explore.clips.container import (
    MAX_PIXELS,
    explained,
    in_seconds,
    open_video,
    quiet,
    video_stream,
    without_threads,
)
from vmamba_explore.clips.picture import UPRIGHT, orientation, pixel_aspect
from vmamba_explore.clips.transport import loses_data
from vmamba_explore.errors import one_line

MP4, MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
DISPLAY_TIMES = (MP4, MATROSKA, "mpegts", "flv", "nut", "gif", "apng")
"""Containers that say when a frame is shown; others say when it is decoded, or not reliably."""

SEEKABLE = (MP4, MATROSKA, "mpegts", "flv", "nut", "avi")  # to a packet, by its time stamp
COUNTED_SEEKABLE = ("avi",)  # though it only numbers the packets

CUT_OFF_SECONDS = 1.0  # a file whose packets end this long before its duration was cut off
PROMISE = 100  # a header that promises so many times the frames there are is damaged

REORDERED = 16  # frames that H.264 reorders at most

CHECKED = ("ffv1", "png", "apng", "mjpeg")
"""Codecs of which every error is damage; others complain of what encoders get away with."""

INCOMPLETE = "damaged (a picture is incomplete)"

DECORD_CODECS, DECORD_PIXELS = ("h264", "hevc"), ("yuv420p", "yuvj420p")


class LostError(ClipError):
    """The packets are not those that were listed; the file must be read from its beginning."""


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of a file from its packets. A `place` is the number of a packet in the file.

    Args:
        name: The file, in messages.
        path: The file, absolute.
        container: FFmpeg's name of its container.
        stream: Index of the stream that is shown.
        rate: Frames per second, as far as known.
        aspect: Width of a stored pixel over its height, in the first frame.
        stamps: Time stamps of the packets, by place: of display and of decoding.
        told_by: Which of the two tells a packet from others.
        times: When frames are shown, seconds.
        in_turn: `times` are of the frames one after the other, not by place.
        order: Places in the order of display; None where only decoding tells it.
        starts: Places at which decoding can start, ascending.
        sure: `starts` were verified in the packets; else the frame must say so, too.
        hidden: Places of pictures that are decoded and never shown.
        seekable: Whether the container finds a packet by its time stamp.
        damaged: Places of packets that are damaged or incomplete, with what is wrong.
        cut_off: Why this is part of a file only, "" where it is whole.
        duration: How long the file says it is, seconds.
        not_decord: Why decord would not give the right frames, "" where it does.
    """

    name: str
    path: str
    container: str
    stream: int
    rate: float
    aspect: Fraction
    stamps: list[tuple[int | None, int | None]]
    told_by: int
    times: np.ndarray
    in_turn: bool
    order: np.ndarray | None
    starts: list[int]
    sure: bool
    hidden: frozenset[int]
    seekable: bool
    damaged: dict[int, str]
    cut_off: str
    duration: float
    not_decord: str = ""

    @cached_property
    def _numbers(self) -> dict[int, int]:
        order = [] if self.order is None else self.order.tolist()
        return {place: number for number, place in enumerate(order)}

    @property
    def count(self) -> int:
        """How many frames are shown; 0 where `order` is not known."""
        return len(self._numbers)

    def place(self, number: int) -> int:
        """Return the place of a frame, by its number in the known `order`."""
        assert self.order is not None
        return int(self.order[number])

    def number(self, place: int, counted: int) -> int | None:
        """Return the number of a frame; None for one that is never shown.

        Args:
            place: Of its packet.
            counted: How many frames were decoded before it, from the first one on.
        """
        return counted if self.order is None else self._numbers.get(place)

    def second(self, place: int, number: int) -> float:
        """Return when a frame is shown, seconds."""
        if not self.in_turn:
            return float(self.times[place])
        last = len(self.times) - 1
        return float(self.times[min(number, last)]) + max(0, number - last) / self.rate

    def start_before(self, place: int) -> int:
        """Return the last place from which the frame of this place can be decoded."""
        if not self.seekable:
            return 0
        at = bisect_right(self.starts, place) - 1
        while at > 0 and self.times[self.starts[at]] > self.times[place]:
            at -= 1  # shown before that key frame, so predicted from what lies before it
        return self.starts[at] if at >= 0 else 0

    def seek_stamp(self, place: int) -> int:
        """Return the time stamp by which the container finds a packet."""
        pts, dts = self.stamps[place]
        return pts or 0 if self.container == MATROSKA or dts is None else dts

    def lost(self) -> LostError:
        """Return the error of a file that no longer holds the packets that were listed."""
        return LostError(
            f"{self.name}: it does not hold the same packets each time it is read; wait until no "
            "program writes to it, and read it again."
        )

    def open(self) -> tuple[InputContainer, VideoStream]:
        """Open the file again; its stream is ready to be decoded.

        Raises:
            LostError: another file is there now.
        """
        container = open_video(self.path)
        same = [stream for stream in container.streams.video if stream.index == self.stream]
        if not same or same[0].codec_context is None:
            container.close()
            raise self.lost()
        (stream,) = same
        without_threads(stream)
        stream.codec_context.copy_opaque = True
        strict = stream.codec_context.name in CHECKED
        stream.codec_context.options = {
            "max_pixels": str(MAX_PIXELS),
            "err_detect": "crccheck+explode" if strict else "crccheck",
        }
        return container, stream


@dataclass(eq=False)
class _Packets:
    """The packets of one stream, in the order of the file."""

    bits: Bitstream
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    false_starts: int = 0  # called key frames, but they are not
    first: av.Packet | None = None  # at which decoding can start
    palettes: bool = False
    hidden: set[int] = field(default_factory=set)
    between: list[bool | None] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    incomplete: list[int] = field(default_factory=list)  # by the container
    new_parameters: bool = False

    def add(self, packet: av.Packet) -> None:
        place, data = len(self.pts), bytes(packet)
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        if packet.is_corrupt:
            self.incomplete.append(place)
        elif self.bits.is_damaged(data):
            self.damaged[place] = "damaged (some of its bytes are missing)"
        if packet.is_keyframe:
            if self.bits.is_start(data):
                self.starts.append(place)
                self.first = self.first or packet
            else:
                self.false_starts += 1
        if self.bits.is_hidden(data) or packet.is_discard:
            self.hidden.add(place)
        self.between.append(self.bits.is_between(data))
        self.palettes = self.palettes or packet.has_sidedata("palette")
        self.new_parameters = self.new_parameters or packet.has_sidedata("new_extradata")


def look_at(filename: str) -> Look:
    """List the packets of a file and decide how it is read.

    Raises:
        ClipError: the file is missing, empty, not a video, or has no frame.
    """
    name = one_line(filename)
    with open_video(filename) as container, quiet():
        stream = video_stream(container, filename)
        context = stream.codec_context
        packets = _Packets(Bitstream(context.name, bytes(context.extradata or b"")))
        ends: dict[int, int] = {}  # in ticks, by stream
        stop = ""
        demuxed = container.demux()
        while True:
            try:
                packet = next(demuxed, None)
            except (av.error.FFmpegError, OSError) as error:
                stop = f"it cannot be read on ({error.strerror})"
                break
            if packet is None:
                break
            if packet.size:
                index, pts = packet.stream_index, packet.pts
                if pts is not None:
                    ends[index] = max(ends.get(index, 0), pts + (packet.duration or 0))
                if index == stream.index:
                    packets.add(packet)
        if not packets.pts:
            raise ClipError(f"{name}: its video stream has no frame{stop and '; '}{stop}.")
        end = max(float(ends.get(one.index, 0) * (one.time_base or 0)) for one in container.streams)
        with explained(filename):
            return _decide(filename, container, stream, packets, end, stop)


def _decide(
    filename: str,
    container: InputContainer,
    stream: VideoStream,
    packets: _Packets,
    end: float,
    stop: str,
) -> Look:
    kind, context = container.format.name, stream.codec_context
    base, begin = float(stream.time_base or 0), in_seconds(container.start_time)
    duration = in_seconds(container.duration)
    rate = float(stream.guessed_rate or 25)
    starts = packets.starts
    if packets.palettes:  # colors are sent once, or just before what a seek would find
        starts = starts[:1]
    times, order, restarts = _display(kind, context, packets, 1 / (rate * base or 1))
    counted = order is None
    if order is None:
        times = _one_after_the_other(packets, base, begin, rate)
        order = _by_references(packets, starts[0] if starts else 0)
        if order is not None:  # each has the time of its turn
            turns, times = times, np.full(len(packets.pts), -np.inf)
            times[order] = turns[: len(order)]
    else:
        times = np.round(times * base - begin, 6) + 0.0  # to what the file's own start is known
    if order is not None:
        if starts:  # what cannot be decoded at the head of a recording is not shown
            order = order[(order >= starts[0]) & (times[order] >= times[starts[0]])]
        if not len(order):
            raise ClipError(f"{one_line(filename)}: its video stream has no frame.")
    if kind != "mpegts":
        packets.damaged.update(dict.fromkeys(packets.incomplete, INCOMPLETE))
    elif packets.incomplete and loses_data(filename, stream.id):
        for place in packets.incomplete:  # FFmpeg's parser may mark the one before
            packets.damaged.update({place: INCOMPLETE, place + 1: INCOMPLETE})
    if packets.bits.turns:  # how the head of the file says it is turned holds for the rest
        starts = starts[:1]
    promised = stream.frames or float(stream.average_rate or 0) * duration
    if not stop and _is_short(kind, stream, packets, filename, end, duration):
        stop = f"cut off after {min(end, duration):.2f} of {duration:.2f} s"
    look = Look(
        name=one_line(filename),
        path=os.path.abspath(filename),
        container=kind,
        stream=stream.index,
        rate=rate,
        aspect=pixel_aspect(stream.sample_aspect_ratio),
        stamps=list(zip(packets.pts, packets.dts, strict=True)),
        times=times,
        in_turn=order is None,
        told_by=int(counted),
        order=order,
        starts=starts,
        sure=packets.bits.knows_starts,
        hidden=frozenset(packets.hidden),
        seekable=kind in (COUNTED_SEEKABLE if counted else SEEKABLE) and not restarts,
        damaged=packets.damaged,
        cut_off=stop,
        duration=duration,
    )
    reason = _not_decord(look, stream, packets, len(container.streams.video))
    if promised > PROMISE * len(packets.pts):
        reason = reason or "its header promises frames that it does not have"
    return replace(look, not_decord=reason)


def _display(
    kind: str, context: VideoCodecContext, packets: _Packets, step: float
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Find when pictures are shown, in ticks, in which order, and whether the times start again.

    The order is None where packets do not tell it. `step` is the ticks of one frame.
    """
    if None in packets.pts or packets.bits.packs:
        return np.empty(0), None, False
    pts = np.array(packets.pts, np.float64)
    shown = np.array([place for place in range(len(pts)) if place not in packets.hidden], np.int64)
    in_order = bool((np.diff(pts[shown]) > 0).all())
    if context.codec.intra_only and in_order:
        return pts, shown, False
    # where only one of them changes the order, the codec or the times, they are not of display
    if kind not in DISPLAY_TIMES or in_order == bool(context.reorder_depth):
        return pts, None, False
    parts = [pts]
    if kind != MP4 and None not in packets.dts:
        falls = -np.diff(np.array(packets.dts, np.float64), prepend=-np.inf)
        far = falls > REORDERED * step  # else one time is a little wrong, unless all start there
        near = (falls > 0) & np.isin(np.arange(len(pts)), packets.starts)
        parts = np.split(pts, np.flatnonzero(far | near))
    for before, part in pairwise(parts):  # joined recordings: the times go on
        if part.min() <= before.max():
            steps = np.diff(np.sort(before))
            part += before.max() + (np.median(steps) if len(steps) else step) - part.min()
    order = shown[np.argsort(pts[shown], kind="stable")]
    unique = bool((np.diff(pts[order]) > 0).all())
    return pts, order if unique else None, len(parts) > 1


def _by_references(packets: _Packets, first: int) -> np.ndarray | None:
    """The order of display of MPEG-1, 2 and 4 from a first place on; None where it is not plain."""
    if None in packets.between or packets.bits.packs or packets.hidden:
        return None
    order: list[int] = []
    held: list[int] = []
    for place, between in enumerate(packets.between):
        if between:
            order.append(place)
        else:
            order, held = order + held, [place]
    order += held
    return np.array([place for place in order[order.index(first) :] if place >= first])


def _one_after_the_other(packets: _Packets, base: float, begin: float, rate: float) -> np.ndarray:
    """When frames are shown, seconds, in their order, where no packet tells which one it has.

    The nth frame is shown when the nth packet is decoded, or n steps after the first one.
    """
    first = packets.starts[0] if packets.starts else 0
    places = [place for place in range(first, len(packets.pts)) if place not in packets.hidden]
    dts = [packets.dts[place] for place in places]
    stamps = [stamp for stamp in (packets.pts[first], packets.dts[first]) if stamp is not None]
    offset = max(0.0, min(stamps, default=0) * base - begin)
    if places and None not in dts:
        ticks = np.array(dts, np.float64)
        if (np.diff(ticks) > 0).all():
            return (ticks - ticks[0]) * base + offset
    return np.arange(max(1, len(places))) / rate + offset


def _is_short(
    kind: str, stream: VideoStream, packets: _Packets, filename: str, end: float, duration: float
) -> bool:
    """Whether the file ends before it says."""
    if kind == MP4:
        size = os.path.getsize(filename)
        return any(entry.pos + entry.size > size for entry in stream.index_entries)
    if kind == "avi":
        slots = (packets.dts[-1] or 0) + 1  # empty ones at the end, which repeat, are not seen
        return slots < stream.frames <= PROMISE * slots and _lacks_chunks(filename)
    return kind in (MATROSKA, "flv", "asf") and end < duration - CUT_OFF_SECONDS


def _lacks_chunks(filename: str) -> bool:
    """Whether an AVI file is shorter than its outermost chunks (RIFF) say."""
    end = 0
    with open(filename, "rb") as file:
        while (head := file.read(8))[:4] == b"RIFF":
            end += 8 + int.from_bytes(head[4:], "little")
            file.seek(end)
    return end > os.path.getsize(filename)


def _not_decord(look: Look, stream: VideoStream, packets: _Packets, streams: int) -> str:
    """Say why decord would not give the right frames, or could not; "" where it does."""
    context, bits = stream.codec_context, packets.bits
    codec, pixels = context.name, context.pix_fmt or "unknown"
    # decord takes a key frame's place in the file for its place in time: wrong in open groups
    closed = look.order is not None and all(
        look.number(place, 0) == place for place in packets.starts
    )
    doubts = {
        "its container is neither MP4 nor Matroska": look.container not in (MP4, MATROSKA),
        f"its pictures are coded as {codec}": codec not in DECORD_CODECS,
        f"its pixels are {pixels}": pixels not in DECORD_PIXELS,
        "it has several video streams": streams > 1,
        "its pixels are not square": look.aspect != 1,
        "it is damaged or cut off": bool(look.damaged or look.cut_off),
        "its packets do not tell the order of its frames": look.order is None,
        "some of its packets show no frame": bool(look.hidden),
        "decoding cannot start at each of its key frames": bool(packets.false_starts),
        "its groups of pictures are open": not closed,
        "its parameters change on the way": bits.changes or packets.new_parameters,
        "it is turned or mirrored": bits.turns,
    }
    reason = next((reason for reason, doubt in doubts.items() if doubt), "")
    if reason:
        return reason
    frames: list[av.VideoFrame] = []
    with suppress(av.error.FFmpegError):
        frames = stream.decode(packets.first) + stream.decode(None)
    if not frames:
        return "its first frame cannot be decoded"
    turn = orientation(frames[0])
    return "" if turn is None or np.array_equal(turn, UPRIGHT) else "it is turned or mirrored"
