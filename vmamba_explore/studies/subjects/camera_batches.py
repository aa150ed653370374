"""Batches for `camera-nano`: a growing store of camera clips, each changed exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from vmamba_explore.clips.camera import CLASS_NAMES, CameraClips, Change
from vmamba_explore.clips.camera_path import KINDS, LEVELS, Level, Pose, flow_on_grid, label_of

EASY_CLIPS, EASY_STEPS = 1320, 400
"""The first clips are easy ones, and the first steps have no others."""
FIRST = 660
"""Further clips that are there after the easy steps."""
NEW = 3
"""Further clips that every step brings from then on."""
HARD_EVERY = 3
"""Of that many rounds of kinds one is hard."""
WEIGHTS = np.array([2.0, 1, 1, 1, 1, 1, 1, 1, 1, 0.7, 1])
"""How often each kind is drawn."""
FOCUS = np.array([2.0, 0.8, 0.8, 0.8, 0.8, 2, 2, 1.2, 1.2, 0.7, 0.8])
"""The same in batches that dwell on what is hard; half of their clips are hard ones."""
FLOW_UNIT = 0.05
Clips = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]]
"""Frames, labels and targets of clips."""


def clips_until(step: int) -> int:
    """How many clips there are at a step."""
    return EASY_CLIPS if step < EASY_STEPS else EASY_CLIPS + FIRST + NEW * (step - EASY_STEPS)


@dataclass(frozen=True)
class Store:
    """Clips that are rendered once and read many times, in files that grow as they are filled.

    The first `EASY_CLIPS` are easy; of the others, those of every third round of kinds are hard.

    Args:
        folder: Where the files are; a folder in it is named after what some of the clips look
            like, so that another generator's clips are not mixed with these.
        seed: Of the clips.
        photographs: Files of photographs.
        size: How many clips there can be.
    """

    folder: Path
    seed: int
    photographs: tuple[Path, ...]
    size: int

    def __call__(self, index: int) -> tuple[NDArray[np.uint8], Pose, NDArray[np.float64]]:
        """Frames, pose and target of a clip, rendered now if they have not been."""
        frames, poses, targets, done = _files(self)
        if not done[index]:
            hard = index // len(KINDS) % HARD_EVERY == 0
            level: Level = "easy" if index < EASY_CLIPS else "hard" if hard else "usual"
            clip = CameraClips(self.seed, photographs=self.photographs, level=level)[index]
            frames[index], poses[index], targets[index] = clip.clip.frames, clip.pose, clip.target
            done[index] = 1
        return frames[index], poses[index], targets[index]

    @property
    def place(self) -> Path:
        """The folder of this generator's clips over these photographs."""
        names = [path.name for path in self.photographs]
        digest = hashlib.sha256(repr((self.seed, names)).encode())
        for level in LEVELS:
            series = CameraClips(self.seed, photographs=self.photographs, level=level)
            for clip in (series[2], series[5], series[9]):
                digest.update(clip.clip.frames.tobytes() + clip.pose.tobytes())
        return self.folder / digest.hexdigest()[:12]


@cache
def _files(store: Store) -> tuple[np.ndarray, ...]:
    place = store.place
    place.mkdir(parents=True, exist_ok=True)
    shapes = {
        "frames": (np.uint8, (16, 64, 64, 3)),
        "poses": (np.float64, (16, 4)),
        "targets": (np.float64, (len(CLASS_NAMES),)),
        "done": (np.uint8, ()),
    }
    opened = []
    for name, (kind, shape) in shapes.items():
        path = place / name
        path.touch()
        needed = store.size * int(np.prod(shape)) * np.dtype(kind).itemsize
        if path.stat().st_size < needed:
            with path.open("r+b") as file:
                file.truncate(needed)
        opened.append(np.memmap(path, kind, "r+", shape=(store.size, *shape)))
    return tuple(opened)


@dataclass(frozen=True)
class CameraBatches:
    """The batch of each step: some clips for the first time, others changed in other ways.

    Args:
        store: Where the clips come from.
        batch_size: Clips of a batch.
        tubelet_size: Frames that a token sees.
        grid: Tokens across the picture.
        seed: Of what is drawn.
        start: Steps that other batches of the same series have had before.
        focus: Dwell on what is hard.

    `batches(step)` gives frames, labels (-1 for mixed), targets (batch, 10), and the flow of each
    token (batch, tokens, 2), see `token_flow`.
    """

    store: Store
    batch_size: int = 32
    tubelet_size: int = 4
    grid: int = 8
    seed: int = 7
    start: int = 0
    focus: bool = False

    def __call__(self, step: int) -> tuple[NDArray[np.generic], ...]:
        step += self.start
        rng = np.random.default_rng([self.seed, step])
        there = clips_until(step)
        new = range(there, clips_until(step + 1)) if step >= EASY_STEPS else range(0)
        weights = FOCUS if self.focus else WEIGHTS
        kinds = rng.choice(len(KINDS), self.batch_size - len(new), p=weights / weights.sum())
        rounds = rng.integers(there // len(KINDS), size=len(kinds))
        if self.focus:
            first = EASY_CLIPS // len(KINDS)
            rounds = rng.integers(first, there // len(KINDS), size=len(kinds))
            to_hard = rng.uniform(size=len(kinds)) < 0.25
            rounds[to_hard] -= rounds[to_hard] % HARD_EVERY
        old = kinds + len(KINDS) * rounds
        rows = []
        for index in (*new, *old.tolist()):
            frames, pose, target = self.store(index)
            change = draw_change(rng)
            changed = change.target(np.asarray(target))
            moved = token_flow(change.pose(np.asarray(pose)), self.tubelet_size, self.grid)
            rows.append((change.frames(frames), label_of(changed), changed, moved))
        frames, labels, targets, flows = zip(*rows, strict=True)
        return (
            np.stack(frames),
            np.array(labels),
            np.stack(targets).astype(np.float32),
            np.stack(flows).astype(np.float32),
        )


def draw_change(rng: np.random.Generator) -> Change:
    """Draw one of the exact changes; colors are exchanged in three clips of ten."""
    order = rng.permutation(3).tolist() if rng.uniform() < 0.3 else (0, 1, 2)
    return Change(
        mirror=rng.uniform() < 0.5,
        backward=rng.uniform() < 0.5,
        quarters=int(rng.integers(4)) if rng.uniform() < 0.6 else 0,
        channels=tuple(order),
        negative=rng.uniform() < 0.1,
    )


def token_flow(pose: Pose, tubelet_size: int, grid: int) -> NDArray[np.float64]:
    """How the camera moves the content under each token, (tokens, 2).

    Movement at the speed between the frames around the tubelet, for the whole clip, in shares of
    the side; as the inverse hyperbolic sine of multiples of `FLOW_UNIT`, so that slow movements
    count as much as fast ones.
    """
    last = len(pose) - 1
    first = np.arange(0, len(pose), tubelet_size)
    before, after = np.maximum(first - 1, 0), np.minimum(first + tubelet_size, last)
    speed = (pose[after] - pose[before]) * (last / (after - before))[:, None]
    return np.arcsinh(flow_on_grid(speed, grid) / FLOW_UNIT).reshape(-1, 2)


def clips_of(photographs: Sequence[Path], seed: int, level: Level, count: int) -> Clips:
    """Render the first clips of a series: frames, labels and targets."""
    series = CameraClips(seed, photographs=photographs, level=level)
    made = [series[i] for i in tqdm(range(count), desc=f"{level} clips", unit="clip")]
    return (
        np.stack([clip.clip.frames for clip in made]),
        np.array([clip.label for clip in made]),
        np.stack([clip.target for clip in made]),
    )
