"""The score card in numbers: every method's scores with intervals, and what each one beats."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.attribution.ground_truth import SCORES, Truth, scores
from vmamba_explore.attribution.methods import METHODS
from vmamba_explore.attribution.sanity import rank_correlation
from vmamba_explore.intervals import mean_interval, mean_intervals
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.studies.scorecard.making import CONTROLS, ScoreCard

Numbers = dict[str, NDArray[np.float64]]
PASSES = 0.2
"""A map whose rank correlation with that of the model without weights is larger fails."""
RANDOM_SEEDS = 10
FEWEST = 8
"""Clips without which no order of removals is called better than random ones."""
COST = ("forward", "backward", "seconds")
LOWER_IS_BETTER = ("deletion", "temporal_deletion", "infidelity")


def summarize(card: ScoreCard) -> dict[str, Any]:
    """Compute all scores from a card's maps; what is missing is measured.

    Args:
        card: Measured.
    Returns:
        Plain values, ready for JSON. Intervals are means over clips with 95 % bootstrap bounds;
        "beats" holds those of the paired difference to each control, clip by clip, and whether
        all their lower bounds are above zero. "measures" holds the subject's own numbers, also
        beside what a map that knows nothing gets; "shortcut" is there if a planted model is.
    """
    assert card.methods is not None
    plan, names = card.plan, list(card.methods)
    clips = [card.clips[number] for number in range(plan.clips)]
    truth = Truth.of(clips, card.model.grid)
    label = np.array([clip.label for clip in clips])
    found = {name: card.gathered(partial(card.maps, "clean", name), plan.clips) for name in names}
    right = {
        part: {name: _scores(name, found[name][part], truth) for name in names}
        for part in ("positive", "abs")
    }
    controls = [name for name in names if name in CONTROLS]
    measured = _measured(card, clips, {name: found[name]["positive"] for name in names}, controls)
    chance = _chance(card)
    summary: dict[str, Any] = {
        "weights": fingerprint(card.model),
        "plan": asdict(plan),
        "scores": SCORES,
        "controls": controls,
        "area": mean_interval(truth.area.double()).to_dict(),
        "time_area": mean_interval(truth.window.double().mean(1)).to_dict(),
        "methods": {},
        "agreement": _agreement(found, plan.faithful),
        "chance": _intervals(chance),
    }
    if measured:
        summary["measures"] = {key: each["words"] for key, each in measured.items()}
    for name in names:
        own = right["positive"][name]
        entry: dict[str, Any] = {
            "family": METHODS[card.method(name)[0]],
            "options": {k: _plain(v) for k, v in card.method(name)[1].items()},
            "cost": dict(zip(COST, np.median(found[name]["cost"], 0).tolist(), strict=True)),
            "truth": {part: _intervals(right[part][name]) for part in right},
            "by_class": {
                word: {
                    key: mean_interval(values[label == k]).to_dict() for key, values in own.items()
                }
                for k, word in enumerate(card.subject.class_names)
                if (label == k).any()
            },
        }
        if name not in controls:
            entry["beats"] = {
                score: _beats(own[score], {c: right["positive"][c][score] for c in controls})
                for score in SCORES
            }
        if "gap" in found[name]:
            gap = found[name]["gap"]
            entry["completeness_gap"] = {"median": float(np.median(gap)), "worst": float(gap.max())}
        entry["removal"] = _removals(card, name, chance)
        entry["sanity"] = _sanity(card, name, found[name]["signed"])
        if card.planted is not None:
            entry["shortcut"] = _shortcut(card, name)
        if measured:
            entry["measures"] = {key: each["methods"][name] for key, each in measured.items()}
        if name not in controls and plan.still:
            entry["stillness"] = _intervals(
                card.gathered(partial(card.stillness, name), plan.still)
            )
        summary["methods"][name] = entry
    return summary


def _scores(name: str, maps: NDArray[np.float64], truth: Truth) -> Numbers:
    """The scores of a method, (clip,) each; those of chance are the means of ten draws."""
    found = [scores(each, truth) for each in _drawn(name, maps)]
    return {key: torch.stack([each[key] for each in found]).mean(0).numpy() for key in SCORES}


def _drawn(name: str, maps: NDArray[np.float64]) -> list[Tensor]:
    """A method's maps; of chance ten draws, which are averaged."""
    if name != "random":
        return [torch.from_numpy(maps)]
    return [
        torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
        for seed in range(RANDOM_SEEDS)
    ]


def _measured(
    card: ScoreCard, clips: list[Any], maps: Numbers, controls: list[str]
) -> dict[str, dict[str, Any]]:
    """The subject's own measures of all maps, each beside chance and every control, clip by clip.

    Differences are positive where the method is better, whichever way that is.
    """
    found: dict[str, dict[str, Any]] = {}
    for measure in card.subject.measures(clips, card.model.grid):
        sign, chance = -1 if measure.low_is_good else 1, measure.chance.numpy()
        values = {
            name: torch.stack([measure.of(each) for each in _drawn(name, maps[name])]).mean(0)
            for name in maps
        }
        better = {name: sign * own.numpy() for name, own in values.items()}
        rows: dict[str, dict[str, Any]] = {}
        for name, own in values.items():
            over = mean_interval(better[name] - sign * chance)
            rows[name] = mean_interval(own).to_dict()
            rows[name] |= {"above_chance": over.to_dict(), "beats_chance": over.low > 0}
            if name not in controls:
                rows[name] |= _beats(better[name], {each: better[each] for each in controls})
        words = {
            "kind": measure.kind,
            "part": measure.part,
            "chance": mean_interval(chance).to_dict(),
            "low_is_good": measure.low_is_good,
        }
        found[f"{measure.part}: {measure.kind}"] = {"words": words, "methods": rows}
    return found


def _beats(ours: NDArray[np.float64], theirs: Numbers) -> dict[str, Any]:
    """The paired difference to each control, and whether all lower bounds are above zero."""
    over = {name: mean_interval(ours - values) for name, values in theirs.items()}
    return {
        "all": set(over) == set(CONTROLS) and all(each.low > 0 for each in over.values()),
        "over": {name: each.to_dict() for name, each in over.items()},
    }


def _removals(card: ScoreCard, name: str, chance: Numbers) -> dict[str, Any]:
    """Scores of removals, beside the mean of ten random orders of the same clips.

    Areas are divided by the mean over clips of what the whole clip gives above the baseline: by
    each clip's own, the few that hardly differ from their baseline would decide everything.
    """
    found = card.gathered(partial(card.removals, name), card.plan.faithful)
    spans = {key: found.pop(key).mean() for key in ("span", "temporal_span")}
    result: dict[str, Any] = {}
    for score, values in found.items():
        if score in chance:
            values = values / spans["temporal_span" if score.startswith("temporal") else "span"]
        result[score] = mean_interval(values).to_dict()
        if score in chance:
            sign = -1 if score in LOWER_IS_BETTER else 1
            over = mean_interval(sign * (values - chance[score]))
            beats = over.low > 0 and over.n >= FEWEST
            result[score] |= {"better_by": over.to_dict(), "beats_random": beats}
    return result


def _chance(card: ScoreCard) -> Numbers:
    """The removal scores of random orders, the mean of ten for each clip, as `_removals`."""
    found = card.gathered(card.chance, card.plan.faithful)
    any_method = next(iter(card.methods or {}))
    spans = card.gathered(partial(card.removals, any_method), card.plan.faithful)
    return {
        score: values.mean(1)
        / spans["temporal_span" if score.startswith("temporal") else "span"].mean()
        for score, values in found.items()
    }


def _sanity(card: ScoreCard, name: str, maps: NDArray[np.float64]) -> dict[str, Any]:
    """The rank correlation, by size, of the signed map with that of the model without weights."""
    twin = card.gathered(partial(card.maps, "twin", name), card.plan.sane)["signed"]
    same = rank_correlation(*(torch.from_numpy(each) for each in (maps[: len(twin)], twin)))
    size = mean_interval(same.abs())  # of each clip: opposite signs must not cancel
    return {
        "twin_spearman": size.to_dict(),
        "signed": mean_interval(same).to_dict(),
        "passes": bool(size.value <= PASSES),
    }


def _shortcut(card: ScoreCard, name: str) -> dict[str, Any]:
    """How much of the map is on the watermark: in the model that reads it, and in the other."""
    count = card.plan.planted
    marks = [card.marked[number].watermark for number in range(count)]
    truth = Truth.inside(marks, card.model.grid)
    found: dict[str, dict[str, Tensor]] = {}
    for kind in ("planted", "marked"):
        maps = card.gathered(partial(card.maps, kind, name), count)["positive"]
        found[kind] = scores(torch.from_numpy(maps), truth)
    moves = mean_interval(found["planted"]["share"] - found["marked"]["share"])
    planted = _intervals({k: v.numpy() for k, v in found["planted"].items()})
    area = float(truth.area.mean())
    return {
        "area": area,
        "planted": planted,
        "clean": _intervals({k: v.numpy() for k, v in found["marked"].items()}),
        "share_moves_by": moves.to_dict(),
        "moves": bool(moves.low > 0 and planted["share"]["low"] > area),
    }


def _agreement(found: dict[str, Numbers], count: int) -> dict[str, Any]:
    """The mean rank correlation of every two methods' signed maps."""
    maps = {name: torch.from_numpy(each["signed"][:count]) for name, each in found.items()}
    table = [
        [float(rank_correlation(first, second).nanmean()) for second in maps.values()]
        for first in maps.values()
    ]
    return {"methods": list(maps), "spearman": np.round(table, 4).tolist()}


def _intervals(values: Numbers) -> dict[str, dict[str, float]]:
    table = mean_intervals(np.stack(list(values.values()), 1))
    return {name: each.to_dict() for name, each in zip(values, table, strict=True)}


def _plain(value: Any) -> Any:
    """An option as JSON can hold it."""
    return f"{int(value.max()) + 1} units" if isinstance(value, Tensor) else value
