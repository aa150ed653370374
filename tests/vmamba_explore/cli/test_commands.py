"""The command line: exit codes, one line for an error; test_runs.py kills a training."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from vmamba_explore import load_model, resources
from vmamba_explore.cli import main
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.model.bundled import BUNDLED
from vmamba_explore.model.checkpoints import save_model
from vmamba_explore.model.zoo import published_models

TOY = (
    "--model toy --num-frames 8 --epochs 2 --batch-size 4 --stride 1 --workers 0 --no-tensorboard"
).split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report absent.mp4 --output {0}/r.html --model {0}/model", "absent.mp4"),
        ("report a.mp4 --output {0}/r.html --model nano", "motion-nano"),
        ("train --data folders:{0}/absent --output {0}/run", "absent is not a folder"),
        (
            "evaluate --data folders:{1}/test --model motion-nano --views 4 --output {0}/run",
            "--views is '4', expected e.g. 4x3",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    tmp_path, video_folders, untrained_model, capsys, words, message
):
    save_model(untrained_model, tmp_path / "model")
    assert main(words.format(tmp_path, video_folders).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("vmamba-explore: ") and error.count("\n") == 1 and message in error


def test_info_lists_versions_and_every_backend(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "torch 2." in text and "scan backend naive: available" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report clip.mp4", "--output requires an argument"),
        ("report clip.mp4 --output a --color 1", "Unknown option: --color"),
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
        (f"evaluate --data a --output b --model c {'x' * 5000}", "xxx…xxx"),
        (f"watch a --output b --stride {'9' * 5000}", "at least 1, got '999"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("vmamba-explore: ") and error.count("\n") == 1 and message in error
    assert len(error) < 1200


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


def test_explore_opens_at_the_state_of_an_address_and_refuses_another_in_a_sentence(
    clip, tmp_path, capsys
):
    page = tmp_path / "a.html"
    arguments = ["explore", str(clip), "--output", str(page), "--layers", "1", "--state"]
    assert main([*arguments, "page.html#view:frame=5&layer=1"]) == 0
    assert re.search(r'"frame": 5\b', page.read_text("utf-8"))
    capsys.readouterr()
    assert main([*arguments, "page.html#view:zoom=5"]) == 2
    assert capsys.readouterr().err.startswith("vmamba-explore: explore: state has 'zoom', expected")


SAME = "mine.mp4 is the input itself; name another output file"
TWICE = "is to be written twice; name another output file"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("watch mine.mp4 --output mine.mp4", SAME),
        ("watch mine.mp4 --output a.html --csv mine.mp4", SAME),
        ("watch mine.mp4 --output a.html --csv a.html", TWICE),
        ("watch mine.mp4 --output a.json --csv a.csv", TWICE),
        ("watch mine.mp4 --csv t.csv --output no/t.html", "no does not exist"),
        ("explore mine.mp4 --output mine.mp4", SAME),
        ("explore mine.mp4 --output a.html --gif mine.mp4", SAME),
        ("explore mine.mp4 --output a.html --csv mine.mp4", SAME),
        ("explore right.mp4 --compare mine.mp4 --output mine.mp4", SAME),
        ("explore mine.mp4 --output a.html --csv a.html", TWICE),
        ("explore mine.mp4 --output a.html --gif no/a.gif", "no does not exist"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_anything_is(
    clip, tmp_path, capsys, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    before = clip.read_bytes()
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_an_interrupted_watch_says_so_and_keeps_its_page(clip, tmp_path, capsys, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("vmamba_explore.app.long_video.Looker._run", stop)
    assert main(["watch", str(clip), "--output", str(tmp_path / "a.html")]) == 130
    assert "interrupted" in capsys.readouterr().err
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "interrupted before the end" in text and "No window was watched yet." in text


@pytest.fixture
def train(video_folders, tmp_path):
    """Return a function that trains a toy, with further options, and returns the exit code."""
    data = ["--data", f"folders:{video_folders / 'train'}"]

    def run(*words, output="run"):
        return main(["train", *data, *TOY, "--output", str(tmp_path / output), *words])

    return run


@pytest.fixture
def trained(train, tmp_path):
    """Return the folder of a run of the command."""
    assert train() == 0
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
    predict = ["predict", video, "--model", model, "-k", "2", "--stride", "1"]
    assert main(predict) == 0
    *listed, sentence = capsys.readouterr().out.splitlines()
    assert main([*predict, "--no-controls"]) == 0
    assert capsys.readouterr().out.splitlines() == listed
    rows = [line.split() for line in listed]
    assert sentence.startswith(f'The model says "{rows[0][2]}" (') and sentence.count(": ") == 1
    assert {row[2] for row in rows} == {"dark", "bright"}
    shares = [float(row[0].rstrip("%")) for row in rows]
    assert shares[0] >= shares[1] and sum(shares) == pytest.approx(100, abs=0.02)


def test_predict_says_which_model_it_took_and_contradicts_a_model_on_foreign_clips(
    tmp_path, capsys
):
    assert main(["predict", str(resources.path("clips/right.mp4")), "-k", "1"]) == 0
    first, model, sentence = capsys.readouterr().out.splitlines()
    assert first.split()[2] == "right" and model.startswith("model: motion-nano: How does the")
    assert sentence.endswith("this answer rests on the direction of time.")
    still = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    write_clip(tmp_path / "a.mp4", still.repeat(20, 0).repeat(12, 1).repeat(12, 2), fps=8)
    assert main(["predict", str(tmp_path / "a.mp4"), "--model", "motion-nano", "-k", "1"]) == 0
    _, note, sentence = capsys.readouterr().out.splitlines()
    assert note.startswith("motion-nano names the motion of an object in a magenta and yellow ring")
    assert sentence.endswith("this answer does not rest on motion.")


def test_info_names_the_bundled_models_and_what_they_answer(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for known in BUNDLED.values():
        assert f"model {known.name}: {known.question} True on {known.true_on}." in said


def test_clips_are_augmented_unless_told_not_to_and_mirrored_where_sides_do_not_matter(
    trained, train, tmp_path
):
    def augment(*words):
        assert train("--epochs", "1", *words, output=words[0]) == 0
        return json.loads((tmp_path / words[0] / "recipe.json").read_text())["data"]["augment"]

    assert json.loads((trained / "recipe.json").read_text())["data"]["augment"] == {
        **augment("--order-matters"),
        "order_matters": False,
    }
    assert augment("--order-matters")["order_matters"] is True
    assert augment("--no-augment") is None


def test_what_was_refused_does_not_bind_its_folder(train, capsys):
    for wrong, said in (
        (["--label-smoothing", "3"], "label_smoothing cannot be 3.0"),
        (["--learning-rate", "nan"], "learning_rate cannot be nan"),
        (["--learning-rate", "1e30"], "the loss is"),
        (["--layout", "vim"], "layout is of an image checkpoint; give init, too"),
    ):
        assert train("--epochs", "1", *wrong) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert said in error and "checkpoint.pt" not in error
    assert train("--epochs", "1") == 0
    assert train("--epochs", "1", "--seed", "1") == 2  # now there is something to lose
    assert "holds another run (data.seed differ)" in capsys.readouterr().err


def test_a_run_that_is_not_at_its_end_can_be_asked(trained, video_folders, capsys):
    ask = ["predict", str(video_folders / "test" / "dark" / "0.mp4"), "--stride", "1", "--model"]
    assert main([*ask, str(trained / "model")]) == 0
    said = capsys.readouterr().out
    assert main([*ask, str(trained / "checkpoint.pt")]) == 0
    assert capsys.readouterr().out == said and "dark" in said
    assert main([*ask, str(trained)]) == 2
    assert f"is the folder of a training; give {trained / 'model'}" in capsys.readouterr().err


@pytest.mark.parametrize(("kept", "reason"), [(0, "is empty"), (3000, "is cut")])
def test_a_damaged_checkpoint_is_one_line(trained, train, capsys, kept, reason):
    checkpoint = trained / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:kept])
    assert train() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"checkpoint.pt {reason}" in error and "Move it away to start anew" in error


def test_no_room_for_a_checkpoint_is_one_line_and_keeps_the_one_before(
    train, tmp_path, capsys, monkeypatch
):
    save, count = torch.save, iter(range(9))

    def full(what, file):
        if next(count) == 1:
            file.write(b"half of it")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")
        save(what, file)

    monkeypatch.setattr(torch, "save", full)
    assert train("--checkpoint-every", "4") == 2
    assert "cannot be written at step 8" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "run").glob("*.part"))
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert train("--checkpoint-every", "4") == 0


def test_a_missing_kornia_is_one_line_also_from_a_worker(train, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation.auto", None)
    assert train("--workers", "1") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vmamba-explore: ") and "vmamba-explore[train]" in last


def test_ctrl_c_is_no_traceback(train, capsys, monkeypatch):
    from vmamba_explore.training import runs

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", interrupted)
    assert train() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "vmamba-explore: interrupted"


@pytest.mark.parametrize(
    "words",
    [
        "explore --output a.html --layers 0 1 clip.mp4",
        "explore --output a.html --quantities delta clip.mp4",
        "watch --output a.html",
        "report --output a.html",
    ],
)
def test_a_clip_that_an_option_took_is_missed_with_the_way_to_write_it(words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words.split())
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.count("\n") == 1
    assert f"(vmamba-explore {words.split()[0]} " in error and "before the options" in error


def test_a_reader_that_stops_reading_ends_the_command_without_a_word():
    command = [sys.executable, "-m", "vmamba_explore.cli", "info"]
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_outputs_are_refused_before_a_model_runs(clip, tmp_path, capsys, monkeypatch):
    def ran(*given, **options):
        raise AssertionError("ran")

    monkeypatch.setattr("vmamba_explore.model.videomamba.VideoMamba.forward", ran)
    (tmp_path / "file").write_text("before")
    (tmp_path / "table.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    for words, message in (
        (f"experiment width --output {tmp_path}", "it is a folder; name a file"),
        (f"experiment width --output {tmp_path}/file/a.json", "is a file, not a folder"),
        ("experiment width --output .", "it is a folder; name a file"),
        ("experiment width --output=", "cannot write a file without a name: it is a folder"),
        (f"watch {clip} --output {tmp_path}/a.html --csv .", "cannot write .: it is a folder"),
        (f"report {clip} --output {tmp_path}", "it is a folder; name a file"),
        (f"watch {clip} --output {tmp_path}/a.html --csv {tmp_path}/table.csv", "it is a folder"),
        (f"explore {clip} --output {tmp_path}/a.html --gif {tmp_path}/file/a.gif", "not a folder"),
    ):
        assert main(words.split()) == 2
        assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_models_lists_the_bundled_and_the_published_and_keeps_those_with_all_words(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name} " in text for name in (*BUNDLED, *published_models()))
    assert main(["models", "K400", "mask", "16 x"]) == 0
    line, note = capsys.readouterr().out.splitlines()
    assert line.startswith("videomamba-m-k400-mask-f16 ") and "top-1 83.4 % (16x3x4)" in line
    assert "Apache-2.0; OpenGVLab/VideoMamba:videomamba_m16_k400_mask_ft_f16_res224.pth" in line
    assert note.startswith(" ") and "issue 70" in note
    assert main(["models", "videomamba", "tiny", "k400"]) == 2
    error = capsys.readouterr().err
    assert "no model has 'videomamba tiny k400' in its line. Did you mean videomamba-ti-k4" in error


def test_export_writes_a_model_and_says_how_far_its_logits_are_from_torch(tmp_path, capsys):
    file = tmp_path / "a.onnx"
    assert main(["export", "camera-nano", "--format", "onnx", "--output", str(file)]) == 0
    written, compared = capsys.readouterr().out.splitlines()
    assert written == f"{file}  {file.stat().st_size / 1e6:.1f} MB"
    assert float(compared.removeprefix("largest difference from torch, in onnxruntime: ")) < 1e-4
    assert main(["export", "camera-nano", "--output", str(tmp_path / "absent" / "a")]) == 2
    assert "absent does not exist" in capsys.readouterr().err


def test_export_does_not_replace_what_it_reads(tmp_path, capsys):
    load_model("motion-nano").save_pretrained(tmp_path / "mine")
    weights = tmp_path / "mine" / "model.safetensors"
    before = weights.read_bytes()
    for model in (weights, weights.parent):
        assert main(["export", str(model), "--output", str(weights)]) == 2
        assert "is the input itself" in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_check_prints_what_a_file_holds_and_exits_with_2_where_it_does_not_load(tmp_path, capsys):
    assert main(["check", "motion-nano"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "loads: load_model('motion-nano')"
    torch.save({"model": {"head.weight": torch.ones(3, 2)}}, tmp_path / "odd.pth")
    assert main(["check", str(tmp_path / "odd.pth")]) == 2
    out, error = capsys.readouterr()
    assert "head.weight" in out and "does not load" not in out
    assert error.startswith("vmamba-explore: does not load: ") and error.count("\n") == 1
