"""The file behind a clip, in JupyterLab: its pixels under the maps, and a window to drag."""

import pytest
from explorer_notebook import PIXELS, drawn, expect, is_at, pane
from served import comes_true, kernel_comes_to, kernel_does, kernel_value, watched

CELLS = [
    """
from vmamba_explore import resources
from vmamba_explore.app import explore
film = explore(resources.path("clips/city.mp4"), start=0, progress=False)
film.direction = "both"
film
""",
]


@pytest.fixture(scope="module")
def page(open_cells):
    page = open_cells(CELLS, "film.ipynb")
    yield page
    assert page.faults == [] and page.foreign == []


@pytest.fixture
def explorer(page):
    explorer = page.locator(".vmx-explorer[data-ready='1']")
    expect(explorer).to_have_count(1)
    explorer.scroll_into_view_if_needed()
    return explorer


def test_the_panes_show_the_pixels_of_the_file_until_the_switch_says_otherwise(
    page, explorer, screenshot
):
    switch = explorer.get_by_label("what the model sees")
    expect(switch).to_be_visible()
    expect(switch).not_to_be_checked()
    sharp = drawn(explorer)
    screenshot(explorer, "film_source.png")
    explorer.focus()
    explorer.press("m")
    expect(switch).to_be_checked()
    is_at(explorer, frame=0)
    comes_true(page, lambda: drawn(explorer) != sharp, "the model's pixels are shown")
    kernel_comes_to(page, "film.pixels", "model")
    screenshot(explorer, "film_model.png")
    switch.click()
    expect(switch).not_to_be_checked()
    comes_true(page, lambda: drawn(explorer) == sharp, "the film's pixels are shown again")


def test_a_dragged_window_shows_another_clip_of_the_file(page, explorer, screenshot):
    strip = explorer.get_by_role("slider", name="window of the file")
    expect(strip).to_be_visible()
    times = kernel_value(page, "film.sides[0]['seconds']")
    before = pane(explorer).evaluate(PIXELS)
    box = strip.bounding_box()
    y = box["y"] + 12
    page.mouse.move(box["x"] + 6, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    page.mouse.up()
    kernel_comes_to(page, "80 < film.window['first'] < 110", True)
    is_at(explorer, revision=kernel_value(page, "film.revision"))
    first = kernel_value(page, "film.window['first']")
    assert kernel_value(page, "film.sides[0]['seconds']") != times
    expect(strip).to_have_attribute("aria-valuenow", str(first))
    expect(explorer.locator(".vmx-readout")).to_contain_text(f"{first / 25:.2f} s")
    assert pane(explorer).evaluate(PIXELS) != before
    expect(explorer.get_by_label("what the model sees")).to_be_visible()
    expect(explorer.locator(".vmx-late")).to_be_hidden()  # evidence and controls are this clip's
    screenshot(explorer, "film_moved.png")


def test_keys_and_seconds_move_the_window_too_and_nothing_runs_until_they_say_so(page, explorer):
    strip = explorer.get_by_role("slider", name="window of the file")
    kernel_does(page, "film._windows = film._windows.moved(0, ['delta'], lambda *_: None).windows")
    first = kernel_value(page, "film.revision")
    strip.focus()
    strip.press("End")
    expect(strip).to_have_attribute("aria-valuenow", "159")
    strip.press("Escape")
    typed = explorer.get_by_label("start of the window, seconds")
    typed.fill("2")
    expect(strip).to_have_attribute("aria-valuenow", "50")
    assert kernel_value(page, "film.revision") == first
    typed.press("Enter")
    kernel_comes_to(page, "film.window['first']", 50)
    explorer.get_by_text("Python for this clip").click()
    expect(explorer.get_by_label("Python for this clip")).to_contain_text("start=50, stride=2")


def test_a_file_that_is_gone_is_one_sentence_and_the_view_stays(page, explorer):
    strip = explorer.get_by_role("slider", name="window of the file")
    kernel_does(
        page,
        "import dataclasses\n"
        "lost = dataclasses.replace(film._windows.clip, path='/nowhere/city.mp4')\n"
        "film._windows = dataclasses.replace(film._windows, clip=lost)",
    )
    before = kernel_value(page, "film.window")
    strip.focus()
    strip.press("End")
    strip.press("Enter")
    expect(explorer.locator(".vmx-filmstrip [role='status']")).to_contain_text(
        "city.mp4: the file is gone"
    )
    assert kernel_value(page, "film.window") == before
    expect(strip).to_have_attribute("aria-valuenow", str(before["first"]))


def test_a_page_alone_switches_between_the_pixels_that_were_written_into_it(
    page, browser, tmp_path
):
    paths = {whole: tmp_path / f"{whole}.html" for whole in (True, False)}
    for whole, path in paths.items():
        kernel_does(page, f"_ = film.to_html({str(path)!r}, source={whole})")
    context = browser.new_context(offline=True)
    for whole, path in paths.items():
        alone = watched(context, "")
        alone.goto(path.as_uri())
        explorer = alone.locator(".vmx-explorer[data-ready='1']")
        expect(explorer).to_have_count(1)
        switch = explorer.get_by_label("what the model sees")
        expect(switch).to_be_visible(visible=whole)
        expect(explorer.get_by_role("slider", name="window of the file")).to_have_count(0)
        if whole:
            sharp = drawn(explorer)
            switch.click()
            changed = lambda root=explorer, was=sharp: drawn(root) != was  # noqa: E731
            comes_true(alone, changed, "the model's pixels are shown")
        assert alone.faults == [] and alone.foreign == []
    context.close()
