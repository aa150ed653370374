"""Work in the background: its turn, its end, and what is answered."""

import threading
import time

import pytest

from vmamba_explore.view.explorer import runs as module
from vmamba_explore.view.explorer.runs import Runs

HANG = 600
"""Seconds after which a test hangs."""


@pytest.fixture
def runs():
    runs = Runs()
    yield runs
    runs.close()
    assert runs.wait(HANG), "a run goes on after the end"


class Work:
    """Tells its report over and over until it may end."""

    def __init__(self, words="working"):
        self.words, self.began, self.may_end = words, threading.Event(), threading.Event()
        self.steps = 0

    def __call__(self, report):
        self.began.set()
        while not self.may_end.wait(0.005):
            report(self.words, 0.5)
            self.steps += 1


@pytest.fixture
def start(runs):
    """Return a function that starts some work; what is answered; and the runs."""
    answers = []

    def begin(number, work, kind="change", **options):
        runs.start(kind, number, work, lambda content, _: answers.append(content), **options)

    return begin, answers, runs


def of(answers, number):
    return [each for each in answers if each["reply"] == number]


def test_a_run_is_answered_with_progress_and_once_with_its_end(start):
    begin, answers, runs = start

    def work(report):
        for step in range(3):
            report("counting", step / 3)
            report("counting", step / 3)  # nothing new

    begin("a", work)
    assert runs.wait(HANG)
    assert answers == [
        {"reply": "a", "progress": 0.0, "words": "waiting"},
        *({"reply": "a", "progress": step / 3, "words": "counting"} for step in range(3)),
        {"reply": "a", "done": True},
    ]


def test_an_error_is_one_answer_in_its_words_and_the_next_run_works(start):
    begin, answers, runs = start

    def fail(report):
        raise ValueError("There is no class 12.")

    begin(1, fail)
    assert runs.wait(HANG)
    begin(2, lambda report: None)
    assert runs.wait(HANG)
    assert of(answers, 1)[-1] == {"reply": 1, "error": "There is no class 12."}
    assert of(answers, 2)[-1] == {"reply": 2, "done": True}


def test_a_run_that_is_cancelled_ends_at_its_next_word(start):
    begin, answers, runs = start
    work, other = Work(), Work()
    begin("a", work)
    begin("b", other, kind="other")
    assert work.began.wait(HANG)
    runs.cancel("somebody else's")
    assert of(answers, "a")[-1].keys() != {"reply", "cancelled"}
    runs.cancel("a")
    assert other.began.wait(HANG), "the next one waits for ever"
    other.may_end.set()
    assert runs.wait(HANG)
    assert of(answers, "a")[-1] == {"reply": "a", "cancelled": True}
    assert of(answers, "b")[-1] == {"reply": "b", "done": True}


def test_a_newer_run_of_the_same_kind_takes_the_place_of_the_one_that_works_or_waits(start):
    begin, answers, runs = start
    works = [Work() for _ in range(3)]
    begin(0, works[0])
    assert works[0].began.wait(HANG)
    begin(1, works[1])
    begin(2, works[2])
    works[2].may_end.set()
    assert runs.wait(HANG)
    assert [of(answers, number)[-1] for number in range(3)] == [
        {"reply": 0, "cancelled": True},
        {"reply": 1, "cancelled": True},
        {"reply": 2, "done": True},
    ]


def test_runs_of_other_kinds_work_one_after_the_other(start):
    begin, answers, runs = start
    first, second = Work(), Work()
    begin(1, first)
    begin(2, second, kind="other")
    assert first.began.wait(HANG) and not second.began.wait(0.1)
    first.may_end.set()
    assert second.began.wait(HANG)
    second.may_end.set()
    assert runs.wait(HANG)


def test_what_gives_way_waits_while_something_else_works_and_goes_on_then(start):
    begin, answers, runs = start
    late, asked = Work(), Work()
    begin("late", late, kind="late", gives_way=True)
    assert late.began.wait(HANG)
    begin("asked", asked)
    assert asked.began.wait(HANG), "it waits for what should give way"
    ends = time.monotonic() + HANG
    before = -1
    while late.steps > before:  # it may be in the middle of a step
        assert time.monotonic() < ends, "it goes on beside what it should give way to"
        before = late.steps
        time.sleep(0.1)
    asked.may_end.set()
    late.may_end.set()
    assert runs.wait(HANG)
    assert of(answers, "late")[-1] == {"reply": "late", "done": True}


def test_a_second_request_for_what_gives_way_joins_it(start):
    begin, answers, runs = start
    late = Work()
    begin(1, late, kind="late", gives_way=True)
    assert late.began.wait(HANG)
    begin(2, Work("another"), kind="late", gives_way=True)
    late.may_end.set()
    assert runs.wait(HANG)
    assert [of(answers, number)[-1] for number in (1, 2)] == [
        {"reply": 1, "done": True}, {"reply": 2, "done": True},
    ]  # fmt: skip
    assert all(each.get("words") != "another" for each in answers)


def test_long_steps_are_told_again_so_that_a_browser_knows_that_the_kernel_lives(
    start, monkeypatch
):
    monkeypatch.setattr(module, "REMINDER", 0.02)
    begin, answers, runs = start
    work = Work()
    begin(1, work)
    assert work.began.wait(HANG)
    began = time.monotonic()
    time.sleep(0.3)
    work.may_end.set()
    assert runs.wait(HANG)
    most = 2 + (time.monotonic() - began) / module.REMINDER
    told = [each for each in of(answers, 1) if each.get("words") == "working"]
    assert 2 <= len(told) <= most < work.steps + most


def test_after_the_end_nothing_is_answered_and_nothing_runs(start):
    begin, answers, runs = start
    work = Work()
    begin(1, work)
    assert work.began.wait(HANG)
    runs.close()
    assert runs.wait(HANG)
    count = len(answers)
    assert not any("cancelled" in each for each in answers)
    time.sleep(0.05)
    assert len(answers) == count


@pytest.mark.parametrize("number", [None, [1], {"a": 1}, 10**400, float("inf"), "x" * 10**5])
def test_any_number_that_a_browser_sends_is_answered(start, number):
    begin, answers, runs = start
    begin(number, lambda report: None)
    assert runs.wait(HANG)
    runs.cancel(number)
    assert answers[-1]["done"] is True
