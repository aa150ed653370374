"""Watching long videos: what each window says, what fails, stopping and going on."""

import dataclasses
import json

import av
import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.widgets.widget import _instances

from tests.vmamba_explore.analysis.filmed import filmed, poses
from vmamba_explore import load_model, run_with_trace
from vmamba_explore.analysis.logits import LogitParts, logit_parts
from vmamba_explore.app import explorer_at, long_video, watch
from vmamba_explore.app.long_video import Looker
from vmamba_explore.cli import main
from vmamba_explore.clips import ClipError, load_clip
from vmamba_explore.clips.camera import CLASS_NAMES
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.model.bundled import BUNDLED, UNDECIDED
from vmamba_explore.model.checkpoints import save_model
from vmamba_explore.trace.record import TraceBudgetError


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Return a video of 6 s whose every frame is other noise; a model of 8 frames has 12 windows
    without stride."""
    path = tmp_path_factory.mktemp("long") / "noise.mp4"
    small = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 3), dtype=np.uint8)
    write_clip(path, small.repeat(4, 1).repeat(4, 2), fps=16)
    return path


def watched(path, model, **options):
    return watch(path, model, **({"stride": 1, "progress": False} | options))


def change_logits(model, change):
    model.register_forward_hook(lambda module, inputs, logits: change(logits))


def test_each_window_says_what_the_model_says_of_that_clip(model, noise):
    found = watched(noise, model, hop=5)
    assert len(found) == 19 and not found.failed.any()
    for number in (0, 7, 18):
        row = found.table.iloc[number]
        clip = load_clip(noise, 8, 1, int(row["frame"]), 32)
        said = model.predict(clip, 5)
        assert (row["class_1"], row["class_5"]) == (said[0].index, said[4].index)
        assert row["probability_1"] == pytest.approx(said[0].probability, rel=1e-4)
        assert row["start"] == clip.seconds[0]
        assert row["end"] == pytest.approx(clip.seconds[-1] + 1 / 16)
        with torch.no_grad():
            logits, trace = run_with_trace(model, clip, "*.hook_delta")
        top = logits[0].sort(descending=True).values
        assert row["margin"] == pytest.approx(float(top[0] - top[1]), rel=1e-3)
        mean = float(trace["layers.1.mixer.ssm_backward.hook_delta"].mean())
        assert row["delta_1_backward"] == pytest.approx(mean, rel=1e-4)


def test_evidence_by_frame_is_what_logit_parts_says_of_the_window(model, noise):
    found = watched(noise, model, target=2, minus=4, by_frame=True)
    assert found.evidence.shape == (12, 4)
    clip = load_clip(noise, 8, 1, 8, 32)
    with torch.no_grad():
        _, trace = run_with_trace(model, clip, LogitParts.names(model))
    parts = logit_parts(trace, 2, 4, progress=False)
    np.testing.assert_allclose(
        found.evidence[1], parts.frames[0].detach().numpy(), rtol=1e-3, atol=1e-5
    )
    assert found.table["margin"][1] == pytest.approx(float(parts.logit[0]), rel=1e-3)


def test_every_token_frame_has_the_label_of_the_window_around_it(model, noise):
    found = watched(noise, model, target=2, minus=4, every="token frame")
    size, middle = model.config.tubelet_size, model.grid.frames // 2
    plain = watched(noise, model, target=2, minus=4, hop=size)
    pd.testing.assert_frame_equal(found.table[plain.table.columns], plain.table)
    assert plain.token_frames is None and "every" not in plain.settings
    rows = found.token_frames
    assert len(rows) == len(found) == 96 // size - model.grid.frames + 1
    clip = load_clip(noise, 8, 1, 3 * size, 32)
    first = middle * size
    assert rows["start"][3] == pytest.approx(clip.seconds[first])
    assert rows["end"][3] == pytest.approx(clip.seconds[first] + size / 16)
    with torch.no_grad():
        inputs = clip.tensor()[None]
        logits, last = model(inputs)[0], model.encode(inputs)[0]
        of = [n for n in range(model.grid.seqlen) if (at := model.grid.position(n)) and
              at[0] == middle]  # fmt: skip
        own = torch.stack([model.head(model.norm_f(last[n])) for n in of]).mean(0)
        kept = [n for n in range(model.grid.seqlen) if n not in of]
        with model.only_tokens(kept):
            without = model(inputs)[0]
    assert rows["margin"][3] == pytest.approx(float(logits[2] - logits[4]), rel=1e-4)
    assert rows["read_out"][3] == pytest.approx(float(own[2] - own[4]), rel=1e-4)
    change = float((logits[2] - logits[4]) - (without[2] - without[4]))
    assert rows["difference"][3] == pytest.approx(change, rel=1e-3, abs=1e-6)
    assert rows["name"][3] == found.table["name"][3]


def test_what_token_frames_cannot_be_asked_of_is_refused(small_model, noise, unchecked):
    with pytest.raises(ValueError, match="every='token frame' starts a window at each .*got 4"):
        watched(noise, small_model(), every="token frame", hop=4)
    with pytest.raises(ValueError, match="every is 'frame', expected 'window' or 'token frame'"):
        watched(noise, small_model(), every="frame")
    with pytest.raises(ValueError, match="has one token frame, so every window is one"):
        watched(noise, small_model(tubelet_size=8), every="token frame")


def test_a_model_of_one_class_has_its_logit_as_margin(small_model, noise):
    model = small_model(num_classes=1)
    with torch.no_grad():
        said = model(load_clip(noise, 8, 1, 0, 32).tensor()[None])
    assert watched(noise, model).table["margin"][0] == pytest.approx(float(said), rel=1e-4)


def test_a_window_whose_logits_are_no_numbers_is_marked_and_the_rest_goes_on(model, noise):
    count = iter(range(10_000))
    nan = torch.full((1, 5), torch.nan)
    change_logits(model, lambda logits: nan if next(count) == 1 else logits)
    found = watched(noise, model, batch_size=1)
    assert found.failed.tolist() == [number == 1 for number in range(12)]
    assert found.table["reason"][1] == "the model's logits are not finite"
    assert np.isnan(found.table["margin"][1]) and found.finished


@pytest.mark.parametrize("by_frame", [False, True])
def test_bad_logits_of_one_window_leave_the_others_of_its_batch_as_they_are(model, noise, by_frame):
    fine = watched(noise, model, by_frame=by_frame)
    with torch.no_grad():
        worst = model(load_clip(noise, 8, 1, 16, 32).tensor()[None]).max()
    change_logits(model, lambda out: torch.where((out - worst).abs() < 1e-6, torch.inf, out))
    found = watched(noise, model, by_frame=by_frame)
    assert found.failed.tolist() == [number == 2 for number in range(12)]
    pd.testing.assert_frame_equal(
        found.table.drop(index=2), fine.table.drop(index=2), rtol=1e-3, atol=1e-5
    )


def test_a_model_that_fails_in_one_window_is_asked_about_the_others_alone(model, noise):
    def out_of_memory(module, inputs):
        if (inputs[0] == bad).flatten(1).all(1).any():
            raise RuntimeError("out of memory\nand more")

    bad = load_clip(noise, 8, 1, 40, 32).tensor()
    model.register_forward_pre_hook(out_of_memory)
    found = watched(noise, model)
    assert found.failed.tolist() == [number == 5 for number in range(12)]
    assert found.table["reason"][5] == "the model failed: out of memory"


def test_a_damaged_stretch_is_one_row_and_the_rest_goes_on(model, noise, tmp_path):
    """One picture's header is gone; an x264 file's bytes differ from run to run, and zeros in the
    midst of a picture can be pixels: one place in nine is decoded without an error."""
    data = bytearray(noise.read_bytes())
    with av.open(str(noise)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][48]
    data[packet.pos + 5 : packet.pos + packet.size] = bytes(packet.size - 5)  # length, kind
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    found = watched(path, model)
    assert found.failed.sum() == 1
    assert "damaged" in found.table["reason"][int(found.failed.argmax())]
    assert found.table["end"].iloc[-1] == pytest.approx(6.0)


@pytest.fixture
def stopped_after(monkeypatch):
    """Return a function: the third run of the model is a Ctrl-C."""

    def arm(runs):
        run, count = Looker._run, iter(range(1000))

        def interrupted(self, clips):
            if next(count) >= runs:
                raise KeyboardInterrupt
            return run(self, clips)

        monkeypatch.setattr(Looker, "_run", interrupted)

    return arm


def test_ctrl_c_keeps_what_is_done(model, noise, stopped_after):
    stopped_after(2)
    found = watched(noise, model)
    assert not found.finished and len(found) == 8
    assert "not finished" in repr(found)


def test_going_on_after_ctrl_c_gives_the_table_of_an_uninterrupted_run(
    model, noise, tmp_path, stopped_after, monkeypatch
):
    whole = watched(noise, model, hop=3)
    output = tmp_path / "windows.csv"
    with monkeypatch.context():
        stopped_after(3)
        part = watched(noise, model, hop=3, csv=output)
        assert not part.finished and len(part) == 12
        monkeypatch.undo()
    with output.open("a") as file:
        file.write("12,36,2.2")  # killed within a row
    rest = watched(noise, model, hop=3, csv=output)
    assert rest.finished and rest.watched < 5
    pd.testing.assert_frame_equal(rest.table, whole.table, rtol=1e-3, atol=1e-5)
    pd.testing.assert_frame_equal(rest.table[:12], whole.table[:12], rtol=0, atol=0)


def test_rows_of_token_frames_are_resumed_and_not_mixed_with_others(
    model, noise, tmp_path, stopped_after, monkeypatch
):
    path, how = tmp_path / "rows.csv", {"every": "token frame"}
    whole = watched(noise, model, **how).token_frames
    with monkeypatch.context():
        stopped_after(3)
        assert len(watched(noise, model, csv=path, **how).token_frames) == 12
        monkeypatch.undo()
    rest = watched(noise, model, csv=path, **how)
    assert rest.finished
    pd.testing.assert_frame_equal(rest.token_frames, whole, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="made with other settings .*every"):
        watched(noise, model, hop=model.config.tubelet_size, csv=path)


def test_a_finished_file_is_read_not_watched_again(model, noise, tmp_path, stopped_after):
    output = tmp_path / "windows.csv"
    first = watched(noise, model, csv=output)
    stopped_after(0)
    with pytest.warns(FutureWarning, match=r"watch\(output=\) is called csv since version 0.2"):
        again = watched(noise, model, output=output)
    assert again.finished and again.worked == 0
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_removed_file_is_made_again(model, noise, tmp_path):
    output = tmp_path / "windows.csv"
    first = watched(noise, model, csv=output)
    output.unlink()
    again = watched(noise, model, csv=output)
    assert len(first) == len(again) > 0 and again.finished


def test_rows_of_another_video_or_stride_are_refused(model, noise, tmp_path):
    watched(noise, model, csv=tmp_path / "windows.csv")
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / noise.name
    other.write_bytes(noise.read_bytes() + bytes(8))
    for path, stride, changed in ((other, 1, "bytes"), (noise, 2, "stride")):
        with pytest.raises(ValueError, match=rf"made with other settings \({changed} differ"):
            watched(path, model, csv=tmp_path / "windows.csv", stride=stride)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"batch_size": 0}, "batch_size and k must be at least 1"),
        ({"hop": 0}, "hop must be a whole number >= 1"),
        ({"target": "sideways"}, "watch: target is 'sideways'"),
        ({"minus": 9}, "watch: minus is 9; this model's classes are 0 to 4"),
        ({"target": 1, "minus": 1}, "watch: target and minus are the same class"),
        ({"by_frame": True, "budget_gib": 1e-6}, "the budget is 0.00 GiB"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(model, noise, options, words):
    with pytest.raises((ValueError, TraceBudgetError), match=words):
        watched(noise, model, **options)


def test_no_file_is_written_where_the_video_is_none(model, tmp_path):
    (tmp_path / "page.mp4").write_text("<html>")
    with pytest.raises(ClipError, match="not a video"):
        watched(tmp_path / "page.mp4", model, csv=tmp_path / "windows.csv")
    assert not (tmp_path / "windows.csv").exists()


@pytest.mark.parametrize("random_access", [True, False])
def test_the_explorer_opens_on_the_very_window(model, noise, monkeypatch, random_access):
    def refuse(*args):
        raise ClipError("damaged elsewhere")

    found = watched(noise, model)
    if not random_access:
        monkeypatch.setattr(long_video, "load_clip", refuse)
    before = set(_instances)
    explorer = explorer_at(found, 2.2, model, progress=False, quantities=["delta"])
    assert explorer.explorations[0].clip.indices.tolist() == list(range(32, 40))
    explorer.close()
    assert set(_instances) == before


def test_a_failed_window_and_another_model_have_nothing_to_explore(model, noise):
    found = watched(noise, model)
    found.table.loc[3, "reason"] = "damaged"
    with pytest.raises(ValueError, match=r"window at 1\.7 s has nothing to explore: damaged"):
        explorer_at(found, 1.7, model)
    torch.nn.init.zeros_(model.head.weight)
    with pytest.raises(ValueError, match="another model watched"):
        explorer_at(found, 1.0, model)


def test_the_demo_model_names_known_motions_at_their_seconds(tmp_path):
    clips = MotionClips(77, distractors="none")
    frames, labels = clips.batch(np.arange(16))
    path = tmp_path / "motions.mp4"
    write_clip(path, frames.reshape(-1, 64, 64, 3), fps=8, quality=12)
    found = watched(path, "motion-nano")
    named = found.table["class_1"].to_numpy()[:16]
    assert (named == labels).mean() >= 0.9
    assert load_model("motion-nano").class_names[labels[3]] == found.table["name"][3]


@pytest.fixture
def camera_model(small_model):
    """Return a small model that names the camera's motion, at random."""
    model = small_model(num_classes=len(CLASS_NAMES))
    model.class_names = CLASS_NAMES
    return model


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Return a film of 6 s: a pan to the right, a cut at 2.5 s, a zoom in."""
    names = ["coffee.png"] * 40 + ["astronaut.png"] * 56
    there = np.concatenate([poses(40, pan=0.01), poses(56, zoom=0.008)])
    path = tmp_path_factory.mktemp("long") / "film.mp4"
    write_clip(path, filmed(names, there, side=64).frames, fps=16, quality=12)
    return path


def test_beside_a_model_of_the_camera_it_is_measured_without_learning(camera_model, film):
    found = watched(film, camera_model)
    assert found.cuts.tolist() == [2.5]
    assert found.table["camera"].tolist() == ["pan right"] * 5 + ["zoom in"] * 7
    assert found.table["camera_pan"][:5].to_numpy() == pytest.approx(0.07, abs=0.005)
    assert found.table["camera_zoom"][6:].to_numpy() == pytest.approx(0.056, abs=0.005)
    assert found.camera["pan"][2] == pytest.approx(0.14, abs=0.01)


@pytest.mark.parametrize("hop", [3, 8, 11])
def test_a_cut_is_told_once_however_windows_lie(camera_model, film, hop):
    assert watched(film, camera_model, hop=hop).cuts.tolist() == [2.5]


def test_a_cut_in_frames_that_no_window_shows_is_not_told(camera_model, film):
    found = watched(film, camera_model, hop=20)  # frames 28 to 39 are left out
    assert not len(found.cuts) and found.table["frame"].tolist()[:3] == [0, 20, 40]


def test_a_resumed_run_measures_the_camera_as_an_uninterrupted_one(
    camera_model, film, tmp_path, stopped_after, monkeypatch
):
    whole = watched(film, camera_model, batch_size=1)
    for runs in (4, 5, 6):  # the cut lies between windows 4 and 5
        output = tmp_path / f"{runs}.csv"
        with monkeypatch.context():
            stopped_after(runs)
            assert len(watched(film, camera_model, csv=output, batch_size=1)) == runs
            monkeypatch.undo()
        rest = watched(film, camera_model, csv=output, batch_size=1)
        pd.testing.assert_frame_equal(rest.table, whole.table, rtol=1e-3, atol=1e-4)
        assert rest.cuts.tolist() == [2.5]


def test_an_other_model_is_watched_without_the_camera(model, film):
    found = watched(film, model)
    assert "camera" not in found.table and found.camera is None and not len(found.cuts)


def test_a_film_is_watched_by_the_model_of_the_camera_by_default(film):
    found = watch(film, stride=1, progress=False)
    assert found.settings["class_names"] == list(CLASS_NAMES)


def test_an_answer_below_the_threshold_of_a_bundled_model_is_undecided(film, monkeypatch):
    model = load_model("camera-nano")
    known = dataclasses.replace(BUNDLED["camera-nano"], undecided_below=1.01)
    monkeypatch.setattr(long_video, "identify", lambda model: known)
    assert set(watched(film, model).said) == {UNDECIDED}


def test_the_command_writes_a_page_and_a_table_and_says_how_fast_it_was(
    model, noise, tmp_path, capsys
):
    save_model(model, tmp_path / "model")
    page, table = tmp_path / "t.html", tmp_path / "t.csv"
    command = ["watch", str(noise), "--model", str(tmp_path / "model"), "--stride", "1"]
    command += ["--minus", "3", "--output", str(page), "--csv", str(table)]
    assert main(command) == 0
    assert "times as fast as it plays" in capsys.readouterr().out
    assert "less logit of class 3" in page.read_text("utf-8")
    assert len(pd.read_csv(table)) == 12
    assert json.loads((tmp_path / "t.json").read_text())["result"] == {"windows": 12}


def test_whole_numbers_of_numpy_are_as_good_as_others(model, noise, tmp_path, unchecked):
    found = watched(noise, model, hop=np.int64(8), k=np.int32(2), csv=tmp_path / "a.csv")
    again = watched(noise, model, hop=8, k=2, csv=tmp_path / "a.csv")
    assert again.finished and again.watched == 0.0
    pd.testing.assert_frame_equal(found.table, again.table)
