"""Damaged files: bytes changed in the ways that disks, networks and attackers change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

INTS = (
    0,
    1,
    2,
    2**7 - 1,
    2**7,
    2**15 - 1,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
TAGS = (
    b"ftyp", b"moov", b"mdat", b"stts", b"stsz", b"stco", b"ctts", b"elst", b"avc1", b"hev1",
    b"vp09", b"xxxx", b"RIFF", b"LIST", b"idx1", b"XVID", b"data", b"text", b"GIF8", b"\0\0\0\1",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A file that was changed.

    Args:
        origin: Name of the file it was made of.
        changes: What was done to it, in words.
        data: Its bytes.
    """

    origin: str
    changes: tuple[str, ...]
    data: bytes

    def __repr__(self) -> str:
        return f"{self.origin} after {', '.join(self.changes) or 'nothing'}"


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """Flip one bit."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def zeroed(data: bytes, at: int, length: int) -> bytes:
    """Set a run of bytes to zero, as a hole in a download is."""
    return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]


def truncated(data: bytes, at: int) -> bytes:
    """Drop everything from a place on."""
    return data[:at]


def without(data: bytes, at: int, length: int) -> bytes:
    """Drop a run of bytes."""
    return data[:at] + data[at + length :]


def repeated(data: bytes, at: int, length: int) -> bytes:
    """Have a run of bytes twice."""
    return data[: at + length] + data[at:]


def moved(data: bytes, at: int, length: int, to: int) -> bytes:
    """Copy a run of bytes over another place."""
    piece = data[at : at + length]
    return data[:to] + piece + data[to + len(piece) :]


def spliced(data: bytes, at: int, other: bytes) -> bytes:
    """Go on with another file from a place on."""
    return data[:at] + other[at:]


def written(data: bytes, at: int, value: int, size: int, order: str) -> bytes:
    """Write an integer over a place."""
    number = (value % 256**size).to_bytes(size, order)  # type: ignore[arg-type]
    return data[:at] + number + data[at + size :]


def tagged(data: bytes, at: int, tag: bytes) -> bytes:
    """Write a tag over the first tag (four letters) from a place on."""
    for place in range(at, min(len(data) - 4, at + 400)):
        if data[place : place + 4].isalnum():
            return data[:place] + tag + data[place + 4 :]
    return data[:at] + tag + data[at + 4 :]


def mutants(files: Mapping[str, bytes], head: int = 1024, most: int = 4) -> st.SearchStrategy:
    """Make a strategy for damaged files.

    Args:
        files: Whole files by name.
        head: Where half of the changes lie: within so many bytes of the start, or of the end.
        most: The most changes to one file.
    """

    def changed(origin: str) -> st.SearchStrategy:
        data = files[origin]
        last = max(len(data) - 1, 0)
        first_bytes = st.integers(0, min(head, last))
        anywhere = st.one_of(
            first_bytes, st.integers(max(0, last - head), last), st.integers(0, last)
        )
        lengths = st.sampled_from((1, 2, 3, 4, 8, 16, 100, 400, 1000, 5000))
        steps: Sequence[tuple[Callable[..., bytes], tuple[st.SearchStrategy, ...]]] = (
            (flipped, (anywhere, st.integers(0, 7))),
            (zeroed, (anywhere, lengths)),
            (truncated, (anywhere,)),
            (without, (anywhere, lengths)),
            (repeated, (anywhere, lengths)),
            (moved, (anywhere, lengths, anywhere)),
            (written, (anywhere, st.sampled_from(INTS), st.sampled_from((1, 2, 4, 8)),
                       st.sampled_from(("big", "little")))),
            (spliced, (anywhere, st.sampled_from(sorted(files)))),
            (tagged, (anywhere, st.sampled_from(TAGS))),
        )  # fmt: skip
        step = st.one_of([st.tuples(st.just(change), st.tuples(*given)) for change, given in steps])

        def apply(chosen: list[tuple[Callable[..., bytes], tuple]]) -> Mutant:
            result = data
            for change, arguments in chosen:
                place = min(arguments[0], max(len(result) - 1, 0))
                given = [files[arguments[1]]] if change is spliced else arguments[1:]
                if result:
                    result = change(result, place, *given)
            said = tuple(f"{change.__name__}{arguments}" for change, arguments in chosen)
            return Mutant(origin, said, result)

        return st.lists(step, min_size=1, max_size=most).map(apply)

    return st.sampled_from(sorted(files)).flatmap(changed)
