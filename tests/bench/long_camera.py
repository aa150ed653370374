"""A long film with known cuts and camera motions: `python tests/bench/long_camera.py [MODEL]`.

Joins windows of ../shared/real_windows to one film: windows that follow each other or overlap in
the same film and show the same motion are one shot; shots of a moving camera come forward and
backward, shots of a still one are played to and fro twice. Shots of different films follow each
other, and each begins a few frames late, so that cuts lie anywhere in a window. `watch` then says
what it sees. Writes long_camera.md beside this file.
"""

import json
import pathlib
import sys
import tempfile
from dataclasses import dataclass

import av
import numpy as np

from vmamba_explore import load_clip, proportion, watch
from vmamba_explore.analysis.timeline import CUT, Timeline
from vmamba_explore.model.bundled import ON_ANY_CLIP, UNDECIDED

WINDOWS = pathlib.Path(__file__).parents[3] / "shared" / "real_windows"
FPS, FRAMES, SIDE = 12, 16, 128
DASH_CAM = "drive_white.mp4"
OPPOSITE = {
    one: other
    for pair in (("pan left", "pan right"), ("tilt up", "tilt down"), ("zoom in", "zoom out"))
    for one, other in (pair, pair[::-1])
}
WITH_A_CUT = ("039_zoom_out.mp4", "040_zoom_out.mp4")
"""Looked at: there is a cut in them, which their truth leaves out."""


@dataclass(frozen=True)
class Shot:
    """A stretch of one film with one motion of the camera.

    Attributes:
        film: Its file.
        label: What the camera does.
        windows: The windows' files, and how many frames of each the one before has shown already.
        backward: Whether it is played so.
    """

    film: str
    label: str
    windows: tuple[tuple[str, int], ...]
    backward: bool = False

    def frames(self) -> np.ndarray:
        """Its frames, (frame, SIDE, SIDE, 3)."""
        parts = [
            load_clip(WINDOWS / file, FRAMES, 1, 0, SIDE).frames[shown:]
            for file, shown in self.windows
        ]
        frames = np.concatenate(parts)
        if self.label == "static":
            return np.concatenate([frames, frames[-2:0:-1], frames])
        return frames[::-1] if self.backward else frames


def shots(rows: list[dict]) -> list[Shot]:
    """Shots of more than a window, neighbors of different films as far as there are such."""
    found: list[list[dict]] = []
    for row in sorted(rows, key=lambda row: (row["video"], row["stride"], row["start"])):
        if row["file"] in WITH_A_CUT:
            continue
        before = found[-1][-1] if found else None
        same = before and all(before[key] == row[key] for key in ("video", "label", "stride"))
        gap = (row["start"] - before["start"]) / row["stride"] if same else 0.0
        if gap.is_integer() and 0 < gap <= FRAMES:
            found[-1].append(row | {"shown": FRAMES - int(gap)})
        else:
            found.append([row | {"shown": 0}])
    parts = []
    for chain in found:
        if len(chain) > 1:
            film, label = (chain[0][key] for key in ("video", "label"))
            windows = tuple((row["file"], row["shown"]) for row in chain)
            parts.append(Shot(film, label, windows))
            if label != "static":
                parts.append(Shot(film, OPPOSITE[label], windows, backward=True))
    return alternating(parts)


def alternating(parts: list[Shot]) -> list[Shot]:
    """An order in which neighbors are of different films, as far as there is one."""
    left = {film: [shot for shot in parts if shot.film == film] for film in {s.film for s in parts}}
    order: list[Shot] = []
    while any(left.values()):
        last = order[-1].film if order else ""
        films = sorted(left, key=lambda film: (film == last, -len(left[film]), film))
        order.append(left[next(film for film in films if left[film])].pop(0))
    return order


def write_film(path: pathlib.Path, parts: list[Shot], seed: int = 0) -> list[tuple[float, float]]:
    """Write the shots one after the other, each without its first 0 to 7 frames.

    Returns:
        When each starts and ends, seconds.
    """
    generator, count, spans = np.random.default_rng(seed), 0, []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "threads": "1"}
        for shot in parts:
            frames = shot.frames()[generator.integers(8) :]
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
            spans.append((count / FPS, (count + len(frames)) / FPS))
            count += len(frames)
        container.mux(stream.encode())
    return spans


def near(these: np.ndarray, those: np.ndarray, reach: float) -> np.ndarray:
    """Which of these lie within reach of one of those."""
    return np.array(
        [len(those) > 0 and np.abs(those - each).min() <= reach for each in these], bool
    )


def scores(found: Timeline, parts: list[Shot], spans: list[tuple[float, float]]) -> dict[str, str]:
    """How well a timeline agrees with the truth."""
    cuts, frame = np.array([start for start, _ in spans[1:]]), 1 / FPS
    windows = found.table[["start", "end"]].to_numpy()
    called = windows[np.array(found.said) == CUT]
    inside = [((start - frame < cuts) & (cuts < end + frame)).any() for start, end in called]
    hit = [((called[:, 0] - frame < cut) & (cut < called[:, 1] + frame)).any() for cut in cuts]
    changes = np.array(
        [spans[n][0] for n in range(1, len(parts)) if parts[n].label != parts[n - 1].label]
    )
    edges = np.array([segment.start for segment in found.segments()[1:]])
    error = np.array([np.abs(edges - change).min() for change in changes])
    window = FRAMES / FPS
    return {
        "cuts measured without learning, recall": str(proportion(near(cuts, found.cuts, frame))),
        "precision": str(proportion(near(found.cuts, cuts, frame))),
        "windows that the model calls a cut, recall of cuts": str(proportion(np.array(hit))),
        "precision of windows": str(proportion(np.array(inside))) if inside else "no such window",
        "changes of motion with a boundary within a window": str(proportion(error <= window)),
        "mean error of those, s": f"{error[error <= window].mean():.2f}",
        **shares(found, parts, spans),
    }


def shares(found: Timeline, parts: list[Shot], spans: list[tuple[float, float]]) -> dict[str, str]:
    """In how much of the time the motion is named right, by the model and by the measurement."""
    times = np.arange(spans[0][0], spans[-1][1], 0.1)
    truth = [int(np.searchsorted([end for _, end in spans], at, "right")) for at in times]
    segments = found.segments()
    said, measured = [], []
    for at in times:
        segment = next(s for s in segments if s.start <= at < s.end or s is segments[-1])
        said.append(segment.name)
        measured.append(found.table["camera"][found.window_at(at)])
    names = np.array([parts[n].label for n in truth])
    drive = np.array([parts[n].film == DASH_CAM and not parts[n].backward for n in truth])
    said, measured = np.array(said), np.array(measured)
    whole, answered = measured != CUT, said != UNDECIDED
    return {
        "time with the right motion, model": f"{(said == names).mean():.1%}",
        "in windows without a measured cut": f"{(said == names)[whole].mean():.1%}",
        "time with an answer, model, there": f"{answered[whole].mean():.1%}",
        "right where it answers, there": f"{(said == names)[whole & answered].mean():.1%}",
        "time with the right motion, measured, there": f"{(measured == names)[whole].mean():.1%}",
        "dash cam: time as zoom in, model": f"{(said[drive] == 'zoom in').mean():.1%}",
        "dash cam: time as zoom in, measured, there": (
            f"{(measured[drive & whole] == 'zoom in').mean():.1%}"
        ),
    }


def main(model: str) -> None:
    """Measure and write."""
    parts = shots(json.loads((WINDOWS / "truth.json").read_text("utf-8")))
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "film.mp4"
        spans = write_film(path, parts)
        for hop in (16, 8, 4):
            columns[hop] = scores(watch(path, model, stride=1, hop=hop), parts, spans)
    rows = [
        f"| {name} | {' | '.join(columns[hop][name] for hop in columns)} |" for name in columns[16]
    ]
    text = f"""# A long film with known cuts

Written by `python tests/bench/long_camera.py`. {len(parts)} shots of real films joined to
{spans[-1][1]:.0f} s at {FPS} frames a second; `watch(film, stride=1, hop=...)` with `camera-nano`,
windows of {FRAMES} frames. A cut is found within one frame. Intervals: 95 %, Wilson.

| | {" | ".join(f"hop {hop}" for hop in columns)} |
|---|{"---|" * len(columns)}
{chr(10).join(rows)}
"""
    pathlib.Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:2] or [ON_ANY_CLIP])
