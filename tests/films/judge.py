"""Both readers of video files, held to the numbers in the pictures of a film."""

import functools
import inspect
import pathlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np

from tests.films.films import (
    HEIGHT,
    NUMBERS,
    WIDTH,
    Film,
    Matrix,
    ffmpeg,
    picture,
    turned,
)
from vmamba_explore.clips import Clip, ClipError, load_clip
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.clips.stream import Damage, stream_clips

BLOCK = 8  # pixels; colors are compared as means over such squares
TOLERANCE = 40  # gray levels; codecs are up to 27 off in one of them, a wrong bar is 235 off
UNREADABLE = -1
GRAY = np.array([0.299, 0.587, 0.114])
SQUARE = 96
WITHOUT_TIMES = {".avi", ".h264", ".mxf", ".mpg"}  # of each frame


def numbers_in(frames: np.ndarray, film: Film, square: bool = False) -> list[int]:
    """Read the numbers in frames, uint8 (number, height, width, 3).

    Args:
        frames: As a reader returns them, of any size.
        film: What they should look like: turned, gray.
        square: Whether they are the middle square, in place of the whole picture.
    Returns:
        UNREADABLE for a frame that shows no picture of the film as it should be shown: it has
        another shape, is turned another way, or is damaged somewhere.
    """
    right = _right_blocks(film.matrix, film.gray, square)
    height, width = (BLOCK * side for side in right.shape[1:3])
    if abs(frames.shape[2] * height / (frames.shape[1] * width) - 1) > 0.03:
        return [UNREADABLE] * len(frames)
    rows, columns = (
        ((np.arange(wanted) + 0.5) * given / wanted).astype(int)
        for wanted, given in ((height, frames.shape[1]), (width, frames.shape[2]))
    )
    seen = _blocks(frames[:, rows][:, :, columns], film.gray)
    off = np.stack([np.abs(right - one).max((1, 2, 3)) for one in seen])
    return np.where(off.min(1) < TOLERANCE, off.argmin(1), UNREADABLE).tolist()


@functools.cache
def _right_blocks(matrix: Matrix, gray: bool, square: bool) -> np.ndarray:
    frames = np.stack([turned(picture(number), matrix) for number in range(NUMBERS)])
    top, left = ((side - SQUARE) // 2 for side in frames.shape[1:3])
    middle = np.s_[:, top : top + SQUARE, left : left + SQUARE]
    return _blocks(frames[middle] if square else frames, gray)


def _blocks(frames: np.ndarray, gray: bool) -> np.ndarray:
    number, height, width, _ = frames.shape
    blocks = frames.reshape(number, height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3).mean((2, 4))
    return blocks @ GRAY[:, None] if gray else blocks


def shown_by_ffmpeg(path: pathlib.Path, film: Film) -> list[int]:
    """Read the numbers of the frames that the ffmpeg command shows, in its order."""
    options = ("-fps_mode", "passthrough", "-s", f"{WIDTH}x{HEIGHT}", "-f", "rawvideo")
    data = ffmpeg("-i", path, *options, "-pix_fmt", "rgb24", "-")
    return numbers_in(np.frombuffer(data, np.uint8).reshape(-1, HEIGHT, WIDTH, 3), film)


def asks(available: int) -> Iterator[dict]:
    """Yield what is asked of `load_clip`: from the head, the middle and the end, and by default."""
    whole = {"img_size": None}
    yield {"num_frames": available, "stride": 1, "start": 0, **whole}
    yield {"num_frames": 16, "stride": 2, "start": None, "img_size": SQUARE}
    yield {"num_frames": 8, "stride": None, "start": None, **whole}
    for start in (0, 1, 7, available // 3, available // 2, available - 4, available - 1):
        if 0 <= start < available:
            count = 1 if start % 2 else 4
            yield {"num_frames": count, "stride": 1, "start": start, **whole}
    yield {"num_frames": 4, "stride": 4, "start": 0, **whole}
    yield {"num_frames": 5, "stride": 3, "start": available // 3, "img_size": SQUARE}


@dataclass
class Verdict:
    """What came of a film: how many clips were asked for, and what was wrong."""

    clips: int = 0
    wrong: int = 0  # clips with a wrong frame that nothing was said of
    unseen: int = 0  # of the clips: damaged where FFmpeg itself reports nothing
    refused: int = 0
    times: int = 0  # frames whose seconds are wrong
    stream: int = 0  # frames of `stream_clips` that are wrong, missing or said to be damaged
    findings: list[str] = field(default_factory=list)


def judge(path: pathlib.Path, film: Film) -> Verdict:
    """Hold `load_clip` and `stream_clips` to what is right in a film."""
    return _judge_damaged(path, film) if film.damaged else _judge_whole(path, film)


def _judge_whole(path: pathlib.Path, film: Film) -> Verdict:
    """Every frame shows the number in its place, at its time."""
    verdict = Verdict()
    say = verdict.findings.append
    numbers = shown_by_ffmpeg(path, film) if film.numbers is None else list(film.numbers)
    times: dict[int, set[float]] = {}
    for ask in asks(len(numbers)):
        if film.sizes:
            ask["img_size"] = SQUARE
        verdict.clips += 1
        try:
            clip = load_clip(path, **ask)
        except Exception as error:  # whatever is raised for a whole file is a fault
            verdict.refused += 1
            say(f"load_clip {ask}: {type(error).__name__}: {error}")
            continue
        which = {name: value for name, value in ask.items() if name != "img_size"}
        right, _ = frame_indices(len(numbers), **which)
        seen = numbers_in(clip.frames, film, ask["img_size"] is not None)
        wanted = [numbers[index] for index in right]
        if seen != wanted or clip.indices.tolist() != right.tolist():
            verdict.wrong += 1
            say(f"load_clip {ask}: shows {seen} in {clip}, right is {wanted}")
        for index, second in zip(clip.indices.tolist(), clip.seconds.tolist(), strict=True):
            times.setdefault(index, set()).add(round(second, 6))
    streamed, trouble = _streamed(path, film)
    seen = {index: number for index, (number, _) in streamed.items()}
    right = dict(enumerate(numbers))
    wrong = [index for index in seen.keys() | right if seen.get(index) != right.get(index)]
    verdict.stream = len(wrong) + len(trouble)
    verdict.findings += [f"stream_clips: {said}" for said in trouble]
    if wrong:
        say(f"stream_clips: {len(seen)} of {len(numbers)} frames, wrong or missing are {wrong}")
    seconds = {index: second for index, (_, second) in streamed.items()}
    _judge_times(film, times, seconds, verdict)
    return verdict


def _judge_times(
    film: Film, loaded: dict[int, set[float]], streamed: dict[int, float], verdict: Verdict
) -> None:
    """Times grow, are those of the film, and depend neither on the reader nor on what is asked."""
    half = film.seconds(1) / 2 if film.seconds else 1 / 50
    first = {index: min(seconds) for index, seconds in sorted(loaded.items())}
    wrong = {
        "depend on what is asked": {index for index in loaded if len(loaded[index]) > 1},
        "differ between readers": {
            index for index in first.keys() & streamed if abs(first[index] - streamed[index]) > half
        },
    }
    for reader, times in (("load_clip", first), ("stream_clips", dict(sorted(streamed.items())))):
        places, seconds = np.array(list(times), int), np.array(list(times.values()))
        wrong[f"of {reader} do not grow"] = set(places[1:][np.diff(seconds) <= 0].tolist())
        if film.seconds is not None and len(places):
            right = np.array([film.seconds(place) for place in places])
            off = np.abs(seconds - seconds[0] - (right - right[0])) > half
            wrong[f"of {reader} are wrong"] = set(places[off].tolist())
    verdict.times = len(set().union(*wrong.values()))
    for what, frames in wrong.items():
        if frames:
            verdict.findings.append(f"seconds {what}: frames {sorted(frames)}")


def _streamed(path: pathlib.Path, film: Film) -> tuple[dict[int, tuple[int, float]], list[str]]:
    """Read a film by `stream_clips`: number and seconds by index, and what else came."""
    frames: dict[int, tuple[int, float]] = {}
    trouble = []
    try:
        for part in stream_clips(path, num_frames=8, stride=1, img_size=SQUARE):
            if isinstance(part, Damage):
                trouble.append(repr(part))
                continue
            seen = numbers_in(part.frames, film, square=True)
            for index, number, second in zip(
                part.indices.tolist(), seen, part.seconds.tolist(), strict=True
            ):
                if frames.setdefault(index, (number, second)) != (number, second):
                    trouble.append(f"frame {index} comes twice and differs")
    except Exception as error:
        trouble.append(f"{type(error).__name__}: {error}")
    return frames, trouble


# -- damaged files ---------------------------------------------------------------------------------


def declared(clip: Clip) -> np.ndarray:
    """Which frames of a clip are said to be damaged, bool (num_frames,)."""
    damaged = getattr(clip, "damaged", None)
    return np.zeros(clip.num_frames, bool) if damaged is None else np.asarray(damaged)


def told(path: pathlib.Path) -> bool:
    """Whether FFmpeg marks or refuses anything in a file; else its reader cannot know of damage."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for packet in container.demux(stream):
                if packet.is_corrupt or any(frame.is_corrupt for frame in stream.decode(packet)):
                    return True
    except av.error.FFmpegError:
        return True
    return False


def _judge_damaged(path: pathlib.Path, film: Film) -> Verdict:
    """Each frame that is not declared damaged is intact and shows the number of its seconds.

    Where a file does not say when its frames are shown, those after lost ones are counted early:
    then they need only be in order.
    """
    verdict = Verdict()
    say = verdict.findings.append
    shown: dict[str, list[tuple[int, int]]] = {}  # by whom: numbers, and places in time, in order
    for ask in _asks_of_damaged(len(film.numbers)):
        verdict.clips += 1
        try:
            clip = load_clip(path, **ask)
        except (ClipError, ValueError):  # a ValueError: fewer frames are left than `start` says
            verdict.refused += 1
            continue
        except Exception as error:  # anything else is a fault, and the next clip is asked for
            verdict.refused += 1
            say(f"load_clip {ask}: {type(error).__name__}: {error}")
            continue
        good = ~declared(clip)
        seen = np.array(numbers_in(clip.frames, film, ask["img_size"] is not None))[good]
        places = np.rint(clip.seconds[good] / film.seconds(1)).astype(int)
        shown[f"load_clip {ask}"] = list(zip(seen.tolist(), places.tolist(), strict=True))
    streamed, trouble = _streamed(path, film)
    for said in trouble:
        if not said.startswith(("Damage", "ClipError")):
            say(f"stream_clips: {said}")
    shown["stream_clips"] = [(n, round(at / film.seconds(1))) for n, at in streamed.values()]
    # the first frames may be lost: then all are early or late by as many
    late = Counter(n - at for pairs in shown.values() for n, at in pairs if n != UNREADABLE)
    shift = late.most_common(1)[0][0] if late else 0
    excused, timed = not told(path), path.suffix not in WITHOUT_TIMES
    for who, pairs in shown.items():
        damaged, misplaced, latest = [], [], (UNREADABLE, None)
        for n, at in pairs:
            if n < latest[0] or (n == latest[0] and at != latest[1]) or n == UNREADABLE:
                damaged.append((n, at + shift))
                continue
            latest = (n, at)
            if n != at + shift:
                misplaced.append((n, at + shift))
        wrong = (not excused) * damaged + timed * misplaced
        if who == "stream_clips":
            verdict.stream += len(wrong)
        else:
            verdict.wrong += bool(wrong)
            verdict.unseen += bool(damaged) and excused
            verdict.times += len(misplaced)
        if wrong:
            say(f"{who}: (seen, right) without a word: {wrong}")
    intact = len(streamed) - verdict.stream
    if intact < film.intact:
        say(f"stream_clips: {intact} intact frames, at least {film.intact} are there; {trouble}")
        verdict.stream += film.intact - intact
    return verdict


def _asks_of_damaged(available: int) -> Iterator[dict]:
    modes = [{}]
    if "damaged" in inspect.signature(load_clip).parameters:
        modes = [{"damaged": "refuse"}, {"damaged": "show"}]
    yield from ({**ask, **mode} for mode in modes for ask in asks(available))
