"""The score card: all methods, resumable, scores from maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.attribution.baselines import make_baselines
from vmamba_explore.attribution.clip_scores import CONTROLS
from vmamba_explore.attribution.ground_truth import Truth
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.studies.scorecard import making as module
from vmamba_explore.studies.scorecard import summary as score_summary
from vmamba_explore.studies.scorecard.making import Plan, ScoreCard
from vmamba_explore.studies.scorecard.subjects import RECALL, Measure
from vmamba_explore.studies.scorecard.summary import summarize

PLAN = Plan(clips=4, faithful=2, sane=2, still=2, planted=2, batch=2)
SIGNED = {"saliency, signed": {"method": "saliency", "abs": False}}
METHODS = {"saliency": {}, "mamba_lrp": {}, **SIGNED, **{name: {} for name in CONTROLS}}


def small_model(seed):
    how = {"num_frames": 16, "img_size": 64, "tubelet_size": 4, "num_classes": 10}
    return toy(seed=seed, d_model=16, depth=1, **how)


@pytest.fixture(scope="module")
def models():
    return small_model(0), small_model(1)


@pytest.fixture(scope="module")
def measured(models, tmp_path_factory):
    card = ScoreCard(*models, tmp_path_factory.mktemp("card"), PLAN, METHODS)
    card.measure(progress=False)
    return card


def test_a_measured_card_makes_nothing_again(measured, monkeypatch):
    def never(*args, **options):
        raise AssertionError("something was missing")

    monkeypatch.setattr(module, "attribute", never)
    measured.measure(progress=False)
    summarize(measured)


def test_an_interrupted_card_goes_on(models, tmp_path, monkeypatch, measured):
    made, real = [], module.attribute

    def interrupted(*args, **options):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(args[3])
        return real(*args, **options)

    monkeypatch.setattr(module, "attribute", interrupted)
    card = ScoreCard(*models, tmp_path, PLAN, METHODS)
    with pytest.raises(KeyboardInterrupt):
        card.measure(progress=False)
    assert len(list(tmp_path.rglob("*.npz"))) >= 2 and not list(tmp_path.rglob("*.part"))
    count = []
    monkeypatch.setattr(module, "attribute", lambda *a, **o: count.append(1) or real(*a, **o))
    ScoreCard(*models, tmp_path, PLAN, METHODS).measure(progress=False)
    whole = len(METHODS) * (2 + 1 + 2) + 3  # maps; and once more to see whether they hold still
    assert len(count) == whole - 3
    same = summarize(ScoreCard(*models, tmp_path, PLAN, METHODS))
    for name in METHODS:
        expected = summarize(measured)["methods"][name]["truth"]
        assert same["methods"][name]["truth"] == expected


def test_maps_of_other_weights_are_not_mixed(measured, models):
    other = small_model(2)
    with pytest.raises(ValueError, match="holds maps of another model or plan"):
        ScoreCard(other, models[1], measured.folder, PLAN, METHODS)
    with pytest.raises(KeyError, match="no method 'salience'"):
        ScoreCard(*models, measured.folder, PLAN, {"salience": {}})


def test_other_options_have_maps_of_their_own(measured, models):
    rows = next(PLAN.batches(2))
    other = ScoreCard(*models, measured.folder, PLAN, {"saliency": {"abs": False}})
    assert (measured.maps("clean", "saliency", rows)["signed"] >= 0).all()
    signed = other.maps("clean", "saliency", rows)["signed"]
    assert (signed < 0).any()
    np.testing.assert_array_equal(signed, measured.maps("clean", *SIGNED, rows)["signed"])


def test_areas_are_parts_of_what_the_whole_clips_give(measured):
    rows = next(PLAN.batches(2))
    found = measured.removals("saliency", rows)
    problem = measured._problem("clean", rows)
    base = make_baselines(problem, "clip_mean")
    span = (problem(problem.inputs) - problem(base)).double().numpy()
    np.testing.assert_allclose(found["span"], span, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found["lerf_minus_morf"], found["insertion"] - found["deletion"], atol=1e-6
    )
    summary = summarize(measured)["methods"]["saliency"]["removal"]
    assert summary["insertion"]["value"] == pytest.approx(
        found["insertion"].mean() / span.mean(), abs=2e-4
    )


def test_a_summary_has_every_score_and_goes_into_a_file(measured):
    summary = summarize(measured)
    assert json.loads(json.dumps(summary)) == summary
    entry = summary["methods"]["mamba_lrp"]
    assert set(entry["truth"]) == {"positive", "abs"}
    for score in summary["scores"]:
        ours = entry["truth"]["positive"][score]
        assert 0 <= ours["low"] <= ours["value"] <= ours["high"] <= 1
        assert set(entry["beats"][score]["over"]) == set(CONTROLS)
    assert set(entry["removal"]) >= {"deletion", "insertion", "lerf_minus_morf", "infidelity"}
    assert set(entry["shortcut"]) == {"area", "planted", "clean", "share_moves_by", "moves"}
    assert entry["completeness_gap"]["median"] > 0
    assert "beats" not in summary["methods"]["random"]
    table = np.array(summary["agreement"]["spearman"])
    np.testing.assert_allclose(np.diag(table), 1)
    np.testing.assert_allclose(table, table.T)
    # frame difference is the same for a model without weights: the check must see that
    sanity = summary["methods"]["frame_difference"]["sanity"]
    assert sanity["twin_spearman"]["value"] == 1 and not sanity["passes"]


def test_only_what_is_better_on_every_control_beats_them(measured, monkeypatch):
    clips = [measured.clips[number] for number in range(4)]
    truth = Truth.of(clips, measured.model.grid)
    real = score_summary._scores

    def scored(name, maps, given):
        return real(name, truth.evidence.double().numpy() if name == "saliency" else maps, given)

    monkeypatch.setattr(score_summary, "_scores", scored)
    beats = summarize(measured)["methods"]["saliency"]["beats"]
    for score in ("share", "iou", "average_precision"):
        assert beats[score]["all"]
    monkeypatch.setattr(score_summary, "_scores", lambda _, maps, given: real("x", maps, given))
    assert not summarize(measured)["methods"]["mamba_lrp"]["beats"]["pointing"]["all"]


def test_nothing_beats_controls_that_were_not_measured(models, tmp_path):
    card = ScoreCard(*models, tmp_path, replace(PLAN, clips=2), {"saliency": {}})
    beats = summarize(card)["methods"]["saliency"]["beats"]
    assert not any(beats[score]["all"] for score in beats)


def test_tensors_that_print_alike_have_files_of_their_own(models, tmp_path):
    names = set()
    for last in (0, 1):
        unit = torch.zeros(2000, dtype=torch.long)
        unit[1000] = last
        card = ScoreCard(*models, tmp_path, PLAN, {"drop_tokens": {"unit": unit}})
        names.add(card._name("drop_tokens"))
    assert len(names) == 2


def test_opposite_signs_do_not_cancel_in_the_check_of_weights(measured, monkeypatch):
    signs = torch.tensor([0.9, -0.9]).double()
    monkeypatch.setattr(score_summary, "rank_correlation", lambda *maps: signs)
    sanity = score_summary._sanity(measured, "saliency", np.zeros((4, 4, 4, 4)))
    assert sanity["twin_spearman"]["value"] == 0.9 and not sanity["passes"]
    assert sanity["signed"]["value"] == 0


def test_an_order_is_better_than_random_on_enough_clips_only(measured, monkeypatch):
    monkeypatch.setattr(measured, "removals", lambda name, rows: {
        **dict.fromkeys(("deletion", "temporal_deletion"), np.zeros(len(rows))),
        **dict.fromkeys(("span", "temporal_span"), np.ones(len(rows))),
    })  # fmt: skip
    chance = {name: np.ones(2) for name in ("deletion", "temporal_deletion")}
    found = score_summary._removals(measured, "saliency", chance)
    assert found["deletion"]["better_by"]["low"] == 1 and not found["deletion"]["beats_random"]
    monkeypatch.setattr(score_summary, "FEWEST", 2)
    assert score_summary._removals(measured, "saliency", chance)["deletion"]["beats_random"]


# ---------------------------------------------------------------- another subject


@pytest.fixture(scope="module")
def recalled(tmp_path_factory):
    """A measured card of a subject without a planted model, with measures of its own."""
    how = {"num_frames": 16, "img_size": 64, "tubelet_size": 1, "num_classes": 4}
    model = toy(seed=0, d_model=16, depth=1, **how)
    methods = {"saliency": {}, **{name: {} for name in CONTROLS}}
    card = ScoreCard(model, None, tmp_path_factory.mktemp("recall"), PLAN, methods, RECALL)
    card.measure(progress=False)
    return card


def test_a_subject_without_a_planted_model_has_no_shortcut_but_its_measures(recalled):
    summary = summarize(recalled)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["weights"] == fingerprint(recalled.model)
    assert not list(recalled.folder.glob("marked")) and not list(recalled.folder.glob("planted"))
    assert set(summary["methods"]["saliency"]["by_class"]) <= set(RECALL.class_names)
    for entry in summary["methods"].values():
        assert "shortcut" not in entry and list(entry["measures"]) == list(summary["measures"])


def test_the_compared_class_is_the_subjects(recalled):
    rows = next(PLAN.batches(2))
    _, _, target, minus = recalled._asked("clean", rows)
    assert minus.tolist() == RECALL.minus(target.numpy()).tolist()
    problem = recalled._problem("clean", rows)
    logits = recalled.model(problem.inputs)
    wanted = logits.gather(1, target[:, None]) - logits.gather(1, minus[:, None])
    torch.testing.assert_close(problem(problem.inputs), wanted[:, 0])


def test_a_measure_is_compared_with_chance_and_with_controls_on_the_same_clips(recalled):
    key = "sample: share of the map on it"
    clips = [recalled.clips[number] for number in range(4)]
    known = RECALL.measures(clips, recalled.model.grid)
    measure = next(m for m in known if f"{m.part}: {m.kind}" == key)
    rows = [recalled.maps("clean", "saliency", rows)["positive"] for rows in PLAN.batches(4)]
    own = measure.of(torch.from_numpy(np.concatenate(rows)))
    found = summarize(recalled)["methods"]["saliency"]["measures"][key]
    assert found["value"] == pytest.approx(float(own.mean()), abs=1e-4)
    above = float((own - measure.chance).mean())
    assert found["above_chance"]["value"] == pytest.approx(above, abs=1e-4)
    assert found["beats_chance"] == (found["above_chance"]["low"] > 0)
    assert set(found["over"]) == set(CONTROLS)


def test_where_the_least_is_best_a_smaller_value_beats(recalled, monkeypatch):
    def measures(clips, grid):
        chance = torch.full((len(clips),), 0.5, dtype=torch.float64)

        def of(maps):
            flat = maps.flatten(1)
            return (flat.max(1).values > 0.999 * flat.mean(1)).double() * 0.4

        return [Measure("a number", "all", of, chance, low_is_good=True)]

    monkeypatch.setattr(recalled, "subject", replace(RECALL, measures=measures))
    found = summarize(recalled)["methods"]["saliency"]["measures"]["all: a number"]
    assert found["above_chance"]["value"] == pytest.approx(0.1) and found["beats_chance"]
    assert not found["all"], "no better than controls that have the same"
