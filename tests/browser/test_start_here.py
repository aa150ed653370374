import pytest
from explorer_notebook import PIXELS, is_at
from served import open_notebook, run_all_cells


@pytest.fixture
def page(browser, lab):
    """The first notebook, open in JupyterLab, with what went wrong and where requests went."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    yield open_notebook(lab, context, "00_start_here.ipynb")
    context.close()


def test_the_first_notebook_runs_and_its_player_moves_frame_and_map(page, screenshot):
    run_all_cells(page)
    player = page.locator(".vmx-compact[data-ready='1']").first
    player.scroll_into_view_if_needed()
    canvas = player.locator("canvas").first
    frame, shown = player.get_attribute("data-frame"), player.get_attribute("data-quantity")
    before = canvas.evaluate(PIXELS)
    screenshot(page, "before.png")

    player.focus()
    for _ in range(3):
        player.press("ArrowRight")
    is_at(player, frame=int(frame) + 3)
    moved = canvas.evaluate(PIXELS)
    assert moved != before, "the frame changed its number but not its pixels"

    menu = player.get_by_label("quantity", exact=True)
    names = menu.locator("option").evaluate_all("options => options.map(o => o.value)")
    other = next(name for name in names if name not in ("", shown))
    menu.select_option(other)
    is_at(player, quantity=other)
    assert canvas.evaluate(PIXELS) != moved, "the map changed its name but not its pixels"
    screenshot(page, "after.png")
    assert page.locator(".Toastify__toast").count() == 0
    assert page.foreign == [] and page.faults == []
