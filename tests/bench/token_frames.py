"""Labels of single token frames: `python tests/bench/token_frames.py` (part of `make bench`).

A film of motion clips, one after the other, each with its own motion in a known window, watched by
motion-nano with `every="token frame"`, and in windows side by side that begin anywhere in a clip.
How many of the token frames in which a motion is shown get its name, and how well do `difference`
and `read_out` tell when the motion is? Writes token_frames.md beside this file.
"""

import pathlib
import tempfile
from typing import NamedTuple

import numpy as np
from common import markdown

from vmamba_explore import (
    CLASS_NAMES,
    Interval,
    MotionClip,
    MotionClips,
    VideoMamba,
    load_model,
    mean_interval,
    watch,
)
from vmamba_explore.clips.encode import write_clip

CLIPS, SEED, FPS = 60, 20261, 16
SIZE, FRAMES = 2, 8  # clip frames in a token frame, token frames in a clip


class Watched(NamedTuple):
    """What was said of each token frame of a film, (clip, token frame).

    Args:
        shown: The class whose motion fills the token frame, -1 where none does.
        windows: The window of each clip in token frames, (clip, 2), a token frame may be cut.
        single: The label of each token frame by itself, -1 where it has none.
        side: The same in windows side by side, for each place in a clip where the first begins.
        difference, read_out: Those columns, NaN where there is no row.
    """

    shown: np.ndarray
    windows: np.ndarray
    single: np.ndarray
    side: list[np.ndarray]
    difference: np.ndarray
    read_out: np.ndarray


def watched(model: VideoMamba, clips: list[MotionClip], offsets: range) -> Watched:
    """Watch the film of some clips."""
    windows = np.array([[clip.window[0], clip.window[1] + 1] for clip in clips]) / SIZE
    places = np.arange(FRAMES)
    inside = (windows[:, :1] <= places) & (places + 1 <= windows[:, 1:])
    shown = np.where(inside, np.array([clip.label for clip in clips])[:, None], -1)
    pixels = np.concatenate([clip.clip.frames for clip in clips])
    how = {"stride": 1, "batch_size": 8, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        film = pathlib.Path(folder) / "film.mp4"
        write_clip(film, pixels, fps=FPS)
        rows = watch(film, model, every="token frame", **how).token_frames
        at = (rows["start"] * FPS / SIZE).round().astype(int).to_numpy()
        columns = []
        for name, nothing in (("name", -1), ("difference", np.nan), ("read_out", np.nan)):
            values = np.full(shown.size, nothing)
            values[at] = [CLASS_NAMES.index(v) if name == "name" else v for v in rows[name]]
            columns.append(values.reshape(shown.shape))
        side = []
        for offset in offsets:
            write_clip(film, pixels[offset * SIZE :], fps=FPS)
            found, labels = watch(film, model, **how), np.full(shown.size, -1)
            for (start, end), name in zip(found.spans * FPS / SIZE, found.said, strict=True):
                labels[offset + round(start) : offset + round(end)] = CLASS_NAMES.index(name)
            side.append(labels.reshape(shown.shape))
    return Watched(shown, windows, columns[0], side, columns[1], columns[2])


def right(found: Watched, labels: list[np.ndarray]) -> Interval:
    """The share of the token frames with a motion that got its name, over clips.

    A clip whose tokens are partly unlabeled, the first and the last, does not count.
    """
    scores = []
    for clip in range(1, len(found.shown) - 1):
        shown = found.shown[clip]
        scores.append(np.mean([(each[clip] == shown)[shown >= 0].mean() for each in labels]))
    return mean_interval(np.array(scores))


def span(values: np.ndarray) -> tuple[int, int]:
    """The stretch of token frames whose sum stands out most above the mean of all."""
    above = values - values.mean()
    stretches = [(a, b) for a in range(len(values)) for b in range(a + 1, len(values) + 1)]
    return max(stretches, key=lambda stretch: above[slice(*stretch)].sum())


def error(found: Watched, values: np.ndarray) -> Interval:
    """How far the ends of `span` are from those of the motion, token frames, over clips."""
    clips = range(1, len(found.shown) - 1)
    return mean_interval(
        np.array([np.abs(np.subtract(span(values[n]), found.windows[n])).mean() for n in clips])
    )


def contrast(found: Watched) -> tuple[Interval, Interval]:
    """Mean |difference| of token frames with and without a motion, over clips."""
    size, inside = np.abs(found.difference)[1:-1], (found.shown >= 0)[1:-1]
    means = [
        [float(row[here].mean()), float(row[~here].mean())]
        for row, here in zip(size, inside, strict=True)
    ]
    first, second = np.array(means).T
    return mean_interval(first), mean_interval(second)


def shown_as(value: Interval, unit: str = "") -> str:
    """An interval as a cell."""
    scale = 100 if unit else 1
    digits = 0 if unit else 2
    cells = (f"{scale * v:.{digits}f}" for v in (value.value, value.low, value.high))
    return "{}{} ({} to {})".format(next(cells), unit, *cells)


def report(results: dict[str, Watched]) -> str:
    """token_frames.md."""
    chance = np.random.default_rng(0)
    rows = []
    for kind, found in results.items():
        with_motion, without = contrast(found)
        rows.append(
            [
                kind,
                shown_as(right(found, [found.single]), " %"),
                shown_as(right(found, found.side), " %"),
                shown_as(error(found, np.abs(found.difference))),
                shown_as(error(found, found.read_out)),
                shown_as(error(found, chance.random(found.shown.shape))),
                f"{shown_as(with_motion)}; {shown_as(without)}",
            ]
        )
    header = [
        "distractors", "right, every token frame", "right, windows side by side",
        "error by \\|difference\\|", "error by read_out", "error of random numbers",
        "\\|difference\\| with and without motion",
    ]  # fmt: skip
    return f"""# Labels of single token frames

Written by `python tests/bench/token_frames.py`. Films of {CLIPS} motion clips (seed {SEED}) one
after the other, watched by motion-nano, {FRAMES} token frames of {SIZE} frames to a window. Right:
the share of the token frames filled by a motion that get its name; windows side by side begin at
each of the {FRAMES} token frames of the first clip in turn. Error: how far the ends of the stretch
that stands out are from those of the motion, token frames. Means over clips, 95 % intervals by
bootstrap.

{chr(10).join(markdown(header, rows))}
"""


def main() -> None:
    model, results = load_model("motion-nano"), {}
    for kind in ("none", "half"):
        source = MotionClips(seed=SEED, distractors=kind)
        results[kind] = watched(model, [source[n] for n in range(CLIPS)], range(FRAMES))
        print(kind, right(results[kind], [results[kind].single]), flush=True)
    pathlib.Path(__file__).with_suffix(".md").write_text(report(results))


if __name__ == "__main__":
    main()
