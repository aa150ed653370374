"""The measurement on real films: its transforms and its tables."""

import numpy as np
import pytest

from tests.vmamba_explore.analysis.filmed import filmed, poses
from vmamba_explore.analysis.camera_motion import measure_camera


@pytest.fixture(scope="module")
def bench(script):
    return script("camera")


@pytest.mark.parametrize("truth", ["pan right", "tilt up", "zoom out", "roll clockwise"])
def test_the_truth_of_a_transform_is_what_is_measured_there(bench, truth):
    axis, sign = bench.MOVES[truth]
    clip = filmed("coffee.png", poses(6, **{axis: 0.02 * sign}))
    known = list(bench.transformed(clip, truth))
    assert [measure_camera(each).label for _, each, _ in known] == [label for *_, label in known]
    assert len(known) == 6 and known[0][2] == truth


def test_phase_correlation_sees_shifts_and_no_zoom(bench):
    assert bench.by_phase(filmed("coffee.png", poses(6, tilt=0.02))) == "tilt down"
    assert bench.by_phase(filmed("coffee.png", poses(6, zoom=0.02))) not in ("zoom in", "zoom out")


def test_tables_count_right_answers_and_list_wrong_ones(bench):
    answers = [
        bench.Answer("a.mp4", "as filmed", "static", {"one": "static", "two": "pan left"}),
        bench.Answer("b.mp4", "as filmed", "pan left", {"one": "static", "two": ""}),
    ]
    text = bench.page(answers)
    assert "| all | 2 | 50.0% (9% to 91%) | 0.0% (0% to 66%) |" in text
    assert "| pan left | static | 1 |" in text and "| pan left | (not measured) | 1 |" in text


def test_static_clips_are_static_in_every_transform(bench):
    clip = filmed("coffee.png", np.zeros((4, 4)))
    assert {label for *_, label in bench.transformed(clip, "static")} == {"static"}
