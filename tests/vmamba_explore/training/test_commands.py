"""The commands, in this process; test_runs.py has them killed, and run by torchrun."""

import json
import sys

import pytest

from vmamba_explore.cli import main
from vmamba_explore.training.commands import read_list

TOY = "--model toy --frames 8 --epochs 2 --batch 4 --stride 1 --workers 0 --no-tensorboard".split()


@pytest.fixture
def trained(video_folders, tmp_path):
    """Return the folder of a run of the command."""
    data = ["--data", f"folders:{video_folders / 'train'}"]
    assert main(["train", *data, *TOY, "--output", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def test_train_evaluate_predict(trained, video_folders, tmp_path, capsys):
    model, data = str(trained / "model"), f"folders:{video_folders / 'test'}"
    words = ["--model", model, "--stride", "1", "--workers", "0", "--views", "2x1"]
    assert main(["evaluate", "--data", data, *words, "--output", str(tmp_path / "a.csv")]) == 0
    said = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "a.json").read_text())["result"]
    assert said[0].startswith("top-1") and f"{result['top1']['value']:.2%}" in said[0]
    assert said[1].startswith("top-5") and "n = 8" in said[1]
    video = str(video_folders / "test" / "dark" / "0.mp4")
    assert main(["predict", video, "--model", model, "-k", "2", "--stride", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {row[2] for row in rows} == {"dark", "bright"}
    shares = [float(row[0].rstrip("%")) for row in rows]
    assert shares[0] >= shares[1] and sum(shares) == pytest.approx(100, abs=0.02)


def test_clips_are_augmented_unless_told_not_to_and_mirrored_where_sides_do_not_matter(
    trained, video_folders, tmp_path
):
    def augment(*words):
        data = ["--data", f"folders:{video_folders / 'train'}"]
        output = tmp_path / "-".join(("run2", *words))
        assert main(["train", *data, *TOY, "--epochs", "1", "--output", str(output), *words]) == 0
        return json.loads((output / "recipe.json").read_text())["data"]["augment"]

    assert json.loads((trained / "recipe.json").read_text())["data"]["augment"] == {
        **augment("--direction-matters"),
        "order_matters": False,
    }
    assert augment("--direction-matters")["order_matters"] is True
    assert augment("--no-augment") is None


@pytest.mark.parametrize(
    "words", ["folders", "folders:a,b", "kinetic:a.csv", "ssv2:a.json,b.json", "hmdb51:splits"]
)
def test_data_that_is_not_understood_is_told_the_four_ways(words, unchecked):
    with pytest.raises(ValueError, match="is none of folders:ROOT, kinetics:LIST.csv"):
        read_list(words)


def test_a_kinetics_list_takes_the_numbers_of_the_classes_it_is_given(video_folders, tmp_path):
    (tmp_path / "list.csv").write_text("dark/0.mp4,dark\n")
    words = f"kinetics:{tmp_path / 'list.csv'},{video_folders / 'test'}"
    assert read_list(words).videos[0].label == 0
    assert read_list(words, ("bright", "dark")).videos[0].label == 1


def test_hmdb51_takes_split_and_part(video_folders, tmp_path):
    for name in ("bright", "dark"):
        lines = "0.mp4 1\n1.mp4 2\n2.mp4 2\n"
        (tmp_path / f"{name}_test_split2.txt").write_text(lines)
    words = f"hmdb51:{tmp_path},{video_folders / 'test'},2"
    assert len(read_list(words)) == 2 and len(read_list(words + ",test")) == 4


def test_what_is_wrong_is_one_line(video_folders, tmp_path, capsys):
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", "--data", f"folders:{tmp_path / 'absent'}", *output]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    data = ["--data", f"folders:{video_folders / 'test'}"]
    assert main(["evaluate", *data, "--model", "motion-nano", "--views", "4", *output]) == 2
    assert "--views is '4', expected e.g. 4x3" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--epochs", "--batch", "--parts", "--checkpoint-every"])
def test_counts_start_at_one(option, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--data", "folders:a", "--output", "b", option, "0"])
    assert "expected a whole number of at least 1, got '0'" in capsys.readouterr().err


def test_a_missing_kornia_is_one_line_also_from_a_worker(
    video_folders, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    data = ["--data", f"folders:{video_folders / 'train'}"]
    words = [*data, *TOY, "--workers", "1", "--output", str(tmp_path / "run")]
    assert main(["train", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vmamba-explore: ") and "vmamba-explore[train]" in last


def test_ctrl_c_is_no_traceback(video_folders, tmp_path, capsys, monkeypatch):
    from vmamba_explore.training import runs

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", interrupted)
    data = ["--data", f"folders:{video_folders / 'train'}"]
    assert main(["train", *data, *TOY, "--output", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "vmamba-explore: interrupted"
