"""A page holds one explorer, and what it held before is closed to the last layout."""

import ipywidgets
import pytest

from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.page import ExplorerPage
from vmamba_explore.view.widgets.chooser import ClipChooser

ALIVE = ipywidgets.widgets.widget._instances


@pytest.fixture
def page():
    page = ExplorerPage(ClipChooser({}, {"small": ""}))
    yield page
    page.close()


@pytest.fixture
def panels(monkeypatch):
    """Panels that only count how often they are made."""
    made = []

    def panel(explorer):
        made.append(explorer)
        return ipywidgets.VBox([ipywidgets.Label("numbers"), ipywidgets.Button()])

    monkeypatch.setattr(Explorer, "numbers", panel)
    return made


def test_ten_explorers_one_after_the_other_leave_no_widget_behind(page, panels, make_exploration):
    counts = []
    for seed in range(10):
        page.show(Explorer(make_exploration(seed)))
        page.children[-1].selected_index = 0
        counts.append(len(ALIVE))
    assert set(counts) == {counts[0]}
    assert len(panels) == 10


def test_a_replaced_explorer_is_closed_and_the_new_one_is_not(page, panels, make_exploration):
    first, second = (Explorer(make_exploration(seed)) for seed in range(2))
    page.show(first)
    page.show(second)
    assert first.comm is None
    assert second.comm is not None
    assert page.explorer is second
    assert page.children[:2] == (page.chooser, second)


def test_numbers_are_made_when_they_are_looked_at_and_once(page, panels, make_exploration):
    explorer = Explorer(make_exploration())
    page.show(explorer)
    assert panels == []
    for index in (0, None, 0):
        page.children[-1].selected_index = index
    assert panels == [explorer]


def test_closing_a_page_closes_everything(panels, make_exploration):
    before = len(ALIVE)
    page = ExplorerPage(ClipChooser({}, {"small": ""}))
    page.show(Explorer(make_exploration()))
    page.children[-1].selected_index = 0
    page.close()
    assert len(ALIVE) == before
