"""Timeline: what a model said of one window of a long video after the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from vmamba_explore.analysis.camera_motion import COMPONENTS
from vmamba_explore.files import atomic_write
from vmamba_explore.model.bundled import UNDECIDED
from vmamba_explore.spreadsheets import csv_text

FIXED = ("window", "frame", "start", "end", "repeated", "reason", "name", "margin")
"""Columns of every table; those that depend on the model follow, see `Timeline`."""


CUT = "cut"
"""The class of a window in which a new shot starts."""


@dataclass(frozen=True)
class Segment:
    """Neighboring windows of which a model says the same, or that failed alike.

    Where the camera was measured, segments meet at a cut if there is one within their windows.

    Args:
        start: Seconds.
        end: Seconds.
        name: The most probable class, or `UNDECIDED`; "" where the windows failed.
        probability: The most probable class's mean over the windows, 0..1; NaN where they failed.
        windows: How many.
        reason: Why they failed; "" where they did not.
        measured: The camera's motion in most of the windows, measured without learning; "" where
            it was not measured.
    """

    start: float
    end: float
    name: str
    probability: float
    windows: int
    reason: str = ""
    measured: str = ""


@dataclass(frozen=True, eq=False)
class Timeline:
    """A table with a row for each window, in the order of the video.

    Its columns: `window` and `frame` (its number, and that of its first source frame), `start` and
    `end` (seconds), `repeated` (clip frames that only repeat the last one), `reason` (why the
    window failed; empty where it did not, else all that follow are), `name` (the most probable
    class), `margin` (what was explained, logits), `class_1`, `probability_1`, `class_2`, ... (the
    most probable classes, the first is the most probable), `delta_3_forward`, ... (mean step size
    of a layer and direction), and `evidence_0`, ... where it was asked for (what each token frame
    adds to the margin, logits).

    With every="token frame" windows start one token frame after the other, and two more columns
    are about the token frame in the middle of each: `read_out` (the margin that its own tokens
    give: the last norm and the head, applied to them and averaged; the blocks have mixed the
    window into them) and `difference` (what the window's margin loses when the model does not get
    that frame's tokens). `token_frames` lists them with their times. On films of motion clips the
    labels are right; neither column tells well where a motion starts and ends
    (tests/bench/token_frames.md).

    Of a model that names the camera's motion, the camera is measured, too, without learning:
    `camera` (what it does in the window, as `CameraMotion.label`), `camera_pan`, `camera_tilt`,
    `camera_zoom`, `camera_roll` (how far, in sides of the picture), `inliers` and `measured` (mean
    share of the picture that follows, share of the steps that were measured), and `cuts` (seconds
    at which new shots start, each in one row only; between windows, too).

    Attributes:
        table: The rows.
        path: The video.
        seconds: How long the video is, as its file says.
        settings: How it was watched.
        watched: Seconds of video that this call went through, windows done before left out.
        worked: Seconds that this took.
        finished: Whether the video was watched to its end.
    """

    table: pd.DataFrame
    path: str
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    watched: float = 0.0
    worked: float = 0.0
    finished: bool = True

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        name, failed = os.path.basename(self.path), int(self.failed.sum())
        end = "" if self.finished else ", not finished"
        speed = ""
        if self.worked > 0:
            speed = (
                f"; {self.watched:.1f} s of video in {self.worked:.1f} s, "
                f"{self.realtime:.2f} times as fast as it plays"
            )
        return f"Timeline of {name!r}: {len(self)} windows, {failed} failed{end}{speed}"

    @property
    def realtime(self) -> float:
        """Seconds of video watched in a second; above 1 is faster than it plays, NaN is unknown."""
        return self.watched / self.worked if self.worked > 0 else float("nan")

    @property
    def failed(self) -> Bool[np.ndarray, " window"]:
        """Which windows failed; `table.reason` says why."""
        return (self.table["reason"] != "").to_numpy(bool)

    @property
    def said(self) -> list[str]:
        """The class of each window, `UNDECIDED` where it is less probable than the model's
        answers are; "" where the window failed."""
        least = self.settings.get("undecided_below", 0.0)
        likely = self.table["probability_1"].to_numpy(np.float64)
        names = self.table["name"].tolist()
        return [UNDECIDED if p < least else name for name, p in zip(names, likely, strict=True)]

    @property
    def cuts(self) -> Float64[np.ndarray, " cut"]:
        """Seconds at which new shots start, measured without learning; none where the model does
        not name the camera's motion."""
        told = self.table["cuts"] if "cuts" in self.table else []
        return np.array(sorted(float(second) for row in told for second in row.split()), np.float64)

    @property
    def camera(self) -> pd.DataFrame | None:
        """How the camera moves in each window, sides of the picture in a second: columns pan, tilt,
        zoom, roll; None where it was not measured."""
        if "camera" not in self.table:
            return None
        length = self.table["end"] - self.table["start"]
        moved = {name: self.table[f"camera_{name}"] / length for name in COMPONENTS}
        return pd.DataFrame(moved).where(self.table["measured"] > 0)

    @property
    def spans(self) -> Float64[np.ndarray, "window 2"]:
        """The start and end of what each window stands for, seconds.

        Where windows overlap, the boundary lies in the middle of the overlap.
        """
        spans = self.table[["start", "end"]].to_numpy(np.float64)
        middle = (spans[:-1, 1] + spans[1:, 0]) / 2
        trimmed = spans.copy()
        trimmed[1:, 0] = np.maximum(spans[1:, 0], middle)
        trimmed[:-1, 1] = np.minimum(spans[:-1, 1], middle)
        return trimmed

    @property
    def probabilities(self) -> pd.DataFrame:
        """The probability of each class in each window, a column for each class that ever was
        among the most probable, those first that were so most; 0 where it was not."""
        ranks = range(1, sum(name.startswith("class_") for name in self.table.columns) + 1)
        found: dict[int, NDArray[np.float64]] = {}
        for rank in ranks:
            classes, values = self.table[f"class_{rank}"], self.table[f"probability_{rank}"]
            for index in classes.dropna().unique():
                here = (classes == index).to_numpy()
                row = found.setdefault(int(index), np.zeros(len(self)))
                row[here] = values.to_numpy(np.float64)[here]
        ranked = sorted(found, key=lambda index: -found[index].sum())
        table = pd.DataFrame({index: found[index] for index in ranked}, index=self.table.index)
        table[self.failed] = np.nan
        return table.rename(columns=self.class_name)

    @property
    def delta(self) -> xr.DataArray:
        """The mean step size: dims window, layer, direction."""
        places = [n.split("_")[1:] for n in self.table.columns if n.startswith("delta_")]
        layers = sorted({int(layer) for layer, _ in places})
        directions = list(dict.fromkeys(direction for _, direction in places))
        values = np.stack(
            [
                [self.table[f"delta_{n}_{d}"].to_numpy(np.float64) for d in directions]
                for n in layers
            ]
        )
        return xr.DataArray(
            np.moveaxis(values, -1, 0),
            {"window": self.table["window"].to_numpy(), "layer": layers, "direction": directions},
            ("window", "layer", "direction"),
            name="mean delta",
        )

    @property
    def evidence(self) -> Float64[np.ndarray, "window frames"] | None:
        """What each token frame of a window adds to its margin, logits; None if not asked for."""
        columns = [name for name in self.table.columns if name.startswith("evidence_")]
        return self.table[columns].to_numpy(np.float64) if columns else None

    @property
    def token_frames(self) -> pd.DataFrame | None:
        """The token frame in the middle of each window: columns start and end (seconds), name,
        probability, margin, read_out, difference; None unless watched with every="token frame".

        The first and last of the video, nearer to an end than half a window, have no row.
        """
        if "difference" not in self.table:
            return None
        count, length = self.settings["num_frames"], self.settings["tubelet_size"]
        shown = count - self.table["repeated"]
        step = (self.table["end"] - self.table["start"]) / shown  # of a clip frame
        first = count // length // 2 * length
        start = self.table["start"] + first * step
        columns = ["name", "probability_1", "margin", "read_out", "difference"]
        found = self.table[columns].rename(columns={"probability_1": "probability"})
        found.insert(0, "end", start + length * step)
        found.insert(0, "start", start)
        return found[(first + length <= shown) & ~self.failed].reset_index(drop=True)

    def class_name(self, index: int) -> str:
        """A class in words."""
        names = self.settings.get("class_names")
        return names[index] if names else f"class {index}"

    def segments(self) -> list[Segment]:
        """Join neighboring windows of which the model says the same: between two of these the
        prediction changes.

        Where the camera was measured, what the model calls a cut is divided between its neighbors
        at the cuts measured there, and any other change lies at a measured cut if there is one
        within half a window.
        """
        reasons, names, spans = self.table["reason"].tolist(), self.said, self.spans
        likely = self.table["probability_1"].to_numpy(np.float64)
        measured = self.table["camera"].tolist() if "camera" in self.table else [""] * len(self)
        found = []
        for (name, reason), group in groupby(
            range(len(self)), lambda row: (names[row], reasons[row])
        ):
            rows = list(group)
            found.append(
                Segment(
                    start=float(spans[rows[0], 0]), end=float(spans[rows[-1], 1]), name=name,
                    probability=float(likely[rows].mean()) if not reason else float("nan"),
                    windows=len(rows), reason=reason,
                    measured=Counter(measured[row] for row in rows).most_common(1)[0][0],
                )
            )  # fmt: skip
        return self._at_cuts(found) if len(self.cuts) else found

    def _at_cuts(self, found: list[Segment]) -> list[Segment]:
        """Segments whose boundaries lie at measured cuts, where there are such."""
        starts = np.array([each.start for each in found])
        ends = np.array([each.end for each in found])
        half = float((self.table["end"] - self.table["start"]).median()) / 2
        for place, each in enumerate(found):
            before = place > 0 and not found[place - 1].reason and ends[place - 1] == starts[place]
            after = place + 1 < len(found) and not found[place + 1].reason
            after = after and starts[place + 1] == ends[place]
            if each.name == CUT:
                inside = self.cuts[(each.start <= self.cuts) & (self.cuts <= each.end)]
                if len(inside) and before:
                    ends[place - 1] = starts[place] = inside[0]
                if len(inside) and after:
                    ends[place] = starts[place + 1] = inside[-1]
            elif before and not each.reason and found[place - 1].name != CUT:
                near = self.cuts[np.abs(self.cuts - each.start).argmin()]
                if abs(near - each.start) <= half and starts[place - 1] < near < ends[place]:
                    ends[place - 1] = starts[place] = near
        moved = (
            replace(each, start=float(start), end=float(end))
            for each, start, end in zip(found, starts, ends, strict=True)
        )
        return _joined([each for each in moved if each.end > each.start])

    def window_at(self, seconds: float | int) -> int:
        """The number of the window that stands for a moment.

        Raises:
            ValueError: there is none.
        """
        spans = self.spans
        inside = (spans[:, 0] <= seconds) & (seconds < spans[:, 1])
        if not inside.any():
            reach = f"{spans[0, 0]:.2f} to {spans[-1, 1]:.2f} s" if len(spans) else "no window yet"
            raise ValueError(f"Timeline: no window at {seconds:g} s; it has {reach}.")
        return int(inside.argmax())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, whole or not at all.

        Names that a spreadsheet would run as a formula (=, +, -, @ first) have a ' before them.

        Args:
            path: The file to write.
        """
        atomic_write(path, csv_text(self.table))


def _joined(parts: list[Segment]) -> list[Segment]:
    """Join neighbors of which the model says the same."""
    found = parts[:1]
    for part in parts[1:]:
        last = found[-1]
        if (part.name, part.reason, part.start) != (last.name, last.reason, last.end):
            found.append(part)
            continue
        windows = last.windows + part.windows
        mean = (last.windows * last.probability + part.windows * part.probability) / windows
        most = max(last, part, key=lambda each: each.windows).measured
        found[-1] = replace(last, end=part.end, probability=mean, windows=windows, measured=most)
    return found
