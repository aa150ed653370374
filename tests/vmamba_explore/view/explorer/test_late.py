"""What comes later: who computes it, who waits for it, and what is replaced."""

import dataclasses
import threading

import numpy as np
import pytest

from vmamba_explore.view.explorer import Explorer

HANG = 600
"""Seconds after which a test hangs."""


@pytest.fixture
def begun(make_exploration):
    """Return a function: an exploration whose relevance and curves come later, and when they did.

    `entered` is set when their computation begins; `hold` is waited for before they come; what it
    is set to stop them is raised.
    """

    def make(seed=0, hold=None, fault=None, entered=None, **changes):
        whole = make_exploration(seed, **changes)
        came = []

        def rest(report):
            if entered is not None:
                entered.set()
            if report is not None:
                report("evidence", 0.5)
            while hold is not None and not hold.wait(0.005):
                if report is not None:
                    report("evidence", 0.5)
            if fault is not None:
                raise fault
            came.append(threading.current_thread().name)
            return whole

        maps = {name: values for name, values in whole.maps.items() if name != "relevance"}
        return dataclasses.replace(
            whole, maps=maps, curves={}, later=rest, coming=["relevance"]
        ), came

    return make


@pytest.fixture
def shown():
    """Return a function that shows explorations, and what is sent to the browser."""
    explorers = []

    def show(*sides):
        explorer = Explorer(*sides)
        sent = []
        explorer.send = lambda content, buffers=None: sent.append(content)
        explorers.append(explorer)
        return explorer, sent

    yield show
    for explorer in explorers:
        explorer.close()
        assert explorer._runs.wait(HANG)


def asks(explorer, **content):
    explorer._handle_custom_msg(content, [])


def test_it_shows_what_there_is_and_nothing_is_computed_until_it_is_wanted(begun, shown):
    side, came = begun()
    explorer, _ = shown(side)
    assert [item["name"] for item in explorer.maps] == ["contribution", "delta"]
    assert explorer.late[0]["missing"] and explorer.late[0]["curves"] == []
    assert explorer.view.sides == (side,) and came == []


def test_the_browser_asks_for_the_rest_and_gets_it_from_a_thread_with_nothing_sent_twice(
    begun, shown, make_exploration
):
    side, came = begun()
    explorer, sent = shown(side)
    before = explorer.levels
    asks(explorer, request=3, run="late")
    assert explorer._runs.wait(HANG)
    assert came == ["run late"]
    assert {"reply": 3, "progress": 0.5, "words": "evidence"} in sent
    assert sent[-1] == {"reply": 3, "done": True}
    names = [(item["name"], item["late"]) for item in explorer.maps]
    assert names == [("contribution", False), ("delta", False), ("relevance", True)]
    assert explorer.levels == before and explorer.revision == 1
    whole = Explorer(make_exploration())
    assert explorer.late == whole.late and not explorer.late[0]["missing"]
    described = {item["name"]: {**item, "late": False} for item in explorer.maps}
    assert described == {item["name"]: item for item in whole.maps}


def test_a_script_waits_for_the_rest_and_computes_it_once(begun, shown):
    side, came = begun()
    explorer, _ = shown(side)
    (found,) = explorer.explorations
    assert list(found.maps) == ["contribution", "delta", "relevance"] and len(found.curves) == 2
    assert explorer.explorations == (found,) and came == ["MainThread"]


def test_a_script_waits_for_the_thread_that_works_already(begun, shown):
    hold, entered = threading.Event(), threading.Event()
    side, came = begun(hold=hold, entered=entered)
    explorer, _ = shown(side)
    asks(explorer, request=1, run="late")
    assert entered.wait(HANG)
    threading.Timer(0.1, hold.set).start()
    assert len(explorer.explorations[0].curves) == 2
    assert came == ["run late"]


@pytest.mark.parametrize("kind", ["html", "png", "csv"])
def test_what_is_saved_is_complete(begun, shown, make_exploration, kind):
    explorer, _ = shown(begun()[0])
    whole = Explorer(make_exploration())
    saved, wanted = (getattr(each, f"to_{kind}")() for each in (explorer, whole))
    if kind == "html":
        assert "seen from the start" in saved and '"missing": true' not in saved
    else:
        assert saved == wanted


def test_a_map_that_comes_later_can_be_chosen_at_once(begun, shown):
    explorer, _ = shown(begun()[0])
    explorer.quantity = "relevance"
    assert explorer.quantity == "relevance" and explorer.revision == 1
    assert Explorer(begun()[0], quantity="relevance").quantity == "relevance"


def test_a_fault_is_a_sentence_in_the_view_and_an_error_in_the_script(begun, shown):
    side, _ = begun(fault=MemoryError("relevance would take 9.00 GiB."))
    explorer, sent = shown(side)
    asks(explorer, request=1, run="late")
    assert explorer._runs.wait(HANG)
    assert sent[-1] == {"reply": 1, "error": "relevance would take 9.00 GiB."}
    with pytest.raises(MemoryError, match="9.00 GiB"):
        explorer.complete()
    explorer.frame = 2
    assert explorer.view.sides == (side,)


def test_the_rest_can_be_cancelled_and_asked_for_again(begun, shown):
    hold = threading.Event()
    side, came = begun(hold=hold)
    explorer, sent = shown(side)
    asks(explorer, request=1, run="late")
    asks(explorer, cancel=1)
    assert explorer._runs.wait(HANG)
    assert sent[-1] == {"reply": 1, "cancelled": True} and came == []
    hold.set()
    asks(explorer, request=2, run="late")
    assert explorer._runs.wait(HANG)
    assert sent[-1] == {"reply": 2, "done": True} and came == ["run late"]


def test_closing_ends_the_thread(begun, shown):
    side, came = begun(hold=threading.Event())
    explorer, sent = shown(side)
    asks(explorer, request=1, run="late")
    explorer.close()
    assert explorer._runs.wait(HANG)
    assert came == [] and not any("cancelled" in each for each in sent)


def test_each_side_of_two_is_completed_and_their_difference_with_them(
    begun, shown, make_exploration
):
    explorer, sent = shown(begun(0)[0], begun(1)[0])
    asks(explorer, request=1, run="late")
    assert explorer._runs.wait(HANG)
    shares = [each["progress"] for each in sent if "progress" in each]
    assert shares == sorted(shares) and 0.75 in shares
    whole = Explorer(make_exploration(0), make_exploration(1))
    assert [item["name"] for item in explorer.maps] == [item["name"] for item in whole.maps]
    assert [side["missing"] for side in explorer.late] == [False, False]


def test_an_unknown_run_is_refused_in_a_sentence(begun, shown):
    explorer, sent = shown(begun()[0])
    asks(explorer, request=1, run="everything")
    assert sent[-1]["error"] == (
        "Explorer: cannot run 'everything'; expected one of 'late', 'change', 'pictures', 'strip', "
        "'window'."
    )


def test_replaced_data_keep_what_is_looked_at_where_it_still_exists(begun, shown, make_exploration):
    explorer, _ = shown(make_exploration())
    explorer.frame, explorer.layer, explorer.query = 3, 0, [1, 1, 2]
    explorer.quantity, explorer.direction = "relevance", "backward"
    other = make_exploration(5)
    explorer.replace(other, make_exploration(6))
    assert (explorer.frame, explorer.layer, explorer.query) == (3, 0, [1, 1, 2])
    assert (explorer.quantity, explorer.direction) == ("relevance", "backward")
    assert explorer.explorations[0] is other and len(explorer.sides) == 2
    assert explorer.revision == 1 and "seed" not in explorer.heading
    alone = dataclasses.replace(other, maps={"delta": other.maps["delta"]})
    explorer.replace(alone)
    assert explorer.quantity == "delta" and len(explorer.sides) == 1


def test_another_models_explorations_do_not_replace_them(shown, make_exploration):
    explorer, _ = shown(make_exploration())
    one = make_exploration()
    with pytest.raises(ValueError, match="different layers"):
        explorer.replace(make_exploration(maps={"delta": one.maps["delta"].isel(layer=[0])}))
    assert explorer.revision == 0 and len(explorer.maps) == 3


def test_what_is_replaced_while_it_is_computed_is_not_shown(begun, shown, make_exploration):
    hold = threading.Event()
    side, came = begun(hold=hold)
    explorer, sent = shown(side)
    asks(explorer, request=1, run="late")
    other = make_exploration(7)
    explorer.replace(other)
    assert explorer._runs.wait(HANG)
    assert explorer.explorations == (other,) and came == []
    assert sent[-1] == {"reply": 1, "done": True}


def test_the_rest_of_an_edited_run_is_computed_in_its_edit_and_in_no_other(motion):
    """Whoever waits for it may be inside a `with` block of his own."""
    from vmamba_explore.analysis.controls import controls
    from vmamba_explore.app.gather import begin
    from vmamba_explore.app.question import Question
    from vmamba_explore.trace.interventions import mute

    clip, explored = motion
    model = explored(clip).live.trace.model
    question = Question(target=1, quantities=["delta"], progress=False)
    plain = begin(model, clip, question)
    edited = begin(model, clip, question, edit=lambda model: mute(model, "forward"))
    with mute(model, "forward"):
        wanted = controls(model, clip)
    with mute(model, "backward"):
        found = [each.complete() for each in (plain, edited)]
    assert found[1].controls == wanted
    assert found[0].controls == controls(model, clip) != wanted
    np.testing.assert_array_equal(
        found[0].curves["seen from the start"], explored(clip).curves["seen from the start"]
    )
