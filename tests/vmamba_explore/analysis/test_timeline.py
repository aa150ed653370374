"""Timelines: what each window stands for, where the prediction changes, what failed."""

import numpy as np
import pandas as pd
import pytest

from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.model.bundled import UNDECIDED

NAMES = ["right", "left", "up"]


def row(start, end, classes=(0, 1), likely=(0.75, 0.25), reason="", margin=1.0, name=None):
    failed = bool(reason)
    return {
        "window": 0, "frame": 0, "start": start, "end": end, "repeated": 0, "reason": reason,
        "name": "" if failed else name or NAMES[classes[0]], "margin": np.nan if failed else margin,
        "class_1": np.nan if failed else classes[0], "class_2": np.nan if failed else classes[1],
        "probability_1": np.nan if failed else likely[0],
        "probability_2": np.nan if failed else likely[1],
        "delta_0_forward": start, "delta_0_backward": 2.0, "delta_1_forward": 3.0,
        "delta_1_backward": end,
    }  # fmt: skip


def made(*rows, **fields):
    table = pd.DataFrame(rows).assign(window=range(len(rows)))
    settings = {"class_names": NAMES} | fields.pop("settings", {})
    return Timeline(table, "a/video.mp4", rows[-1]["end"], settings, **fields)


def test_windows_side_by_side_stand_for_themselves():
    found = made(row(0.0, 2.0), row(2.0, 4.0), row(4.0, 6.0))
    assert found.spans.tolist() == [[0, 2], [2, 4], [4, 6]]


def test_overlapping_windows_meet_in_the_middle_of_their_overlap():
    assert made(row(0.0, 4.0), row(1.0, 5.0), row(3.0, 7.0)).spans.tolist() == [
        [0, 2.5],
        [2.5, 4],
        [4, 7],
    ]


def test_windows_with_a_gap_between_them_keep_it():
    found = made(row(0.0, 1.0), row(3.0, 4.0))
    assert found.spans.tolist() == [[0, 1], [3, 4]]
    assert found.window_at(3.5) == 1
    with pytest.raises(ValueError, match=r"no window at 2 s; it has 0\.00 to 4\.00 s"):
        found.window_at(2)


def test_a_segment_ends_where_the_most_probable_class_changes():
    found = made(
        row(0.0, 1.0), row(1.0, 2.0, likely=(0.25, 0.2)), row(2.0, 3.0, (2, 0)), row(3.0, 4.0)
    ).segments()
    assert [(s.name, s.start, s.end, s.windows) for s in found] == [
        ("right", 0, 2, 2), ("up", 2, 3, 1), ("right", 3, 4, 1),
    ]  # fmt: skip
    assert found[0].probability == 0.5


def test_windows_that_failed_are_a_segment_with_their_reason():
    found = made(row(0.0, 1.0), row(1.0, 2.0, reason="damaged"), row(2.0, 3.0))
    assert [s.reason for s in found.segments()] == ["", "damaged", ""]
    assert np.isnan(found.segments()[1].probability)
    assert found.failed.tolist() == [False, True, False]


def filmed(*rows, **settings):
    """A timeline of windows of which the camera was measured: (start, end, class, measured, cuts).

    Classes are static, pan left and cut.
    """
    names = ["static", "pan left", "cut"]
    table = [
        row(float(start), float(end), (which, (which + 1) % 3), (0.6, 0.2), name=names[which])
        | {"camera": measured, "cuts": cuts, "measured": 1.0}
        | {f"camera_{name}": 0.5 for name in ("pan", "tilt", "zoom", "roll")}
        for start, end, which, measured, cuts in rows
    ]
    return made(*table, settings={"class_names": names} | settings)


def spans_of(found):
    return [(s.name, s.start, s.end) for s in found.segments()]


def test_a_window_called_a_cut_is_divided_where_one_was_measured():
    found = filmed(
        (0, 2, 0, "static", ""), (2, 4, 2, "cut", "2.500"), (4, 6, 1, "pan left", ""),
    )  # fmt: skip
    assert spans_of(found) == [("static", 0, 2.5), ("pan left", 2.5, 6)]
    assert found.cuts.tolist() == [2.5]


def test_a_window_called_a_cut_without_a_measured_one_stays_as_it_is():
    found = filmed((0, 2, 0, "static", ""), (2, 4, 2, "static", ""), (4, 6, 0, "static", "4.800"))
    assert spans_of(found) == [("static", 0, 2), ("cut", 2, 4), ("static", 4, 6)]


def test_between_two_cuts_in_a_window_nothing_is_known():
    found = filmed((0, 2, 0, "", ""), (2, 4, 2, "cut", "2.500 3.500"), (4, 6, 1, "", ""))
    assert spans_of(found) == [("static", 0, 2.5), ("cut", 2.5, 3.5), ("pan left", 3.5, 6)]


def test_the_same_shot_on_both_sides_of_a_cut_is_one_segment():
    found = filmed((0, 2, 0, "static", ""), (2, 4, 2, "cut", "3.000"), (4, 6, 0, "static", ""))
    assert spans_of(found) == [("static", 0, 6)] and found.segments()[0].windows == 2


def test_several_windows_called_a_cut_that_overlap_are_divided_together():
    found = filmed(
        (0, 4, 0, "static", ""), (1, 5, 2, "static", "4.500"), (2, 6, 2, "cut", ""),
        (3, 7, 2, "cut", ""), (4, 8, 1, "pan left", ""),
    )  # fmt: skip
    assert spans_of(found) == [("static", 0, 4.5), ("pan left", 4.5, 8)]


@pytest.mark.parametrize(("cut", "boundary"), [(2.6, 2.6), (1.4, 1.4), (0.6, 2.0), (3.4, 2.0)])
def test_a_change_of_motion_is_at_a_cut_if_one_lies_within_half_a_window(cut, boundary):
    first, second = (f"{cut}", "") if cut < 2 else ("", f"{cut}")
    found = filmed((0, 2, 0, "static", first), (2, 4, 1, "pan left", second))
    assert spans_of(found) == [("static", 0, boundary), ("pan left", boundary, 4)]


def test_a_cut_in_the_first_window_and_in_the_last_have_one_neighbor():
    found = filmed((0, 2, 2, "cut", "0.500"), (2, 4, 0, "static", ""), (4, 6, 2, "cut", "5.000"))
    assert spans_of(found) == [("cut", 0, 0.5), ("static", 0.5, 5.0), ("cut", 5.0, 6)]


def test_an_answer_below_the_models_threshold_is_undecided():
    found = filmed((0, 2, 0, "static", ""), (2, 4, 1, "pan left", ""), undecided_below=0.7)
    assert found.said == [UNDECIDED] * 2
    assert spans_of(found) == [(UNDECIDED, 0, 4)]
    assert found.segments()[0].probability == pytest.approx(0.6)


def test_a_segment_says_what_was_measured_in_most_of_its_windows():
    found = filmed((0, 2, 0, "static", ""), (2, 4, 0, "mixed", ""), (4, 6, 0, "mixed", ""))
    assert [s.measured for s in found.segments()] == ["mixed"]
    assert [s.measured for s in made(row(0.0, 1.0)).segments()] == [""]


def test_the_cameras_speed_is_in_sides_a_second_and_unknown_where_nothing_was_measured():
    found = filmed((0, 2, 0, "static", ""), (2, 4, 0, "", ""))
    found.table.loc[1, "measured"] = 0.0
    assert found.camera["pan"].tolist()[0] == 0.25 and np.isnan(found.camera["roll"][1])
    assert made(row(0.0, 1.0)).camera is None


def test_probabilities_have_a_column_for_each_class_the_most_probable_first():
    found = made(row(0.0, 1.0), row(1.0, 2.0, (2, 0), (0.9, 0.1)), row(2.0, 3.0, reason="damaged"))
    table = found.probabilities
    assert table.columns.tolist() == ["up", "right", "left"]
    assert table["right"].tolist()[:2] == [0.75, 0.1]
    assert table["left"].tolist()[:2] == [0.25, 0.0]
    assert table.iloc[2].isna().all()


def test_delta_is_labeled_by_window_layer_and_direction():
    delta = made(row(0.0, 1.0), row(1.0, 2.0)).delta
    assert delta.dims == ("window", "layer", "direction")
    assert delta.sel(layer=0, direction="forward").values.tolist() == [0, 1]
    assert delta.sel(layer=1, direction="backward").values.tolist() == [1, 2]


def test_a_class_without_a_name_has_a_number():
    assert made(row(0.0, 1.0), settings={"class_names": None}).class_name(2) == "class 2"


def test_the_real_time_factor_is_video_over_work_and_unknown_before_any():
    words = repr(made(row(0.0, 10.0), watched=10.0, worked=4.0, finished=False))
    assert "2.50 times as fast as it plays" in words and "not finished" in words
    assert np.isnan(made(row(0.0, 1.0)).realtime)
    assert "times as fast" not in repr(made(row(0.0, 1.0)))


def test_the_table_is_written_whole(tmp_path):
    found = made(row(0.0, 1.0), row(1.0, 2.0, reason="damaged"))
    found.to_csv(tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert again["reason"].tolist() == ["", "damaged"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
