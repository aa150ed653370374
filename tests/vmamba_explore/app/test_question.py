"""What may be asked, and how far it is."""

import pytest

from vmamba_explore.app.question import LOGARITHMIC, QUANTITIES, Cancelled, Question, Steps


def test_nothing_chosen_is_everything_and_layers_come_in_their_order_and_once(untrained_model):
    assert Question().chosen(untrained_model) == (list(QUANTITIES), [0, 1])
    assert Question(layers=[1, 0, 1]).chosen(untrained_model)[1] == [0, 1]


def test_steps_tell_what_is_done_and_how_much(capsys):
    told = []
    question = Question(report=lambda *each: told.append(each))
    with Steps(question, 2) as steps:
        steps("one")
        steps("two")
    assert told == [("one", 0.0), ("two", 0.5)]
    assert "two" in capsys.readouterr().err


def test_a_report_can_stop_the_steps(capsys):
    def report(words, share):
        raise Cancelled

    with pytest.raises(Cancelled), Steps(Question(report=report), 2) as steps:
        steps("one")
    assert "one" not in capsys.readouterr().err


def test_logarithmic_maps_are_quantities():
    assert set(LOGARITHMIC) <= set(QUANTITIES)
