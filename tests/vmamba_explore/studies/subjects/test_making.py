"""What the commands share that make bundled models."""

from pathlib import Path

import pytest

from vmamba_explore import resources
from vmamba_explore.studies.subjects.making import options_parser, parsed, verdict


@pytest.mark.parametrize(
    ("value", "met"), [(0.1, True), (0.2, True), (0.0999, False), (0.2001, False)]
)
def test_a_verdict_is_met_up_to_both_bounds(value, met):
    assert verdict(value, 0.1, 0.2, layer=3) == {
        "value": value, "asked": [0.1, 0.2], "met": met, "layer": 3
    }  # fmt: skip


def test_a_model_goes_into_data_and_its_training_into_runs_unless_said_otherwise(tmp_path):
    parser = options_parser("Train it.\n\nMore.", "motion-nano")
    assert parser.description == "Train it."
    options = parsed(parser, ["--workers", "3"], "motion_nano")
    assert options.output == resources.data_dir() / "motion-nano"
    assert options.checkpoint == Path("runs/motion-nano.pt")
    assert options.workers == 3
    assert parsed(parser, ["--output", str(tmp_path)], "motion_nano").output == tmp_path


def test_an_output_that_cannot_be_a_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="^motion_nano: "):
        parsed(options_parser("", "m"), ["--output", str(tmp_path / "file")], "motion_nano")
