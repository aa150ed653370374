import pandas as pd

from vmamba_explore.studies.experiments.summary import Comparison
from vmamba_explore.studies.lessons import experiments as check

ARMS = pd.DataFrame({"mean": [0.9, 0.5, 0.3]}, index=["good", "fair", "poor"])
PAIRS = pd.DataFrame(
    {
        "data_set": ["X", "X"],
        "better": ["good", "poor"],
        "worse": ["fair", "fair"],
        "ours": [0.4, -0.2],
        "verdict": ["as in the paper", "not apart"],
    }
)
FOUND = Comparison("any", ARMS, PAIRS, chance=0.25)


def test_the_worst_is_that_of_the_means():
    assert check.does_worst("poor", FOUND).right and not check.does_worst("fair", FOUND).right
    assert check.does_worst("other", FOUND).right is None


def test_a_top_1_is_right_within_an_eighth():
    assert check.keeps(0.55, FOUND, "fair").right and not check.keeps(0.8, FOUND, "fair").right


def test_one_pair_apart_is_enough_for_yes_and_one_turned_round_for_no():
    assert check.told_apart("yes", FOUND).right
    assert check.agrees("no", FOUND, "X").right
    none = Comparison("any", ARMS, PAIRS.iloc[1:], chance=0.25)
    assert check.told_apart("no", none).right
    assert check.agrees("yes", Comparison("any", ARMS, PAIRS.iloc[:1], 0.25), "X").right


def test_no_answer_yet_gives_nothing_away():
    for asked in (check.does_worst, check.told_apart):
        assert asked(..., FOUND).right is None
