import pandas as pd
import pytest

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


# one pair apart is enough for a yes, one turned round for a no
APART, TURNED = (Comparison("any", ARMS, part, 0.25) for part in (PAIRS.iloc[:1], PAIRS.iloc[1:]))


@pytest.mark.parametrize(
    ("question", "given", "right", "wrong"),
    [
        (check.does_worst, (FOUND,), "poor", "fair"),
        (check.keeps, (FOUND, "fair"), 0.55, 0.8),
        (check.told_apart, (FOUND,), "yes", "no"),
        (check.told_apart, (TURNED,), "no", "yes"),
        (check.agrees, (FOUND, "X"), "no", "yes"),
        (check.agrees, (APART, "X"), "yes", "no"),
    ],
)
def test_the_truth_is_in_what_is_passed(question, given, right, wrong):
    assert question(right, *given).right is True
    assert question(wrong, *given).right is False
    assert question(..., *given).right is None


def test_another_word_is_no_verdict():
    assert check.does_worst("other", FOUND).right is None
