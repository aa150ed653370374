"""The panel of numbers in JupyterLab: every tab, following the explorer; without FigureWidgets."""

import pytest
from explorer_notebook import expect
from served import comes_true, kernel_does

TABS = ("states", "channels", "memory")


@pytest.fixture
def shown(notebook, show):
    """The explorer with its panel below."""
    explorer = show("one")
    kernel_does(notebook, "panel = one.numbers(); box.children = (one, panel)")
    panel = notebook.locator(".vmx-numbers")
    expect(panel).to_have_count(1)
    yield explorer, panel
    kernel_does(notebook, "panel.close()")


def titles(panel):
    return panel.locator(".js-plotly-plot:visible .gtitle")


def hidden(panel):
    """How much of a figure is cut off, pixels."""
    figure = panel.locator(".js-plotly-plot:visible").first
    return figure.evaluate("plot => plot.scrollWidth - plot.clientWidth")


def open_tab(panel, name):
    panel.get_by_role("tab", name=name, exact=True).click()


def test_every_tab_shows_figures_that_fit_and_follow_the_explorer(notebook, shown, screenshot):
    explorer, panel = shown
    for name in TABS:
        open_tab(panel, name)
        expect(titles(panel).first).to_contain_text("layer 5")
        comes_true(notebook, lambda: hidden(panel) <= 0, "the figure is not wider than its place")
        panel.scroll_into_view_if_needed()
        screenshot(panel, f"numbers_{name}.png")
        explorer.press("ArrowDown")
        expect(titles(panel).first).to_contain_text("layer 4")
        explorer.press("ArrowUp")
        expect(titles(panel).first).to_contain_text("layer 5")


def test_a_method_is_run_and_scored_on_this_clip(shown, screenshot):
    explorer, panel = shown
    open_tab(panel, "score card")
    panel.get_by_label("methods").select_option(["saliency", "mamba_lrp"])
    run = panel.locator("button", has_text="run")
    run.click()
    table = panel.locator("table")
    expect(table).to_contain_text("mamba_lrp")
    expect(table).to_contain_text("saliency")
    expect(run).to_be_enabled()
    panel.scroll_into_view_if_needed()
    screenshot(panel, "numbers_scores.png")
