"""Films whose frames carry their number: containers x codecs x faults, made by the ffmpeg command.

Every film shows 128 x 96 pixels once its pixels are square and it stands upright.
"""

import functools
import hashlib
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.stream import VideoStream

Step = Callable[[pathlib.Path], None]
Matrix = tuple[int, int, int, int]

WIDTH, HEIGHT, FRAMES, NUMBERS = 128, 96, 48, 64
BACKWARD = range(NUMBERS)[: -FRAMES - 1 : -1]
UPRIGHT = (1, 0, 0, 1)
ORIENTATIONS = {
    "rotated by 90": (0, 1, -1, 0), "rotated by 180": (-1, 0, 0, -1),
    "rotated by 270": (0, -1, 1, 0),
    "mirrored left-right": (-1, 0, 0, 1), "mirrored top-bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0), "transposed about the other diagonal": (0, -1, -1, 0),
}  # fmt: skip
"""(a, b, c, d) as in MP4: what is stored at (x, y) is shown at (a x + c y, b x + d y)."""


def picture(number: int) -> np.ndarray:
    """Return a frame, uint8 (96, 128, 3): a moving texture, colored corners and six bars, white for
    1, with their negative below. All lies in the middle square, too."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    phase = 2 * np.pi * (columns + rows / 2 + 3 * number) / 64
    texture = 128 + 40 * np.sin(phase) + 12 * np.sin(5 * phase)
    frame = np.repeat(texture[..., None], 3, 2).astype(np.uint8)
    for bit in range(6):
        bar = np.s_[16 + 16 * bit : 32 + 16 * bit]
        frame[32:48, bar] = 235 * (number >> bit & 1) + 10
        frame[48:64, bar] = 245 - 235 * (number >> bit & 1)
    frame[:16, 16:32], frame[:16, 96:112], frame[80:, 16:32] = RED, GREEN, BLUE
    return frame


RED, GREEN, BLUE = (200, 40, 40), (40, 180, 40), (50, 50, 210)


def turned(frame: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Return a frame, (height, width, ...), as it is shown under a display matrix."""
    a, b, c, d = matrix
    frame = frame if a else frame.swapaxes(0, 1)
    return frame[:: (d if a else b), :: (a or c)]


@dataclass(frozen=True)
class Film:
    """A file to make, and what is right in it.

    Args:
        name: Codec and fault; ends in the file's suffix.
        options: ffmpeg's output options.
        inputs: Its inputs and which of their frames; {numbers}, {backward} and {cover} are some.
        rate: Frames per second, as ffmpeg writes it.
        second: The second half is another encode, with these options more; None: there is one.
        packets: Whether the halves are joined by packets, times going on, in place of bytes.
        steps: What is then done to the file.
        numbers: In the pictures, in display order; None: those that the ffmpeg command shows.
        seconds: When each frame is shown, from the first one; None: the times are damaged.
        matrix: The display matrix.
        gray: Whether the file holds no color.
        sizes: Whether its frames are stored in several sizes.
        damaged: Whether frames may be refused, or declared damaged.
        intact: How many good frames of a damaged file a reader of the whole must show at least.
    """

    name: str
    options: str
    inputs: str = "{numbers}"
    rate: str = "25"
    second: str | None = None
    packets: bool = False
    steps: Sequence[Step] = ()
    numbers: Sequence[int] | None = range(FRAMES)
    seconds: Callable[[int], float] | None = lambda number: number / 25
    matrix: Matrix = UPRIGHT
    gray: bool = False
    sizes: bool = False
    damaged: bool = False
    intact: int = 0

    @property
    def encoders(self) -> set[str]:
        """What ffmpeg needs for it."""
        return set(re.findall(r"-c:v(?::\d)? (\S+)", f"{self.inputs} {self.options}"))

    def make(self, folder: pathlib.Path) -> pathlib.Path:
        """Write the file into a folder that has the pictures; films may share an encode there."""
        path = folder / re.sub(r"[^\w.-]+", "_", self.name)
        encode = repr((self.inputs, self.options, self.rate, self.second, self.packets))
        same = folder / f"{hashlib.sha256(encode.encode()).hexdigest()}{path.suffix}"
        if not same.exists():
            self._encode_all(path)
            path.rename(same)
        shutil.copyfile(same, path)
        for step in self.steps:
            step(path)
        return path

    def _encode_all(self, path: pathlib.Path) -> None:
        if self.second is None:
            self._encode(path, self.inputs, self.options)
            return
        half = FRAMES // 2
        parts = [path.with_name(f"{number}_{path.name}") for number in (1, 2)]
        self._encode(parts[0], f"{{numbers}} -frames:v {half}", self.options)
        later = f"{{numbers}} -vf trim=start_frame={half},setpts=PTS-STARTPTS"
        self._encode(parts[1], later, f"{self.options} {self.second}")
        (join_packets if self.packets else join_bytes)(parts, path)

    def _encode(self, path: pathlib.Path, inputs: str, options: str) -> None:
        raw = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -framerate {self.rate} -i"
        known = {name: f"{raw} {path.parent / name}.rgb" for name in ("numbers", "backward")}
        cover = path.parent / "cover.png"
        known["cover"] = f"-i {cover}"
        known["attached_cover"] = f"-attach {cover} -metadata:s:t mimetype=image/png"
        ffmpeg(*shlex.split(f"{inputs.format(**known)} {options}"), "-threads", 1, path)


def ffmpeg(*arguments: object) -> bytes:
    """Run the ffmpeg command and return what it writes to its standard output."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.decode()[-500:]}")
    return done.stdout


@functools.cache
def available_encoders() -> frozenset[str]:
    """Names of the encoders that the ffmpeg command was built with."""
    listed = ffmpeg("-hide_banner", "-encoders").decode()
    return frozenset(re.findall(r"^ V\S+ (\S+)", listed, re.MULTILINE))


def pictures(folder: pathlib.Path) -> None:
    """Write the pictures that all films of a folder are made from, and a cover."""
    for name, numbers in (("numbers", range(FRAMES)), ("backward", BACKWARD)):
        frames = b"".join(picture(number).tobytes() for number in numbers)
        (folder / f"{name}.rgb").write_bytes(frames)
    cover = av.VideoFrame.from_ndarray(picture(NUMBERS - 1), format="rgb24")
    cover.to_image().save(folder / "cover.png")


# -- what is done to a file ------------------------------------------------------------------------


def join_bytes(parts: list[pathlib.Path], path: pathlib.Path) -> None:
    """Write files one after the other into one."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def join_packets(parts: list[pathlib.Path], path: pathlib.Path) -> None:
    """Copy the packets of files into one, where times go on."""
    playlist = path.with_suffix(".txt")
    playlist.write_text("".join(f"file '{part}'\n" for part in parts))
    ffmpeg("-f", "concat", "-safe", 0, "-i", playlist, "-c", "copy", path)


def copied(output: str = "", source: str = "") -> Step:
    """Have ffmpeg copy the packets into a new file, with options for it and for the old one."""

    def step(path: pathlib.Path) -> None:
        old = path.rename(path.with_name("old_" + path.name))
        ffmpeg(*shlex.split(source), "-i", old, "-c", "copy", *shlex.split(output), path)
        old.unlink()

    return step


def edited(change: Callable[[bytearray], bytes | bytearray]) -> Step:
    """Change the bytes of a file."""
    return lambda path: path.write_bytes(change(bytearray(path.read_bytes()))) and None


def cut(share: float) -> Step:
    """Keep only this share of the bytes."""
    return edited(lambda data: data[: int(share * len(data))])


def zeroed(share: float, count: int = 300) -> Step:
    """Overwrite bytes by zeros; `share` says where in the file."""

    def change(data: bytearray) -> bytearray:
        first = int(share * len(data))
        data[first : first + count] = bytes(count)
        return data

    return edited(change)


def starting_late(share: float, unit: int = 188) -> Step:
    """Cut this share off the head, between two packets of the transport stream."""
    return edited(lambda data: data[int(share * len(data)) // unit * unit :])


def displayed(matrix: Matrix) -> Step:
    """Write a display matrix into the track header of MP4 or MOV."""

    def change(data: bytearray) -> bytearray:
        place = data.index(b"tkhd")
        place += 56 if data[place + 4] else 44
        a, b, c, d = (65536 * number for number in matrix)
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        return data

    return edited(change)


def remuxed(change: Callable[[VideoStream, list[av.Packet]], list[av.Packet]]) -> Step:
    """Mux the packets again, after a change of the new stream or of the packets."""

    def step(path: pathlib.Path) -> None:
        old = path.rename(path.with_name("old_" + path.name))
        with av.open(str(old)) as source, av.open(str(path), "w") as target:
            video = target.add_stream_from_template(source.streams.video[0])
            for packet in change(video, [packet for packet in source.demux() if packet.size]):
                packet.stream = video
                target.mux(packet)
        old.unlink()

    return step


def rolled(degrees: int) -> Step:
    """Write a counterclockwise roll into Matroska, which older ffmpeg commands cannot."""
    return remuxed(lambda video, packets: video.set_display_rotation(degrees) or packets)


@remuxed
def packed(video: VideoStream, packets: list[av.Packet]) -> list[av.Packet]:
    """Pack B-frames of MPEG-4 as DivX and XviD do for AVI.

    A P-frame travels with the first of its B-frames; an empty frame takes the place of the last.
    """
    groups: list[list[bytes]] = []
    for packet in packets:
        frame = re.sub(rb"Lavc\d\d[\d.]+", b"DivX503b1393p", bytes(packet))
        if frame[frame.index(VOP) + 4] >> 6 == 2:  # a B-frame
            groups[-1].append(frame)
        else:
            groups.append([frame])
    packs = []
    for shown, *between in groups:
        packs += [shown + between[0], *between[1:], _not_coded(shown)] if between else [shown]
    for number, pack in enumerate(packs):
        packs[number] = av.Packet(pack)
        packs[number].pts = packs[number].dts = number
        packs[number].is_keyframe = not number
    return packs


VOP = b"\0\0\1\xb6"


def _not_coded(frame: bytes) -> bytes:
    """Return a frame at the time of this one that says: as the one before."""
    bits = format(int.from_bytes(frame[frame.index(VOP) + 4 :][:8]), "064b")
    bits = bits[: bits.index("0", 2) + 8] + "00"  # up to the time; nothing is coded; stuffing
    bits += "1" * (-len(bits) % 8)
    return VOP + int(bits, 2).to_bytes(len(bits) // 8)
