"""The measurement of when evidence turns: its truth, its scores, its chance, what it keeps."""

import json
import pathlib

import numpy as np
import pytest
import torch

from vmamba_explore import VideoMamba, VideoMambaConfig
from vmamba_explore.studies.scorecard.subjects import SUBJECTS

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def bench(script, monkeypatch):
    truth = script("truth")
    monkeypatch.setattr(truth, "RESAMPLES", 500)
    return truth


WINDOWS = [(1, 6), (3, 10), (4, 12), (6, 14), (7, 13), (2, 8)]


def row(bench, index, crossing=None, frames=None):
    """A row of a clip whose curves cross where they should, or where they are told to."""
    window = WINDOWS[index % len(WINDOWS)]
    names = [f"{kind}/{removal}" for kind, removal in bench.CURVES]
    first, last = bench.token_frames(window, 2)
    inside = [float(first <= frame <= last) for frame in range(8)]
    frames = inside if frames is None else frames
    truth = {"prefix": (window[0] + 1) // 2, "suffix": (window[1] - 1) // 2}
    return {
        "condition": "without distractors",
        "index": index,
        "label": index % 10,
        "predicted": index % 10,
        "group": "right/left",
        "spans": {"window": [first, last]},
        **truth,
        "logit": 10.0,
        "residual": 1e-6,
        "frames": frames,
        "layers": [[[0.0] * 10, [*frames, 0.0, 0.0]]] * 2,
        "curves": {name: [1.0] * 8 for name in names},
        "crossings": {
            name: truth[name.split("/")[0]] if crossing is None else crossing for name in names
        },
    }


def test_errors_are_positive_after_the_truth_in_the_order_of_the_curve(bench):
    window = np.array([1.0, 5.0])
    late = bench.judged("prefix", np.array([4.0]), np.array([2.0]), window)
    assert (late["mean error"][0], late["before the truth"][0]) == (2, 0)
    early = bench.judged("suffix", np.array([6.0]), np.array([4.0]), window)
    assert (early["mean error"][0], early["before the truth"][0]) == (-2, 1)
    assert early["inside the window"][0] == 0 and late["inside the window"][0] == 1


def test_a_curve_without_crossing_misses(bench):
    scores = bench.judged("prefix", np.array([np.nan]), np.array([2.0]), np.array([1.0, 5.0]))
    assert [scores[name][0] for name in ("exact", "within 1", "inside the window")] == [0, 0, 0]
    assert np.isnan(scores["mean error"][0])


def test_an_interval_holds_the_mean_and_shrinks_with_more_clips(bench):
    values = np.random.default_rng(1).normal(2, 1, 400)
    few, many = bench.interval(values[:25]), bench.interval(values)
    assert many[1] < 2 < many[2] and many[1] < many[0] < many[2]
    assert many[2] - many[1] < (few[2] - few[1]) / 2
    assert many[2] - many[1] == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_what_others_score_leaves_the_own_clip_out(bench):
    matrix = np.array([[1.0, 0.0, 0.0], [np.nan, 1.0, 4.0], [3.0, 5.0, 1.0]])
    assert bench.of_others(matrix).tolist() == [0.0, 4.0, 4.0]


def test_perfect_crossings_are_exact_and_chance_is_not(bench):
    found = bench.summarize([row(bench, index) for index in range(12)])
    scores = found["crossings"]["prefix/dropped"]["scores"]
    assert scores["exact"]["value"] == [1, 1, 1]
    assert scores["exact"]["random frame"][0] == pytest.approx(1 / 8)
    truths = [(WINDOWS[i % 6][0] + 1) // 2 for i in range(12)]
    same = [
        np.mean([truths[j] == truths[i] for j in range(12) if j != i]) for i in range(12)
    ]  # fmt: skip
    assert scores["exact"]["truth of other clips"][0] == pytest.approx(np.mean(same), abs=1e-4)
    assert scores["mean error"]["value"] == [0, 0, 0]
    most = max(truths.count(truth) for truth in truths) / 12
    assert scores["exact"]["best fixed frame"][1] == pytest.approx(most, abs=1e-4)


def test_crossings_that_know_nothing_are_not_above_chance(bench):
    rows = [row(bench, index, crossing=3) for index in range(12)]
    for found in bench.summarize(rows)["crossings"].values():
        low, high = found["scores"]["exact"]["above other clips"][1:]
        assert low <= 0 <= high


def test_shares_of_a_flat_and_of_a_perfect_map(bench):
    perfect = bench.summarize([row(bench, index) for index in range(6)])["shares"]
    flat = bench.summarize([row(bench, i, frames=[1.0] * 8) for i in range(6)])["shares"]
    assert perfect["all layers"]["positive part"]["value"][0] == 1
    assert perfect["all layers"]["positive part"]["windows of other clips"][0] < 1
    assert flat["all layers"]["size"]["value"][0] == pytest.approx(flat["uniform"][0], abs=1e-4)
    assert flat["all layers"]["positive part"]["above other clips"][0] == pytest.approx(0, abs=1e-4)
    assert perfect["of the size by direction"][1][0] == 1


def test_a_curve_is_nothing_before_its_truth_and_everything_from_it_on(bench):
    rows = [row(bench, index) for index in range(6)]
    for each in rows:
        for name in each["curves"]:
            kind = name.split("/")[0]
            order = range(8) if kind == "prefix" else range(7, -1, -1)
            steps = {frame: step for step, frame in enumerate(order)}
            known = [steps[frame] >= steps[each[kind]] for frame in range(8)]
            each["curves"][name] = [10.0 * value for value in known]
    for found in bench.summarize(rows)["crossings"].values():
        assert found["level"] == {"before": [0, 0, 0], "at": [1, 1, 1]}


def test_parts_of_the_cause_are_counted_apart_and_what_lies_between_them_too(bench):
    frames = [0.0, 0.5, 0.0, 0.1, 0.1, 0.3, 0.0, 0.0]
    rows = [row(bench, index, frames=frames) for index in range(4)]
    for each in rows:
        each["spans"] = {"sample": [1, 2], "test": [5, 6]}
    found = bench.summarize(rows)["shares"]
    signed = {name: part["signed"][0] for name, part in found["parts"].items()}
    assert signed == pytest.approx({"sample": 0.5, "test": 0.3, "between": 0.2})
    assert found["all layers"]["signed"][0] == pytest.approx(0.8)
    assert found["uniform"][0] == 4 / 8 and found["parts"]["between"]["uniform"][0] == 2 / 8


def test_the_committed_tables_are_those_of_the_committed_numbers(bench):
    found = sorted(HERE.glob("truth*.json"))
    assert HERE / "truth.json" in found
    for file in found:
        assert file.with_suffix(".md").read_text() == bench.tables(json.loads(file.read_text()))


@pytest.fixture
def measured(bench, monkeypatch):
    """Stand-in for the measuring of clips; returns the list of clips it was asked for."""
    asked = []

    def measure(model, subject, clips, indices):
        asked.append((clips.distractors, *indices))
        for index in indices:
            found = row(bench, index)
            del found["condition"]
            yield found

    monkeypatch.setattr(bench, "measure", measure)
    return asked


def test_clips_already_measured_are_not_measured_again(bench, measured, tmp_path):
    where = ["--rows", f"{tmp_path}/rows.jsonl", "--output", f"{tmp_path}"]
    bench.main(["--clips", "2", *where])
    assert measured == [("none", 0, 1), ("all", 0, 1)]
    bench.main(["--clips", "3", *where])
    assert measured[2:] == [("none", 2), ("all", 2)]
    assert json.loads((tmp_path / "truth.json").read_text())["clips"] == 3
    assert "## With distractors" in (tmp_path / "truth.md").read_text()
    bench.main(["--clips", "1", "--fresh", *where])
    assert measured[4:] == [("none", 0), ("all", 0)]


def test_rows_of_other_weights_are_refused(bench, measured, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"model": "other"}) + "\n")
    with pytest.raises(SystemExit, match="of other weights or another seed: --fresh"):
        bench.main(["--clips", "1", "--rows", str(rows), "--output", str(tmp_path)])


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_clip_is_measured_on_the_model_itself(bench, name):
    subject = SUBJECTS[name]
    tubelet = {"motion-nano": 2, "recall-nano": 1, "camera-nano": 4}[name]
    config = VideoMambaConfig(
        num_frames=16, img_size=64, patch_size=16, tubelet_size=tubelet, d_model=16, depth=2,
        num_classes=len(subject.class_names),
    )  # fmt: skip
    torch.manual_seed(0)
    model = VideoMamba(config).eval()
    condition = next(iter(subject.conditions.values()))
    series = subject.series(bench.SEED, condition)
    (found,) = bench.measure(model, subject, series, [2])
    times = subject.times(series[2])
    assert found["label"] == series[2].label and found["group"] == times.group
    for part, (first, last) in times.spans.items():
        assert found["spans"][part] == [first // tubelet, last // tubelet]
    assert found["prefix"] == times.prefix // tubelet
    assert found["residual"] <= 1e-4
    for curve, values in found["curves"].items():
        full = values[-1] if curve.startswith("prefix") else values[0]
        assert full == pytest.approx(found["logit"], abs=1e-4)
    layers = np.array(found["layers"])
    frames = 16 // tubelet
    assert layers.shape == (2, 2, frames + 2)
    assert layers[..., :frames].sum() == pytest.approx(sum(found["frames"]), abs=1e-4)
