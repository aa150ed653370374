"""Verdicts on answers."""

import pytest

from vmamba_explore.studies.lessons.judge import judge

HINT = "Look at the first layer."


@pytest.mark.parametrize(
    ("answer", "truth", "options", "right"),
    [
        (" Forward", "forward", {}, True),
        ("backward", "forward", {"choices": ("forward", "backward")}, False),
        ("yes", True, {}, True),
        (False, True, {}, False),
        (3, 3.0, {}, True),
        (3.5, 3.0, {}, False),
        (3.5, 3.0, {"tolerance": 0.5}, True),
        (1.6, 3.0, {"within": 2.0}, True),
        (1.4, 3.0, {"within": 2.0}, False),
        (-3.0, 3.0, {"within": 2.0}, False),
        (0, 3.0, {"within": 2.0}, False),
    ],
)
def test_an_answer_is_judged(answer, truth, options, right):
    verdict = judge(answer, truth, hint=HINT, **options)
    assert verdict.right is right
    assert repr(verdict) == ("Right." if right else f"Not so here. {HINT}")


@pytest.mark.parametrize(
    ("answer", "truth", "options", "words"),
    [
        (..., 3.0, {}, "No answer yet"),
        ("left", "forward", {"choices": ("forward", "backward")}, "'forward', 'backward'"),
        ("perhaps", True, {}, '"yes" or "no"'),
        ("three", 3.0, {}, "Answer a number; got 'three'"),
        (float("nan"), 3.0, {}, "Answer a number"),
    ],
)
def test_what_is_no_answer_is_neither_right_nor_wrong(answer, truth, options, words):
    verdict = judge(answer, truth, hint=HINT, **options)
    assert verdict.right is None
    assert words in verdict.words
