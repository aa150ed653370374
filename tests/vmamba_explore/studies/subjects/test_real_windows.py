import json

import numpy as np
import pytest

from vmamba_explore.clips.camera import CLASS_NAMES, CameraClips
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.studies.subjects.real_windows import (
    CHANGES,
    answers_to,
    ask,
    certain,
    class_of,
    judge_windows,
    phase_correlation,
    read_windows,
    reference,
)

EASY = CameraClips(5, level="easy")
WRITTEN = (0, 1, 3, 5, 7)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    rows = []
    for index in WRITTEN:
        clip = EASY[index]
        name = f"{index}.mp4"
        write_clip(folder / name, clip.clip.frames, quality=5)
        label = clip.class_name.replace("clockwise", "cw").replace("counter", "c")
        rows.append({"file": name, "video": f"film {index % 2}", "label": label})
    (folder / "truth.json").write_text(json.dumps(rows))
    return read_windows(folder)


def test_each_window_comes_in_six_versions_with_its_label_changed_likewise(windows):
    assert len(windows) == 6 * len(WRITTEN)
    assert {window.change for window in windows} == set(CHANGES)
    labels = {name: [CLASS_NAMES[w.label] for w in windows if w.change == name] for name in CHANGES}
    assert labels["as filmed"] == [
        "static", "pan left", "tilt up", "zoom in", "roll clockwise"
    ]  # fmt: skip
    assert labels["mirrored"] == [
        "static", "pan right", "tilt up", "zoom in", "roll counterclockwise"
    ]  # fmt: skip
    assert labels["backward"] == [
        "static", "pan right", "tilt down", "zoom out", "roll counterclockwise"
    ]  # fmt: skip


@pytest.mark.parametrize("method, least", [(reference, 0.9), (phase_correlation, 0.75)])
def test_methods_without_learning_name_easy_windows_of_any_version(windows, method, least):
    """They read the changed pictures, so a wrongly changed label would show."""
    judged = judge_windows(windows, ask(windows, method, "test"), 0.5)
    assert judged["accuracy"]["value"] > least and judged["opposite"] == 0
    assert judged["as_filmed"]["clips"] == len(WRITTEN) and judged["films"] == 2
    assert sum(film["clips"] for film in judged["by_film"].values()) == len(windows)


def test_a_method_without_an_answer_is_wrong_but_sure_of_nothing(windows):
    assert np.allclose(certain([""]), 0.1)
    answers = answers_to(windows, certain([""] * len(windows)))
    assert answers.probabilities.max() < 0.5


def test_a_movement_too_small_is_static_and_a_large_one_is_named_by_its_largest_part():
    assert class_of(np.array([0.01, 0, 0, 0])) == "static"
    assert class_of(np.array([0.1, -0.2, 0, 0])) == "tilt up"
    assert class_of(np.array([0.1, 0, 0, -0.4])) == "roll counterclockwise"


def test_a_folder_without_truth_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"truth\.json"):
        read_windows(tmp_path)
