"""Measure what a model says about the camera on windows of real films, and their exact changes.

The windows are for evaluation only and are not part of this project: a folder of clips of 16
frames, with truth.json, in which each has its film, and its label as measured over the whole
picture. Of each window there are six: as filmed, mirrored, backward, both, and two quarter turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from skimage.registration import phase_cross_correlation
from skimage.transform import warp_polar
from tqdm.auto import tqdm

from vmamba_explore.analysis.camera_motion import measure_camera
from vmamba_explore.clips.camera import CLASS_NAMES, Change
from vmamba_explore.clips.camera_path import STILL, UNITS, direction_class
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.errors import one_line
from vmamba_explore.files import read_json
from vmamba_explore.studies.subjects.camera_scores import Answers, judge

CHANGES = {
    "as filmed": Change(),
    "mirrored": Change(mirror=True),
    "backward": Change(backward=True),
    "mirrored and backward": Change(mirror=True, backward=True),
    "quarter turn": Change(quarters=1),
    "three quarter turns": Change(quarters=3),
}
DASH_CAM = ("drive_white.mp4",)
_SHORT = {"roll cw": "roll clockwise", "roll ccw": "roll counterclockwise"}
Frames = UInt8[np.ndarray, "16 64 64 3"]


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a film, possibly changed.

    Args:
        frames: What a model reads.
        label: Index into `CLASS_NAMES`.
        film: Name of the film.
        change: Key of `CHANGES`.
    """

    frames: Frames
    label: int
    film: str
    change: str


def read_windows(folder: Path) -> list[Window]:
    """Read all windows of a folder, each in its six versions.

    Raises:
        FileNotFoundError: the folder has no truth.json.
    """
    if not (folder / "truth.json").is_file():
        raise FileNotFoundError(f"read_windows: {one_line(folder)} has no truth.json.")
    windows = []
    rows = read_json(folder / "truth.json", list, "read_windows")
    for row in tqdm(rows, desc="real windows", unit="window"):
        frames = load_clip(folder / row["file"], 16, 1, 0, 64).frames
        label = CLASS_NAMES.index(_SHORT.get(row["label"], row["label"]))
        for name, change in CHANGES.items():
            changed = int(change.classes()[label])
            windows.append(Window(change.frames(frames), changed, row["video"], name))
    return windows


def answers_to(windows: list[Window], probabilities: Float64[np.ndarray, "windows 10"]) -> Answers:
    """Put a model's probabilities beside the windows' truth."""
    return Answers(
        probabilities,
        np.array([window.label for window in windows]),
        np.array([window.film for window in windows]),
    )


def judge_windows(
    windows: list[Window], probabilities: Float64[np.ndarray, "windows 10"], threshold: float
) -> dict[str, Any]:
    """Scores on all windows, as filmed, changed, of dash cams, and by film; ready for JSON."""
    answers = answers_to(windows, probabilities)
    plain = np.array([window.change == "as filmed" for window in windows])
    drive = np.isin(answers.groups, DASH_CAM)
    parts = {"as_filmed": plain, "changed": ~plain, "moving": answers.labels > 0}
    if drive.any():
        parts |= {"dash_cam": drive, "without_dash_cam": ~drive}
    result = judge(answers, threshold)
    for name, chosen in parts.items():
        judged = judge(answers[chosen], threshold)
        result[name] = {k: judged[k] for k in ("clips", "films", "accuracy", "opposite")}
    result["by_film"] = {
        str(film): _film(answers[answers.groups == film]) for film in np.unique(answers.groups)
    }
    return result


def _film(answers: Answers) -> dict[str, Any]:
    """Clips and accuracy of one film, and what was said for each true class."""
    said: dict[str, dict[str, int]] = {}
    for label, named in zip(answers.labels, answers.named, strict=True):
        row = said.setdefault(CLASS_NAMES[label], {})
        row[CLASS_NAMES[named]] = row.get(CLASS_NAMES[named], 0) + 1
    right = round(float(answers.right.mean()), 4)
    return {"clips": len(answers.labels), "accuracy": right, "said": said}


def certain(names: list[str]) -> Float64[np.ndarray, "windows 10"]:
    """Names of classes as probabilities: 1 for the class; all alike for other names."""
    rows = [[float(name == other) for other in CLASS_NAMES] for name in names]
    table = np.array(rows)
    table[table.sum(1) == 0] = 1 / len(CLASS_NAMES)
    return table


def ask(
    windows: list[Window], method: Callable[[Frames], str], name: str
) -> Float64[np.ndarray, "windows 10"]:
    """Let a method without learning name the class of every window."""
    bar = tqdm(windows, desc=name, unit="window")
    return certain([method(window.frames) for window in bar])


def reference(frames: Frames) -> str:
    """Name what the camera does as measured without learning, mixed motions by their largest part.

    A clip that cannot be measured gets no name.
    """
    number = np.arange(len(frames))
    motion = measure_camera(Clip(frames, number / 8, "window", number))
    if motion.label in ("mixed", ""):
        return class_of(motion.total / UNITS) if motion.label else ""
    return motion.label


def phase_correlation(frames: Frames) -> str:
    """Name what the camera does by phase correlation: shifts, then zoom and turn of the spectrum.

    Shifts are summed over successive frames; zooms and turns, of which a single step is too small
    for a grid of frequencies, over every fifth.
    """
    gray = frames.mean(-1)
    side = gray.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))
    seen = (gray - gray.mean((1, 2), keepdims=True)) * window
    moved = np.zeros(4)
    for before, after in pairwise(seen):
        down, right = _shift(after, before)
        moved[:2] += np.array([-right, -down]) / side
    radius = side / 2
    spectra = [
        warp_polar(
            np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(each)))), radius=radius, scaling="log"
        )[:180]
        for each in seen[::5]
    ]
    for before, after in pairwise(spectra):
        turn, grow = _shift(after, before)
        scale = np.log(radius) / before.shape[1]
        moved[2:] += np.array([-grow * scale, -np.deg2rad(turn)])
    return class_of(moved)


def _shift(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return -phase_cross_correlation(before, after, upsample_factor=20)[0]


def class_of(moved: Float64[np.ndarray, " 4"]) -> str:
    """The class of a whole movement of the camera: its largest part, or static."""
    parts = moved * UNITS
    axis = int(np.abs(parts).argmax())
    if abs(parts[axis]) < STILL:
        return CLASS_NAMES[0]
    return CLASS_NAMES[direction_class(axis, parts[axis])]
