"""The questions of notebook 10 are judged by what was measured, whatever it was."""

import pytest
import torch

from vmamba_explore.intervals import Interval
from vmamba_explore.stores.sizes import StoreSize
from vmamba_explore.studies.lessons import features as check


def test_megabytes_are_those_of_the_variable():
    size = StoreSize(10, 1, {"a": 40_000_000, "b": 1_000_000}, 3, 0)
    assert check.takes(38, size, "a").right and not check.takes(20, size, "a").right
    assert check.takes(1, size, "b").right


def test_directions_are_judged_to_a_factor_of_two():
    assert check.occupies(5, 8.0).right and not check.occupies(3, 8.0).right
    assert check.occupies(..., 8.0).right is None


@pytest.mark.parametrize(("same", "truth"), [(0.9, "yes"), (0.3, "no")])
def test_most_neighbors_are_of_the_class_or_not(same, truth):
    assert check.is_like(truth, same).right
    assert not check.is_like({"yes": "no", "no": "yes"}[truth], same).right


def test_the_kind_with_the_largest_score_tells_best():
    scores = {kind: Interval(v, v, v, 9) for kind, v in (("feature", 0.7), ("channel", 0.8))}
    assert check.tells_best("channel", scores).right
    assert not check.tells_best("feature", scores).right
    assert check.tells_best("probe", scores).right is None


def test_an_answer_that_was_there_before_does_not_count_as_brought():
    one = torch.nn.functional.one_hot
    before, after = one(torch.tensor([0, 1, 2, 2]), 3), one(torch.tensor([2, 2, 2, 2]), 3)
    assert check.brings("no", before.float(), after.float(), 2).right  # 2 of 4
    before = one(torch.tensor([0, 1, 0, 2]), 3)
    assert check.brings("yes", before.float(), after.float(), 2).right
