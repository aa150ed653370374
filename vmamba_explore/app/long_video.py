"""watch(): a model looks at a video of any length, one window after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast, get_args

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.camera_stream import COLUMNS as CAMERA_COLUMNS
from vmamba_explore.analysis.camera_stream import WORDS as CAMERA_WORDS
from vmamba_explore.analysis.camera_stream import CameraStream
from vmamba_explore.analysis.evidence import LogitReadout
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.analysis.timeline import FIXED, Timeline
from vmamba_explore.app.explore import explore
from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.stream import Damage, stream_clips, video_seconds
from vmamba_explore.deprecation import renamed_arguments
from vmamba_explore.errors import check_choice, first_line
from vmamba_explore.files import output_path, output_paths
from vmamba_explore.hooks import HookFunction, HookPoint, attached, plain
from vmamba_explore.model.bundled import ON_ANY_CLIP, identify, names_the_camera
from vmamba_explore.model.checkpoints import fingerprint, load_model
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.model.predict import top_predictions
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.row_file import RowFile
from vmamba_explore.trace.interventions import drop_tokens
from vmamba_explore.trace.places import frame_tokens
from vmamba_explore.trace.record import GIB, as_batch, matching_names, run_with_trace, trace_size
from vmamba_explore.view.explorer import Explorer

DELTA = "*.ssm_*.hook_delta"
Every = Literal["window", "token frame"]


@renamed_arguments(output="csv")
def watch(
    path: str | os.PathLike[str],
    model: str | VideoMamba | None = None,
    *,
    stride: int = 2,
    hop: int | None = None,
    k: int = 5,
    target: int | str | None = None,
    minus: int | str | None = None,
    by_frame: bool = False,
    every: Every = "window",
    batch_size: int = 4,
    csv: str | os.PathLike[str] | None = None,
    budget_gib: float | int = 1.0,
    progress: bool = True,
) -> Timeline:
    """Run a model on a video file of any length, in windows, in constant memory.

    A window that fails (the file is damaged there, the model's logits are no numbers) is marked
    with its reason, and the rest goes on. Ctrl-C keeps what is done.

    Args:
        path: A video file.
        model: A model, or what `load_model` takes; None for "camera-nano", which says what the
            camera does. Beside a model with its classes the camera is measured without learning.
        stride: Source frames from one clip frame to the next.
        hop: Clip frames from the start of a window to the start of the next; less than the
            model's num_frames overlaps. None puts windows side by side.
        k: How many classes to keep of each window.
        target: The class whose margin is followed, number or name; None for each window's most
            probable one.
        minus: The class whose logit is subtracted; None for the most probable other one.
        by_frame: Whether to split each margin by the window's token frames (`logit_parts`); about
            five times the work.
        every: "window"; or "token frame", which gives each token frame a row and a label of its
            own, that of the window in whose middle it lies: windows start one token frame after
            the other (`hop` is left out), and the columns `read_out` and `difference` say what
            the frame's own tokens do (see `Timeline`). Twice the work for each window.
        batch_size: Windows that are run at once.
        csv: A CSV file that grows window by window; the same call resumes a stopped run (windows
            that are done are decoded again, not run). A JSON file beside it holds the settings.
        budget_gib: The most that the recordings of `by_frame` may hold, GiB.
        progress: Whether to show a bar with the speed: seconds of video in a second.
    Returns:
        The timeline; it is not `finished` where it was interrupted.
    Raises:
        ClipError: the file cannot be read at all.
        FileExistsError: `csv` is the video.
        ValueError: stride, hop, k or batch_size is less than 1, there is no such class, `hop` is
            given beside every="token frame" or the model has one token frame only, or `csv`
            holds rows of other settings.
        TraceBudgetError: one window with `by_frame` is over budget.
    """
    if csv is not None:
        csv = output_path(csv, "watch", [path])
        output_paths((csv, csv.with_suffix(".json")), "watch", [path])
    model = ON_ANY_CLIP if model is None else model
    model = load_model(model) if isinstance(model, str) else plain(model)
    if batch_size < 1 or k < 1:
        raise ValueError(f"watch: batch_size and k must be at least 1, got {batch_size} and {k}.")
    middle = None
    check_choice("watch: every", every, get_args(Every))
    if every == "token frame":
        middle, hop = _middle(model, hop), model.config.tubelet_size
    looker = Looker(model, k, target, minus, by_frame, budget_gib, middle)
    seconds = video_seconds(path)
    settings: dict[str, Any] = {
        "video": os.path.basename(os.fspath(path)),
        "bytes": os.path.getsize(path),
        "model": fingerprint(model),
        "class_names": None if model.class_names is None else list(model.class_names),
        **{"stride": stride, "hop": hop, "k": k, "target": target, "minus": minus},
        "by_frame": by_frame,
    }
    if middle is not None:
        settings |= {"every": every, "num_frames": model.config.num_frames}
        settings |= {"tubelet_size": model.config.tubelet_size}
    if (known := identify(model)) is not None and known.undecided_below:
        settings["undecided_below"] = known.undecided_below
    with TemporaryDirectory() if csv is None else nullcontext() as folder:
        rows = RowFile(Path(csv or f"{folder}/rows.csv"), looker.columns, looker.words)
        before = rows.start(settings)
        count, last, until = len(before), -1, 0.0
        if count:
            last, until = int(before["frame"].iloc[-1]), float(before["end"].iloc[-1])
        watched, started, finished = 0.0, time.perf_counter(), rows.finished
        if not finished:
            config = model.config
            again = last - 1 if looker.camera else last  # the camera's next step starts there
            parts = stream_clips(path, config.num_frames, stride, hop, config.img_size, again)
            parts = looker.past(parts, last)
            with rows, _bar(seconds, until, progress) as bar:
                try:
                    for part, row in looker.look(parts, batch_size):
                        place = _place(part)
                        rows.append(window=count, **_rounded(row), **place)
                        count, watched = count + 1, watched + max(0.0, place["end"] - until)
                        until = place["end"]
                        bar.n = round(min(until, seconds), 1)
                        speed = watched / (time.perf_counter() - started)
                        bar.set_postfix_str(f"{speed:.2f} times as fast as it plays")
                    finished = True
                except KeyboardInterrupt:
                    pass
            if finished:
                rows.finish(settings, {"windows": count})
        worked = time.perf_counter() - started if watched else 0.0
        table = _typed(rows.read(), looker.words)
    return Timeline(table, os.fspath(path), seconds, settings, watched, worked, finished)


def _middle(model: VideoMamba, hop: int | None) -> int:
    """The token frame in the middle of a window, which a row is about."""
    if hop is not None:
        raise ValueError(
            "watch: every='token frame' starts a window at each token frame, so it takes no hop; "
            f"got {hop}."
        )
    if model.grid.frames < 2:
        raise ValueError(
            "watch: this model has one token frame, so every window is one; leave out "
            "every='token frame'."
        )
    return model.grid.frames // 2


def explorer_at(
    timeline: Timeline, seconds: float | int, model: str | VideoMamba, **choices: Any
) -> Explorer:
    """Open the explorer on the window of a timeline that stands for a moment.

    Args:
        timeline: From `watch`.
        seconds: The moment.
        model: The model that watched, or what `load_model` takes.
        choices: As for `explore`.
    Raises:
        ValueError: there is no such window, it failed, or another model watched.
        ClipError: the file is gone, or another one now.
    """
    model = load_model(model) if isinstance(model, str) else plain(model)
    row = timeline.table.iloc[timeline.window_at(seconds)]
    if timeline.failed[timeline.window_at(seconds)]:
        raise ValueError(
            f"explorer_at: the window at {seconds:g} s has nothing to explore: {row['reason']}."
        )
    if fingerprint(model) != timeline.settings["model"]:
        raise ValueError("explorer_at: another model watched; give the same one as to watch().")
    clip = window_clip(timeline, int(row["frame"]), float(row["start"]), model)
    return explore(clip, model, **choices)


def window_clip(timeline: Timeline, frame: int, start: float, model: VideoMamba) -> Clip:
    """A window's frames, read again."""
    config, stride = model.config, timeline.settings["stride"]
    try:
        clip = load_clip(timeline.path, config.num_frames, stride, frame, config.img_size)
        if not clip.repeated and abs(clip.seconds[0] - start) < 1e-3:
            return clip
    except (ClipError, ValueError):
        pass  # damaged elsewhere; then only the way that led to the window leads there again
    hop = timeline.settings["hop"]
    parts = stream_clips(timeline.path, config.num_frames, stride, hop, config.img_size, frame - 1)
    for part in parts:
        if isinstance(part, Clip) and part.indices[0] == frame:
            return part
    raise ClipError(f"{timeline.path}: no window starts at frame {frame}; the file has changed.")


def _place(part: Clip | Damage) -> dict[str, Any]:
    """Where a window or a damaged stretch lies, the columns that every row has."""
    if isinstance(part, Damage):
        place = {"frame": part.index, "start": part.start, "end": part.end, "reason": part.reason}
        return place | {"repeated": 0}
    shown = part.seconds[: part.num_frames - part.repeated]
    step = 1 / part.fps if part.fps else 0.0
    return {
        "frame": int(part.indices[0]),
        "start": float(shown[0]),
        "end": float(shown[-1]) + step,
        "repeated": part.repeated,
    }


def _bar(seconds: float, done: float, progress: bool) -> Any:
    return tqdm(
        total=round(seconds, 1) or None, initial=round(done, 1), desc="watch", unit="s of video",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} s "
        "[{elapsed}<{remaining}{postfix}]" if seconds else None, disable=not progress,
    )  # fmt: skip


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row, floats to six significant digits."""
    return {n: float(f"{v:.6g}") if isinstance(v, float) else v for n, v in row.items()}


def _typed(table: pd.DataFrame, text: Sequence[str]) -> pd.DataFrame:
    """The rows with the types that `Timeline` states: text, whole numbers and float64."""
    words = {name: table[name].astype(object).fillna("").astype(str) for name in text}
    kinds = dict.fromkeys(("window", "frame", "repeated"), "int64")
    numbers = table.columns.difference(list(words))
    return table.astype({name: kinds.get(name, "float64") for name in numbers}).assign(**words)


class Looker:
    """A model, and what is asked of it about each window; see `watch`.

    Attributes:
        columns: Names of all the values of a row.
        words: Those that hold text.
        camera: Measures the camera beside a model that names its motion; None for others.
    """

    def __init__(
        self,
        model: VideoMamba,
        k: int,
        target: int | str | None,
        minus: int | str | None,
        by_frame: bool,
        budget_gib: float | int,
        middle: int | None = None,
    ) -> None:
        model.check_head("watch")
        config = model.config
        self.model, self.k = model, min(k, config.num_classes)
        self.by_frame, self.budget_gib, self.middle = by_frame, budget_gib, middle
        self._target, self._minus = target, minus
        known = 0 if target is None else target
        Contrast.of(model, 1, known, minus, "watch", distinct=target is not None)
        self._deltas = matching_names(model, DELTA)
        frames = range(config.grid.frames if by_frame else 0)
        self.camera = CameraStream() if names_the_camera(model) else None
        self.words = ("name", "reason", *(CAMERA_WORDS if self.camera else ()))
        self.columns = [
            *FIXED,
            *(CAMERA_COLUMNS if self.camera else ()),
            *(f"{what}_{rank + 1}" for rank in range(self.k) for what in ("class", "probability")),
            *(_delta_column(name) for name in self._deltas),
            *(() if middle is None else ("read_out", "difference")),
            *(f"evidence_{frame}" for frame in frames),
        ]

    def past(self, parts: Iterator[Clip | Damage], frame: int) -> Iterator[Clip | Damage]:
        """Leave out the parts up to a frame, of which the camera's measurement takes notice."""
        for part in parts:
            start = part.index if isinstance(part, Damage) else int(part.indices[0])
            if start > frame:
                yield part
            elif self.camera and isinstance(part, Clip):
                self.camera.add(part)

    def look(
        self, parts: Iterator[Clip | Damage], batch_size: int
    ) -> Iterator[tuple[Clip | Damage, dict[str, Any]]]:
        """Give each part with what the model says of it, in order, some windows at a time."""
        waiting: list[Clip] = []
        for part in parts:
            if isinstance(part, Damage):
                yield from self._rows(waiting)
                if self.camera:
                    self.camera.reset()
                yield part, {}
                waiting = []
                continue
            if self.by_frame and not waiting:
                one = trace_size(self.model, part, LogitParts.names(self.model)).total
                batch_size = max(1, min(batch_size, int(self.budget_gib * GIB / one)))
            waiting.append(part)
            if len(waiting) == batch_size:
                yield from self._rows(waiting)
                waiting = []
        yield from self._rows(waiting)

    def _rows(self, clips: list[Clip]) -> Iterator[tuple[Clip, dict[str, Any]]]:
        if not clips:
            return
        try:
            with torch.inference_mode(False), torch.no_grad():
                rows = self._run(clips)
        except RuntimeError as error:  # memory, or a device
            if len(clips) > 1:  # find out which one it was
                for clip in clips:
                    yield from self._rows([clip])
                return
            rows = [{"reason": f"the model failed: {first_line(error)}"}]
        for clip, row in zip(clips, rows, strict=True):
            yield clip, (self.camera.row(clip) if self.camera else {}) | row

    def _run(self, clips: list[Clip]) -> list[dict[str, Any]]:
        deltas: dict[str, Tensor] = {}
        last: list[Tensor] = []  # what enters the last block, and what it adds

        def keep(value: Tensor, point: HookPoint) -> None:
            deltas[_delta_column(point.name)] = value.mean((1, 2)).float().cpu()

        hooks: list[tuple[str, HookFunction]] = [(name, keep) for name in self._deltas]
        if self.middle is not None:
            names = LogitReadout.names(self.model)
            hooks += [(name, lambda value, point: last.append(value)) for name in names]
        with attached(self.model, hooks):
            if self.by_frame:
                names = LogitParts.names(self.model)
                logits, trace = run_with_trace(self.model, clips, names, self.budget_gib)
            else:
                logits = self.model(as_batch(self.model, clips))
        logits = logits.float()
        good = logits.isfinite().all(1)
        contrast = self._explained(logits.nan_to_num())
        margin = contrast.of_logits(logits).cpu()
        evidence, frame = torch.empty(len(clips), 0), {}
        if self.middle is not None:
            residual = last[0] + at_least_float32(last[1])
            frame = self._of_frame(clips, residual, contrast, margin)
        if self.by_frame and good.all():
            evidence = logit_parts(trace, contrast, progress=False).frames.cpu()
        elif self.by_frame and len(clips) > 1:
            return [row for clip in clips for row in self._run([clip])]
        rows: list[dict[str, Any]] = []
        for at, fine in enumerate(good.tolist()):
            if not fine:
                rows.append({"reason": "the model's logits are not finite"})
                continue
            found = top_predictions(logits[at], self.model.class_names, self.k)
            row: dict[str, Any] = {"name": found[0].name, "margin": float(margin[at])}
            for rank, one in enumerate(found, start=1):
                row |= {f"class_{rank}": one.index, f"probability_{rank}": one.probability}
            row |= {name: float(values[at]) for name, values in (deltas | frame).items()}
            row |= {f"evidence_{n}": v for n, v in enumerate(evidence[at].tolist())}
            rows.append(row)
        return rows

    def _of_frame(
        self, clips: list[Clip], residual: Tensor, contrast: Contrast, margin: Tensor
    ) -> dict[str, Tensor]:
        """What the tokens of the middle token frame do; `residual` leaves the last block."""
        model = self.model
        middle = cast(int, self.middle)
        its = frame_tokens(model.grid, middle).to(residual.device)
        features = model.norm_f(residual[:, its].to(model.norm_f.weight.dtype)).mean(1)
        if model.pool_norm is not None:
            features = model.pool_norm(features)
        with drop_tokens(model, frames=middle):
            without = contrast.of_logits(model(as_batch(model, clips)).float()).cpu()
        read = contrast.of_logits(model.check_head("watch")(features).float()).cpu()
        return {"read_out": read, "difference": margin - without}

    def _explained(self, logits: Tensor) -> Contrast:
        """For each window the class that is explained, less the most probable other one."""
        asked = (self._target, self._minus, "watch")
        contrast = Contrast.of(self.model, len(logits), *asked, logits=logits)
        if contrast.minus is None and logits.shape[1] > 1:
            others = logits.scatter(1, contrast.target.unsqueeze(1), -torch.inf)
            contrast = replace(contrast, minus=others.argmax(1))
        return contrast


def _delta_column(name: str) -> str:
    _, layer, _, direction, _ = name.split(".")
    return f"delta_{layer}_{direction.removeprefix('ssm_')}"
