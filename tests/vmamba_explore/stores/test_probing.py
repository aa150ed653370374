"""Probes of a store: what is there is read, what is not is not, and no video judges itself."""

import numpy as np
import pytest

from tests.vmamba_explore.stores.stores import made
from vmamba_explore.stores.opened import open_states
from vmamba_explore.stores.probing import probe

COUNT = 60
LABELS = np.arange(COUNT) % 3


def features(labels=LABELS, clips=1, noise=0.3, seed=0, dtype=np.float16):
    """Features of which one column for each class tells it, beside others that tell nothing."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(len(labels), clips, 12)) * noise
    found[..., :3] += np.eye(3)[labels][:, None]
    return found.astype(dtype)


def test_a_class_is_read_from_values_that_tell_it_and_not_from_shuffled_answers(tmp_path):
    scores = probe(made(tmp_path / "s", {"embedding": features()}, LABELS))
    assert scores.sel(source="stored") > 0.9
    assert scores.sel(source="shuffled") < 0.6
    assert scores["low"].sel(source="shuffled") < 1 / 3 < scores["high"].sel(source="shuffled")
    assert scores.sel(source="constant") == pytest.approx(1 / 3)
    assert scores.attrs["videos"] == 60 and scores.attrs["score"] == "share of right answers"
    assert (scores["low"] <= scores).all() and (scores <= scores["high"]).all()


def test_values_that_tell_nothing_are_read_at_chance(tmp_path):
    noise = np.random.default_rng(1).normal(size=(COUNT, 1, 12)).astype(np.float32)
    scores = probe(made(tmp_path / "s", {"embedding": noise}, LABELS)).sel(source="stored")
    assert scores["low"] < 1 / 3 < scores["high"]


@pytest.mark.parametrize("twice", ["clips", "rows"])
def test_what_identifies_a_video_and_no_class_does_not_help(twice, tmp_path):
    """Each video has a signature of its own, random labels and four clips."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(40, 1, 200))
    labels = rng.integers(0, 2, 40)
    clips = own + 0.01 * rng.normal(size=(40, 4, 200))
    paths = [f"/films/{n}.mp4" for n in range(40)]
    if twice == "rows":  # the list has each file four times
        clips, labels = clips.reshape(160, 1, 200), labels.repeat(4)
        paths = [path for path in paths for _ in range(4)]
    scores = probe(made(tmp_path / "s", {"embedding": clips}, labels, paths=paths))
    assert scores.attrs["videos"] == 40 and scores.attrs["clips"] == 160
    stored = scores.sel(source="stored")
    assert stored["low"] < 0.5 < stored["high"]
    assert stored["high"] - stored["low"] > 0.2  # of 40 videos, not of 160 clips


def test_numbers_are_scored_by_r2_over_the_mean(tmp_path):
    values = features()
    truth = values[:, 0, 5].astype(float)
    store = made(tmp_path / "s", {"embedding": values})
    scores = probe(store, truth)
    assert scores.attrs["score"] == "R^2"
    assert scores.sel(source="stored") > 0.95
    assert scores.sel(source="shuffled") < 0.2
    assert scores.sel(source="constant") == pytest.approx(0, abs=1e-9)


def test_each_place_has_a_probe_and_only_that_which_tells_the_class_reads_it(tmp_path):
    values = np.random.default_rng(2).normal(size=(COUNT, 1, 2, 3, 5)).astype(np.float32)
    values[:, 0, 1, 2, :3] += 6 * np.eye(3)[LABELS]
    dims = {"h_over_channels": ("layer", "frame", "state")}
    scores = probe(
        made(tmp_path / "s", {"h_over_channels": values}, LABELS, dims=dims),
        quantity="h_over_channels",
    )
    assert scores.dims == ("source", "layer", "frame")
    there = scores.sel(source="stored")
    assert there[1, 2] > 0.95 and there.sum() - there[1, 2] < 5 * 0.6


def test_baselines_are_read_beside_it_matched_by_path(tmp_path):
    tokens = np.random.default_rng(3).normal(size=(COUNT, 1, 4)).astype(np.float32)
    store = made(tmp_path / "s", {"embedding": features(), "tokens": tokens}, LABELS,
                 dims={"tokens": ("width",)})  # fmt: skip
    back = np.arange(COUNT)[::-1]
    paths = [f"/films/{n}.mp4" for n in back]
    other = made(tmp_path / "o", {"embedding": features()[back]}, paths=paths)
    scores = probe(store, baselines={"tokens": "tokens", "the same": other})
    assert scores["source"].values.tolist()[3:] == ["tokens", "the same"]
    assert scores.sel(source="the same") == scores.sel(source="stored")
    assert scores.sel(source="tokens") < 0.6
    fewer = made(tmp_path / "f", {"embedding": features()[:30]})
    with pytest.raises(ValueError, match="baseline few lacks 30 of the 60 videos"):
        probe(store, baselines={"few": fewer})


def test_a_baseline_with_other_places_is_read_as_a_whole(tmp_path):
    rng = np.random.default_rng(5)
    told = np.zeros((COUNT, 1, 4, 3), np.float32)  # class by color, in another frame each
    told[np.arange(COUNT), 0, np.arange(COUNT) % 4, LABELS] = 1
    blind = rng.normal(size=(COUNT, 1, 4, 3)).astype(np.float32)
    arrays = {"embedding": features(), "pixels": told, "noise": blind}
    dims = {"pixels": ("frame", "color"), "noise": ("frame", "color")}
    store = made(tmp_path / "s", arrays, LABELS, dims=dims)
    scores = probe(store, baselines={"pixels": "pixels", "noise": "noise"})
    assert scores.dims == ("source",)
    assert scores.sel(source="pixels") > 0.95 and scores.sel(source="noise") < 0.6
    by_frame = probe(store, quantity="pixels", baselines={"noise": "noise", "whole": "embedding"})
    assert by_frame.dims == ("source", "frame")
    assert (by_frame.sel(source="stored") < 0.8).all()  # each frame has a quarter of the clips
    assert len(set(by_frame.sel(source="whole").values.tolist())) == 1


def test_a_baseline_of_other_clips_is_refused(tmp_path):
    store = made(tmp_path / "s", {"embedding": features()}, LABELS)
    other = made(tmp_path / "o", {"embedding": features().repeat(2, axis=1)})
    with pytest.raises(ValueError, match="baseline other has 2 clips of each video, expected 1"):
        probe(store, baselines={"other": other})


def test_labels_come_from_a_mapping_or_a_csv_column_and_unknown_ones_are_left_out(tmp_path):
    store = made(tmp_path / "s", {"embedding": features()})
    names = [f"class {n}" for n in LABELS]
    given = {f"{n}.mp4": name for n, name in enumerate(names) if n >= 6}
    scores = probe(store, given)
    assert scores.attrs["videos"] == 54 and scores.attrs["left_out"] == 6
    assert scores.attrs["classes"] == ["class 0", "class 1", "class 2"]
    table = tmp_path / "labels.csv"
    lines = [f"/films/{n}.mp4;{name};{n / 10}".replace(".", ",").replace(",mp4", ".mp4")
             for n, name in enumerate(names)]  # fmt: skip
    table.write_text("\n".join(["path;kind;speed", *lines]))
    assert probe(store, table, column="kind").sel(source="stored") > 0.9
    assert probe(store, table, column="speed").attrs["score"] == "R^2"
    with pytest.raises(ValueError, match=r"has the columns kind, speed; choose one with column="):
        probe(store, table)
    with pytest.raises(ValueError, match="has no columns path and color"):
        probe(store, table, column="color")
    with pytest.raises(ValueError, match=r"names none of the 60 videos of the store \(it has a"):
        probe(store, {"a.mp4": 0})


def test_labels_of_the_whole_list_follow_the_videos_that_are_done(tmp_path):
    done = np.ones(COUNT, int)
    done[[0, 7, 20]] = 2
    store = made(tmp_path / "s", {"embedding": features()}, done=done)
    assert probe(store, LABELS).sel(source="stored") > 0.9
    assert probe(store, LABELS[done == 1].tolist()).sel(source="stored") > 0.9
    with pytest.raises(ValueError, match=r"labels have the shape \(9,\), expected one for each"):
        probe(store, LABELS[:9])


def test_a_large_store_is_drawn_from_and_said_so(tmp_path):
    store = made(tmp_path / "s", {"embedding": features()}, LABELS)
    assert probe(store, most_videos=30).attrs["videos"] == 30


def test_what_cannot_be_probed_is_refused_in_a_sentence(tmp_path):
    store = made(tmp_path / "s", {"embedding": features()}, LABELS)
    with pytest.raises(ValueError, match="all 60 videos are of one class, 4"):
        probe(store, [4] * COUNT)
    with pytest.raises(ValueError, match="5 videos have a label and there are 5 folds"):
        probe(open_states(store).isel(video=slice(5)))
    with pytest.raises(ValueError, match=r"takes 0\.0 GiB at one place, and the budget is 1e-06"):
        probe(store, budget_gib=1e-6)
    with pytest.raises(ValueError, match="'x' is not a number"):
        probe(store, ["x"] * COUNT, kind="number")


def test_the_labels_of_the_store_have_the_names_of_its_classes(tmp_path):
    store = made(tmp_path / "s", {"embedding": features()}, LABELS, class_names=["a", "b", "c"])
    assert probe(store).attrs["classes"] == ["a", "b", "c"]
