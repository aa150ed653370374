"""The page on decoded states: what is measured again, and what the tables say."""

import json
import pathlib
import sys

import numpy as np
import pytest

from vmamba_explore import VideoMamba, VideoMambaConfig
from vmamba_explore.studies.scorecard.subjects import SUBJECTS


@pytest.fixture
def bench(script, monkeypatch, tmp_path):
    """Return the script, which writes into an empty folder and measures nothing."""
    probes = script("probes")
    monkeypatch.setattr(probes, "HERE", tmp_path / "probes.py")
    return probes


def grid(value=0.5):
    """Return the scores of two targets, two layers, both directions and three frames."""
    values = np.full((2, 4, 2, 2, 3), 0.01)
    values[:, 0] = value
    values[0, :, :, :, 0] = np.nan
    values[:, 0, 1, 1, 0] = 0.875  # layer 5, backward, the last frame that it reads
    listed = np.where(np.isnan(values), None, values).tolist()
    return {
        "targets": ["velocity", "label"], "layers": [0, 5], "directions": ["forward", "backward"],
        "values": listed, "low": listed, "high": listed,
    }  # fmt: skip


def cut():
    """Return what is left after a jump in one layer, forward, at two lags."""
    found = {"layers": [2], "directions": ["forward"], "lags": [0, 32], "per_frame": 64}
    shown = {"r2": [0.4, 0.1], "share": [1.0, 0.25], "inputs": [0.6, 0.03], "retention": [1.0, 0.3]}
    return found | {
        name + end: [[values]] for name, values in shown.items() for end in ("", "_low", "_high")
    }


def test_the_tables_show_the_best_layer_the_controls_and_what_is_left(bench):
    page = bench.tables(
        {"counts": {"train": 9, "test": 8}, "machine": "here", "probes": grid(),
         "untrained": grid(0.2), "after the object stops": cut()}
    )  # fmt: skip
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines()}
    best = next(line for line in page.splitlines() if line.startswith("| label | backward"))
    assert best.split(" | ")[2] == "5" and "0.88 [0.88, 0.88]" in best
    assert best.rstrip(" |").endswith("0.42")  # untrained, mean over its frames
    assert rows["layer 0 forward"].count("0.50 [0.50, 0.50]") == 3  # the last table: label
    assert (
        "| layer 2 forward | 0.40 [0.40, 0.40]; 100 %; 100 % | 0.10 [0.10, 0.10]; 25 %; 30 %"
        in page
    )
    assert "| 0.03 |" in page and "32 tokens (0.50 frames)" in page
    assert "nan" not in page and "| – |" in page


def test_the_committed_tables_are_those_of_the_committed_numbers(bench):
    found = sorted(pathlib.Path(__file__).parent.glob("probes*.json"))
    assert "probes.json" in [file.name for file in found]
    for file in found:
        assert file.with_suffix(".md").read_text() == bench.tables(json.loads(file.read_text()))


@pytest.mark.parametrize("name", ["recall-nano", "camera-nano"])
def test_other_subjects_have_their_own_clips_targets_and_files(bench, monkeypatch, name):
    subject = SUBJECTS[name]
    config = VideoMambaConfig(
        num_frames=16, img_size=64, patch_size=32, tubelet_size=4, d_model=8, depth=1,
        num_classes=len(subject.class_names),
    )  # fmt: skip
    monkeypatch.setattr(bench.vmamba_explore, "load_model", lambda name: VideoMamba(config).eval())
    arguments = ["--subject", name, "--train", "24", "--test", "22"]
    monkeypatch.setattr(sys, "argv", ["probes.py", *arguments])
    bench.main()
    page = bench.HERE.with_name(f"probes_{name}.md").read_text()
    assert f"`python tests/bench/probes.py --subject {name}`" in page and "jump" not in page
    found = json.loads(bench.HERE.with_name(f"probes_{name}.json").read_text())
    targets = {
        "recall-nano": ["sample color", "test color", "label"],
        "camera-nano": ["pan", "tilt", "zoom", "roll", "label"],
    }[name]
    assert found["probes"]["targets"] == targets
    done = (bench.HERE.with_name(f"probes_{name}.json")).stat().st_mtime_ns
    bench.main()  # other weights: measured anew
    assert (bench.HERE.with_name(f"probes_{name}.json")).stat().st_mtime_ns > done


def test_what_was_measured_is_kept_unless_other_clips_are_asked_for(bench, monkeypatch):
    path, collected = bench.HERE.with_suffix(".json"), []

    def collect(*args, **kwargs):
        collected.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "collect", collect)
    monkeypatch.setattr(bench, "collect_after_cut", collect)
    done = {"counts": {"train": 30, "test": 20}, "machine": "here", "probes": grid()}
    path.write_text(json.dumps(done))
    for options, wanted in ((["--train", "30", "--test", "20"], 6), (["--train", "40"], 3)):
        collected.clear()
        monkeypatch.setattr(sys, "argv", ["probes.py", *options])
        with pytest.raises(KeyboardInterrupt):
            bench.main()
        # six arguments where the jump is measured, the first thing missing; else everything anew
        assert len(collected) == 1 and (len(collected[0]) > 4) == (wanted == 6)
    assert json.loads(path.read_text()) == done  # nothing finished, nothing lost
