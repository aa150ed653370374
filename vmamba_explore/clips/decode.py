"""Read a clip from a video file: decord where it is known to be right, PyAV everywhere else.

`look_at` reads the packets of the file first and decides. decord then fetches the wanted frames at
random; whatever it cannot do, and whatever is damaged, PyAV reads. Where packets do not tell the
order of the frames, or turn out to be wrong about it, frames are counted as they are decoded.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.container import explained
from vmamba_explore.clips.decoding import decode_from
from vmamba_explore.clips.decord_reader import read_frames
from vmamba_explore.clips.look import Look, LostError, look_at
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.clips.sampling import at_least, frame_indices
from vmamba_explore.errors import check_choice

logger = logging.getLogger(__name__)

MOST = 0.9  # of a file's time stamps, if they are to be believed

Choose = Callable[[int], tuple[np.ndarray, int]]
Fit = Callable[[np.ndarray], np.ndarray]
Damaged = Literal["refuse", "show"]


def load_clip(
    path: str | os.PathLike[str],
    num_frames: int = 16,
    stride: int | None = 2,
    start: int | None = None,
    img_size: int | None = 224,
    damaged: Damaged = "refuse",
) -> Clip:
    """Read frames from a video file, shaped as a model wants them.

    Frames are what a player shows: upright, with square pixels, without what an edit list hides. A
    source shorter than the clip repeats its last frame; `Clip.repeated` counts how often.

    Args:
        path: A video file that FFmpeg can read (MP4, MOV, MKV, WebM, AVI, ...).
        num_frames: Frames in the clip, >= 1.
        stride: Source frames from one clip frame to the next, >= 1. None spreads the clip evenly
            from `start` to the end of the source.
        start: First frame, as a frame number of the source counted from 0 (not seconds). None
            centers the clip in the source.
        img_size: Side of the square the frames are resized (short side, antialiased bilinear) and
            center-cropped to, pixels. None keeps the size at which the source is shown.
        damaged: What becomes of damaged frames: "refuse" them, or "show" what can be decoded of
            them (`Clip.damaged` tells which) and of a file that was cut off.
    Returns:
        The clip. Its seconds count from the moment a player would start to show the file.
    Raises:
        ClipError: the file is missing, empty, has no pictures or is not a video; or, unless they
            are to be shown, it is cut off, or a frame of the clip is damaged. Only what the decoder
            reports is known to be damaged.
        ValueError: num_frames, stride, start or img_size is out of its range, or `damaged` is
            neither "refuse" nor "show".
    """
    if img_size is not None:
        img_size = at_least(1, "img_size", img_size)

    def choose(available: int) -> tuple[np.ndarray, int]:
        return frame_indices(available, num_frames, stride, start)

    fit = (lambda pixels: pixels) if img_size is None else partial(middle_square, size=img_size)
    return load_frames(path, choose, fit, damaged)


def load_frames(
    path: str | os.PathLike[str], choose: Choose, fit: Fit, damaged: Damaged = "refuse"
) -> Clip:
    """Read the frames of a video file that a function chooses, the file being looked at once.

    Args:
        path: A video file that FFmpeg can read.
        choose: Gets the number of frames the file has; returns which to read, int64, in the order
            wanted, and how many of them repeat the last one for want of more.
        fit: Makes of a frame, uint8 (H, W, 3), what is kept of it; the same size for all.
        damaged: As `load_clip`.
    Returns:
        The frames as a clip.
    Raises:
        ClipError: as `load_clip`.
    """
    check_choice("load_clip: damaged", damaged, get_args(Damaged))
    filename = os.fsdecode(path)
    look = look_at(filename)
    if look.cut_off and damaged == "refuse":
        raise ClipError(f"{look.name}: {look.cut_off}; download or copy it again.")
    with explained(filename):
        read = None
        if look.order is not None:
            indices, repeated = choose(look.count)
            seconds = look.times[look.order[indices]]
            read = _read(look, np.unique(indices).tolist(), fit)
        if read is None:  # the packets do not tell, or they hold other frames than they promise
            look, all_seconds = _count(look)
            indices, repeated = choose(len(all_seconds))
            seconds = all_seconds[indices]
            read = _read_in_order(look, np.unique(indices).tolist(), fit)
    return _clip(look, indices, repeated, seconds, read, damaged)


@dataclass(eq=False)
class _Read:
    """Frames by number, and what is wrong with some of them."""

    reader: str
    frames: dict[int, np.ndarray] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


def _clip(
    look: Look, indices: np.ndarray, repeated: int, seconds: np.ndarray, read: _Read, damaged: str
) -> Clip:
    if read.reasons and damaged == "refuse":
        number = min(read.reasons)
        raise ClipError(
            f"{look.name}: frame {number} is {read.reasons[number]}; choose other frames, see what "
            "is left of it with damaged='show', or repair the file (ffmpeg -i FILE -c:v libx264 "
            "repaired.mp4)."
        )
    if not read.frames:
        raise ClipError(f"{look.name}: none of its frames can be decoded.")
    whole = sorted(read.frames)
    for number in read.reasons.keys() - read.frames.keys():  # a player goes on showing the last one
        before = [other for other in whole if other < number]
        read.frames[number] = read.frames[before[-1] if before else whole[0]]
    if len({frame.shape for frame in read.frames.values()}) > 1:
        raise ClipError(f"{look.name}: its frames change size; img_size=224 makes them equal.")
    return Clip(
        frames=np.stack([read.frames[index] for index in indices.tolist()]),
        seconds=seconds,
        source=os.path.basename(look.path),
        indices=indices,
        repeated=repeated,
        damaged=marks if (marks := np.isin(indices, list(read.reasons))).any() else None,
        reader=read.reader,
        path=look.path,
    )


def _read(look: Look, wanted: list[int], fit: Fit) -> _Read | None:
    """Read the frames with these numbers; None if the file does not hold what its packets tell."""
    reason = look.not_decord
    if not reason:
        read = _Read("decord")
        try:
            for number, pixels in read_frames(look.path, look.count, wanted):
                read.frames[number] = fit(pixels)
            return read
        except Exception as error:  # decord's reasons say little, PyAV will find the true one
            logger.debug("%s: decord is missing or failed: %s", look.name, error)
            reason = "decord is missing or failed"
    for known in (look, replace(look, seekable=False)):
        with suppress(LostError):
            return _read_with_av(known, wanted, fit, f"PyAV ({reason})")
    return None


def _read_with_av(look: Look, wanted: list[int], fit: Fit, reader: str) -> _Read:
    """Seek to the frames with these numbers.

    Raises:
        LostError: their packets are not there, or give other frames.
    """
    read, asked = _Read(reader), set(wanted)
    reasons: dict[int, str] = {}
    container, stream = look.open()
    with container:
        decoded, at, last = decode_from(look, container, stream), 0, -1
        for number in wanted:
            start = look.start_before(look.place(number))
            if start > at:  # skip what lies between
                decoded, at, last = decode_from(look, container, stream, start), start, -1
            while last < number and number not in reasons:
                one = next(decoded, None)
                if one is None:
                    break
                if one.reason and one.place == start > 0:
                    raise look.lost()
                shown = look.number(one.place, 0)
                if shown is None:
                    continue
                at = max(at, one.place)
                if one.reason:
                    reasons[shown] = one.reason
                if one.frame is None:
                    continue
                if shown <= last:
                    if not reasons:
                        raise look.lost()
                    reasons[shown] = "damaged (it comes out of order)"
                last = max(last, shown)
                if shown in asked:
                    read.frames[shown] = fit(one.pixels())
            if number not in read.frames and number not in reasons:
                if not reasons:
                    raise look.lost()
                reasons[number] = "damaged (it cannot be decoded)"
    read.reasons = {number: reasons[number] for number in wanted if number in reasons}
    return read


def _count(look: Look) -> tuple[Look, np.ndarray]:
    """Decode the whole file; it is then read in the order in which its frames come.

    Returns:
        What is now known of it, and when each of its frames is shown, seconds.
    """
    look = replace(look, order=None)
    container, stream = look.open()
    seconds: list[float] = []
    with container:
        for one in decode_from(look, container, stream):
            seconds.append(look.second(one.place, len(seconds)))
    if not seconds:
        raise ClipError(f"{look.name}: none of its frames can be decoded.")
    return look, _growing(np.array(seconds), look.rate)


def _growing(seconds: np.ndarray, rate: float) -> np.ndarray:
    """Return times that grow: the few that do not lie between others, many give equal steps."""
    numbers = np.arange(len(seconds))
    last = np.maximum.accumulate(np.concatenate([[-np.inf], seconds[:-1]]))
    good = seconds > last
    if good.mean() < MOST:
        return numbers / rate
    between = np.interp(numbers, numbers[good], seconds[good])
    return between + np.maximum(0, numbers - numbers[good][-1]) / rate


def _read_in_order(look: Look, wanted: list[int], fit: Fit) -> _Read:
    """Read the frames with these numbers, counting from the first one."""
    read = _Read("PyAV (its packets do not tell the order of its frames)")
    container, stream = look.open()
    asked = set(wanted)
    with container:
        for number, one in enumerate(decode_from(look, container, stream)):
            if number in asked:
                if one.reason:
                    read.reasons[number] = one.reason
                if one.frame is not None:
                    read.frames[number] = fit(one.pixels())
            if number >= wanted[-1]:
                break
    if any(number not in read.frames and number not in read.reasons for number in wanted):
        raise ClipError(f"{look.name}: it shows other frames each time it is read.")
    return read
