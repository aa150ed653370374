"""Interlaced H.264: a frame may be coded as two fields, in packets of their own.

Decoders show both as one frame, under the time stamp of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

WITH_CHROMA = 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135
"""Profiles whose parameters say how color is stored."""

HEAD = 32  # bytes of a slice that are read


class _Bits:
    """The bits of a NAL unit behind its first byte, one after the other."""

    def __init__(self, unit: bytes) -> None:
        data = unit[1:].replace(b"\0\0\3", b"\0\0")
        self._bits = format(int.from_bytes(data), f"0{8 * len(data)}b")
        self._place = 0

    def take(self, count: int) -> int:
        """Read an unsigned number of so many bits, u(n)."""
        self._place += count
        return int(self._bits[self._place - count : self._place] or "0", 2)

    def number(self) -> int:
        """Read an unsigned number of any size, ue(v)."""
        zeros = self._bits.find("1", self._place) - self._place
        if zeros < 0:
            raise ValueError("no number is left")
        self._place += zeros
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        """Read a signed number of any size, se(v)."""
        number = self.number()
        return (number + 1) // 2 if number % 2 else -number // 2


@dataclass
class Fields:
    """Tells which pictures of an H.264 stream are second fields.

    Source:
        ITU-T H.264, 7.3.2.1.1 (parameters), 7.3.3 (slice header), 7.4.1.2.4 (first of a picture).
    """

    _number_bits: int = 0  # of frame_num; 0 where all pictures are frames
    _planes: bool = False  # colors are coded apart
    _first: tuple[int, int] | None = None  # frame number and parity of a field without its second

    def read_parameters(self, unit: bytes) -> None:
        """Note what a sequence parameter set says; one that is damaged says nothing."""
        try:
            self._planes, number_bits, frames_only = _read_parameters(_Bits(unit))
        except ValueError:
            return
        self._number_bits = 0 if frames_only else number_bits

    def is_second(self, slice_unit: bytes) -> bool:
        """Whether the picture that starts with this slice is the second field of a frame."""
        if not self._number_bits:
            return False
        bits, first = _Bits(slice_unit[:HEAD]), self._first
        self._first = None
        try:
            for _ in "first_mb_in_slice", "slice_type", "pic_parameter_set_id":
                bits.number()
        except ValueError:
            return False
        bits.take(2 * self._planes)
        number, is_field, parity = bits.take(self._number_bits), bits.take(1), bits.take(1)
        if not is_field:
            return False
        if first == (number, 1 - parity):
            return True
        self._first = number, parity
        return False


def _read_parameters(bits: _Bits) -> tuple[bool, int, bool]:
    """Whether colors are coded apart, the bits of a frame number, whether all are frames."""
    profile, _, _ = bits.take(8), bits.take(16), bits.number()
    planes = False
    if profile in WITH_CHROMA:
        chroma = bits.number()
        planes = chroma == 3 and bool(bits.take(1))
        for _ in "bit_depth_luma", "bit_depth_chroma":
            bits.number()
        bits.take(1)
        if bits.take(1):
            for matrix in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if matrix < 6 else 64)
    number_bits, order = bits.number() + 4, bits.number()
    if order == 0:
        bits.number()
    elif order == 1:
        bits.take(1)
        for _ in "offset_for_non_ref_pic", "offset_for_top_to_bottom_field":
            bits.signed()
        for _ in range(bits.number()):
            bits.signed()
    bits.number()
    bits.take(1)
    for _ in "width", "height":
        bits.number()
    return planes, number_bits, bool(bits.take(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
            last = following or last
