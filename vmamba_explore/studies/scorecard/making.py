"""Every method on clips whose cause is known, and a number for each: the score card.

Maps are made once and kept in a folder, a file for each method and batch of clips, so that a run
that is interrupted goes on where it stopped. The scores are computed from the maps.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.attribution.clip_scores import CONTROLS, REMOVAL
from vmamba_explore.attribution.methods import attribute, make_problem, method_function
from vmamba_explore.attribution.metrics import infidelity, sensitivity_max, shift_sensitivity
from vmamba_explore.attribution.removal_scores import deletion, faithfulness, random_control
from vmamba_explore.attribution.result import Attribution
from vmamba_explore.attribution.sanity import randomized
from vmamba_explore.clips.clip import normalize
from vmamba_explore.files import atomic_write
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.scorecard.subjects import MOTION, Series, Subject
from vmamba_explore.studies.subjects.watermark import WatermarkedClips

Values = dict[str, Tensor]
Maps = dict[str, NDArray[np.float64]]
PARTS = ("signed", "positive", "abs")
FORMAT = 1
"""Of what is kept: counts up when a method, or a score, changes what it gives."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        clips: Clips over photographs unseen in training.
        faithful: Of these, the first ones, for the scores that take units away.
        sane: For the maps of the model without its weights.
        still: For the scores that recompute a map for changed clips; 0 leaves them out.
        planted: Clips with a watermark, for both models.
        batch: Clips at a time.
        seed: Of the clips: one that no model was trained or tested on.
    """

    clips: int = 300
    faithful: int = 40
    sane: int = 20
    still: int = 5
    planted: int = 20
    batch: int = 20
    seed: int = 5

    def batches(self, count: int) -> Iterator[NDArray[np.int64]]:
        """The numbers of the clips, batch by batch."""
        for begin in range(0, count, self.batch):
            yield np.arange(begin, min(begin + self.batch, count))


@dataclass
class ScoreCard:
    """The maps of all methods, made when they are asked for and kept in a folder.

    What a clip took is kept with its map: a run that goes on elsewhere mixes machines.

    Args:
        model: The model to explain.
        planted: A model for the same clips that reads watermarks; None where there is none.
        folder: Where maps and scores are kept.
        plan: How much.
        methods: Options by method. None: `subject.methods(model)`.
        subject: Whose clips, and what is explained.
    Raises:
        KeyError: a method does not exist.
        ValueError: the folder holds maps of other weights or clips.
    """

    model: VideoMamba
    planted: VideoMamba | None
    folder: Path
    plan: Plan = field(default_factory=Plan)
    methods: Mapping[str, Mapping[str, Any]] | None = None
    subject: Subject = MOTION

    def __post_init__(self) -> None:
        given = self.subject.methods(self.model) if self.methods is None else self.methods
        self.methods = dict(given)
        for name in self.methods:
            method, options = self.method(name)
            method_function(method, options)
        self.twin = randomized(self.model, seed=self.plan.seed)
        header = {
            "models": [fingerprint(m) for m in (self.model, self.planted) if m is not None],
            "seed": self.plan.seed,
            "batch": self.plan.batch,
            "removal": REMOVAL,
            "format": FORMAT,
        }
        file = self.folder / "header.json"
        if file.exists():
            found = json.loads(file.read_text())
            if found != header:
                raise ValueError(
                    f"ScoreCard: {self.folder} holds maps of another model or plan ({found}); this "
                    f"is {header}. Choose another folder, or remove it to begin anew."
                )
        else:
            atomic_write(file, json.dumps(header))

    # ---------------------------------------------------------------- clips

    @cached_property
    def clips(self) -> Series:
        """The clips of the card."""
        return self.subject.card_clips(self.plan.seed)

    @cached_property
    def marked(self) -> WatermarkedClips:
        """The same clips with the watermark of their label."""
        return WatermarkedClips(self.clips)  # type: ignore[arg-type]  # motion clips, by the subject

    def method(self, name: str) -> tuple[str, dict[str, Any]]:
        """The method behind a name of the card, and its options."""
        options = dict((self.methods or {})[name])
        return options.pop("method", name), options

    # ---------------------------------------------------------------- measuring

    def measure(self, progress: bool = True) -> None:
        """Make whatever the folder lacks.

        An interrupt loses the batch that was being worked on; the next call goes on there.
        """
        plan, methods = self.plan, list(self.methods or {})
        jobs: list[Callable[[], object]] = []

        def add(count: int, job: Callable[..., object], *what: str) -> None:
            jobs.extend(partial(job, *what, rows) for rows in plan.batches(count))

        for method in methods:
            add(plan.clips, self.maps, "clean", method)
            add(plan.faithful, self.removals, method)
            add(plan.sane, self.maps, "twin", method)
            for kind in ("marked", "planted") if self.planted is not None else ():
                add(plan.planted, self.maps, kind, method)
            if method not in CONTROLS:
                add(plan.still, self.stillness, method)
        add(plan.faithful, self.chance)
        for job in tqdm(jobs, desc="score card", unit="batch", disable=not progress):
            job()

    def maps(self, kind: str, method: str, rows: NDArray[np.int64]) -> Maps:
        """The token maps of some clips: by part, (clip, frame, row, col), and what they cost.

        Args:
            kind: "clean": the model on the card's clips; "twin": without what it learned;
                "marked": on clips with watermarks; "planted": the other model on those.
            method: Of the card.
            rows: Numbers of the clips, one of `plan.batches`.
        """

        def make() -> Values:
            found = self._attribution(kind, method, rows)
            parts: Values = {part: found.tokens(part) for part in PARTS}  # type: ignore[arg-type]
            cost = found.cost
            shares = np.array([cost.forward, cost.backward, cost.seconds]) / len(rows)
            parts["cost"] = torch.from_numpy(np.tile(shares, (len(rows), 1)))
            if found.convergence_delta is not None:
                base = 0 if found.baseline_output is None else found.baseline_output
                change = (found.output - base).abs().clamp_min(1e-12)
                parts["gap"] = found.convergence_delta.abs() / change
            return parts

        return self._kept(kind, self._name(method), rows, make)

    def removals(self, method: str, rows: NDArray[np.int64]) -> Maps:
        """Scores of removals, by name, (clip,): areas in logits above the baseline's.

        "span" and "temporal_span" are f(clip) - f(baseline), which the areas are parts of.
        """

        def make() -> Values:
            problem = self._problem("clean", rows)
            maps = torch.from_numpy(self.maps("clean", method, rows)["signed"]).float()
            tubelets = faithfulness(problem, maps, **REMOVAL["tubelets"])
            temporal = deletion(problem, maps, **REMOVAL["frames"])
            full, base, still = (
                tubelets.insertion.logits[:, -1],
                *(curve.logits[:, -1] for curve in (tubelets.deletion, temporal)),
            )
            return {
                "deletion": tubelets.deletion.area() - base,
                "insertion": tubelets.insertion.area() - base,
                "lerf_minus_morf": tubelets.lerf_minus_morf(),
                "temporal_deletion": temporal.area() - still,
                "span": full - base,
                "temporal_span": full - still,
                "infidelity": infidelity(problem, maps, baselines=REMOVAL["tubelets"]["baselines"]),
            }

        return self._kept("removals", self._name(method), rows, make)

    def stillness(self, method: str, rows: NDArray[np.int64]) -> Maps:
        """How far maps move when clips change by next to nothing, by name, (clip,)."""

        def make() -> Values:
            problem = self._problem("clean", rows)
            found = self._attribution("clean", method, rows)
            return {
                "sensitivity_max": sensitivity_max(problem, found, n_perturb_samples=2),
                "shift_sensitivity": shift_sensitivity(problem, found),
            }

        return self._kept("stillness", self._name(method), rows, make)

    def chance(self, rows: NDArray[np.int64]) -> Maps:
        """The removal scores of ten random orders, by name, (clip, seed)."""

        def make() -> Values:
            problem = self._problem("clean", rows)
            tubelets = random_control(problem, **REMOVAL["tubelets"])
            temporal = random_control(problem, **REMOVAL["frames"])
            base, still = (each.runs[0].deletion.logits[:, -1:] for each in (tubelets, temporal))
            return {
                "deletion": tubelets.area("deletion") - base,
                "insertion": tubelets.area("insertion") - base,
                "lerf_minus_morf": tubelets.lerf_minus_morf(),
                "temporal_deletion": temporal.area("deletion") - still,
            }

        return self._kept("removals", "chance", rows, make)

    # ---------------------------------------------------------------- inside

    def _name(self, method: str) -> str:
        """A method and a fingerprint of its options: others have files of their own."""
        options = sorted(
            (name, _text(value)) for name, value in (self.methods or {})[method].items()
        )
        return f"{method.replace(', ', '-')}-{zlib.crc32(repr(options).encode()):08x}"

    def _attribution(self, kind: str, method: str, rows: NDArray[np.int64]) -> Attribution:
        model, clips, target, minus = self._asked(kind, rows)
        method, options = self.method(method)
        return attribute(
            model, clips, target, method, minus=minus, seed=int(rows[0]), progress=False, **options
        )

    def _problem(self, kind: str, rows: NDArray[np.int64]) -> Any:
        model, clips, target, minus = self._asked(kind, rows)
        return make_problem(model, clips, target, minus=minus, seed=int(rows[0]))

    def _asked(
        self, kind: str, rows: NDArray[np.int64]
    ) -> tuple[VideoMamba, Tensor, Tensor, Tensor]:
        """The model, its clips, their labels, and the classes that these are compared with."""
        model = {"twin": self.twin, "planted": self.planted}.get(kind) or self.model
        source = self.marked if kind in ("marked", "planted") else self.clips
        frames, labels = source.batch(rows)
        clips = normalize(frames).to(model.norm_f.weight.device)
        minus = torch.from_numpy(self.subject.minus(labels))
        return model, clips, torch.from_numpy(labels), minus

    def _kept(
        self, folder: str, name: str, rows: NDArray[np.int64], make: Callable[[], Values]
    ) -> Maps:
        """What a file holds; it is made now if it is missing."""
        file = self.folder / folder / f"{name}-{rows[0]}-{len(rows)}.npz"
        if not file.exists():
            values = {key: value.double().cpu().numpy() for key, value in make().items()}
            atomic_write(file, lambda target: np.savez_compressed(target, **values))  # type: ignore[arg-type]
        with np.load(file, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}

    def gathered(
        self, get: Callable[[NDArray[np.int64]], Maps], count: int
    ) -> dict[str, NDArray[np.float64]]:
        """What `get` gives for each batch of the first `count` clips, one after another."""
        found = [get(rows) for rows in self.plan.batches(count)]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def _text(option: object) -> str:
    if isinstance(option, Tensor):  # which prints its first and last entries only
        return f"{tuple(option.shape)} {zlib.crc32(option.detach().cpu().numpy().tobytes()):08x}"
    return str(option)
