"""Which frames of a source make a clip."""

import operator

import numpy as np

from vmamba_explore.errors import shown


def frame_indices(
    available: int, num_frames: int = 16, stride: int | None = 2, start: int | None = None
) -> tuple[np.ndarray, int]:
    """Choose the frames of a clip; where the source ends too early, its last frame repeats.

    Args:
        available: Frames the source has, >= 1.
        num_frames: Frames the clip shall have, >= 1.
        stride: Source frames from one clip frame to the next, >= 1. None spreads the clip evenly
            from `start` to the last frame.
        start: First source frame of the clip, counted from 0. None centers the clip in the source
            (with stride=None the clip then covers all of it).
    Returns:
        The frame numbers, int64 (num_frames,), and how many of the last ones lie past the end of
        the source and were set to its last frame.
    Raises:
        ValueError: an argument is not a whole number or out of its range.
    """
    num_frames = at_least(1, "num_frames", num_frames)
    first = 0 if start is None else at_least(0, "start", start)
    if first >= available:
        raise ValueError(
            f"load_clip: start={first} lies past the end; the source has {available} "
            f"frames (0 to {available - 1}). start counts frames, not seconds."
        )
    steps = np.arange(num_frames)
    if stride is not None:
        stride = at_least(1, "stride", stride)
        if start is None:
            first = max(0, (available - 1 - (num_frames - 1) * stride) // 2)
        wanted = first + stride * steps
    elif available - first <= num_frames:
        wanted = first + steps
    else:
        gaps = max(num_frames - 1, 1)
        wanted = first + np.rint((steps + (num_frames == 1) / 2) * (available - 1 - first) / gaps)
    wanted = wanted.astype(np.int64)
    return np.minimum(wanted, available - 1), int((wanted >= available).sum())


def at_least(smallest: int, name: str, value: object) -> int:
    """Return `value` as an int, or say that it must be a whole number >= `smallest`."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = smallest - 1
    if number < smallest or isinstance(value, bool):
        raise ValueError(
            f"load_clip: {name} must be a whole number >= {smallest}, got {shown(value)}."
        )
    return number


def frame_order(num_frames: int, order: str) -> np.ndarray:
    """The order of a clip's frames in the paper's experiment, numbers from 0, int64 (num_frames,).

    Args:
        num_frames: Frames of the clip; an even number.
        order: "sequential"; "block_wise" plays the second half first; "pairwise" keeps pairs of
            frames and plays the first pair, then the others from the last to the second;
            "interleaved" takes a frame from the start, one from the end, and so on.
    Raises:
        ValueError: an unknown order, or an odd number of frames.
    Source:
        Park et al. 2024, arXiv:2407.08476, its example of 8 frames: 5678 1234, 12 78 56 34,
        1 8 2 7 3 6 4 5.
    """
    if num_frames % 2:
        raise ValueError(f"frame_order: num_frames is {num_frames}, expected an even number.")
    frames = np.arange(num_frames)
    match order:
        case "sequential":
            return frames
        case "block_wise":
            return np.roll(frames, num_frames // 2)
        case "pairwise":
            pairs = frames.reshape(-1, 2)
            return np.concatenate([pairs[:1], pairs[:0:-1]]).reshape(-1)
        case "interleaved":
            return np.stack([frames, frames[::-1]], 1).reshape(-1)[:num_frames]
    raise ValueError(
        "frame_order: order must be 'sequential', 'block_wise', 'pairwise' or 'interleaved', "
        f"got {shown(order)}."
    )
