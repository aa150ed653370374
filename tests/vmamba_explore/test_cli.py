"""The command line: exit codes, one line for an error."""

import shutil
import subprocess
import sys

import pytest

from vmamba_explore import resources
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


@pytest.fixture
def clip(tmp_path):
    """Return a copy of a bundled clip, for tests that might destroy it."""
    return shutil.copy(resources.path("clips/right.mp4"), tmp_path / "mine.mp4")


def test_explore_writes_the_page_the_gif_and_the_numbers(clip, tmp_path, capsys):
    page, gif, table = (tmp_path / f"a.{kind}" for kind in ("html", "gif", "csv"))
    arguments = ["explore", str(clip), "--output", str(page), "--compare", "reversed"]
    assert main([*arguments, "--gif", str(gif), "--csv", str(table)]) == 0
    assert capsys.readouterr().out.split() == [str(page), str(gif), str(table)]
    assert "mine.mp4, backwards" in page.read_text("utf-8")
    assert gif.read_bytes().startswith(b"GIF8")
    assert table.read_text().startswith("side,layer,direction,frame")


@pytest.mark.parametrize("option", ["--output", "--csv"])
def test_watch_never_overwrites_the_video(clip, tmp_path, capsys, option):
    before = clip.read_bytes()
    outputs = {"--output": str(tmp_path / "page.html"), option: str(clip)}
    assert main(["watch", str(clip), *(word for pair in outputs.items() for word in pair)]) == 2
    assert "mine.mp4 is the clip itself; name another output file" in capsys.readouterr().err
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "page", "table"),
    [("watch", "a.html", "a.html"), ("watch", "a.json", "a.csv"), ("explore", "a.html", "a.html")],
)
def test_two_outputs_are_two_files(clip, tmp_path, capsys, command, page, table):
    outputs = ["--output", str(tmp_path / page), "--csv", str(tmp_path / table)]
    assert main([command, str(clip), *outputs]) == 2
    assert "is to be written twice; name another output file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mp4"]


def test_an_interrupted_watch_says_so_and_keeps_its_page(clip, tmp_path, capsys, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("vmamba_explore.app.windows.Looker._run", stop)
    assert main(["watch", str(clip), "--output", str(tmp_path / "a.html")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert "interrupted before the end" in (tmp_path / "a.html").read_text("utf-8")


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "much"])
def test_a_budget_is_more_than_nothing(budget, capsys):
    with pytest.raises(SystemExit):
        main(["watch", "a.mp4", "--output", "a.html", "--budget-gib", budget])
    assert f"expected a number of GiB above 0, got '{budget}'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--output", "--gif", "--csv"])
def test_explore_never_overwrites_the_clip(clip, tmp_path, capsys, option):
    before = clip.read_bytes()
    outputs = {"--output": str(tmp_path / "page.html"), option: str(clip)}
    assert main(["explore", str(clip), *(word for pair in outputs.items() for word in pair)]) == 2
    assert "mine.mp4 is the clip itself; name another output file" in capsys.readouterr().err
    assert clip.read_bytes() == before
    assert not (tmp_path / "page.html").exists()


def test_explore_never_overwrites_what_it_compares_with(clip, capsys):
    before = clip.read_bytes()
    first = str(resources.path("clips/right.mp4"))
    assert main(["explore", first, "--compare", str(clip), "--output", str(clip)]) == 2
    assert clip.read_bytes() == before


def test_explore_names_a_missing_folder_before_anything_is_written(clip, tmp_path, capsys):
    page, gif = tmp_path / "page.html", tmp_path / "absent" / "a.gif"
    assert main(["explore", str(clip), "--output", str(page), "--gif", str(gif)]) == 2
    assert "absent does not exist" in capsys.readouterr().err
    assert not page.exists()
