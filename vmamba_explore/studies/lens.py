"""The making of the state lenses: `python -m vmamba_explore.studies.lens`, a few minutes.

Probes are fitted to the states of clips over training photographs, none of which the model was
trained on, and judged on clips over photographs that neither has seen. What is judged is what is
stored: weights rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from scipy.optimize import minimize
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore import resources
from vmamba_explore.analysis.clip_targets import Target, targets
from vmamba_explore.analysis.frame_states import FrameStates, Place, collect
from vmamba_explore.analysis.lens import FILES, PARTS, SCORES, Probes
from vmamba_explore.clips import camera_path
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.clips.recall_plan import CLASS_NAMES as RECALL_CLASSES
from vmamba_explore.clips.recall_plan import COLOR_NAMES
from vmamba_explore.errors import check_choice
from vmamba_explore.files import atomic_write
from vmamba_explore.intervals import Interval, mean_interval, proportion
from vmamba_explore.model.checkpoints import fingerprint, load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.scorecard.subjects import CAMERA, MOTION, RECALL, MovingCameras, Subject

SEEDS = {"train": 6001, "test": 6002}
COUNTS = {
    "motion-nano": {"train": 2000, "test": 400},
    "recall-nano": {"train": 1200, "test": 400},
    "recall-nano-forward": {"train": 1200, "test": 400},
    "camera-nano": {"train": 1600, "test": 400},
}
"""Clips by model; the other bundled models are made to fail, or read as recall-nano is."""
STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001)
"""Of the squared weights, in features of unit variance and the mean loss of a clip's frame."""
HELD_OUT = 5
"""One training clip in so many chooses the strength."""
ITERATIONS = 60
AT_ONCE = 2
"""Layers whose states are held at a time."""
_SUBJECTS: dict[str, Subject] = {
    "motion-nano": MOTION, "recall-nano": RECALL, "recall-nano-forward": RECALL,
    "camera-nano": CAMERA,
}  # fmt: skip


class ClearCameras(MovingCameras):
    """Camera clips without the mixed ones: the label is clearly true of them."""

    left_out = (len(camera_path.CLASS_NAMES),)


def series_of(model: str, lot: str) -> Any:
    """Return the clips that the probes of a model are fitted to ("train") or judged on ("test")."""
    check_choice("lens: lot", lot, tuple(SEEDS))
    if model == "motion-nano":
        return MotionClips(SEEDS[lot], backgrounds=lot)  # type: ignore[arg-type]
    if model == "camera-nano":
        return ClearCameras(SEEDS[lot], lot)  # type: ignore[arg-type]
    return RecallClips(SEEDS[lot], backgrounds=lot)  # type: ignore[arg-type]


def answers_of(model: VideoMamba, name: str) -> dict[str, tuple[str, ...]]:
    """Return the targets of a model's lens and the names of their answers."""
    if not name.startswith("recall"):
        return {"label": tuple(model.class_names or ())}
    return {"sample color": COLOR_NAMES, "test color": COLOR_NAMES, "label": RECALL_CLASSES}


class Fitted(NamedTuple):
    """A softmax regression: weights (answer, feature), and bias (frame, answer)."""

    weights: Tensor
    bias: Tensor


def fit(
    features: Tensor, labels: Tensor, count: int, strength: float, start: Fitted | None = None
) -> Fitted:
    """Fit a softmax regression with one offset for each token frame.

    Args:
        features: (clip, frame, feature), of unit variance.
        labels: (clip, frame), from 0.
        count: How many answers there are.
        strength: Of the penalty on squared weights.
        start: Where to begin; None: at zero.
    """
    frames, width = features.shape[1:]
    rows = features.flatten(0, 1)
    truth = torch.eye(count)[labels.flatten()].view(-1, frames, count)
    shapes = (count, width), (frames, count)
    begin = start or Fitted(torch.zeros(shapes[0]), torch.zeros(shapes[1]))

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        found = torch.from_numpy(values).float()
        weights, bias = found[: count * width].view(shapes[0]), found[count * width :]
        logits = (rows @ weights.T).view(truth.shape) + bias.view(shapes[1])
        log_shares = logits.log_softmax(-1)
        slope = (log_shares.exp() - truth) / len(rows)
        ascent = slope.flatten(0, 1).T @ rows + strength * weights
        value = -(log_shares * truth).sum() / len(rows) + strength / 2 * weights.square().sum()
        together = torch.cat([ascent.flatten(), slope.sum(0).flatten()])
        return float(value), together.double().numpy()

    first = torch.cat([begin.weights.flatten(), begin.bias.flatten()]).double().numpy()
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    ).x  # fmt: skip
    values = torch.from_numpy(found).float()
    return Fitted(values[: count * width].view(shapes[0]), values[count * width :].view(shapes[1]))


def chosen_strength(features: Tensor, labels: Tensor, count: int) -> float:
    """Return the strength with which clips that are left out are the least surprising."""
    out = torch.arange(len(features)) % HELD_OUT == 0
    losses, found = [], None
    inside, outside = features[~out], features[out]
    for strength in STRENGTHS:
        found = fit(inside, labels[~out], count, strength, found)
        logits = outside @ found.weights.T + found.bias
        losses.append(torch.nn.functional.cross_entropy(logits.mT, labels[out]).item())
    return STRENGTHS[int(np.argmin(losses))]


def packed(fitted: Fitted, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round the weights to 8 bits: weights, steps, bias, without the last answer.

    Args:
        fitted: For features less their means.
        means: (frame, feature).
    """
    weights = fitted.weights[:-1] - fitted.weights[-1]
    bias = fitted.bias[:, :-1] - fitted.bias[:, -1:]
    steps = weights.abs().amax(dim=1).clamp(min=1e-12) / 127
    rounded = (weights / steps[:, None]).round().to(torch.int8)
    return rounded, steps, bias - means @ (rounded.float() * steps[:, None]).T


def scaled(states: FrameStates, place: Place, scale: Tensor) -> Tensor:
    """The features of every token frame, (clip, frame, feature)."""
    return states.states[place].flatten(2) * scale


def measure(
    right: NDArray[np.bool_], shuffled: NDArray[np.bool_], known: NDArray[np.bool_]
) -> dict[str, Any]:
    """Score one probe: the scores of `LensReading` at one layer and direction.

    Args:
        right, shuffled: Which answers are right, (clip, frame), and those of the control.
        known: Where the scan has read what decides.
    """
    found: dict[str, Any] = {name: [] for name in SCORES}
    for at in range(right.shape[1]):
        _enter(found, proportion(right[:, at]), float(shuffled[:, at].mean()))
    for part, where in zip(PARTS, (known, ~known), strict=True):
        counts = where.sum(1)
        shares = [
            np.where(counts > 0, (each & where).sum(1) / np.maximum(counts, 1), np.nan)
            for each in (right, shuffled)
        ]
        own: dict[str, list[float | None]] = {name: [] for name in SCORES}
        if counts.any():
            _enter(own, mean_interval(shares[0]), float(np.nanmean(shares[1])))
        for name in SCORES:
            found[f"{part} {name}"] = own[name][0] if own[name] else None
    return found


def _enter(scores: Mapping[str, list[Any]], found: Interval, shuffled: float) -> None:
    values = (found.value, found.low, found.high, shuffled)
    for name, value in zip(SCORES, values, strict=True):
        scores[name].append(round(value, 3))


def first_known(
    subject: Subject, clips: Sequence[Any], target: str, tubelet_size: int, frames: int
) -> dict[str, NDArray[np.bool_]]:
    """By direction, when the scan has read what decides a target: (clip, token frame)."""
    part = {"sample color": "sample", "test color": "test"}.get(target)
    ends = []
    for clip in clips:
        times = subject.times(clip)
        ends.append(times.spans[part] if part else (times.prefix, times.suffix))
    prefix, suffix = np.array(ends).T[:, :, None] // tubelet_size
    number = np.arange(frames)
    return {"forward": number >= prefix, "backward": number <= suffix}


def make_lens(name: str, counts: Mapping[str, int], folder: Path) -> dict[str, Any]:
    """Fit the lens of a bundled model, judge it, and write it.

    Args:
        name: The model.
        counts: How many clips of each lot.
        folder: Where `FILES` are written.
    Returns:
        What lens.json holds.
    """
    begin = time.perf_counter()
    model = load_model(name).eval()
    lots = {lot: series_of(name, lot) for lot in SEEDS}
    config, answers = model.config, answers_of(model, name)
    directions, frames = config.directions, model.grid.frames
    clips = [lots["test"][index] for index in range(counts["test"])]
    known = {
        target: first_known(_SUBJECTS[name], clips, target, config.tubelet_size, frames)
        for target in answers
    }
    order = torch.from_numpy(np.random.default_rng(0).permutation(counts["train"]))
    tensors: dict[str, list[Tensor]] = {}
    scores: dict[str, dict[str, list[Any]]] = {target: {} for target in answers}
    bar = tqdm(total=config.depth * len(directions) * len(answers), desc=f"lens of {name}")
    for first in range(0, config.depth, AT_ONCE):
        layers = range(first, min(first + AT_ONCE, config.depth))
        states = {
            lot: collect(model, lots[lot], range(counts[lot]), layers, (), budget_gib=8.0)
            for lot in SEEDS
        }
        truth = {lot: targets(each.plan, each.tubelet_size) for lot, each in states.items()}
        for place in ((layer, direction) for layer in layers for direction in directions):
            scale = _scale(states["train"], place)
            train, test = (scaled(states[lot], place, scale) for lot in SEEDS)
            means = train.mean(dim=0)
            centered = train - means
            tensors.setdefault("scale", []).append(scale.bfloat16())
            for target, names in answers.items():
                labels, wanted = (_labels(truth[lot][target]) for lot in SEEDS)
                strength = chosen_strength(centered, labels, len(names))
                right = []
                for each in (labels, labels[order]):
                    parts = packed(fit(centered, each, len(names), strength), means)
                    probes = Probes(*(part[None, None] for part in parts))
                    right.append((probes.logits(0, 0, test).argmax(-1) == wanted).numpy())
                    if each is labels:
                        for part, values in zip(("weights", "steps", "bias"), parts, strict=True):
                            tensors.setdefault(f"{target}.{part}", []).append(values)
                found = measure(right[0], right[1], known[target][place[1]])
                for score, values in {**found, "strength": strength}.items():
                    scores[target].setdefault(score, []).append(values)
                bar.update()
    bar.close()
    shape = (config.depth, len(directions))
    held = {
        "model": name,
        "weights": fingerprint(model),
        "directions": list(directions),
        "clips": dict(counts),
        "seeds": SEEDS,
        "command": f"make lens LENS={name}",
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "targets": {
            target: {
                "answers": list(answers[target]),
                **{score: _by_layer(values, shape[1]) for score, values in each.items()},
            }
            for target, each in scores.items()
        },
    }
    stacked = {
        key: torch.stack(values).unflatten(0, shape).contiguous() for key, values in tensors.items()
    }
    atomic_write(folder / FILES[1], save(stacked))
    atomic_write(folder / FILES[0], json.dumps(held, separators=(",", ":")) + "\n")
    return held


def _scale(states: FrameStates, place: Place) -> Tensor:
    """What gives every state unit variance over clips, rounded as it is stored."""
    h = states.states[place].flatten(2)
    deviation = (h - h.mean(dim=0)).flatten(0, 1).std(dim=0)
    alive = deviation > 1e-6 * h.abs().mean(dim=(0, 1))
    scale = torch.where(alive, 1 / deviation.where(alive, torch.ones_like(deviation)), 0.0)
    return scale.bfloat16().float()


def _labels(target: Target) -> Tensor:
    return torch.from_numpy(target.values.argmax(axis=-1))


def _by_layer(values: list[Any], directions: int) -> list[list[Any]]:
    return [values[at : at + directions] for at in range(0, len(values), directions)]


def main() -> None:
    """Make the lenses that are asked for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(COUNTS), help="by default all")
    for name in parser.parse_args().models:
        check_choice("lens: model", name, tuple(COUNTS))
        make_lens(name, COUNTS[name], resources.data_dir() / name)


if __name__ == "__main__":
    main()
