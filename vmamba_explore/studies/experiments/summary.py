"""What the runs of an experiment say: means over seeds, and whether the paper's order holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vmamba_explore import resources
from vmamba_explore.errors import shown
from vmamba_explore.intervals import t_interval
from vmamba_explore.studies.experiments.run import EXPERIMENTS, key_of

AS_IN_PAPER, OTHER_WAY, NOT_APART = "as in the paper", "the other way", "not apart"


@dataclass(frozen=True, eq=False)
class Comparison:
    """The arms of one experiment beside each other and beside the paper.

    Args:
        name: Of the experiment.
        arms: A row for each arm, in the paper's order: `mean` top-1 over seeds, `low` and `high`
            (95 %, Student's t over seeds), `seeds` their number, `each` their top-1, `within_pair`
            the mean share of clips told from their reversal (a guess: one half), `learning`
            the mean accuracy over the training (an arm that learns sooner has more of it, also
            where all end at the top), `left_chance` in how many seeds the test was above chance,
            and `paper: DATA SET` in per cent, NaN where the paper has no number.
        pairs: A row for each data set and two arms that the paper puts in an order: `better`,
            `worse`, `paper` (points between them), `ours` (the mean difference of the seeds they
            share), `low`, `high` (95 %), and `verdict`.
        chance: Top-1 of a guess.
    """

    name: str
    arms: pd.DataFrame
    pairs: pd.DataFrame
    chance: float

    def agreement(self) -> pd.DataFrame:
        """Whether our means stand in the paper's order: a row for each of the paper's data sets.

        `pairs` are those the paper tells apart, `same_order` those in which our mean is larger
        where the paper's is, `as_in_paper` and `other_way` those in which the interval of the
        seeds' differences leaves zero out; `agrees` is whether all have the same order.
        """
        rows = {}
        for data_set, pairs in self.pairs.groupby("data_set", sort=False):
            same = int((pairs["ours"] > 0).sum())
            rows[data_set] = {
                "pairs": len(pairs),
                "same_order": same,
                "as_in_paper": int((pairs["verdict"] == AS_IN_PAPER).sum()),
                "other_way": int((pairs["verdict"] == OTHER_WAY).sum()),
                "agrees": same == len(pairs),
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def never_learned(self) -> list[str]:
        """The arms that stayed at chance with every seed."""
        return [str(arm) for arm in self.arms.index[self.arms["left_chance"] == 0]]


def load_experiments(file: str | Path | None = None) -> dict[str, Any]:
    """Read the file of `vmamba-explore experiment`; None reads the one that is bundled.

    Raises:
        ValueError: not such a file.
    """
    path = resources.path("experiments.json") if file is None else Path(file)
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "runs" not in found:
        raise ValueError(
            f"load_experiments: {path} holds no runs; `vmamba-explore experiment all --output "
            f"{path.name}` makes such a file."
        )
    return found


def compare(found: Mapping[str, Any], name: str) -> Comparison:
    """Gather the runs of one experiment.

    Args:
        found: From `load_experiments`.
        name: Of `EXPERIMENTS`: frame_order, backward_order, pos_embed, frames or width.
    Raises:
        ValueError: an unknown experiment, or one without a run.
    """
    if name not in EXPERIMENTS:
        raise ValueError(
            f"compare: no experiment {shown(name)}; there are {', '.join(EXPERIMENTS)}."
        )
    chance = float(found["chance"])
    by_seed: dict[str, dict[int, Mapping[str, Any]]] = {
        arm: _runs(found, key_of(EXPERIMENTS[name][arm], 0)) for arm in EXPERIMENTS[name]
    }
    rows = {}
    for arm, runs in by_seed.items():
        if not runs:
            continue
        each = [run["top1"]["value"] for run in runs.values()]
        top1 = t_interval(each)
        rows[arm] = {
            "mean": top1.value,
            "low": max(top1.low, 0.0),
            "high": min(top1.high, 1.0),
            "seeds": len(each),
            "each": each,
            "within_pair": float(np.mean([run["within_pair"]["value"] for run in runs.values()])),
            "learning": float(np.mean([_learning(run) for run in runs.values()])),
            "left_chance": sum(run["top1"]["low"] > chance for run in runs.values()),
            **{f"paper: {k}": v for k, v in EXPERIMENTS[name][arm].paper.items()},
        }
    if not rows:
        raise ValueError(f"compare: there is no run of {shown(name)} in what was given.")
    return Comparison(
        name, pd.DataFrame.from_dict(rows, orient="index"), _pairs(name, by_seed), chance
    )


def learning_curves(found: Mapping[str, Any], name: str) -> pd.DataFrame:
    """How the runs of an experiment learned: `arm`, `seed`, `step`, training `accuracy` and `loss`.

    Args:
        found: From `load_experiments`.
        name: Of `EXPERIMENTS`.
    """
    rows = [
        {"arm": arm, "seed": seed, **{key: row[key] for key in ("step", "accuracy", "loss")}}
        for arm, what in EXPERIMENTS[name].items()
        for seed, run in _runs(found, key_of(what, 0)).items()
        for row in run["history"]
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "accuracy", "loss"])


def _runs(found: Mapping[str, Any], key: str) -> dict[int, Mapping[str, Any]]:
    """The runs of an arm by seed."""
    prefix = key.removesuffix("0")
    runs = {
        int(k.removeprefix(prefix)): v for k, v in found["runs"].items() if k.startswith(prefix)
    }
    return dict(sorted(runs.items()))


def _learning(run: Mapping[str, Any]) -> float:
    return float(np.mean([row["accuracy"] for row in run["history"]]))


def _pairs(name: str, by_seed: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> pd.DataFrame:
    rows = []
    arms = {arm: EXPERIMENTS[name][arm].paper for arm, runs in by_seed.items() if runs}
    for data_set in dict.fromkeys(key for paper in arms.values() for key in paper):
        known = {arm: paper[data_set] for arm, paper in arms.items() if data_set in paper}
        for better in known:
            for worse in known:
                if known[better] <= known[worse]:
                    continue
                seeds = by_seed[better].keys() & by_seed[worse].keys()
                ours = t_interval(
                    [
                        by_seed[better][s]["top1"]["value"] - by_seed[worse][s]["top1"]["value"]
                        for s in sorted(seeds)
                    ]
                )
                verdict = AS_IN_PAPER if ours.low > 0 else OTHER_WAY if ours.high < 0 else NOT_APART
                rows.append(
                    {
                        "data_set": data_set,
                        "better": better,
                        "worse": worse,
                        "paper": round(known[better] - known[worse], 1),
                        "ours": ours.value,
                        "low": ours.low,
                        "high": ours.high,
                        "verdict": verdict,
                    }
                )
    columns = ["data_set", "better", "worse", "paper", "ours", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)
