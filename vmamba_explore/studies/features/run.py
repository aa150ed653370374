"""Sparse features against truth, measured: `python -m vmamba_explore.studies.features.run`.

For motion-nano and recall-nano: features of the residual stream before the middle and before the
last block and of forward states are found on training clips, with several seeds; for each
factor the best feature, principal component, channel and random direction are chosen there and
scored on clips over photographs that neither model nor features have seen; then features that
claim a factor are added and removed. Writes data/features.json. Found features and finished parts
are kept in runs/features, so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore import resources
from vmamba_explore.analysis.features.activations import (
    Activations,
    Site,
    record_activations,
)
from vmamba_explore.analysis.features.fit import train_features
from vmamba_explore.analysis.features.measures import measure_features
from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.clips.recall_plan import RecallPlan
from vmamba_explore.files import write_json
from vmamba_explore.model.checkpoints import fingerprint, load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.features.claims import CLAIMS, CONTROLS, STRONG, claims, right_way
from vmamba_explore.studies.features.compare import FEATURE, RANDOM, Lot, best, numbers_of, table
from vmamba_explore.studies.features.factors import PICKED, SHOWN, Rows, known_rows
from vmamba_explore.studies.features.scores import RESAMPLES

FILE = "features.json"
MODELS = ("motion-nano", "recall-nano")
SEEDS = {"train": 7001, "test": 7002, "steer": 7003}
"""Of the series; neither model was trained or tested on one of them."""
TIMING = (2, 1, 8, 1)
"""Of the recall clips in which features are steered: frames of sample, delay and test known."""


@dataclass(frozen=True)
class Plan:
    """How much is measured; the defaults are what is in data/.

    Args:
        train, test, steer: Clips.
        quality: Test clips in which every vector is replaced by its reconstruction.
        seeds: Features are found so many times; those of the first seed are steered.
        width_tokens, k_tokens, steps_tokens: Features of tokens, how many are active, steps.
        width_states, k_states, steps_states: The same of states.
    """

    train: int = 400
    test: int = 200
    steer: int = 80
    quality: int = 40
    seeds: int = 3
    width_tokens: int = 256
    k_tokens: int = 8
    steps_tokens: int = 800
    width_states: int = 256
    k_states: int = 16
    steps_states: int = 300


def sites(model: VideoMamba) -> dict[str, Site]:
    """Return where features are found: tokens and states in the middle, and tokens at the end.

    The middle was chosen before any feature was found. There motion-nano's tokens do not tell the
    class yet, so that no feature claims one; the residual stream before the last block was added.
    """
    middle, last = model.config.depth // 2, model.config.depth - 1
    return {
        "tokens": Site(middle),
        "late tokens": Site(last),
        "states": Site(middle - 1, "forward"),
    }


def series_of(name: str, lot: str) -> MotionClips | RecallClips:
    """Return the clips that features are found on, tested on or steered in."""
    behind: Any = "train" if lot == "train" else "test"
    if name == "motion-nano":
        return MotionClips(SEEDS[lot], distractors="all", backgrounds=behind)
    timing = TIMING if lot == "steer" else None
    return RecallClips(SEEDS[lot], distractors="all", backgrounds=behind, timing=timing)


def study(name: str, site: Site, plan: Plan, folder: Path | None = None) -> dict[str, Any]:
    """Compare and steer the features of one site of a bundled model.

    Args:
        name: Of the model.
        site: Where.
        plan: How much.
        folder: Where found features are kept, to resume.
    """
    model = load_model(name).eval().requires_grad_(False)
    kind = "tokens" if site.direction is None else "states"
    lots: dict[str, tuple[Activations, Rows]] = {}
    clips: dict[str, list[Any]] = {}
    for lot in ("train", "test"):
        series, count = series_of(name, lot), getattr(plan, lot)
        clips[lot] = [series[number] for number in range(count)]
        known = known_rows(
            series, clips[lot], range(count), site, model.grid, model.config.tubelet_size
        )
        lots[lot] = (record_activations(model, clips[lot], site), known)
    steered, truth = _to_steer(name, plan.steer)
    answers = torch.cat([model(part) for part in steered.split(20)])
    runs, steering, quality = [], [], []
    for seed in range(plan.seeds):
        features = train_features(
            lots["train"][0],
            width=getattr(plan, f"width_{kind}"),
            k=getattr(plan, f"k_{kind}"),
            steps=getattr(plan, f"steps_{kind}"),
            batch_size=512 if kind == "tokens" else 256,
            seed=seed,
            model=model,
            path=None if folder is None else folder / name / _plain(site) / str(seed),
        )
        train, test = (_lot(features, *lots[lot]) for lot in ("train", "test"))
        numbers = numbers_of(features, train, test)
        kinds = tuple(numbers) if seed == 0 else (FEATURE, RANDOM)
        runs.append(best(numbers, train.known, test.known, kinds))
        if seed == 0:
            found, quiet = claims(numbers[FEATURE][0], train.known)
            for claim in tqdm(found, desc="steering", unit="feature", leave=False):
                frames = _frames(name, claim.factor.group)
                changed = right_way(model, features, claim, quiet, steered, answers, truth, frames)
                steering.append(changed)
        few = clips["test"][: plan.quality]
        labels = [int(clip.label) for clip in few]
        quality.append(measure_features(model, features, few, labels).to_dict())
    return {
        "site": str(site), "width": features.width, "k": features.settings.k,
        "quality": quality, "factors": table(runs, lots["test"][1]), "steering": steering,
    }  # fmt: skip


def _plain(site: Site) -> str:
    """A site as a part of a path."""
    return f"{site.layer}_{site.direction or 'tokens'}"


def _lot(features: SparseFeatures, activations: Activations, known: Rows) -> Lot:
    return Lot(features.measured(activations.rows(known.rows)), known)


def _to_steer(name: str, count: int) -> tuple[Tensor, dict[str, Any]]:
    series = series_of(name, "steer")
    plan = series.plan(range(count))
    pixels = torch.stack([series[number].clip.tensor() for number in range(count)])
    if not isinstance(plan, RecallPlan):
        return pixels, {"class": plan.labels}
    colors = {"sample color": plan.sample.colors, "test color": plan.test.colors}
    return pixels, {**colors, "label": plan.labels}


def _frames(name: str, group: str) -> list[int] | None:
    """Where a claim is about: a sample's color in the delay, the rest from the test on."""
    if name == "motion-nano":
        return None
    first, sample, delay, _ = TIMING
    test = first + sample + delay
    return list(range(first + sample, test) if group == "sample color" else range(test, 16))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and write data/features.json, after each site what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/features"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    plan = Plan()
    header = {
        "plan": asdict(plan), "seeds": SEEDS, "claims_from": CLAIMS, "added_quantile": STRONG,
        "controls": CONTROLS, "resamples": RESAMPLES, "shown": SHOWN, "picked": PICKED,
    }  # fmt: skip
    found: dict[str, Any] = {"command": "make features", **header, "models": {}}
    for name in MODELS:
        model = load_model(name)
        weights = fingerprint(model)
        of: dict[str, Any] = {"weights": weights, "sites": {}}
        found["models"][name] = of
        for kind, site in sites(model).items():
            part = options.folder / f"{name}_{kind.replace(' ', '_')}.json"
            asked = json.loads(json.dumps({"weights": weights, **header}))
            held = json.loads(part.read_text()) if part.is_file() else {}
            if held.get("asked") != asked:
                started = time.monotonic()
                result = study(name, site, plan, options.folder)
                minutes = round((time.monotonic() - started) / 60, 1)
                held = {"asked": asked, "result": {**result, "minutes": minutes}}
                write_json(part, held)
            of["sites"][kind] = held["result"]
            write_json(resources.data_dir() / FILE, found)


if __name__ == "__main__":
    main()
