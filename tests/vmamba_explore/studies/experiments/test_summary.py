import json
import math

import pytest
from scipy import stats

from vmamba_explore import resources
from vmamba_explore.studies.experiments.run import EXPERIMENTS, key_of
from vmamba_explore.studies.experiments.summary import (
    AS_IN_PAPER,
    NOT_APART,
    OTHER_WAY,
    compare,
    learning_curves,
    load_experiments,
)


def run(value):
    rows = [(50, 0.25, 1.4), (100, value, 1.0)]
    history = [dict(zip(("step", "accuracy", "loss"), row, strict=True)) for row in rows]
    top1 = {"value": value, "low": value - 0.03, "high": value + 0.03, "n": 1000}
    return {"top1": top1, "within_pair": {"value": (1 + value) / 2}, "history": history}


def made(name, values):
    """What a file holds in which each arm of an experiment has these top-1, seed by seed."""
    arms = EXPERIMENTS[name]
    return {
        "chance": 0.25,
        "runs": {
            key_of(arms[arm], seed): run(value)
            for arm, each in values.items()
            for seed, value in enumerate(each)
        },
    }


ORDERED = {
    "sequential": [0.95, 0.97, 0.96],
    "block_wise": [0.90, 0.93, 0.91],
    "pairwise": [0.60, 0.80, 0.90],
    "interleaved": [0.25, 0.26, 0.24],
}


def test_means_and_intervals_are_students_over_seeds():
    arms = compare(made("frame_order", ORDERED), "frame_order").arms
    values = ORDERED["block_wise"]
    low, high = stats.t.interval(0.95, 2, sum(values) / 3, stats.sem(values))
    assert arms.loc["block_wise", "mean"] == pytest.approx(sum(values) / 3)
    assert arms.loc["block_wise", "low"] == pytest.approx(low)
    assert arms.loc["block_wise", "high"] == pytest.approx(high)
    assert arms.loc["pairwise", "high"] == 1.0  # a share is not above 1
    assert arms.loc["pairwise", "learning"] == pytest.approx((0.25 + (0.6 + 0.8 + 0.9) / 3) / 2)
    assert arms.loc["pairwise", "within_pair"] == pytest.approx((0.8 + 0.9 + 0.95) / 3)
    assert arms.loc["sequential", "paper: HMDB51"] == 58.9


def test_pairs_are_compared_seed_by_seed_and_judged_by_their_interval():
    pairs = compare(made("frame_order", ORDERED), "frame_order").pairs
    pairs = pairs.set_index(["better", "worse"])
    assert len(pairs) == 6
    first = pairs.loc[("sequential", "block_wise")]
    assert first["ours"] == pytest.approx(0.14 / 3) and first["paper"] == 2.4
    assert first["verdict"] == AS_IN_PAPER
    assert pairs.loc[("block_wise", "pairwise"), "verdict"] == NOT_APART
    turned = made("frame_order", {**ORDERED, "block_wise": [0.98, 0.99, 0.985]})
    pairs = compare(turned, "frame_order").pairs.set_index(["better", "worse"])
    assert pairs.loc[("sequential", "block_wise"), "verdict"] == OTHER_WAY


def test_agreement_needs_every_pair_in_the_papers_order():
    whole = compare(made("frame_order", ORDERED), "frame_order").agreement().loc["HMDB51"]
    assert whole["agrees"] and whole["same_order"] == whole["pairs"] == 6
    turned = {**ORDERED, "pairwise": [0.92, 0.95, 0.92]}
    part = compare(made("frame_order", turned), "frame_order").agreement().loc["HMDB51"]
    assert not part["agrees"] and part["same_order"] == 5


def test_data_sets_of_the_paper_are_judged_each_by_itself():
    values = {"16": [0.9, 0.9], "8": [0.8, 0.82], "4": [0.7, 0.7]}
    found = compare(made("frames", values), "frames")
    assert list(found.agreement().index) == ["SSv2", "HMDB51"]
    assert math.isnan(found.arms.loc["4", "paper: SSv2"])
    assert set(found.pairs["worse"]) == {"8"}  # the paper has no number for four frames


def test_an_arm_at_chance_in_every_seed_has_never_learned():
    assert compare(made("frame_order", ORDERED), "frame_order").never_learned() == ["interleaved"]


def test_one_seed_has_no_interval_and_missing_arms_are_left_out():
    found = compare(made("frame_order", {"sequential": [0.9], "pairwise": [0.5]}), "frame_order")
    assert list(found.arms.index) == ["sequential", "pairwise"]
    assert math.isnan(found.arms.loc["sequential", "low"])
    assert found.pairs["verdict"].tolist() == [NOT_APART]


def test_learning_curves_have_a_row_for_every_noted_step():
    curves = learning_curves(made("frame_order", ORDERED), "frame_order")
    assert len(curves) == 4 * 3 * 2
    one = curves[(curves["arm"] == "pairwise") & (curves["seed"] == 1)]
    assert one["accuracy"].tolist() == [0.25, 0.8]


def test_runs_of_other_arms_are_not_mistaken_for_ones_own():
    found = made("width", {"64": [0.9], "32": [0.5]})
    found["runs"][key_of(EXPERIMENTS["frames"]["8"], 0)] = run(0.1)
    assert compare(found, "width").arms["mean"].tolist() == [0.9, 0.5]


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no experiment 'depth'; there are frame_order"):
        compare({"chance": 0.25, "runs": {}}, "depth")
    with pytest.raises(ValueError, match="no run of 'width'"):
        compare({"chance": 0.25, "runs": {}}, "width")
    (tmp_path / "x.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="x.json holds no runs"):
        load_experiments(tmp_path / "x.json")


def test_the_bundled_file_holds_every_arm_with_three_seeds_or_more():
    found = load_experiments()
    assert resources.path("experiments.json").stat().st_size < 200_000
    for name, arms in EXPERIMENTS.items():
        table = compare(found, name).arms
        assert list(table.index) == list(arms) and (table["seeds"] >= 3).all()
