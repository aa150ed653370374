"""`train` and `evaluate` in this process; test_runs.py kills them and runs them by torchrun."""

import json
import sys

import pytest
import torch

from vmamba_explore.cli import main

TOY = (
    "--model toy --num-frames 8 --epochs 2 --batch-size 4 --stride 1 --workers 0 --no-tensorboard"
).split()


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
        **augment("--order-matters"),
        "order_matters": False,
    }
    assert augment("--order-matters")["order_matters"] is True
    assert augment("--no-augment") is None


def test_what_is_wrong_is_one_line(video_folders, tmp_path, capsys):
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", "--data", f"folders:{tmp_path / 'absent'}", *output]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    data = ["--data", f"folders:{video_folders / 'test'}"]
    assert main(["evaluate", *data, "--model", "motion-nano", "--views", "4", *output]) == 2
    assert "--views is '4', expected e.g. 4x3" in capsys.readouterr().err


def test_what_was_refused_does_not_bind_its_folder(video_folders, tmp_path, capsys):
    words = ["train", "--data", f"folders:{video_folders / 'train'}", *TOY, "--epochs", "1"]
    words += ["--output", str(tmp_path / "run")]
    for wrong, said in (
        (["--label-smoothing", "3"], "label_smoothing cannot be 3.0"),
        (["--learning-rate", "nan"], "learning_rate cannot be nan"),
        (["--learning-rate", "1e30"], "the loss is"),
        (["--layout", "vim"], "layout is of an image checkpoint; give init, too"),
    ):
        assert main([*words, *wrong]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert said in error and "checkpoint.pt" not in error
    assert main(words) == 0
    assert main([*words, "--seed", "1"]) == 2  # now there is something to lose
    assert "holds another run (data.seed differ)" in capsys.readouterr().err


def test_a_run_that_is_not_at_its_end_can_be_asked(trained, video_folders, capsys):
    video = str(video_folders / "test" / "dark" / "0.mp4")
    assert main(["predict", video, "--model", str(trained / "model"), "--stride", "1"]) == 0
    said = capsys.readouterr().out
    assert main(["predict", video, "--model", str(trained / "checkpoint.pt"), "--stride", "1"]) == 0
    assert capsys.readouterr().out == said and "dark" in said
    assert main(["predict", video, "--model", str(trained)]) == 2
    assert f"is the folder of a training; give {trained / 'model'}" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0, 3000])
def test_a_damaged_checkpoint_is_one_line(trained, video_folders, capsys, kept):
    checkpoint = trained / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:kept])
    data = ["--data", f"folders:{video_folders / 'train'}"]
    assert main(["train", *data, *TOY, "--output", str(trained)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "checkpoint.pt is damaged" in error and "Move it away to start anew" in error


def test_no_room_for_a_checkpoint_is_one_line_and_keeps_the_one_before(
    video_folders, tmp_path, capsys, monkeypatch
):
    words = ["train", "--data", f"folders:{video_folders / 'train'}", *TOY]
    words += ["--output", str(tmp_path / "run"), "--checkpoint-every", "4"]
    save, count = torch.save, iter(range(9))

    def full(what, file):
        if next(count) == 1:
            file.write(b"half of it")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")
        save(what, file)

    monkeypatch.setattr(torch, "save", full)
    assert main(words) == 2
    assert "cannot be written at step 8" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "run").glob("*.part"))
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert main(words) == 0


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
