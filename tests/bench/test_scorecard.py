"""The score card's command: from clips to three files."""

import json
import pathlib
from dataclasses import replace

import pytest

import vmamba_explore
from vmamba_explore import VideoMamba, VideoMambaConfig, load_model
from vmamba_explore.attribution.clip_scores import CONTROLS
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.studies.scorecard.subjects import SUBJECTS

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def scorecard(script):
    return script("scorecard")


@pytest.fixture
def few_methods(monkeypatch):
    """Return the names of a few methods, the only ones that subjects know."""
    few = {"saliency": {}, "mamba_lrp": {}, **{name: {} for name in CONTROLS}}
    for name, subject in SUBJECTS.items():
        monkeypatch.setitem(SUBJECTS, name, replace(subject, methods=lambda model: few))
    return list(few)


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_command_writes_json_tables_and_a_page(
    scorecard, few_methods, tmp_path, monkeypatch, name
):
    subject = SUBJECTS[name]
    config = VideoMambaConfig(
        num_frames=16, img_size=64, patch_size=16, tubelet_size=4, d_model=16, depth=1,
        num_classes=len(subject.class_names),
    )  # fmt: skip
    model = VideoMamba(config).eval()
    monkeypatch.setattr(vmamba_explore, "load_model", lambda name: model)
    arguments = ["--clips", "3", "--folder", str(tmp_path / "runs"), "--output", str(tmp_path)]
    scorecard.main(["--subject", name, "--shared", *arguments])
    end = "" if name == "motion-nano" else f"_{name}"
    summary = json.loads((tmp_path / f"scorecard{end}.json").read_text())
    assert list(summary["methods"]) == few_methods and summary["plan"]["clips"] == 3
    assert "beside other work" in summary["machine"]
    text = (tmp_path / f"scorecard{end}.md").read_text()
    share = summary["methods"]["mamba_lrp"]["truth"]["positive"]["share"]
    assert f"{share['value']:.2f} ({share['low']:.2f} to {share['high']:.2f})" in text
    assert ("watermark, planted" in text) == (subject.planted is not None)
    page = (tmp_path / f"scorecard{end}.html").read_text()
    assert "mamba_lrp" in page and "<script src" not in page
    figure = json.loads((tmp_path / f"scorecard_figure{end}.json").read_text())
    wanted = {"model": name, "weights": fingerprint(model), "clips": 3}
    assert figure["layout"]["meta"] == wanted


def test_an_unknown_subject_is_refused(scorecard):
    with pytest.raises(SystemExit, match="--subject is emotion-nano, expected motion-nano, "):
        scorecard.main(["--subject", "emotion-nano"])


def test_the_committed_card_of_motion_nano_is_a_whole_one():
    summary = json.loads((HERE.parent.parent / "data/scorecard.json").read_text())
    methods = set(summary["methods"]) - set(summary["controls"])
    assert len(methods) >= 12 and summary["plan"]["clips"] >= 300


def test_a_committed_score_card_is_of_the_weights_that_are_shipped(scorecard):
    found = sorted((HERE.parent.parent / "data").glob("scorecard*.json"))
    cards = [file for file in found if "figure" not in file.name]
    assert len(cards) >= 1
    for file in cards:
        summary = json.loads(file.read_text())
        subject = SUBJECTS[summary["model"]]
        assert file.name == scorecard.named("scorecard.json", subject)
        assert summary["weights"] == fingerprint(load_model(subject.model))
        page = HERE / scorecard.named("scorecard.md", subject)
        assert page.read_text() == scorecard.tables(summary)
        figure = file.with_name(scorecard.named("scorecard_figure.json", subject))
        assert json.loads(figure.read_text())["layout"]["meta"]["weights"] == summary["weights"]
