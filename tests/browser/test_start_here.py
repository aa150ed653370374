import os
import pathlib
from urllib.parse import urlsplit

import pytest

SECOND = 1000  # playwright counts milliseconds
IDLE = """() => {
    const context = window.jupyterapp.shell.currentWidget?.sessionContext;
    return context?.isReady && context.session?.kernel?.status === "idle";
}"""
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === "error")
    .map(output => `${output.ename}: ${output.evalue}`)"""
PIXELS = "canvas => canvas.toDataURL()"


@pytest.fixture
def page(browser, lab):
    """The first notebook, open in JupyterLab, with what went wrong and where requests went."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    page = context.new_page()
    home = urlsplit(lab).netloc
    page.faults, page.foreign = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: note_foreign(page, home, request.url))
    page.on("websocket", lambda socket: note_foreign(page, home, socket.url))
    page.goto(f"{lab}&reset")
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60 * SECOND)
    page.evaluate("async () => { await window.jupyterapp.restored }")
    page.wait_for_function(IDLE, timeout=60 * SECOND)
    yield page
    context.close()


def note_foreign(page, home, url):
    parts = urlsplit(url)
    if parts.scheme not in ("data", "blob") and parts.netloc != home:
        page.foreign.append(url)


def run_all_cells(page):
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    assert page.evaluate(ERRORS) == []


def screenshot(page, tmp_path, name):
    folder = pathlib.Path(os.environ.get("VMAMBA_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / name)
    assert (folder / name).stat().st_size > 10_000


def test_the_first_notebook_runs_and_its_player_moves_frame_and_overlay(page, tmp_path):
    run_all_cells(page)
    player = page.locator(".vmx-player").first
    player.wait_for(timeout=30 * SECOND)
    player.scroll_into_view_if_needed()
    page.wait_for_function("player => player.dataset.ready", arg=player.element_handle())
    canvas = player.locator("canvas").first
    frame, overlay = player.get_attribute("data-frame"), player.get_attribute("data-overlay")
    before = canvas.evaluate(PIXELS)
    screenshot(page, tmp_path, "before.png")

    player.focus()
    for _ in range(3):
        player.press("ArrowRight")
    page.wait_for_function(
        "([player, frame]) => Number(player.dataset.frame) === Number(frame) + 3",
        arg=[player.element_handle(), frame],
    )
    moved = canvas.evaluate(PIXELS)
    assert moved != before, "the frame changed its number but not its pixels"

    menu = player.get_by_label("overlay", exact=True)
    names = menu.locator("option").evaluate_all("options => options.map(o => o.value)")
    other = next(name for name in names if name not in ("", overlay))
    menu.select_option(other)
    page.wait_for_function(
        "([player, name]) => player.dataset.overlay === name", arg=[player.element_handle(), other]
    )
    assert canvas.evaluate(PIXELS) != moved, "the overlay changed its name but not its pixels"
    screenshot(page, tmp_path, "after.png")
    assert page.locator(".Toastify__toast").count() == 0
    assert page.foreign == []
    assert page.faults == []
