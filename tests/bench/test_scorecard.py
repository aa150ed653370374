"""The score card's command: from clips to three files."""

import json
import pathlib

import pytest

import vmamba_explore
from vmamba_explore import VideoMamba, VideoMambaConfig

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def scorecard(script):
    return script("scorecard")


def test_the_command_writes_json_tables_and_a_page(scorecard, tmp_path, monkeypatch):
    from vmamba_explore.studies.scorecard import making as library

    few = {"saliency": {}, "mamba_lrp": {}, **{name: {} for name in library.CONTROLS}}
    monkeypatch.setattr(library, "card_methods", lambda model: few)
    config = VideoMambaConfig(
        num_frames=16, img_size=64, patch_size=16, tubelet_size=4, num_classes=10, d_model=16,
        depth=1,
    )  # fmt: skip
    monkeypatch.setattr(vmamba_explore, "load_model", lambda name: VideoMamba(config).eval())
    arguments = ["--clips", "3", "--folder", str(tmp_path / "runs"), "--output", str(tmp_path)]
    scorecard.main(arguments)
    summary = json.loads((tmp_path / "scorecard.json").read_text())
    assert list(summary["methods"]) == list(few) and summary["plan"]["clips"] == 3
    text = (tmp_path / "scorecard.md").read_text()
    share = summary["methods"]["mamba_lrp"]["truth"]["positive"]["share"]
    assert f"{share['value']:.2f} ({share['low']:.2f} to {share['high']:.2f})" in text
    page = (tmp_path / "scorecard.html").read_text()
    assert "mamba_lrp" in page and "<script src" not in page


def test_the_committed_tables_are_those_of_the_committed_numbers(scorecard):
    summary = json.loads((HERE.parent.parent / "data/scorecard.json").read_text())
    assert (HERE / "scorecard.md").read_text() == scorecard.tables(summary)
    methods = set(summary["methods"]) - set(summary["controls"])
    assert len(methods) >= 12 and summary["plan"]["clips"] >= 300
