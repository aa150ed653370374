""" "How it works" in a browser: its steps, its numbers, and the scan read token by token."""

import json
import re

import numpy as np
import pytest
import torch
from served import watched

from tests.vmamba_explore.view.live.walk_page import walk_page
from vmamba_explore import load_clip, load_model, run_with_trace
from vmamba_explore.resources import path

CLOSED = "n => [...n.querySelectorAll('details')].filter(d => !d.open).map(d => d.dataset.step)"
BEYOND = """(all, width) =>
    all.filter(n => n.getBoundingClientRect().right > width).map(n => n.className)"""
PAST = "step => Number(document.querySelector('.vmx-walk-scan').dataset.at) > step"
SAYS = """([step, words]) =>
    document.querySelector(`[data-step="${step}"]`).textContent.includes(words)"""
PICTURE = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colors = new Set(new Uint32Array(data.buffer)).size;
    return { size: [canvas.height, canvas.width], colors };
}"""


@pytest.fixture(scope="module")
def subject():
    """The model, its clip, and a recording of the two."""
    model = load_model("motion-nano").eval()
    config = model.config
    clip = load_clip(
        path("clips/right.mp4"), num_frames=config.num_frames, img_size=config.img_size
    )
    with torch.no_grad():
        _, trace = run_with_trace(model, clip.tensor().unsqueeze(0))
    return model, clip, trace


@pytest.fixture(scope="module")
def address(subject, tmp_path_factory):
    model, clip, _ = subject
    file = tmp_path_factory.mktemp("walk") / "walk.html"
    file.write_text(walk_page(model, clip), "utf-8")
    return file.as_uri()


@pytest.fixture
def open_walk(browser, address):
    """Return a function that opens the page, without a network; what goes wrong fails the test."""
    pages = []

    def opened(width=1280, theme="light", motion="reduce"):
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=theme,
            reduced_motion=motion,
            offline=True,
        )
        pages.append(watched(context, ""))
        pages[-1].goto(address)
        pages[-1].locator(".vmx-walk").scroll_into_view_if_needed()
        pages[-1].wait_for_selector(".vmx-walk-scan[data-value]")
        return pages[-1]

    yield opened
    for page in pages:
        assert page.faults == [] and page.foreign == []
        page.context.close()


def about(page, place):
    """Wait until the walk is about a place: frame, row, col, layer, direction, channel, state."""
    page.wait_for_selector(f'.vmx-walk[data-ready="{place}"]')


def ask(page, **traits):
    page.evaluate(f"Object.entries({json.dumps(traits)}).forEach(([n, v]) => walkModel.set(n, v))")


def scan_at(page):
    """Wait for the drawing; the step of the scan, and the value of the chosen state."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    data = page.locator(".vmx-walk-scan").evaluate("n => ({ ...n.dataset })")
    return int(data["at"]), float(data["value"])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_scan_steps_ten_tokens_and_shows_each_with_its_state(open_walk, subject, direction):
    model, _, trace = subject
    page = open_walk()
    ask(page, query=[2, 4, 3], layer=3, direction=direction)
    page.wait_for_selector(f'.vmx-walk[data-ready^="2,4,3,3,{direction},"]')
    channel, state = map(int, page.locator(".vmx-walk").get_attribute("data-ready").split(",")[-2:])
    h = trace[f"layers.3.mixer.ssm_{direction}.hook_h"][0, channel, state].numpy()
    order = np.arange(model.grid.seqlen)
    if direction == "backward":
        order = order[::-1]
    index = model.grid.index(2, 4, 3)
    start = int(np.flatnonzero(order == index)[0])
    assert scan_at(page)[0] == start
    page.locator(".vmx-walk-scan").focus()
    for step in range(start + 1, start + 11):
        page.keyboard.press("Space")
        at, value = scan_at(page)
        assert at == step
        assert abs(value - h[order[step]]) < 1e-4 * np.abs(h).max()
        frame, row, col = model.grid.position(int(order[step]))
        told = page.locator(".vmx-walk-readout").inner_text()
        assert (
            f"token {step + 1} of {len(order)}: token frame {frame}, row {row}, col {col}" in told
        )
        shown = float(re.search(r"= (\S+)$", told)[1].replace("−", "-"))
        assert shown == pytest.approx(value, rel=6e-3)
    page.keyboard.press("ArrowLeft")
    assert scan_at(page)[0] == start + 9
    page.keyboard.press("Home")
    assert scan_at(page)[0] == 0
    page.keyboard.press("End")
    assert scan_at(page)[0] == len(order) - 1


def test_every_step_opens_with_its_numbers_and_its_formula(open_walk, subject, screenshot):
    model, clip, trace = subject
    page = open_walk()
    ask(page, query=[1, 2, 5], layer=0, direction="forward", channel=7, state_number=2)
    about(page, "1,2,5,0,forward,7,2")
    walk = page.locator(".vmx-walk")
    assert walk.evaluate(CLOSED) == ["1", "2", "3", "4", "6", "7"]
    for step in "123467":
        page.locator(f'[data-step="{step}"] > summary').click()
        body = page.locator(f'[data-step="{step}"] .vmx-walk-body')
        body.locator('[role="math"]').first.wait_for()
        assert body.locator(".vmx-walk-where").inner_text().startswith("In the code: ")
    assert walk.evaluate(CLOSED) == []
    pixels = page.locator('[data-step="1"] canvas.vmx-walk-pixels')
    assert pixels.count() == model.config.tubelet_size
    first = pixels.first.evaluate(
        'c => [...c.getContext("2d").getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 < 3)'
    )
    assert np.array_equal(np.reshape(first, (8, 8, 3)), clip.frames[2, 16:24, 40:48])
    assert page.locator('[data-step="3"] tbody tr').count() == model.config.d_conv
    index = model.grid.index(1, 2, 5)
    delta = float(trace["layers.0.mixer.ssm_forward.hook_delta"][0, 7, index])
    told = page.locator('[data-step="4"] .vmx-walk-live').inner_text()
    assert float(told.split("= ")[-1]) == pytest.approx(delta, rel=6e-3)
    assert page.locator('[data-step="7"] tbody tr').count() == 5
    assert page.locator('[data-step="7"] tbody tr').first.inner_text().startswith("right")
    screenshot(page, "walk_steps.png")


def test_it_follows_the_explorer_and_leads_it(open_walk):
    page = open_walk()
    said = page.locator(".vmx-walk-what")
    ask(page, frame=0, direction="both")  # it opens where the headline leads
    page.wait_for_selector('.vmx-walk[data-ready^="0,4,4,5,forward"]')
    assert "in the middle of the frame shown" in said.inner_text()
    assert "token frame 0, row 4, col 4" in said.inner_text()
    ask(page, frame=6)  # two clip frames make a token frame
    page.wait_for_function("t => document.querySelector('.vmx-walk-what').textContent.includes(t)",
                           arg="token frame 3, row 4, col 4")  # fmt: skip
    ask(page, query=[5, 1, 1])
    page.wait_for_selector('.vmx-walk[data-ready^="5,1,1,5,forward"]')
    assert said.inner_text().startswith("The selected patch: token frame 5, row 1, col 1")
    page.get_by_label("layer of the walk").select_option("2")
    page.get_by_label("direction of the walk").select_option("backward")
    page.wait_for_selector('.vmx-walk[data-ready^="5,1,1,2,backward"]')
    assert page.evaluate("['layer', 'direction'].map(n => walkModel.get(n))") == [2, "backward"]
    page.locator(".vmx-walk-scan").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="select this patch").click()
    page.wait_for_selector('.vmx-walk[data-ready^="5,1,0,2,backward"]')
    assert page.evaluate("walkModel.get('query')") == [5, 1, 0]
    picture = page.locator('[data-picture="kept"]')
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 9.5 / 128, "y": box["height"] * 3.5 / 16})
    about(page, "5,1,0,2,backward,9,3")
    assert page.evaluate("['channel', 'state_number'].map(n => walkModel.get(n))") == [9, 3]


def test_some_channels_are_shown_larger(open_walk):
    page = open_walk()
    picture = page.locator('[data-picture="after"]')
    assert picture.evaluate(PICTURE)["size"] == [16, 128]
    menu = page.get_by_label("channels shown")
    for value, count in (("32-63", 32), ("strongest", 16), ("all", 128)):
        menu.select_option(value)
        page.wait_for_function(
            f"() => document.querySelector('[data-picture=after]').width === {count}"
        )
        found = picture.evaluate(PICTURE)
        assert found["size"] == [16, count] and found["colors"] > 8


def test_it_plays_by_itself_unless_the_reader_wants_no_motion(open_walk):
    still = open_walk(motion="reduce")
    still.locator(".vmx-walk-scan").scroll_into_view_if_needed()
    before = scan_at(still)
    still.wait_for_timeout(1000)
    assert scan_at(still) == before
    moving = open_walk(motion="no-preference")
    moving.locator(".vmx-walk-scan").scroll_into_view_if_needed()
    moving.wait_for_function(PAST, arg=2)
    assert moving.locator('.vmx-walk-scan[data-playing="true"]').count() == 1
    moving.get_by_role("button", name="pause the scan").click()
    moving.wait_for_selector('.vmx-walk-scan[data-playing="false"]')
    paused = scan_at(moving)
    moving.wait_for_timeout(600)
    assert scan_at(moving) == paused
    moving.locator(".vmx-walk-scan").focus()
    moving.keyboard.press("p")
    moving.wait_for_function(PAST, arg=paused[0] + 1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_page(open_walk, screenshot, width, theme):
    page = open_walk(width, theme)
    page.evaluate("document.querySelectorAll('.vmx-walk details').forEach(d => { d.open = true })")
    page.locator('[data-step="7"] table').wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.locator(".vmx-walk *").evaluate_all(BEYOND, width)
    assert beyond == []
    page.locator(".vmx-walk-scan").scroll_into_view_if_needed()
    screenshot(page, f"walk_{width}_{theme}.png")


def test_a_question_that_fails_is_a_sentence_and_closing_leaves_nothing(open_walk):
    page = open_walk()
    ask(page, query=[99, 0, 0])
    status = page.locator(".vmx-walk-status")
    page.wait_for_function("() => document.querySelector('.vmx-walk-status').textContent !== ''")
    assert status.inner_text().startswith(
        "Explorer: query is [99, 0, 0], expected [frame, row, col]"
    )
    ask(page, query=[1, 1, 1])
    page.wait_for_function("() => document.querySelector('.vmx-walk-status').textContent === ''")
    page.evaluate("closeWalk()")
    ask(page, query=[2, 2, 2])
    page.wait_for_timeout(300)
    assert page.locator(".vmx-walk").count() == 0


def test_it_is_about_the_changed_model_and_can_go_back_to_the_first_side(open_walk):
    page = open_walk()
    ask(page, direction="forward")
    page.wait_for_selector('.vmx-walk[data-ready*=",forward,"]')
    page.locator('[data-step="6"] > summary').click()
    read = page.locator('[data-step="6"] .vmx-walk-live').first
    menu = page.get_by_label("side of the walk")
    assert not menu.is_visible()
    page.wait_for_function(SAYS, arg=["6", "y = C · h + D u"])
    assert "your change" not in read.inner_text()
    change = {"kind": "mute", "direction": "forward", "layer": None}
    page.evaluate(
        "change => walkModel.send({ request: 'test', run: 'change', changes: [change] })", change
    )
    page.wait_for_function(SAYS, arg=["6", "your change of the model takes it out"])
    assert menu.is_visible() and menu.input_value() == "1"
    page.locator('[data-step="7"] > summary').click()
    page.wait_for_function(
        SAYS, arg=["7", "adds to the logit of “right”: 0 through the forward scan"]
    )
    menu.select_option("0")
    page.wait_for_function(
        "() => !document.querySelector('[data-step=\"6\"]').textContent.includes('your change')"
    )


def test_firefox_shows_the_same_numbers(firefox, address, subject):
    model, _, trace = subject
    firefox.size(1280, 800)
    firefox.open(address)
    firefox.wait("document.querySelector('.vmx-walk') !== null")
    firefox.value("document.querySelector('.vmx-walk-scan').scrollIntoView()")
    state = {"query": [4, 3, 3], "layer": 2, "direction": "backward", "channel": 11}
    for name, value in state.items():
        firefox.value(f"walkModel.set({json.dumps(name)}, {json.dumps(value)}) ?? 0")
    scan = "document.querySelector('.vmx-walk-scan').dataset"
    index = model.grid.index(4, 3, 3)
    step = model.grid.seqlen - 1 - index
    firefox.wait("document.querySelector('.vmx-walk').dataset.ready === '4,3,3,2,backward,11,0'")
    firefox.click('.vmx-walk-scan [aria-label="to the selected patch"]')
    firefox.wait(f"{scan}.at === '{step}' && {scan}.playing === 'false'")
    h = trace["layers.2.mixer.ssm_backward.hook_h"][0, 11, 0]
    assert abs(float(firefox.value(f"{scan}.value")) - float(h[index])) < 1e-4 * h.abs().max()
    assert firefox.value("document.documentElement.scrollWidth") <= 1280
    assert firefox.faults == []
