"""What a model says of the windows of a long video: classes, margin, step sizes, evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.analysis.timeline import FIXED
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.stream import Damage
from vmamba_explore.errors import first_line
from vmamba_explore.hooks import HookPoint, attached
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.model.predict import top_predictions
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import GIB, as_batch, matching_names, run_with_trace, trace_size

DELTA = "*.ssm_*.hook_delta"


class Looker:
    """A model, and what is asked of it about each window; see `watch`.

    Attributes:
        columns: Names of all the values of a row.
    """

    def __init__(
        self,
        model: VideoMamba,
        k: int,
        target: int | str | None,
        minus: int | str | None,
        by_frame: bool,
        budget_gib: float | int,
    ) -> None:
        config = model.config
        self.model, self.k = model, min(k, config.num_classes)
        self.by_frame, self.budget_gib = by_frame, budget_gib
        self._target, self._minus = target, minus
        known = 0 if target is None else target
        Contrast.of(model, 1, known, minus, "watch", distinct=target is not None)
        self._deltas = matching_names(model, DELTA)
        frames = range(config.grid.frames if by_frame else 0)
        self.columns = [
            *FIXED,
            *(f"{what}_{rank + 1}" for rank in range(self.k) for what in ("class", "probability")),
            *(_delta_column(name) for name in self._deltas),
            *(f"evidence_{frame}" for frame in frames),
        ]

    def look(
        self, parts: Iterator[Clip | Damage], batch_size: int
    ) -> Iterator[tuple[Clip | Damage, dict[str, Any]]]:
        """Give each part with what the model says of it, in order, some windows at a time."""
        waiting: list[Clip] = []
        for part in parts:
            if isinstance(part, Damage):
                yield from self._rows(waiting)
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
        yield from zip(clips, rows, strict=True)

    def _run(self, clips: list[Clip]) -> list[dict[str, Any]]:
        deltas: dict[str, Tensor] = {}

        def keep(value: Tensor, point: HookPoint) -> None:
            deltas[_delta_column(point.name)] = value.mean((1, 2)).float().cpu()

        with attached(self.model, [(name, keep) for name in self._deltas]):
            if self.by_frame:
                names = LogitParts.names(self.model)
                logits, trace = run_with_trace(self.model, clips, names, self.budget_gib)
            else:
                logits = self.model(as_batch(self.model, clips))
        logits = logits.float()
        good = logits.isfinite().all(1)
        contrast = self._explained(logits.nan_to_num())
        margin = contrast.of_logits(logits).cpu()
        evidence = torch.empty(len(clips), 0)
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
            row |= {name: float(values[at]) for name, values in deltas.items()}
            row |= {f"evidence_{n}": v for n, v in enumerate(evidence[at].tolist())}
            rows.append(row)
        return rows

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
