"""The command line: exit codes, one line for an error."""

import subprocess
import sys

import pytest

from vmamba_explore.cli import main
from vmamba_explore.model.checkpoints import save_model


def test_an_unreadable_clip_is_one_line_and_exit_code_2(tmp_path, untrained_model, capsys):
    save_model(untrained_model, tmp_path / "model")
    output = str(tmp_path / "report.html")
    arguments = ["report", "absent.mp4", "--output", output, "--model", str(tmp_path / "model")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("vmamba-explore: absent.mp4") and error.count("\n") == 1


def test_an_unknown_model_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["report", "a.mp4", "--output", str(tmp_path / "r.html"), "--model", "nano"]) == 2
    assert "motion-nano" in capsys.readouterr().err


def test_info_lists_versions_and_every_backend(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "torch 2." in text and "scan backend naive: available" in text


def test_a_missing_output_is_a_usage_error():
    with pytest.raises(SystemExit) as stopped:
        main(["report", "clip.mp4"])
    assert stopped.value.code == 2


def test_help_does_not_load_torch():
    code = "import sys; from vmamba_explore.cli import main\ntry: main(['--help'])\nexcept "
    code += "SystemExit: pass\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_stride_that_is_no_number_is_told_what_was_expected(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["report", "a.mp4", "--output", str(tmp_path / "r.html"), "--stride", "all"])
    assert stopped.value.code == 2
    assert "expected a whole number or 'spread', got 'all'" in capsys.readouterr().err
