"""Interlaced H.264 of which each field is a picture of its own (PAFF), as television sends it.

No encoder at hand writes it, so it is written here, without compression (I_PCM macroblocks).
"""

import io
from fractions import Fraction

import av
import numpy as np

IDR, OTHER, PARAMETERS, PICTURE_PARAMETERS, DELIMITER = 5, 1, 7, 8, 9
I_SLICES, I_PCM, MAIN, CHROMA = 7, 25, 77, bytes([128]) * 128


def write_fields(path, grays, rate=25, gop=12):
    """Write gray pictures, uint8 (number, height, width), as fields, one in a packet.

    Height and width are multiples of 32 and 16.
    """
    _, height, width = grays.shape
    stream = b"".join(
        _field(gray[parity::2], number % gop, parity, (height, width))
        for number, gray in enumerate(np.maximum(grays, 1))
        for parity in (0, 1)
    )
    with av.open(io.BytesIO(stream), format="h264") as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            packet.stream, packet.time_base = video, Fraction(1, 2 * rate)
            packet.pts = packet.dts = number
            packet.duration = 1
            target.mux(packet)
    return path


def _field(rows, number, parity, size):
    start = number == parity == 0
    head = _ue(0) + _ue(I_SLICES) + _ue(0) + f"{number:08b}1{parity}"
    head += _ue(0) if start else ""
    head += f"{2 * number + parity:08b}" + ("00" if start else "0") + _ue(0)
    data = b""
    for top in range(0, rows.shape[0], 16):
        for left in range(0, rows.shape[1], 16):
            data += _bytes(head + _ue(I_PCM), "0")
            data += rows[top : top + 16, left : left + 16].tobytes() + CHROMA
            head = ""
    unit = _unit(IDR if start else OTHER, data + b"\x80")
    return _unit(DELIMITER, b"\xf0") + (_parameters(*size) if start else b"") + unit


def _parameters(height, width):
    """Sequence and picture parameters; numbers of frames and their order have 8 bits."""
    sequence = f"{MAIN:08b}{0:08b}{30:08b}" + _ue(0) + _ue(4) + _ue(0) + _ue(4) + _ue(1) + "0"
    sequence += _ue(width // 16 - 1) + _ue(height // 32 - 1) + "001" + "00"
    picture = _ue(0) * 2 + "00" + _ue(0) * 3 + "000" + _ue(0) * 3 + "000"
    units = (PARAMETERS, sequence), (PICTURE_PARAMETERS, picture)
    return b"".join(_unit(kind, _bytes(bits + "1", "0")) for kind, bits in units)


def _ue(number):
    bits = f"{number + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _bytes(bits, fill):
    bits += fill * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def _unit(kind, data):
    """A NAL unit behind its start code, its runs of zeros broken up."""
    broken, zeros = bytearray(), 0
    for byte in data:
        if zeros == 2 and byte <= 3:
            broken.append(3)
            zeros = 0
        broken.append(byte)
        zeros = 0 if byte else zeros + 1
    return b"\0\0\0\1" + bytes([3 << 5 | kind]) + broken
