"""A notebook saved with its widgets, reopened where no kernel knows them; and its size."""

import json

import pytest
from served import jupyter_lab, open_notebook, run_all_cells, write_notebook

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
CELLS = [
    "from vmamba_explore import explore, resources",
    "explorer = explore(resources.path('clips/right.mp4'))\nexplorer",
]
SAVE = "async () => { await window.jupyterapp.commands.execute('docmanager:save') }"
SHUT = """async () => {
    await window.jupyterapp.shell.currentWidget.sessionContext.shutdown();
}"""


@pytest.fixture(scope="module")
def reopened(browser, tmp_path_factory):
    """The notebook after it was run, saved, its kernel shut down, and opened again."""
    home = tmp_path_factory.mktemp("home")
    setting = home / "settings" / "@jupyter-widgets" / "jupyterlab-manager"
    setting.mkdir(parents=True)
    (setting / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
    with jupyter_lab(tmp_path_factory.mktemp("lab"), home) as lab:
        path = write_notebook(lab, "saved.ipynb", CELLS)
        context = browser.new_context(viewport={"width": 1400, "height": 1200})
        page = open_notebook(lab, context, path.name)
        run_all_cells(page)
        page.locator(".vmx-explorer[data-ready='1']").wait_for()
        page.wait_for_timeout(1000)  # for what the widget manager still has to save
        page.evaluate(SAVE)
        page.evaluate(SHUT)
        page.close()
        page = open_notebook(lab, context, path.name)
        page.saved = path
        yield page
        context.close()


def test_a_saved_explorer_is_alive_without_its_kernel(reopened):
    explorer = reopened.locator(".vmx-explorer[data-ready='1']")
    explorer.wait_for()
    explorer.scroll_into_view_if_needed()
    canvas = explorer.locator(".vmx-panes canvas").first
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    explorer.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        explorer.press(key)
    expect(explorer).to_have_attribute("data-frame", "2")
    expect(explorer).to_have_attribute("data-layer", "4")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    assert reopened.faults == [] and reopened.foreign == []


def test_a_patch_asked_without_a_kernel_says_how_to_get_one(reopened):
    explorer = reopened.locator(".vmx-explorer[data-ready='1']")
    explorer.locator(".vmx-panes canvas").first.click(position={"x": 20, "y": 20})
    expect(explorer).to_have_attribute("data-asking", "failed")
    assert "run the cell again" in explorer.inner_text().lower()


def test_a_saved_notebook_stays_small(reopened):
    assert reopened.saved.stat().st_size < 1.5e6
    saved = json.loads(reopened.saved.read_text("utf-8"))
    assert saved["metadata"]["widgets"], "nothing was saved"


def test_nothing_of_the_progress_bar_is_left_behind(reopened):
    words = reopened.locator(".jp-Notebook").inner_text()
    assert "Error displaying widget" not in words
    assert "step/s" not in words
