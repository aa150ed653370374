import dataclasses
import json
import os
import shutil
import signal
import sys
import time

import pandas as pd
import pytest
import torch

from tests.vmamba_explore.training import runs as processes
from vmamba_explore.datasets.augment import Augment
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.training import evaluate_videos, runs
from vmamba_explore.training.runs import train
from vmamba_explore.training.start import starting_model


@pytest.fixture(scope="module")
def run_in(video_folders):
    """Return a function that trains a toy for 3 epochs of 4 steps in a folder."""
    videos, test = (from_folders(video_folders / part) for part in ("train", "test"))

    def start(folder, **options):
        model = options.pop("model", None) or starting_model("toy", videos.class_names)
        given = {"epochs": 3, "batch_size": 4, "stride": 1, "validation": test}
        return model, train(model, videos, folder, **given | options), folder

    return start


@pytest.fixture
def run(run_in, tmp_path):
    """Return a function that trains in a folder of the test, by its name."""
    return lambda name, **options: run_in(tmp_path / name, **options)


@pytest.fixture(scope="module")
def finished(run_in, tmp_path_factory):
    """Return the model, history and folder of one finished run; not to be changed."""
    return run_in(tmp_path_factory.mktemp("finished") / "a", started_from="a toy")


@pytest.fixture
def copied(finished, tmp_path):
    """Return the finished run in a folder of the test, in which `run("a")` goes on."""
    model, history, folder = finished
    return model, history, shutil.copytree(folder, tmp_path / "a")


def test_a_run_folder_tells_what_was_done(finished):
    model, history, folder = finished
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.pt", "config.json", "log.csv", "model", "recipe.json", "tensorboard",
        "validation", "validation.csv",
    }  # fmt: skip
    noted = json.loads((folder / "recipe.json").read_text())
    assert noted["recipe"]["steps"] == 12 and noted["recipe"]["label_smoothing"] == 0.1
    assert noted["data"]["videos"] == 14 and noted["started_from"] == "a toy"
    assert pd.read_csv(folder / "log.csv").to_dict("records") == history
    tests = pd.read_csv(folder / "validation.csv")
    assert tests["step"].tolist() == [4, 8, 12] and set(tests["top1_n"]) == {8}
    again = load_model(folder / "model")
    assert again.class_names == ("bright", "dark")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert "12 steps of 4 clips of train (14 videos), from a toy" in (
        folder / "model" / "README.md"
    ).read_text(encoding="utf-8")


def test_events_hold_what_the_logs_hold(run, copied):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _, history, folder = copied
    run("a", started_from="a toy")  # written anew, not twice
    found = events.EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in found.Scalars("train/loss")] == [
        (row["step"], row["loss"]) for row in history
    ]
    assert [e.step for e in found.Scalars("validation/top1")] == [4, 8, 12]


def test_without_tensorboard_the_logs_are_enough_unless_it_was_asked_for(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    _, _, folder = run("a", validation=None)
    assert (folder / "log.csv").is_file() and not (folder / "tensorboard").exists()
    with pytest.raises(ImportError, match=r'events need tensorboard: pip install "vmamba-explore'):
        run("b", tensorboard=True)


def test_a_finished_run_is_not_trained_again(run, copied, monkeypatch):
    model, history, folder = copied
    before = (folder / "log.csv").read_text(), (folder / "validation.csv").read_text()
    monkeypatch.setattr(runs.VideoBatches, "rows", None)
    again, history_again, _ = run("a", started_from="a toy")
    assert history_again == history
    assert torch.equal(again.head.weight, model.head.weight)
    assert before == ((folder / "log.csv").read_text(), (folder / "validation.csv").read_text())


def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(run, monkeypatch):
    whole, history, folder = run("whole", augment=Augment(), changes={"checkpoint_every": 3})
    read, tested = runs.VideoBatches.rows, runs.evaluate_videos

    def stop_at(step):
        def rows(batches, at, chosen):
            if at == step:
                raise KeyboardInterrupt
            return read(batches, at, chosen)

        monkeypatch.setattr(runs.VideoBatches, "rows", rows)

    def stopped(*given, **options):
        raise KeyboardInterrupt

    stop_at(5)  # between a test and the next checkpoint
    with pytest.raises(KeyboardInterrupt):
        run("parts", augment=Augment(), changes={"checkpoint_every": 3})
    stop_at(-1)
    monkeypatch.setattr(runs, "evaluate_videos", stopped)  # in the second test
    with pytest.raises(KeyboardInterrupt):
        run("parts", augment=Augment(), changes={"checkpoint_every": 3})
    monkeypatch.setattr(runs, "evaluate_videos", tested)
    model, _, parts = run("parts", augment=Augment(), changes={"checkpoint_every": 3})
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert log(parts) == log(folder)
    assert (parts / "validation.csv").read_text() == (folder / "validation.csv").read_text()


def test_a_test_that_was_stopped_does_not_stand_in_the_way_of_other_steps(run, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_videos, "_judge", stop)
    with pytest.raises(KeyboardInterrupt):
        run("a", validate_every=4)
    monkeypatch.undo()
    _, _, folder = run("a", validate_every=6)
    assert pd.read_csv(folder / "validation.csv")["step"].tolist() == [6, 12]


def test_tests_on_another_list_are_not_mixed_with_those_before(run, copied, video_folders):
    half = from_folders(video_folders / "test")
    half = dataclasses.replace(half, videos=half.videos[::2])
    a_toy = {"started_from": "a toy"}
    _, _, folder = run("a", validation=half, validate_every=12, **a_toy)
    tests = pd.read_csv(folder / "validation.csv")
    assert tests["step"].tolist() == [12] and set(tests["top1_n"]) == {4}
    run("a", **a_toy)
    assert set(pd.read_csv(folder / "validation.csv")["top1_n"]) == {8}


def test_the_folder_of_another_run_is_refused(run, copied):
    _, _, folder = copied
    other = starting_model("toy", ("bright", "dark"), pos_embed="sinusoidal")
    with pytest.raises(ValueError, match=r"another config \(pos_embed differ\)"):
        run("a", validation=None, model=other, started_from="a toy")
    assert '"temporal_expanding"' in (folder / "config.json").read_text()
    with pytest.raises(ValueError, match=r"holds another run \(data.seed differ\)"):
        run("a", validation=None, seed=1, started_from="a toy")
    with pytest.raises(ValueError, match=r"\(recipe.learning_rate differ\)"):
        run("a", validation=None, changes={"learning_rate": 1e-3}, started_from="a toy")
    with pytest.raises(ValueError, match=r"\(data.augment, started_from differ\)"):
        run("a", validation=None, augment=Augment(), started_from="elsewhere")


def test_classes_that_do_not_fit_are_refused_before_anything_is_written(run, video_folders):
    with pytest.raises(ValueError, match="the model has 5 classes, train has 2"):
        run("a", model=starting_model("toy", "abcde"))
    other = from_folders(video_folders)  # its classes are "test" and "train"
    with pytest.raises(ValueError, match="2 of the 2 classes of .* are not among the 2 wanted"):
        _, _, folder = run("a", validation=other)
    assert not os.path.exists(video_folders.parent / "a")


def test_a_broken_file_is_listed_and_training_goes_on(video_folders, tmp_path):
    shutil.copytree(video_folders / "train", tmp_path / "videos")
    (tmp_path / "videos" / "dark" / "3.mp4").write_bytes(b"no video at all")
    videos = from_folders(tmp_path / "videos")
    model = starting_model("toy", videos.class_names)
    history = train(model, videos, tmp_path / "run", epochs=2, batch_size=4, stride=1)
    assert history[-1]["step"] == 8
    (row,) = (tmp_path / "run" / "broken.csv").read_text().splitlines()
    assert "3.mp4" in row and "not a video that can be read" in row


def test_running_blocks_twice_and_batches_in_parts_changes_next_to_nothing(run):
    plain, history, _ = run("plain", validation=None)
    again, _, _ = run("again", validation=None, recompute=True)
    assert torch.equal(again.head.weight, plain.head.weight)
    assert not again.recompute
    _, in_parts, _ = run("parts", validation=None, parts=2)
    assert in_parts[-1]["loss"] == pytest.approx(history[-1]["loss"], abs=1.01e-4)


def test_bfloat16_trains(run):
    model, history, _ = run("a", precision="bf16", validation=None)
    assert history[-1]["loss"] < 2 and model.head.weight.dtype == torch.float32


COMMAND = (
    "train --model toy --num-frames 8 --epochs 15 --batch-size 4 --stride 1 --workers 1 "
    "--no-tensorboard"
)


def command(video_folders, folder, *words):
    return [
        *("-m", "vmamba_explore.cli", *COMMAND.split(), "--checkpoint-every", "5"),
        *("--data", f"folders:{video_folders / 'train'}"),
        *("--validation", f"folders:{video_folders / 'test'}", "--validate-every", "20"),
        *("--output", str(folder), *words),
    ]


@pytest.fixture(scope="module")
def whole_run(video_folders, tmp_path_factory):
    """Return the folder of an uninterrupted run of the command: 60 steps."""
    folder = tmp_path_factory.mktemp("whole")
    said = processes.finished(*command(video_folders, folder / "run"))
    assert said.strip() == str(folder / "run")
    return folder / "run"


@pytest.mark.kill
def test_a_killed_command_goes_on_to_the_same_curve_and_the_same_bits(
    whole_run, video_folders, tmp_path
):
    folder = tmp_path / "run"
    process = processes.start(*command(video_folders, folder))
    deadline = time.monotonic() + 600
    while not (folder / "validation.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)  # the first test is at a third of the run
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert 20 <= step < 60 and not (folder / "model").exists()
    processes.finished(*command(video_folders, folder))
    assert log(folder) == log(whole_run) and len(log(folder)) == 2
    for name in ("validation.csv", "model/config.json"):
        assert (folder / name).read_text() == (whole_run / name).read_text()
    weights = (f / "model" / "model.safetensors" for f in (folder, whole_run))
    assert next(weights).read_bytes() == next(weights).read_bytes()


@pytest.mark.torchrun
def test_torchrun_trains_as_one_process_does(whole_run, video_folders, tmp_path):
    said = processes.finished(*processes.TORCHRUN, *command(video_folders, tmp_path / "run"))
    assert said.strip() == str(tmp_path / "run")  # one process speaks for both
    for mine, one in zip(log(tmp_path / "run"), log(whole_run), strict=True):
        assert mine == pytest.approx(one, abs=1.01e-4)  # rows are rounded to 4 digits
    tests = [
        pd.read_csv(f / "validation.csv")["step"].tolist() for f in (tmp_path / "run", whole_run)
    ]
    assert tests == [[20, 40, 60]] * 2


def log(folder):
    """The log of a run without what time it took."""
    return pd.read_csv(folder / "log.csv").drop(columns="seconds").to_dict("records")


def test_a_run_folder_that_cannot_be_written_is_refused_before_anything_is_trained(run, tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(FileExistsError, match="train: cannot write .*a: it is a file; name a fold"):
        run("a")
    assert (tmp_path / "a").read_text() == "before"
