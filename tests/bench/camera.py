"""What the camera did in real films: `python tests/bench/camera.py`.

Reads the windows in ../shared/real_windows with their truth, as filmed and in five exact transforms
(mirrored, reversed, both, turned left and right), and compares three answers: `camera-nano` where
it is bundled, `measure_camera`, and phase correlation as scikit-image has it, which knows shifts
only. Writes camera.md beside this file.
"""

import json
import pathlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from skimage.registration import phase_cross_correlation
from tqdm.auto import tqdm

from vmamba_explore import Clip, load_clip, load_model, proportion, resources
from vmamba_explore.analysis.camera_motion import THRESHOLD, measure_camera
from vmamba_explore.clips.picture import middle_square

WINDOWS = pathlib.Path(__file__).parents[3] / "shared" / "real_windows"
MOVES = {
    "pan right": ("pan", 1), "pan left": ("pan", -1), "tilt down": ("tilt", 1),
    "tilt up": ("tilt", -1), "zoom in": ("zoom", 1), "zoom out": ("zoom", -1),
    "roll clockwise": ("roll", 1), "roll counterclockwise": ("roll", -1),
}  # fmt: skip
NAMES = {move: name for name, move in MOVES.items()}
LONGER = {"roll cw": "roll clockwise", "roll ccw": "roll counterclockwise"}
SIDEWAYS = ("pan", "roll")


def mirrored(axis: str, sign: int) -> tuple[str, int]:
    """What a camera does in a mirrored clip."""
    return axis, -sign if axis in SIDEWAYS else sign


TRANSFORMS = {
    "as filmed": (lambda frames: frames, lambda axis, sign: (axis, sign)),
    "mirrored": (lambda frames: frames[:, :, ::-1], mirrored),
    "reversed": (lambda frames: frames[::-1], lambda axis, sign: (axis, -sign)),
    "mirrored and reversed": (
        lambda frames: frames[::-1, :, ::-1],
        lambda axis, sign: mirrored(axis, -sign),
    ),
    "turned left": (
        lambda frames: np.rot90(frames, 1, (1, 2)),
        lambda axis, sign: {"pan": ("tilt", -sign), "tilt": ("pan", sign)}.get(axis, (axis, sign)),
    ),
    "turned right": (
        lambda frames: np.rot90(frames, 3, (1, 2)),
        lambda axis, sign: {"pan": ("tilt", sign), "tilt": ("pan", -sign)}.get(axis, (axis, sign)),
    ),
}


@dataclass(frozen=True)
class Answer:
    """What was filmed in a window, and what was said of it."""

    film: str
    transform: str
    truth: str
    said: dict[str, str]


def transformed(clip: Clip, truth: str) -> Iterator[tuple[str, Clip, str]]:
    """A clip in each transform, with what the camera then does."""
    for name, (frames, move) in TRANSFORMS.items():
        label = NAMES[move(*MOVES[truth])] if truth in MOVES else truth
        yield name, replace(clip, frames=np.ascontiguousarray(frames(clip.frames))), label


def windows() -> Iterator[tuple[str, str, Clip, str]]:
    """Film, transform, clip and truth of every window in every transform."""
    for row in json.loads((WINDOWS / "truth.json").read_text("utf-8")):
        clip = load_clip(WINDOWS / row["file"], 16, 1, 0, 128)
        for name, each, truth in transformed(clip, LONGER.get(row["label"], row["label"])):
            yield row["video"], name, each, truth


def by_phase(clip: Clip) -> str:
    """The class by phase correlation alone."""
    gray = clip.frames.mean(-1)
    steps = [
        phase_cross_correlation(second, first, upsample_factor=10)[0]
        for first, second in pairwise(gray)
    ]
    down, right = np.sum(steps, 0) / clip.frames.shape[1]
    axis, size = max((("pan", -right), ("tilt", -down)), key=lambda move: abs(move[1]))
    return "static" if abs(size) < THRESHOLD else NAMES[axis, int(np.sign(size))]


def predictors() -> dict:
    """A function from a clip to a class for each of what is compared."""
    found = {"measure_camera": lambda clip: measure_camera(clip).label, "phase": by_phase}
    if (resources.data_dir() / "camera-nano").is_dir():
        model = load_model("camera-nano")
        side = model.config.img_size
        found["camera-nano"] = lambda clip: model.predict(shrunk(clip, side), 1)[0].name
    return found


def shrunk(clip: Clip, side: int) -> Clip:
    """The clip as `load_clip` reads it for a model of this size."""
    return replace(clip, frames=np.stack([middle_square(frame, side) for frame in clip.frames]))


def table(title: str, groups: dict[str, list[Answer]], names: list[str]) -> str:
    """Share of right answers of each group and predictor, with 95 % intervals (Wilson)."""
    lines = [f"| {title} | clips | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for group, answers in groups.items():
        shares = [
            proportion(np.array([one.said[name] == one.truth for one in answers])) for name in names
        ]
        cells = [f"{s.value:.1%} ({s.low:.0%} to {s.high:.0%})" for s in shares]
        lines.append(f"| {group} | {len(answers)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def grouped(answers: list[Answer], key: str) -> dict[str, list[Answer]]:
    """The answers by film, truth or transform."""
    groups = defaultdict(list)
    for answer in answers:
        groups[getattr(answer, key)].append(answer)
    return dict(sorted(groups.items()))


def confusions(answers: list[Answer], name: str) -> str:
    """What was said in place of the truth, the most common first."""
    wrong = Counter((one.truth, one.said[name]) for one in answers if one.said[name] != one.truth)
    lines = ["| filmed | said | clips |", "|---|---|---|"]
    lines += [f"| {truth} | {said or '(not measured)'} | {n} |" for (truth, said), n in
              wrong.most_common(15)]  # fmt: skip
    return "\n".join(lines)


def page(answers: list[Answer]) -> str:
    """All tables, as Markdown."""
    names = list(answers[0].said)
    parts = [
        "# What the camera did in real films",
        "Written by `python tests/bench/camera.py`. Windows of 16 frames of public films, as "
        "filmed and in five exact transforms; the answers of one film are alike, so the intervals "
        '(Wilson, clips) are too narrow. "mixed", "cut" and an answer that was not given count '
        "as wrong.",
        table("", {"all": answers}, names),
        table("transform", grouped(answers, "transform"), names),
        table("filmed", grouped(answers, "truth"), names),
        table("film", grouped(answers, "film"), names),
        *(f"## Wrong answers of {name}\n\n{confusions(answers, name)}" for name in names),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure and write."""
    known = predictors()
    answers = [
        Answer(film, name, truth, {who: say(clip) for who, say in known.items()})
        for film, name, clip, truth in tqdm(windows(), "windows")
    ]
    pathlib.Path(__file__).with_suffix(".md").write_text(page(answers))


if __name__ == "__main__":
    main()
