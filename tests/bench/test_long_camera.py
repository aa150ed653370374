"""The measurement on a joined film: its shots, its film and its scores."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from vmamba_explore import load_clip
from vmamba_explore.analysis.timeline import Timeline


@pytest.fixture(scope="module")
def bench(script):
    return script("long_camera")


def window(start, video="a.mp4", label="zoom in", stride=2):
    return {"video": video, "start": start, "stride": stride, "label": label, "file": f"{start}"}


def test_overlapping_windows_are_one_shot_forward_and_backward(bench):
    found = bench.shots([window(0), window(16), window(48), window(100), window(7, stride=4)])
    assert [(shot.label, shot.windows) for shot in found] == [
        ("zoom in", (("0", 0), ("16", 8), ("48", 0))),
        ("zoom out", (("0", 0), ("16", 8), ("48", 0))),
    ]
    assert [shot.backward for shot in found] == [False, True]


def test_neighbors_are_of_different_films_while_there_are_such(bench):
    films = ["a", "a", "a", "b", "b", "c"]
    order = bench.alternating([bench.Shot(film, "static", ()) for film in films])
    names = [shot.film for shot in order]
    assert sorted(names) == films
    assert all(one != other for one, other in pairwise(names))


def timeline(bench, *rows):
    names = ["start", "end", "name", "camera", "cuts"]
    table = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])
    table = table.assign(window=range(len(rows)), reason="", probability_1=0.9, measured=1.0)
    return Timeline(table, "film.mp4", float(table["end"].max()), {})


def test_scores_of_a_timeline_that_is_right_in_all_but_one_cut(bench):
    shots = [bench.Shot("a", "static", ()), bench.Shot(bench.DASH_CAM, "zoom in", ()),
             bench.Shot("a", "static", ())]  # fmt: skip
    spans = [(0.0, 1.5), (1.5, 4.0), (4.0, 6.0)]
    found = timeline(
        bench, (0.0, 1.0, "static", "static", ""), (1.0, 2.0, "cut", "cut", "1.500"),
        (2.0, 4.0, "zoom in", "zoom in", ""), (4.0, 6.0, "static", "static", "5.000"),
    )  # fmt: skip
    said = bench.scores(found, shots, spans)
    assert said["cuts measured without learning, recall"].startswith("0.500")
    assert said["precision"].startswith("0.500")
    assert said["windows that the model calls a cut, recall of cuts"].startswith("0.500")
    assert said["precision of windows"].startswith("1.000")
    assert said["mean error of those, s"] == "0.00"
    assert said["time with the right motion, model"] == "100.0%"
    assert said["dash cam: time as zoom in, model"] == "100.0%"


def test_the_film_has_the_shots_frames_at_its_times(bench, tmp_path):
    if not bench.WINDOWS.is_dir():
        pytest.skip("there is no ../shared/real_windows")
    rows = json.loads((bench.WINDOWS / "truth.json").read_text("utf-8"))
    parts = bench.shots(rows)[:3]
    spans = bench.write_film(tmp_path / "film.mp4", parts)
    count = round(spans[-1][1] * bench.FPS)
    clip = load_clip(tmp_path / "film.mp4", count, 1, 0, bench.SIDE)
    assert not clip.repeated
    for shot, (start, end) in zip(parts, spans, strict=True):
        last = clip.frames[round(end * bench.FPS) - 1].astype(float)
        assert np.abs(last - shot.frames()[-1]).mean() < 8
        assert start < end
