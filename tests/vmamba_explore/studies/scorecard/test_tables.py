"""The score card's tables: each number in its column, bold where it should be, gaps told."""

import pytest

from vmamba_explore.studies.scorecard.tables import (
    check_table,
    measure_table,
    place_table,
    removal_table,
)


def cells(table, name):
    (row,) = [row for row in table.rows if row[0].words == name]
    return dict(zip(table.titles, row, strict=True))


def test_places_stand_beside_their_cost_and_are_bold_where_every_control_is_beaten(score_summary):
    table = place_table(score_summary)
    high, control = cells(table, "high"), cells(table, "frame_difference")
    assert high["area under curve"] == ("0.80 (0.70 to 0.90)", True)
    assert control["area under curve"] == ("0.60 (0.50 to 0.70)", False)
    assert not cells(table, "low<b>")["share inside"].bold
    assert [high[k].words for k in table.titles[-2:]] == ["3 / 1", "0.250"]


def test_removals_end_with_random_orders(score_summary):
    table = removal_table(score_summary)
    assert cells(table, "high")["insertion (high)"] == ("0.80 (0.70 to 0.90)", True)
    assert not cells(table, "low<b>")["deletion (low)"].bold
    assert table.rows[-1][0].words == "ten random orders"
    assert [cell.words for cell in table.rows[-1][4:]] == ["0.40 (0.30 to 0.50)", ""]


def test_checks_name_what_follows_the_mark_and_what_passes(score_summary):
    table = check_table(score_summary)
    high, low = cells(table, "high"), cells(table, "low<b>")
    assert high["share on the mark, read"] == ("0.80 (0.70 to 0.90)", True)
    assert high["share on the mark, not read"].words == "0.02 (-0.08 to 0.12)"
    assert not low["share on the mark, read"].bold
    assert (high["at most 0.2"].words, low["at most 0.2"].words) == ("yes", "no")


def test_measures_end_with_what_is_the_same_everywhere(parts_summary):
    table = measure_table(parts_summary)
    key = "sample: share of the map on it"
    assert cells(table, "high")[key] == ("0.70 (0.60 to 0.80) +", True)
    assert cells(table, "frame_difference")[key] == ("0.40 (0.30 to 0.50) +", False)
    assert cells(table, "low<b>")[key] == ("0.20 (0.10 to 0.30)", False)
    assert cells(table, "the same everywhere")[key].words == "0.10 (0.00 to 0.20)"


def test_without_a_planted_model_nothing_is_said_of_a_mark(parts_summary):
    table = check_table(parts_summary)
    assert table.titles == ("method", "rank correlation with random weights", "at most 0.2")
    assert [len(row) for row in table.rows] == [3] * 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n": 3}, "0.40 (0.30 to 0.50), 3 clips"),
        ({"value": float("nan"), "n": 0}, "none"),
    ],
)
def test_clips_without_a_score_are_told(score_summary, changed, words):
    score_summary["methods"]["high"]["truth"]["positive"]["share"].update(changed)
    assert cells(place_table(score_summary), "high")["share inside"].words == words
