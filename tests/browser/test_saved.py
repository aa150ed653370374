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
OPEN = "path => window.jupyterapp.commands.execute('docmanager:open', { path })"


def reopened_in(browser, folder, with_widgets, keep):
    """Run a notebook, save it, shut its kernel down, and open it again.

    Args:
        browser: Chromium.
        folder: An empty one.
        with_widgets: Whether JupyterLab saves the widgets, which it does not unless told to.
        keep: A function that keeps a picture of the page.
    """
    home, shown = folder / "home", folder / "lab"
    setting = home / "settings" / "@jupyter-widgets" / "jupyterlab-manager"
    setting.mkdir(parents=True)
    shown.mkdir()
    if with_widgets:
        (setting / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
    with jupyter_lab(shown, home) as lab:
        path = write_notebook(lab, "saved.ipynb", CELLS)
        context = browser.new_context(viewport={"width": 1400, "height": 1200})
        page = open_notebook(lab, context, path.name)
        run_all_cells(page)
        page.locator(".vmx-explorer[data-ready='1']").wait_for()
        assert not page.get_by_role("img", name="explorer: right.mp4").is_visible()
        page.wait_for_timeout(1000)  # for what the widget manager still has to save
        page.evaluate(SAVE)
        page.evaluate(SHUT)
        page.close()
        page = open_notebook(lab, context, path.name)
        page.saved = path
        keep(page, f"saved-{'with' if with_widgets else 'without'}-widgets.png")
        yield page
        context.close()


@pytest.fixture(scope="module")
def reopened(browser, tmp_path_factory, screenshot):
    """The notebook, saved with its widgets and opened again without a kernel."""
    yield from reopened_in(browser, tmp_path_factory.mktemp("with"), True, screenshot)


@pytest.fixture(scope="module")
def bare(browser, tmp_path_factory, screenshot):
    """The notebook as JupyterLab saves it unless told otherwise: its widgets are lost."""
    yield from reopened_in(browser, tmp_path_factory.mktemp("without"), False, screenshot)


def test_a_notebook_saved_without_its_widgets_shows_the_picture_and_no_error(bare):
    image = bare.get_by_role("img", name="explorer: right.mp4")
    image.wait_for()
    bare.wait_for_timeout(3000)  # for the widget manager to give up
    assert image.is_visible()
    assert bare.get_by_text("Error displaying widget").filter(visible=True).count() == 0
    assert bare.get_by_text("Loading widget").filter(visible=True).count() == 0
    assert bare.saved.stat().st_size < 150_000


def test_a_notebook_that_is_not_trusted_shows_the_picture_too(bare):
    notebook = json.loads(bare.saved.read_text("utf-8"))
    notebook["cells"][-1]["id"] = "changed"  # so it is not signed
    bare.saved.with_name("foreign.ipynb").write_text(json.dumps(notebook), "utf-8")
    bare.evaluate(OPEN, f"{bare.saved.parent.name}/foreign.ipynb")
    panel = bare.locator(".jp-NotebookPanel").filter(visible=True)
    image = panel.get_by_role("img", name="explorer: right.mp4")
    image.wait_for()
    assert image.bounding_box()["width"] > 300


def test_a_saved_explorer_is_alive_without_its_kernel(reopened):
    explorer = reopened.locator(".vmx-explorer[data-ready='1']")
    explorer.wait_for()
    explorer.scroll_into_view_if_needed()
    canvas = explorer.locator(".vmx-panes canvas").first
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    explorer.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown"):
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


def test_a_state_asked_without_a_kernel_says_how_to_get_one(reopened):
    explorer = reopened.locator(".vmx-explorer[data-ready='1']")
    explorer.get_by_label("quantity").select_option("state")
    status = explorer.locator(".vmx-status")
    expect(status).to_contain_text("Run the cell again to look at single states")


def test_a_saved_notebook_stays_small(reopened):
    assert reopened.saved.stat().st_size < 1.5e6
    saved = json.loads(reopened.saved.read_text("utf-8"))
    assert saved["metadata"]["widgets"], "nothing was saved"


def test_a_live_explorer_hides_its_picture(reopened):
    reopened.locator(".vmx-explorer[data-ready='1']").wait_for()
    assert not reopened.get_by_role("img", name="explorer: right.mp4").is_visible()


def test_nothing_of_the_progress_bar_is_left_behind(reopened):
    words = reopened.locator(".jp-Notebook").inner_text()
    assert "Error displaying widget" not in words
    assert "step/s" not in words
