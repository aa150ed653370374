"""How the explorer's page is laid out: what fits where, tabs, the navigator, help and the tour."""

import pytest

from vmamba_explore.analysis.headline import Decisive
from vmamba_explore.view.explorer import Explorer

BOX = (
    "node => { const b = node.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
)
DRAWN = "() => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))"
OUTSIDE = """() => [...document.querySelectorAll(".vmx-explorer *")].filter(node => {
    const box = node.getBoundingClientRect();
    return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map(node => node.outerHTML.slice(0, 80))"""


@pytest.fixture
def opened(make_exploration, tmp_path, open_offline):
    """Return a function that opens the page of an explorer and waits until it is drawn."""

    def open_page(*sides, theme="light", live=False):
        text = Explorer(*(sides or [make_exploration()])).to_html()
        if live:  # as in a notebook, where nothing answers
            assert text.count("alone: true") == 1
            text = text.replace("alone: true", "alone: false")
        (tmp_path / "a.html").write_text(text, "utf-8")
        page = open_offline(tmp_path / "a.html", theme)
        page.set_default_timeout(20_000)
        page.set_viewport_size({"width": 1280, "height": 640})
        page.wait_for_selector(".vmx-explorer[data-ready]")
        return page

    return open_page


def box_of(page, selector):
    left, top, right, bottom = page.locator(selector).first.evaluate(BOX)
    return {"left": left, "top": top, "right": right, "bottom": bottom}


@pytest.mark.parametrize("sides", [1, 2])
def test_all_that_one_question_needs_is_within_640_pixels(opened, make_exploration, sides):
    page = opened(*(make_exploration(seed) for seed in range(sides)))
    for part in (".vmx-source", ".vmx-controls", ".vmx-panes", ".vmx-readout", ".vmx-side",
                 ".vmx-timeline", ".vmx-navigator", ".vmx-legend"):  # fmt: skip
        assert box_of(page, part)["bottom"] <= 640, part
    page.get_by_role("tab", name="over time").click()
    box = page.locator("canvas.vmx-pane").first.bounding_box()
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    page.wait_for_selector(".vmx-explorer[data-asking='failed']")
    assert box_of(page, ".vmx-explorer")["bottom"] <= 640, "a tab or a click made it taller"
    panes, side = box_of(page, ".vmx-panes"), box_of(page, ".vmx-side")
    assert side["left"] >= panes["right"] and abs(side["top"] - panes["top"]) < 4, "not beside"
    assert page.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_width_needs_scrolling_sideways(opened, make_exploration, theme):
    page = opened(make_exploration(), make_exploration(1), theme=theme)
    for width, kind in ((640, "narrow"), (900, "middle"), (1000, "wide"), (1400, "wide")):
        page.set_viewport_size({"width": width, "height": 640})
        page.wait_for_selector(f".vmx-explorer[data-areas='{kind}']")
        page.evaluate(DRAWN)
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_on_a_patch_brings_its_answer_to_the_front(opened):
    page = opened()
    reading = page.get_by_role("tab", name="what it reads")
    assert reading.get_attribute("aria-selected") == "false"
    assert not page.locator(".vmx-side [data-panel='reading'][role='tabpanel']").is_visible()
    box = page.locator("canvas.vmx-pane").first.bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.2 * box["height"])
    page.wait_for_selector(".vmx-explorer[data-asking='failed']")
    assert reading.get_attribute("aria-selected") == "true"
    assert page.get_by_label("ask the read-out").is_visible()
    page.get_by_role("tab", name="the answer").click()
    assert page.locator(".vmx-classes").is_visible()
    page.keyboard.press(
        "Shift+ArrowLeft"
    )  # the tab has the focus, and with Shift the view the keys
    page.wait_for_selector("[data-panel='reading'][role='tabpanel']", state="visible")
    assert page.locator(".vmx-explorer").get_attribute("data-query") == "0,0,1"


def test_tabs_are_moved_by_arrows_which_then_move_nothing_else(opened):
    page = opened()
    page.get_by_role("tab", name="the answer").focus()
    page.keyboard.press("ArrowRight")
    reading = page.get_by_role("tab", name="what it reads")
    assert reading.get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.dataset.panel") == "reading"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.panel") == "changes"
    page.keyboard.press("ArrowRight")  # around the end
    assert page.evaluate("document.activeElement.dataset.panel") == "answer"
    assert page.locator(".vmx-explorer").get_attribute("data-frame") == "0"
    page.keyboard.press("d")
    page.wait_for_selector(".vmx-explorer[data-direction='difference']")


def test_a_tile_of_the_navigator_leads_to_its_layer_and_hovering_names_it(opened):
    page = opened()
    explorer, tiles = page.locator(".vmx-explorer"), page.locator(".vmx-navigator canvas")
    assert explorer.get_attribute("data-layer") == "3"
    # The tiles of layers 0 and 3, forward and backward, 48 wide and half as high, below 16 pixels.
    tiles.hover(position={"x": 18 + 50 + 20, "y": 16 + 10})
    page.wait_for_selector(".vmx-navigator:has-text('layer 0 · backward')")
    tiles.click(position={"x": 18 + 50 + 20, "y": 16 + 10})
    page.wait_for_selector(".vmx-explorer[data-layer='0']")
    assert explorer.get_attribute("data-direction") == "both", "which shows the one clicked, too"
    page.get_by_label("direction", exact=True).select_option("forward")
    tiles.click(position={"x": 18 + 50 + 20, "y": 16 + 26 + 10})
    page.wait_for_selector(".vmx-explorer[data-layer='3'][data-direction='backward']")
    tiles.click(position={"x": 5, "y": 20})  # a number is not a tile
    page.wait_for_timeout(100)
    assert explorer.get_attribute("data-layer") == "3"
    assert page.errors == []


def test_the_navigator_shows_the_token_frame_and_redraws_only_for_a_new_one(opened):
    page = opened()
    pixels = "() => document.querySelector('.vmx-navigator canvas').toDataURL()"
    first = page.evaluate(pixels)
    page.keyboard.press("Tab")
    for frame in (1, 2):
        page.locator(".vmx-explorer").press("ArrowRight")
        page.wait_for_selector(f".vmx-explorer[data-frame='{frame}']")
        same = page.evaluate(pixels) == first
        assert same == (frame == 1), "two clip frames are one token frame"


def test_every_control_says_what_it_does(opened, make_exploration):
    page = opened(make_exploration(), make_exploration(1), live=True)
    controls = page.locator(".vmx-explorer :is(button, select, input)")
    assert controls.count() > 15
    mute = controls.evaluate_all("all => all.filter(one => !one.title).map(one => one.outerHTML)")
    assert mute == []


def test_help_lists_the_keys_and_gives_the_focus_back(opened):
    page = opened()
    page.get_by_label("quantity").focus()
    page.locator(".vmx-explorer").press("?")
    dialog = page.get_by_role("dialog", name="keys of the explorer")
    assert dialog.is_visible()
    assert dialog.locator("tr").count() >= 10
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.locator(".vmx-explorer").get_attribute("data-frame") == "0", "a key of the list"
    button = page.get_by_label("help", exact=True)
    button.click()
    page.get_by_role("button", name="close").click()
    assert page.evaluate("document.activeElement.ariaLabel") == "help"
    assert page.errors == []


def test_a_page_has_no_tour_until_it_is_asked_for(opened):
    page = opened()
    tour = page.get_by_role("region", name="tour")
    assert tour.count() == 0
    page.get_by_label("help", exact=True).click()
    page.get_by_role("button", name="show the tour").click()
    for step in ("1 of 3", "2 of 3", "3 of 3"):
        assert tour.inner_text().startswith(step)
        assert page.locator(".vmx-toured").count() >= 1
        page.locator(".vmx-explorer").press("ArrowRight")  # it blocks nothing
        tour.get_by_role("button").first.click()
    assert tour.count() == 0 and page.locator(".vmx-toured").count() == 0
    assert page.locator(".vmx-explorer").get_attribute("data-frame") == "3"


def test_the_tour_shows_itself_once_and_is_switched_off_for_good(opened):
    page = opened(live=True)
    tour = page.get_by_role("region", name="tour")
    assert tour.inner_text().startswith("1 of 3")
    tour.get_by_role("button", name="not now").click()
    assert tour.count() == 0
    page.reload()
    page.wait_for_selector(".vmx-explorer[data-ready]")
    assert tour.count() == 1, "it was only put off"
    tour.get_by_role("button", name="don't show again").click()
    page.reload()
    page.wait_for_selector(".vmx-explorer[data-ready]")
    assert tour.count() == 0


def test_an_explorer_can_be_without_a_tour(make_exploration, tmp_path, open_offline):
    explorer = Explorer(make_exploration())
    explorer.tour = False
    text = explorer.to_html().replace("alone: true", "alone: false")
    (tmp_path / "a.html").write_text(text, "utf-8")
    page = open_offline(tmp_path / "a.html")
    page.wait_for_selector(".vmx-explorer[data-ready]")
    assert page.get_by_role("region", name="tour").count() == 0


def test_the_sentence_leads_to_its_place_where_the_view_has_that_map(opened, make_exploration):
    found = Decisive(
        target="right", frame=1, frames=(1, 1), frames_share=0.6, frames_clear=True,
        scan=(0, "forward"), scan_share=1.0, scan_clear=True, patch=None, patch_share=0.0,
        added=3.0, logit=3.0, residual=0.0,
    )  # fmt: skip
    one = make_exploration(headline=found)
    page = opened(one)
    lead = page.get_by_label("show where it is decided")
    assert lead.is_disabled(), "the view opens there"
    page.get_by_label("quantity", exact=True).select_option("delta")
    lead.click()
    page.wait_for_selector(".vmx-explorer[data-quantity='contribution'][data-layer='0']")
    maps = {name: one.maps[name] for name in ("delta", "relevance")}
    both = opened(one, make_exploration(1, maps=maps))
    assert both.locator(".vmx-headline").inner_text().startswith("A · Decided at token frame 1")
    assert both.get_by_label("show where it is decided").count() == 1
    assert not both.get_by_label("show where it is decided").is_visible()
