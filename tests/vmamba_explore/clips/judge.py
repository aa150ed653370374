"""Both readers of video files, held to the numbers in the pictures of a film."""

import inspect
import pathlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tests.vmamba_explore.clips.films import (
    HEIGHT,
    NUMBERS,
    WIDTH,
    Film,
    ffmpeg,
    picture,
    turned,
)
from vmamba_explore.clips import Clip, ClipError, load_clip
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.clips.stream import Damage, stream_clips

BLOCK = 8  # pixels; colors are compared as means over such squares
TOLERANCE = 45  # gray levels that a codec may be off in one of them; a wrong bar is 235 off
UNREADABLE = -1
GRAY = np.array([0.299, 0.587, 0.114])
SQUARE = 96


def numbers_in(frames: np.ndarray, film: Film, square: bool = False) -> list[int]:
    """Read the numbers in frames, uint8 (number, height, width, 3).

    Args:
        frames: As a reader returns them, of any size.
        film: What they should look like: turned, gray.
        square: Whether they are the middle square, in place of the whole picture.
    Returns:
        UNREADABLE where a frame is in no part right: another shape, turned another way, damaged.
    """
    right = np.stack([_middle(turned(picture(n), film.matrix), square) for n in range(NUMBERS)])
    height, width = right.shape[1:3]
    if abs(frames.shape[2] * height / (frames.shape[1] * width) - 1) > 0.03:
        return [UNREADABLE] * len(frames)
    rows, columns = (
        ((np.arange(wanted) + 0.5) * given / wanted).astype(int)
        for wanted, given in ((height, frames.shape[1]), (width, frames.shape[2]))
    )
    wanted, seen = (_blocks(f, film.gray) for f in (right, frames[:, rows][:, :, columns]))
    off = np.stack([np.abs(wanted - one).max((1, 2, 3)) for one in seen])
    best = off.argmin(1)
    return np.where(off.min(1) < TOLERANCE, best, UNREADABLE).tolist()


def _middle(frame: np.ndarray, square: bool) -> np.ndarray:
    top, left = ((side - SQUARE) // 2 for side in frame.shape[:2])
    return frame[top : top + SQUARE, left : left + SQUARE] if square else frame


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
    yield {"img_size": SQUARE}
    yield {"num_frames": 8, "stride": None, **whole}
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
    refused: int = 0
    times: int = 0  # frames whose seconds are wrong
    stream: int = 0  # frames of `stream_clips` that are wrong, missing or said to be damaged
    findings: list[str] = field(default_factory=list)


def judge(path: pathlib.Path, film: Film) -> Verdict:
    """Hold `load_clip` and `stream_clips` to what is right in a film."""
    return _judge_damaged(path, film) if film.damaged else _judge_whole(path, film)


def _judge_whole(path: pathlib.Path, film: Film) -> Verdict:
    verdict = Verdict()
    say = verdict.findings.append
    numbers = film.numbers
    if numbers is None:
        numbers = shown_by_ffmpeg(path, film)
        assert len(numbers) > 8 and UNREADABLE not in numbers, (
            f"{film.name}: ffmpeg shows {numbers}"
        )
    times: dict[int, set[float]] = {}
    for ask in asks(len(numbers)):
        if film.sizes:
            ask["img_size"] = SQUARE
        verdict.clips += 1
        try:
            clip = load_clip(path, **ask)
        except Exception as error:  # whatever is raised for a whole file is wrong
            verdict.refused += 1
            say(f"load_clip {ask}: {type(error).__name__}: {error}")
            continue
        right, _ = frame_indices(
            len(numbers), **{"num_frames": 16, **{k: v for k, v in ask.items() if k != "img_size"}}
        )
        seen = numbers_in(clip.frames, film, ask["img_size"] is not None)
        if seen != [numbers[index] for index in right] or clip.indices.tolist() != right.tolist():
            verdict.wrong += 1
            say(f"load_clip {ask}: shows {seen} {clip.frames.shape[2:0:-1]}, right is {right}")
        for index, second in zip(clip.indices.tolist(), clip.seconds.tolist(), strict=True):
            times.setdefault(index, set()).add(round(second, 6))
    streamed, trouble = _streamed(path, film)
    for said in trouble:
        verdict.stream += 1
        say(f"stream_clips: {said}")
    if (seen := {index: number for index, (number, _) in streamed.items()}) != dict(
        enumerate(numbers)
    ):
        wrong = [index for index, number in enumerate(numbers) if seen.get(index) != number]
        verdict.stream += max(1, len(wrong))
        say(f"stream_clips: {len(seen)} of {len(numbers)} frames, wrong or missing are {wrong}")
    _judge_times(film, times, {index: second for index, (_, second) in streamed.items()}, verdict)
    return verdict


def _judge_times(
    film: Film, loaded: dict[int, set[float]], streamed: dict[int, float], verdict: Verdict
) -> None:
    wrong: dict[str, set[int]] = {}
    first = {index: min(seconds) for index, seconds in sorted(loaded.items())}
    wrong["depend on what is asked"] = {
        index for index, seconds in loaded.items() if len(seconds) > 1
    }
    for reader, times in (("load_clip", first), ("stream_clips", dict(sorted(streamed.items())))):
        places, seconds = np.array(list(times)), np.array(list(times.values()))
        if not len(places):
            continue
        wrong[f"of {reader} do not grow"] = set(places[1:][np.diff(seconds) <= 0].tolist())
        if film.seconds is not None and places[0] == 0:
            right = np.array([film.seconds(place) for place in places])
            off = np.abs(seconds - seconds[0] - right) > _half_a_frame(film)
            wrong[f"of {reader} are wrong"] = set(places[off].tolist())
    half = _half_a_frame(film)
    wrong["differ between readers"] = {
        index
        for index in first.keys() & streamed.keys()
        if abs(first[index] - streamed[index]) > half
    }
    verdict.times = len(set().union(*wrong.values()))
    for what, frames in wrong.items():
        if frames:
            verdict.findings.append(f"seconds {what}: frames {sorted(frames)}")


def _half_a_frame(film: Film) -> float:
    return (film.seconds(1) if film.seconds else 1 / 25) / 2


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
    return np.asarray(getattr(clip, "damaged", np.zeros(clip.num_frames, bool)))


def _judge_damaged(path: pathlib.Path, film: Film) -> Verdict:
    """Each frame that is not declared damaged shows the number that belongs to its seconds."""
    verdict = Verdict()
    say = verdict.findings.append
    rate = 1 / film.seconds(1)
    modes = [{}]
    if "damaged" in inspect.signature(load_clip).parameters:
        modes = [{"damaged": "refuse"}, {"damaged": "show"}]
    clips: list[tuple[str, list[int], list[float]]] = []
    for ask in [{**ask, **mode} for mode in modes for ask in asks(len(film.numbers))]:
        verdict.clips += 1
        try:
            clip = load_clip(path, **ask)
        except (ClipError, ValueError):  # a ValueError: fewer frames are left than `start` says
            verdict.refused += 1
            continue
        except Exception as error:
            verdict.refused += 1
            say(f"load_clip {ask}: {type(error).__name__}: {error}")
            continue
        good = ~declared(clip)
        seen = np.array(numbers_in(clip.frames, film, ask["img_size"] is not None))[good]
        clips.append((f"load_clip {ask}", seen.tolist(), clip.seconds[good].tolist()))
    streamed, trouble = _streamed(path, film)
    say_errors = [said for said in trouble if not said.startswith(("Damage", "ClipError"))]
    verdict.findings += [f"stream_clips: {said}" for said in say_errors]
    seen, seconds = ([pair[place] for pair in streamed.values()] for place in (0, 1))
    clips.append(("stream_clips", list(seen), list(seconds)))
    # what a player would show first may be lost, so that all are early or late by so many frames
    late = Counter(
        number - round(second * rate)
        for _, numbers, times in clips
        for number, second in zip(numbers, times, strict=True)
        if number != UNREADABLE
    )
    shift = late.most_common(1)[0][0] if late else 0
    for name, numbers, times in clips:
        wrong = [
            (number, round(second * rate) + shift)
            for number, second in zip(numbers, times, strict=True)
            if number != round(second * rate) + shift
        ]
        if wrong:
            say(f"{name}: (seen, right) without a word: {wrong}")
            if name == "stream_clips":
                verdict.stream += len(wrong)
            else:
                verdict.wrong += 1
    intact = len(streamed) - verdict.stream
    if intact < film.intact:
        say(f"stream_clips: only {intact} intact frames, {film.intact} can be shown; {trouble}")
        verdict.stream += film.intact - intact
    return verdict
