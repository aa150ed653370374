"""The benchmark of long videos, on one of 8 seconds."""

import numpy as np
import pytest

from vmamba_explore.app import watch
from vmamba_explore.clips.stream import video_seconds


@pytest.fixture(scope="module")
def bench(script):
    return script("long_video")


@pytest.fixture(scope="module")
def video(bench, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "motions.mp4"
    bench.write_video(path, 8, *bench.VIDEOS["motion-nano"])
    return path


def test_it_measures_speed_memory_and_truth(bench, video):
    job = {"model": "motion-nano", "device": "cpu", "path": str(video)}
    found = bench.measure(job)
    assert video_seconds(video) == found["seconds"] == 8
    assert (found["windows"], found["failed"]) == (4, 0)
    assert found["realtime"] > 0 and found["resident"] >= 0
    assert found["right"] in (0.5, 0.75, 1.0)
    assert 1 < bench.measure(job | {"tensors": True})["tensors"] < 100


def test_wrong_names_are_counted_as_wrong(bench, video):
    found = watch(video, "motion-nano", stride=1, progress=False)
    labels = bench.clips_of(64).plan(np.arange(4)).labels
    found.table["name"] = [bench.CLASS_NAMES[label] for label in labels]
    assert bench.right(found) == 1
    found.table.loc[[0, 2], "name"] = [bench.CLASS_NAMES[label ^ 1] for label in labels[[0, 2]]]
    assert bench.right(found) == 0.5
