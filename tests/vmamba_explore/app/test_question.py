"""What may be asked, and how far it is."""

import pytest

from vmamba_explore.app.question import LOGARITHMIC, QUANTITIES, Cancelled, Question, Steps


def test_nothing_chosen_is_everything(untrained_model):
    model = untrained_model
    names, layers = Question().chosen(model)
    assert names == list(QUANTITIES) and layers == list(range(model.config.depth))


def test_layers_come_in_their_order_and_once(untrained_model):
    assert Question(layers=[1, 0, 1]).chosen(untrained_model)[1] == [0, 1]


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"quantities": ["deltas"]},
            r"quantities is \['deltas'\], expected a list of some",
        ),
        ({"layers": [-1]}, r"layers is \[-1\], expected"),
        ({"layers": []}, r"layers is \[\], expected"),
    ],
)
def test_what_does_not_exist_is_named(untrained_model, changes, words):
    with pytest.raises(ValueError, match=words):
        Question(**changes).chosen(untrained_model)


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
