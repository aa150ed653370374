"""The score card of one clip: it runs beside the notebook, and stops when it is told to."""

import threading

import pytest

from vmamba_explore import resources
from vmamba_explore.view.explorer.score_panel import QUICK, ScorePanel, score_table, sentence
from vmamba_explore.view.widgets.static_figure import MIMETYPE

PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def explored(motion):
    """Return what was explored of a motion clip, and of the same clip without its truth."""
    clip, explored = motion
    return explored(clip, name="<i>"), explored(clip.clip)


@pytest.fixture
def panel(explored):
    panel = ScorePanel(lambda: (explored[0], explored[0].numbers))
    panel.draw()
    return panel


def run(panel, *methods):
    panel.methods.value = methods
    panel.run.click()
    panel.thread.join(PATIENCE)
    assert not panel.thread.is_alive()


def test_every_method_of_the_card_can_be_chosen_and_a_few_quick_ones_are(panel, explored):
    assert panel.methods.options == explored[0].numbers.methods()
    assert set(panel.methods.value) == set(QUICK)


def test_a_run_gives_a_row_for_each_method_and_their_maps_with_the_truth(panel):
    run(panel, "delta", "random")
    assert panel.words.value.startswith("&lt;i&gt;, methods: 2.")
    for words in ("delta", "random", "share inside", "a map that knows nothing"):
        assert words in panel.table.value
    _, output = panel.maps.outputs  # after its style
    names = [trace.get("name") for trace in output["data"][MIMETYPE]["data"]]
    assert names == ["delta", "random", "where it should be"]
    assert not panel.run.disabled and panel.cancel.disabled
    assert panel.bar.layout.visibility == "hidden"


def test_without_a_truth_maps_are_scored_by_removals(explored):
    panel = ScorePanel(lambda: (explored[1], explored[1].numbers))
    panel.draw()
    run(panel, "random")
    assert "insertion (high is good)" in panel.table.value
    assert "knows nothing" not in panel.table.value


def test_cancel_ends_the_work_inside_a_method_and_keeps_what_was_done(explored, counted):
    begun, go_on = threading.Event(), threading.Event()
    numbers = explored[0].numbers

    def slow(methods, report):
        yield from numbers.score(methods[:1], report)
        begun.set()
        go_on.wait(PATIENCE)
        yield from numbers.score(methods[1:] or methods, report)

    panel = ScorePanel(lambda: (explored[0], counted(numbers, score=slow)))
    panel.draw()
    panel.methods.value = ["delta", "random"]
    panel.run.click()
    assert begun.wait(PATIENCE)
    assert panel.run.disabled and not panel.cancel.disabled
    panel.cancel.click()
    go_on.set()
    panel.thread.join(PATIENCE)
    assert panel.words.value == "Cancelled; 1 of 2 methods were done."
    assert "delta" in panel.table.value and panel.maps.outputs
    run(panel, "random")
    assert panel.words.value.startswith("&lt;i&gt;, methods: "), "it runs again after a cancel"


def test_an_error_is_words_in_the_panel(explored, counted):
    def broken(methods, report):
        raise RuntimeError("<b>out of luck")

    panel = ScorePanel(lambda: (explored[0], counted(explored[0].numbers, score=broken)))
    panel.draw()
    run(panel, "delta")
    assert panel.words.value == "RuntimeError: &lt;b&gt;out of luck"
    assert not panel.run.disabled


def test_nothing_chosen_is_said_and_nothing_runs(panel):
    panel.methods.value = []
    panel.run.click()
    assert panel.thread is None and "No method is chosen" in panel.words.value


def test_another_side_clears_what_belongs_to_the_first(panel):
    run(panel, "random")
    panel.side_changed()
    assert panel.words.value == panel.table.value == "" and panel.maps.outputs == ()


def test_a_model_without_a_measured_card_is_offered_none(panel):
    assert panel.measured.layout.visibility == "hidden"


def test_the_bundled_card_is_shown_on_demand(panel, explored, monkeypatch):
    card = resources.path("scorecard_figure.json")
    monkeypatch.setattr(type(explored[0].numbers), "card", lambda numbers: card)
    panel.draw()
    assert panel.measured.layout.visibility == "visible"
    assert panel.measured.description == "motion-nano on 300 clips"
    assert panel.card.outputs == ()
    panel.measured.value = True
    _, output = panel.card.outputs
    assert output["data"]["text/plain"] == "The score card of motion-nano: 300 clips"
    panel.measured.value = False
    assert panel.card.outputs == ()


def test_bold_is_what_a_map_that_knows_nothing_does_not_reach(explored):
    found = list(explored[0].numbers.score(["delta", "frame_difference"]))
    table = score_table(found)
    share = list(found[0].scores).index("share") + 1
    for score, row in zip(found, table.rows, strict=False):
        assert row[share].bold == (score.scores["share"] > score.chance["share"])
    assert table.rows[-1][share].words == f"{found[0].chance['share']:.2f}"


def test_a_foreseen_error_is_its_message_alone():
    assert sentence(ValueError("a sentence.")) == "a sentence."
    assert sentence(KeyError("x")) == "KeyError: 'x'"
