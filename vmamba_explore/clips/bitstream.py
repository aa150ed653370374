"""What a packet says before it is decoded: can decoding start there, and are bytes missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vmamba_explore.clips.fields import Fields

H264_SLICES, H264_IDR, H264_SEI, H264_SPS = (1, 2, 5), 5, 6, 7
HEVC_IRAP, HEVC_SEI, HEVC_SPS = range(16, 22), (39, 40), 33
RECOVERY_POINT, ORIENTATION = 6, 47  # types of SEI messages, in H.264 and H.265

START_CODE = b"\0\0\0\1"

ZEROS = bytes(3)
"""Never inside a NAL unit, whose encoder breaks such runs up (H.264, 7.4.1.1; H.265, 7.4.2.2)."""

ZEROS_BEFORE_NO_START = re.compile(rb"\0\0\0[^\0\1]")
"""Where parts begin with start codes (0, 0, 1), more zeros stand before those only."""

ZEROS_AT_END = 8  # bytes that may follow a NAL unit; some writers leave those of a start code

ZEROS_IN_CODE = bytes(16)
"""Too many for VP8, VP9 and AV1, of which 49 test files had at most 9 in a row, and for MJPEG."""

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
"""Of a JPEG: its tables may hold zeros before, and cameras fill up with zeros behind."""
CODE_TABLES = b"\xff\xc4"

VOP, PICTURE = b"\0\0\1\xb6", b"\0\0\1\0"  # start a picture in MPEG-4; in MPEG-1 and 2


@dataclass
class Bitstream:
    """Reads packets of one stream, in file order, without decoding them.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The codec's parameters from the file's header.

    Attributes:
        turns: Whether a picture carries an orientation of its own.
        changes: Whether the parameters change on the way.
        packs: Whether a packet holds several pictures.
    """

    codec: str
    extradata: bytes = b""
    turns: bool = False
    changes: bool = False
    packs: bool = False
    _length_size: int = field(init=False, default=0)  # bytes; 0: start codes
    _fields: Fields = field(init=False, default_factory=Fields)

    def __post_init__(self) -> None:
        data, place = self.extradata, {"h264": 4, "hevc": 21}.get(self.codec, 0)
        if len(data) > place > 0 and data[:3] not in (b"\0\0\0", b"\0\0\1"):
            self._length_size = (data[place] & 3) + 1
        if self.codec == "h264" and self._length_size:
            self._fields.read_parameters(data[8 : 8 + int.from_bytes(data[6:8])])
        elif self.codec == "h264":
            self._is_second_field(data)

    @property
    def knows_starts(self) -> bool:
        """Whether `is_start` looks into the packets of this codec."""
        return self.codec in ("h264", "hevc")

    def is_damaged(self, data: bytes) -> bool:
        """Whether this packet cannot be what an encoder wrote.

        Stretches of zeros, which a disk or an interrupted copy leaves, and broken lengths are seen.
        """
        match self.codec:
            case "h264" | "hevc" if self._has_lengths(data):
                return any(_is_hollow(data, *span) for span in self._units(data))
            case "h264" | "hevc" | "mpeg2video" | "mpeg1video":
                return ZEROS_BEFORE_NO_START.search(data) is not None
            case "vp8" | "vp9" | "libdav1d" | "av1":
                return ZEROS_IN_CODE in data
            case "mjpeg":
                start, end = data.find(START_OF_SCAN), data.rfind(END_OF_IMAGE)
                zeros = data.find(ZEROS_IN_CODE, start, end) >= 0
                return zeros and not _flat_is_zeros(data[:start])
            case "mpeg4" if not self._repeats(data):
                self.packs = self.packs or data.count(VOP) > 1
                return VOP not in data or ZEROS_BEFORE_NO_START.search(data) is not None
        return False

    def is_hidden(self, data: bytes) -> bool:
        """Whether no frame is shown for this packet: others are predicted from its picture, the
        frame before is shown for longer, or it is half of one."""
        match self.codec:
            case "vp8":
                return not data[0] & 0x10
            case "mpeg4":
                return self._repeats(data) and not self.packs
            case "h264":
                return self._is_second_field(data)
        return False

    def _repeats(self, data: bytes) -> bool:
        return self.codec == "mpeg4" and len(data) == 1  # as DivX and XviD write

    def _is_second_field(self, data: bytes) -> bool:
        for begin, end in self._units(data):
            kind = data[begin] & 31 if begin < len(data) else 0
            if kind == H264_SPS:
                self._fields.read_parameters(data[begin:end])
            if kind in H264_SLICES:
                return self._fields.is_second(data[begin:end])
        return False

    def is_between(self, data: bytes) -> bool | None:
        """Whether this picture is shown at once, and each other one only before the next such one.

        So it is in MPEG-1, 2 and 4: B-pictures are predicted from the pictures before and behind
        them, and others only from those before. None: the codec has no such rule.
        """
        match self.codec:
            case "mpeg4":
                place = data.find(VOP) + 4
                return place >= 4 and data[place : place + 1] >= b"\x80" and data[place] >> 6 == 2
            case "mpeg1video" | "mpeg2video":
                place = data.find(PICTURE) + 5
                return place >= 5 and place < len(data) and data[place] >> 3 & 7 == 3
        return None

    def is_start(self, data: bytes) -> bool:
        """Whether decoding can start at this packet, which the container calls a key frame.

        With periodic intra refresh it is not: such a recovery point needs more pictures until all
        of its parts have been refreshed.
        """
        if not self.knows_starts:
            return True
        start = False
        for begin, end in self._units(data):
            if end - begin < 3:
                continue
            if self.codec == "h264":
                kind = data[begin] & 31
                start = start or kind == H264_IDR
                sei, parameters, header = kind == H264_SEI, kind == H264_SPS, 1
            else:
                kind = data[begin] >> 1 & 63
                start = start or kind in HEVC_IRAP
                sei, parameters, header = kind in HEVC_SEI, kind == HEVC_SPS, 2
            if parameters:
                unit = data[begin:end].rstrip(b"\0")
                self.changes = self.changes or (bool(self.extradata) and unit not in self.extradata)
                self.extradata = self.extradata or unit
            if sei:
                for message, payload in _messages(data[begin + header : end]):
                    self.turns = self.turns or message == ORIENTATION
                    # ue(v): the number of pictures until recovery is 0 where the first bit is 1
                    at_once = message == RECOVERY_POINT and payload[:1] >= b"\x80"
                    start = start or (self.codec == "h264" and at_once)
        return start

    def _units(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where the NAL units of a packet are; a last one past the end where lengths are wrong."""
        if not self._has_lengths(data):
            begin = data.find(b"\0\0\1") + 3
            while begin >= 3:
                following = data.find(b"\0\0\1", begin)
                yield begin, len(data) if following < 0 else following
                begin = following + 3
            return
        begin = 0
        while begin < len(data):
            length = int.from_bytes(data[begin : begin + self._length_size])
            begin += self._length_size
            yield begin, begin + length
            begin += length

    def _has_lengths(self, data: bytes) -> bool:
        """Whether each NAL unit stands behind its length; some writers put start codes there."""
        return self._length_size > 0 and not data.startswith(START_CODE)


def _flat_is_zeros(head: bytes) -> bool:
    """Whether the codes of a JPEG, in its head, write a picture without detail as zeros.

    Source:
        ITU-T T.81, B.2.4.2: counts of codes by length, then the values; the first code is 0.
    """
    values = []
    place = head.find(CODE_TABLES)
    while place >= 0:
        end = place + 2 + int.from_bytes(head[place + 2 : place + 4])
        table = place + 4
        while table + 17 < min(end, len(head)):
            values.append(head[table + 17])
            table += 17 + sum(head[table + 1 : table + 17])
        place = head.find(CODE_TABLES, max(end, place + 4))
    return bool(values) and not any(values)


def _is_hollow(data: bytes, begin: int, end: int) -> bool:
    """Whether a NAL unit of this length is not what an encoder wrote."""
    if end > len(data) or begin >= end or data[begin] & 0x80:  # its first bit is always 0
        return True
    zeros = data.find(ZEROS, begin, end)
    if zeros < 0:
        return False
    return end - zeros > ZEROS_AT_END or data.count(0, zeros, end) < end - zeros


def _messages(unit: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of an SEI unit, (type, payload)."""
    data = unit.replace(b"\0\0\3", b"\0\0")
    place = 0
    while place + 2 < len(data):  # 2: one message, one byte that ends the unit
        numbers = []
        for _ in "type", "size":
            number = 0
            while place < len(data) and data[place] == 255:
                number, place = number + 255, place + 1
            numbers.append(number + (data[place] if place < len(data) else 0))
            place += 1
        kind, size = numbers
        yield kind, data[place : place + size]
        place += size
