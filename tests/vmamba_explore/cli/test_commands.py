"""The command line: exit codes, one line for an error."""

import shutil

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report clip.mp4", "--output requires an argument"),
        ("report clip.mp4 --output a --colour 1", "Unknown option: --colour"),
        ("report clip.mp4 --output a --stride all", "a whole number or 'spread', got 'all'"),
        ("predict clip.mp4 -k 0", "expected a whole number of at least 1, got '0'"),
        ("train --data a --output b --layout swin", '"swin" for --layout. Choose from'),
        ("watch a --output b --budget-gib 0", "a number of GiB above 0, got '0'"),
        ("watch a --output b --budget-gib=-1", "a number of GiB above 0, got '-1'"),
        ("watch a --output b --budget-gib nan", "a number of GiB above 0, got 'nan'"),
        ("watch a --output b --budget-gib much", "a number of GiB above 0, got 'much'"),
        *(
            (f"train --data a --output b {option} 0", "whole number of at least 1, got '0'")
            for option in ("--epochs", "--batch-size", "--parts", "--checkpoint-every")
        ),
        ("listen a.mp3", 'Unknown command "listen"'),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("vmamba-explore: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize("old", ["--batch 0", "--batch=0", "--batch-size 0"])
def test_an_old_option_works_and_says_its_new_name(old, capsys):
    with pytest.raises(SystemExit):
        main(f"watch a --output b {old}".split())
    *warnings, error = capsys.readouterr().err.splitlines()
    assert "Invalid value for --batch-size" in error
    told = "--batch is called --batch-size since version 0.2; the old name goes in 0.4."
    assert warnings == ([] if "size" in old else [f"vmamba-explore: {told}"])


@pytest.fixture
def clip(tmp_path):
    """Return a copy of a bundled clip, for tests that might destroy it."""
    return shutil.copy(resources.path("clips/right.mp4"), tmp_path / "mine.mp4")


def test_explore_writes_the_page_the_gif_and_the_numbers(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reversed").write_text("a file of this name is not what reversed means")
    page, gif, table = (tmp_path / f"a.{kind}" for kind in ("html", "gif", "csv"))
    arguments = ["explore", str(clip), "--output", str(page), "--layers", "0", "1", "--compare"]
    written = ["--gif", str(gif), "--csv", str(table)]
    assert main([*arguments, "reversed", *written]) == 0
    assert capsys.readouterr().out.split() == [str(page), str(gif), str(table)]
    assert "mine.mp4, backwards" in page.read_text("utf-8")
    assert gif.read_bytes().startswith(b"GIF8")
    assert table.read_text().startswith("side,layer,direction,frame")
    assert main([*arguments, "./reversed"]) == 2
    assert capsys.readouterr().err.startswith("vmamba-explore: ./reversed")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("watch", "--output"),
        ("watch", "--csv"),
        ("explore", "--output"),
        ("explore", "--gif"),
        ("explore", "--csv"),
    ],
)
def test_the_clip_is_never_overwritten(clip, tmp_path, capsys, command, option):
    before = clip.read_bytes()
    outputs = {"--output": str(tmp_path / "page.html"), option: str(clip)}
    assert main([command, str(clip), *(word for pair in outputs.items() for word in pair)]) == 2
    assert "mine.mp4 is the clip itself; name another output file" in capsys.readouterr().err
    assert clip.read_bytes() == before
    assert not (tmp_path / "page.html").exists()


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
