"""Write the bundled clips: `python -m vmamba_explore.studies.subjects.samples`, `make clips`.

Each is a motion clip, a recall clip or a camera clip over a photograph that the bundled models were
not trained on, as a film of 32 frames at 16 frames per second, of which `load_clip(path,
img_size=64)` with its usual stride of 2 reads every second. Those are the frames of the motion or
recall clip; the others lie half-way, or, in recall clips, are the same again. A camera clip is
filmed at 16 frames per second.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from vmamba_explore import resources
from vmamba_explore.clips.camera import CameraClip, CameraClips
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.labeled import runs
from vmamba_explore.clips.motion import MotionClip, MotionClips
from vmamba_explore.clips.motion_plan import TURN, Ints
from vmamba_explore.clips.motion_render import Layer, draw_frames
from vmamba_explore.clips.photographs import bundled
from vmamba_explore.clips.recall import RecallClip, RecallClips
from vmamba_explore.files import atomic_write, write_json

SEED, IMG_SIZE, FPS = 7, 224, 16
HEADING = "## Clips"
PHOTOGRAPHS = bundled("test")[:2]
"""What camera clips are filmed over: the two that the section below names."""
_FASTEST = TURN // 4  # a phase that jumps further between two frames belongs to a cut


@dataclass(frozen=True)
class Sample(ABC):
    """One bundled clip of the stream `SEED`; `model` is the one that reads it."""

    model: ClassVar[str]
    name: str
    index: int

    @abstractmethod
    def truth(self, img_size: int = IMG_SIZE) -> MotionClip | RecallClip | CameraClip:
        """Generate the clip that it is made from."""

    @property
    def shows(self) -> str:
        """The class in words."""
        return self.truth().class_name

    def known(self) -> dict[str, Any]:
        """What it shows and which of the 16 frames that `load_clip` reads decide, for a file."""
        truth = self.truth(64)
        frames = truth.deciding[:: len(truth.deciding) // 16]
        return {"model": self.model, "shows": truth.class_name, "deciding": runs(frames)}

    @property
    @abstractmethod
    def made_from(self) -> str:
        """Which clip of the series it is, in words."""

    @abstractmethod
    def film(self) -> UInt8[np.ndarray, "num_frames height width 3"]:
        """Render it at twice the frame rate, (32, 224, 224, 3)."""


@dataclass(frozen=True)
class PaintedSample(Sample):
    """A motion or a recall clip, with distractors or without."""

    series: ClassVar[type[MotionClips] | type[RecallClips]]
    distractor: bool = False

    def clips(self, img_size: int) -> Any:
        """The series that the sample comes from."""
        distractors: Any = "all" if self.distractor else "none"
        return self.series(SEED, img_size=img_size, backgrounds="test", distractors=distractors)


@dataclass(frozen=True)
class MotionSample(PaintedSample):
    """A motion clip, or its twin."""

    model = "motion-nano"
    series = MotionClips
    twin: bool = False

    def truth(self, img_size: int = IMG_SIZE) -> MotionClip:
        clips = self.clips(img_size)
        return clips.twin(self.index) if self.twin else clips[self.index]

    @property
    def made_from(self) -> str:
        return f"{'twin of ' if self.twin else ''}motion clip {self.index}"

    def film(self) -> UInt8[np.ndarray, "num_frames height width 3"]:
        clips = self.clips(IMG_SIZE)
        plan = clips.plan(self.index, self.twin)
        actors = [plan.distractor, plan.target] if self.distractor else [plan.target]
        layers = [
            Layer(int(a.sprites[0]), _half_steps(a.poses[0]), a is plan.target, IMG_SIZE)
            for a in actors
        ]
        return draw_frames(clips.background(self.index), layers, 32)


@dataclass(frozen=True)
class RecallSample(PaintedSample):
    """A recall clip, its sample's color moved by some steps; each frame is shown twice."""

    model = "recall-nano"
    series = RecallClips
    step: int = 0

    def truth(self, img_size: int = IMG_SIZE) -> RecallClip:
        return self.clips(img_size).other_sample(self.index, self.step)

    @property
    def made_from(self) -> str:
        moved = f", the sample's color {self.step} further" if self.step else ""
        return f"recall clip {self.index}{moved}"

    def film(self) -> UInt8[np.ndarray, "num_frames height width 3"]:
        return self.truth().clip.frames.repeat(2, axis=0)


@dataclass(frozen=True)
class CameraSample(Sample):
    """A camera clip, filmed at twice the frame rate."""

    model = "camera-nano"

    def truth(self, img_size: int = IMG_SIZE) -> CameraClip:
        clips = CameraClips(SEED, img_size=img_size, num_frames=32, photographs=PHOTOGRAPHS)
        return clips[self.index]

    @property
    def made_from(self) -> str:
        return f"camera clip {self.index}"

    def film(self) -> UInt8[np.ndarray, "num_frames height width 3"]:
        return self.truth().clip.frames


SAMPLES: tuple[Sample, ...] = (
    MotionSample("right", 154),
    MotionSample("right_twin", 154, twin=True),
    MotionSample("clockwise", 71),
    MotionSample("vanish", 232),
    MotionSample("approach_with_distractor", 46, distractor=True),
    MotionSample("up_with_distractor", 402, distractor=True),
    # all three with the sample in frame 2 and the test in frame 11; two differ in the sample only
    RecallSample("recall_red_blue", 313),
    RecallSample("recall_yellow_blue", 313, step=1),
    RecallSample("recall_green_blue_with_distractors", 71, distractor=True),
    CameraSample("camera_pan_right", 79),
    CameraSample("camera_zoom_in", 49),
    CameraSample("camera_roll_clockwise", 7),
    CameraSample("camera_cut", 97),
)


def _half_steps(poses: Ints) -> Ints:
    """Put a pose half-way after each one, (2 * num_frames, 5); before a cut, the same again."""
    step = (np.roll(poses, -1, axis=0) - poses + TURN // 2) % TURN - TURN // 2
    step[(np.abs(step) > _FASTEST).any(axis=1)] = 0
    step[-1] = 0
    return np.stack([poses, (poses + step // 2) % TURN], axis=1).reshape(-1, poses.shape[1])


def write_samples(folder: Path) -> str:
    """Write every sample into `folder` and return what there is to say about them, as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    write_json(folder / "shown.json", {sample.name: sample.known() for sample in SAMPLES})
    for sample in SAMPLES:
        path = folder / f"{sample.name}.mp4"
        write_clip(path, sample.film(), FPS)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(f"| {path.name} | {sample.shows} | {sample.made_from} | `{digest}` |")
    return (
        f"""{HEADING}

Generated by this project (Apache-2.0, like the rest of it) over photographs that ship with
scikit-image: `coffee.png` (Rachel Michetti, CC0) and `rocket.jpg` (SpaceX, public domain). The
command, which also rewrites this section:

    python -m vmamba_explore.studies.subjects.samples

Each is a clip of `MotionClips({SEED}, img_size={IMG_SIZE}, backgrounds="test")`, or of
`RecallClips` with the same arguments, as an H.264 film of 32 frames at {FPS} frames per second;
frames 0, 2, 4 ... 30 are those of that clip. Camera clips are those of
`CameraClips({SEED}, img_size={IMG_SIZE}, num_frames=32)` over the two photographs: a virtual camera
moves over a picture, nothing in them was filmed. `clips/shown.json` has, by clip, the bundled model
that reads it, what it shows, and which frames decide, first and last of each stretch of the 16.
Another release of x264, or another run on several cores, may write other bytes.

| file | what it shows | made from | sha256 |
|---|---|---|---|
"""
        + "\n".join(rows)
        + "\n"
    )


def main() -> None:
    """Write `data/clips/` and the section about it in `data/SOURCES.md`."""
    section = write_samples(resources.data_dir() / "clips")
    sources = resources.data_dir() / "SOURCES.md"
    text = sources.read_text(encoding="utf-8") if sources.exists() else "# Bundled files\n\n"
    before, _, rest = text.partition(HEADING)
    _, heading, after = rest.partition("\n## ")
    atomic_write(sources, before + section + heading + after)


if __name__ == "__main__":
    main()
