import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.vmamba_explore.toys import toy
from vmamba_explore.clips.clip import normalize
from vmamba_explore.datasets.lists import from_folders
from vmamba_explore.datasets.views import Views, read_views
from vmamba_explore.training import evaluate_videos as module
from vmamba_explore.training.evaluate_videos import average_over_views, evaluate_videos, within_pair

VIEWS = Views(temporal=2, spatial=3)


@pytest.fixture
def model():
    return toy(num_classes=2, depth=1)


@pytest.fixture
def videos(video_folders):
    return from_folders(video_folders / "test")


def test_views_are_averaged_as_probabilities_not_as_logits():
    logits = torch.tensor([[10.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    wanted = logits.double().softmax(-1).mean(0)
    torch.testing.assert_close(average_over_views(logits), wanted)
    assert logits.mean(0).softmax(-1)[0] > 0.9 > average_over_views(logits)[0]


def test_each_video_is_judged_by_all_its_views(model, videos, tmp_path):
    scores = evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS, stride=1)
    rows = pd.read_csv(tmp_path / "a.csv")
    assert rows["path"].tolist() == [str(video.path) for video in videos.videos]
    assert scores.top1.n == len(rows) == 8
    right = 0
    for row, video in zip(rows.itertuples(), videos.videos, strict=True):
        frames = read_views(video.path, VIEWS, num_frames=4, img_size=32, stride=1)
        assert len(frames) == 6
        with torch.inference_mode():
            mean = model(normalize(frames)).softmax(-1).mean(0)
        assert row.predicted == mean.argmax() and row.rank == (
            1 if mean.argmax() == video.label else 2
        )
        assert row.probability == pytest.approx(mean.max().item(), abs=1e-5)
        right += row.rank == 1
    assert scores.top1.value == right / 8 and scores.top5.value == 1
    assert json.loads((tmp_path / "a.json").read_text())["result"] == scores.to_dict()


def test_a_stopped_test_goes_on_to_the_same_file(model, videos, tmp_path, monkeypatch):
    evaluate_videos(model, videos, tmp_path / "whole.csv", views=VIEWS)
    predict, calls = module.predict_logits, []

    def stopped(*given):
        calls.append(given)
        if len(calls) % 4 == 0:
            raise KeyboardInterrupt
        return predict(*given)

    monkeypatch.setattr(module, "predict_logits", stopped)
    for done in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            evaluate_videos(model, videos, tmp_path / "part.csv", views=VIEWS)
        assert len(pd.read_csv(tmp_path / "part.csv")) == done
    evaluate_videos(model, videos, tmp_path / "part.csv", views=VIEWS)
    assert len(calls) == 10  # 8 videos, and 2 that were stopped
    assert (tmp_path / "part.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_a_finished_test_runs_nothing(model, videos, tmp_path, monkeypatch):
    first = evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    monkeypatch.setattr(module, "predict_logits", None)
    monkeypatch.setattr(module, "read_views", None)
    assert evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS) == first


def test_a_broken_video_is_listed_and_counts_nowhere(model, video_folders, tmp_path):
    shutil.copytree(video_folders / "test", tmp_path / "videos")
    (tmp_path / "videos" / "dark" / "2.mp4").write_bytes(b"no video at all")
    videos = from_folders(tmp_path / "videos")
    scores = evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS, workers=1)
    ((path, reason),) = scores.broken
    assert path.endswith("2.mp4") and "not a video that can be read" in reason
    assert scores.top1.n == 7


def test_where_nothing_can_be_read_the_reason_is_said(model, tmp_path):
    for name in ("bright", "dark"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        (tmp_path / "videos" / name / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match="none of the 2 videos .* can be read; the first: .*a.mp4"):
        evaluate_videos(model, from_folders(tmp_path / "videos"), tmp_path / "a.csv", views=VIEWS)


def test_a_file_of_another_model_list_or_view_is_refused(model, videos, tmp_path):
    evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    with pytest.raises(ValueError, match=r"other settings \(views.spatial differ\)"):
        evaluate_videos(model, videos, tmp_path / "a.csv", views=Views(temporal=2, spatial=1))
    others = replace(videos, videos=videos.videos[::-1])  # as many, by the same name
    with pytest.raises(ValueError, match=r"other settings \(data.labels differ\)"):
        evaluate_videos(model, others, tmp_path / "a.csv", views=VIEWS)
    torch.nn.init.zeros_(model.head.weight)
    with pytest.raises(ValueError, match=r"other settings \(model differ\)"):
        evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)


def test_a_video_that_was_mended_or_replaced_is_run_again(model, videos, tmp_path):
    path = videos.videos[2].path
    whole = path.read_bytes()
    path.write_bytes(b"no video at all")
    first = evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    assert len(first.broken) == 1 and first.top1.n == 7
    path.write_bytes(whole)
    assert evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS).top1.n == 8
    rows = pd.read_csv(tmp_path / "a.csv")
    path.write_bytes(videos.videos[-1].path.read_bytes())
    evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    path.write_bytes(whole)
    changed = rows.compare(pd.read_csv(tmp_path / "a.csv"))
    assert list(changed.index) == [2] and "bytes" in changed


def test_a_model_that_answers_nothing_is_not_right(model, videos, tmp_path):
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    same = evaluate_videos(model, videos, tmp_path / "same.csv", views=VIEWS)
    assert same.top1.value == 0.5  # the same answer to all
    torch.nn.init.constant_(model.head.bias, torch.nan)
    with pytest.raises(FloatingPointError, match="logits for .*mp4 are not finite"):
        evaluate_videos(model, videos, tmp_path / "nan.csv", views=VIEWS)


def test_a_model_of_other_classes_is_refused(videos, tmp_path):
    model = toy(num_classes=5)
    with pytest.raises(ValueError, match="the model has 5 classes, .* has 2"):
        evaluate_videos(model, videos, tmp_path / "a.csv")


def test_labels_follow_the_order_of_the_models_class_names(model, videos, tmp_path):
    plain = evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    model.class_names = ("dark", "Bright")
    turned = evaluate_videos(model, videos, tmp_path / "b.csv", views=VIEWS)
    ranks = [pd.read_csv(tmp_path / f"{name}.csv")["rank"].to_numpy() for name in "ab"]
    assert (ranks[0] + ranks[1] == 3).all()  # of two classes, the other one is right now
    assert plain.top1.value + turned.top1.value == 1


def test_a_list_may_show_fewer_classes_than_the_model_names(videos, tmp_path):
    model = toy(num_classes=3)
    model.class_names = ("grey", "bright", "dark")
    evaluate_videos(model, videos, tmp_path / "a.csv", views=VIEWS)
    labels = pd.read_csv(tmp_path / "a.csv")["label"]
    assert labels.tolist() == [1] * 4 + [2] * 4
    model.class_names = ("grey", "bright", "black")
    with pytest.raises(ValueError, match="'dark' first"):
        evaluate_videos(model, videos, tmp_path / "b.csv", views=VIEWS)


def test_within_pair_compares_a_class_with_its_reversal_only():
    logits = torch.tensor([[1.0, 0.0, 9.0, 9.0], [0.0, 0.0, 1.0, 2.0], [5.0, 5.0, 0.0, 0.0]])
    labels = np.array([0, 2, 1])
    assert within_pair(logits, labels).tolist() == [True, False, False]


def test_a_table_that_cannot_be_written_is_refused_before_a_video_is_read(model, videos, tmp_path):
    (tmp_path / "file").write_text("before")
    with pytest.raises(IsADirectoryError, match="evaluate_videos: .* name a file in it"):
        evaluate_videos(model, videos, tmp_path, views=VIEWS)
    with pytest.raises(NotADirectoryError, match="file is a file, not a folder"):
        evaluate_videos(model, videos, tmp_path / "file" / "a.csv", views=VIEWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
