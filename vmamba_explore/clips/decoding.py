"""Decode a file from a place where decoding can start, and say of each frame whether it is whole.

Decoders show what is left of a damaged picture and go on. What is wrong with a picture is wrong
with all that are decoded after it, up to the next at which decoding can start, because they may be
predicted from it. Frames come in the order of display, in which a picture may come before one that
it is predicted from; so a frame is held back until all that were decoded before it have come out.
Bytes that decode to wrong pixels without an error go unseen.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from vmamba_explore.clips.container import quiet
from vmamba_explore.clips.look import INCOMPLETE, Look
from vmamba_explore.clips.picture import UPRIGHT, orientation, pixel_aspect, upright

HELD_BACK = 16
"""The most frames that wait for one decoded earlier; H.264 allows no more than this."""

ELEMENTARY = ("mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc")
"""Containers that leave it to the pictures what shape their pixels have; it may change on the way,
as on television."""


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """A frame in the order of display.

    Args:
        place: Number of its packet in the file.
        frame: The picture; None where it could not be decoded.
        reason: What is wrong with it, "" where nothing is known to be.
        start: The last place at which decoding could start.
        turn: Its `orientation`.
        aspect: Width of a stored pixel over its height.
    """

    place: int
    frame: av.VideoFrame | None
    reason: str = ""
    start: int = 0
    turn: np.ndarray = field(default_factory=lambda: UPRIGHT)
    aspect: Fraction = Fraction(1)

    def pixels(self) -> np.ndarray:
        """Return the frame as a player shows it, uint8 (H, W, 3)."""
        assert self.frame is not None
        return upright(self.frame, self.turn, self.aspect)


def decode_from(
    look: Look, container: InputContainer, stream: VideoStream, start: int = 0
) -> Iterator[Decoded]:
    """Decode the frames from a place on, in the order of display.

    Args:
        look: The file.
        container: The file, opened by `look.open`.
        stream: Its stream.
        start: A place at which decoding can start, or 0.
    Raises:
        LostError: the container does not come to this place, or to other packets than listed.
    """
    judge = _Judge(look)
    for place, packet in _packets(look, container, stream, start):
        packet.opaque = [place]  # a new object: PyAV keeps it by its address
        judge.expect(place)
        try:
            with quiet():
                frames = stream.decode(packet)
            judge.shape(place, stream.codec_context.sample_aspect_ratio)
            judge.add(frames)
        except av.error.FFmpegError as error:
            judge.fail(place, f"damaged ({error.strerror})")
        yield from judge.ready()
    with quiet(), suppress(av.error.FFmpegError):  # what was left could not be decoded
        judge.add(stream.decode(None))
    yield from judge.ready(at_end=True)


def _packets(
    look: Look, container: InputContainer, stream: VideoStream, start: int
) -> Iterator[tuple[int, av.Packet]]:
    """The packets of the stream from a place on, each with its place."""
    place = 0
    if start:
        place = -1
        container.seek(look.seek_stamp(start), stream=stream)
    packets = container.demux(stream)
    while True:
        packet = None
        with quiet(), suppress(av.error.FFmpegError, OSError):  # the end, as far as it can be read
            packet = next(packets, None)
        if packet is None:
            break
        if not packet.size:
            continue
        stamp = (packet.pts, packet.dts)[look.told_by]
        if place < 0 and stamp == look.stamps[start][look.told_by]:
            place = start
        if place < 0:
            continue
        if place >= len(look.stamps) or stamp != look.stamps[place][look.told_by]:
            raise look.lost()
        yield place, packet
        place += 1
    if place < 0:
        raise look.lost()


class _Judge:
    """Holds frames back until it is known whether they are whole."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._starts = frozenset(look.starts)
        self._from: int | None = None if look.starts else -1  # where what is shown starts
        self._expected: list[int] = []  # places whose frame has not come out yet
        self._bad: list[int] = []  # ascending
        self._reasons: dict[int, str] = {}
        self._waiting: deque[Decoded] = deque()
        self._missing: list[Decoded] = []
        self._turn = UPRIGHT
        self._aspects = [(0, look.aspect)]  # and from which place on
        self._last = 0

    def expect(self, place: int) -> None:
        if place in self._look.damaged:
            self._damage(place, self._look.damaged[place])
        if place not in self._look.hidden:
            self._expected.append(place)
        elif place in self._starts:  # what follows is shown, though this frame is not
            self._begin(place)
        if self._expected and self._expected[0] < place - 4 * HELD_BACK:
            del self._expected[0]  # it never comes, like the second field of a picture
        self._last = place

    def shape(self, place: int, ratio: Fraction | None) -> None:
        """Note the shape of pixels from a place on, where pictures say it and not the container."""
        aspect = pixel_aspect(ratio)
        if self._look.container in ELEMENTARY and aspect != self._aspects[-1][1]:
            self._aspects.append((place, aspect))

    def add(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            # a decoder that does not hand it on does not reorder either
            (place,) = cast("list[int]", frame.opaque) or self._expected[:1] or [self._last]
            if frame.is_corrupt:
                self._damage(place, INCOMPLETE)
            turn = orientation(frame)
            self._turn = self._turn if turn is None else turn  # holds until another one comes
            aspect = next(aspect for since, aspect in reversed(self._aspects) if since <= place)
            self._waiting.append(Decoded(place, frame, turn=self._turn, aspect=aspect))
            with suppress(ValueError):  # two frames of one packet
                self._expected.remove(place)

    def fail(self, place: int, reason: str) -> None:
        self._damage(place, reason)
        if place in self._look.hidden:
            return
        with suppress(ValueError):
            self._expected.remove(place)
        self._missing.append(Decoded(place, None))
        if not self._look.in_turn:
            self._missing.sort(key=lambda one: float(self._look.times[one.place]))

    def _damage(self, place: int, reason: str) -> None:
        if place not in self._reasons:
            insort(self._bad, place)
            self._reasons[place] = reason

    def ready(self, at_end: bool = False) -> Iterator[Decoded]:
        waiting = self._waiting
        while waiting:
            earlier = bool(self._expected) and self._expected[0] < waiting[0].place
            if earlier and len(waiting) <= HELD_BACK and not at_end:
                return
            one = waiting.popleft()
            before = [other for other in self._missing if self._is_before(other, one)]
            self._missing = [other for other in self._missing if other not in before]
            for other in (*before, one):
                yield from self._judged(other)
        if at_end:
            for other in self._missing:
                yield from self._judged(other)

    def _judged(self, one: Decoded) -> Iterator[Decoded]:
        if one.place in self._starts and self._is_start(one):
            self._begin(one.place)
        if self._from is None:
            return  # shown before the first frame at which decoding can start
        first = bisect_left(self._bad, self._from)
        cause = self._bad[first] if first < len(self._bad) else one.place + 1
        if one.frame is None:  # whatever else is shown, it is not
            cause = min(cause, one.place)
        reason = self._reasons[cause] if cause <= one.place else ""
        yield replace(one, reason=reason, start=self._from)

    def _is_before(self, one: Decoded, other: Decoded) -> bool:
        times = self._look.times
        return self._look.in_turn or bool(times[one.place] < times[other.place])

    def _begin(self, place: int) -> None:
        self._from = place if self._from is None else max(place, self._from)

    def _is_start(self, one: Decoded) -> bool:
        if self._look.sure or one.frame is None or one.place == self._look.starts[0]:
            return True
        return one.frame.key_frame  # some containers call every packet a key frame
