"""The app of notebook 07: served by Voila as `make app` does it, and in JupyterLab."""

import sys
from urllib.parse import urlsplit

import pytest
from served import ROOT, kernel_comes_to, kernel_does, kernel_value, served, watched

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
CLIPS = ROOT / "data" / "clips"
UPLOAD = "a file from this computer, or the webcam …"
SLOW = """
import threading, time
from vmamba_explore import ExplorerApp
from vmamba_explore.app import explorer_app

def slowly(model, clip, compare, question, name, real=explorer_app.side_by_side):
    for i in range(600):
        question.report("taking its time", i / 600)
        time.sleep(0.05)

real = explorer_app.side_by_side
app = ExplorerApp()
"""
HEED = """
import logging, torch
from vmamba_explore.studies.teaching.detector import DetectorPanel
from vmamba_explore.studies.teaching.stepper import StateStepper

refused = []

class Heed(logging.Handler):
    def emit(self, record):
        refused.append(record.getMessage())

logging.getLogger("vmamba_explore.view.widgets.guarded").addHandler(Heed())
written = torch.randn(4, 9)
stepper = StateStepper(torch.randn(9), written, written.cumsum(1))
panel = DetectorPanel(lambda *_: (torch.ones(2), torch.zeros(2)), torch.tensor([0.5, 1.0]))
"""


@pytest.fixture(scope="module")
def voila(browser, tmp_path_factory):
    pytest.importorskip("voila")
    command = [sys.executable, str(ROOT / ".ci" / "app.py"), "--headless"]
    with served(command, tmp_path_factory.mktemp("home")) as address:
        context = browser.new_context(viewport={"width": 1250, "height": 1200})
        page = watched(context, urlsplit(address).netloc)
        page.goto(address)
        page.locator(".vmx-chooser[data-ready]").wait_for()
        page.address = address
        yield page
        context.close()


@pytest.fixture(autouse=True)
def nothing_went_wrong(request):
    yield
    page = request.getfixturevalue("voila") if "voila" in request.fixturenames else None
    if page is not None:
        assert page.faults == [] and page.foreign == []


def run(page):
    page.get_by_role("button", name="Run", exact=True).click()


def said(page, words, **options):
    expect(page.locator(".vmx-message")).to_contain_text(words, **options)


def test_voila_shows_the_app_and_no_code(voila):
    words = voila.locator("body").inner_text()
    assert "What did the model do with this clip?" in words
    assert "Shift+Enter" not in words and "import" not in words
    assert voila.locator(".vmx-explorer").count() == 0


def test_a_visitor_without_the_token_is_turned_away(voila, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(voila.address.split("?")[0])
    assert page.locator(".vmx-chooser").count() == 0
    context.close()


def test_a_bundled_clip_is_explored_and_plays(voila, screenshot):
    run(voila)
    explorer = voila.locator(".vmx-explorer[data-ready='1']")
    explorer.wait_for()
    said(voila, "right.mp4: right")
    explorer.focus()
    explorer.press("Home")
    explorer.press("ArrowRight")
    expect(explorer).to_have_attribute("data-frame", "1")
    voila.locator(".vmx-panes canvas").first.click(position={"x": 30, "y": 30})
    expect(explorer).to_have_attribute("data-asking", "answered")
    screenshot(voila, "voila.png")


def test_an_uploaded_clip_takes_the_place_of_the_one_before(voila):
    voila.get_by_label("clip", exact=True).select_option(label=UPLOAD)
    voila.get_by_label("upload clip", exact=True).set_input_files(CLIPS / "up_with_distractor.mp4")
    expect(voila.locator(".vmx-field[data-slot='clip']")).to_have_attribute("data-upload", "here")
    run(voila)
    said(voila, "up_with_distractor.mp4: up")
    expect(voila.locator(".vmx-explorer")).to_have_count(1)


def test_a_large_upload_arrives_whole(voila, tmp_path):
    large = tmp_path / "large.mp4"  # a film, and 24 MB that its reader skips over
    free = (24 * 2**20).to_bytes(4, "big") + b"free" + bytes(24 * 2**20 - 8)
    large.write_bytes((CLIPS / "vanish.mp4").read_bytes() + free)
    voila.get_by_label("upload clip", exact=True).set_input_files(large)
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("large.mp4 is here")
    run(voila)
    said(voila, "large.mp4: vanish")


def test_a_file_that_is_no_film_is_said_so_and_the_explorer_stays(voila, tmp_path, screenshot):
    notes = tmp_path / "<b>notes<b>.mp4"
    notes.write_text("no film")
    voila.get_by_label("upload clip", exact=True).set_input_files(notes)
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("is here")
    run(voila)
    said(voila, "<b>notes<b>.mp4: not a film")
    screenshot(voila, "refused.png")
    assert voila.locator(".vmx-chooser b").count() == 0, "HTML in a name became HTML"
    expect(voila.locator(".vmx-explorer")).to_have_count(1)
    assert "Traceback" not in voila.locator("body").inner_text()


def test_a_second_file_chosen_while_the_first_is_sent_takes_its_place_in_silence(voila, tmp_path):
    large = tmp_path / "first.mp4"
    free = (24 * 2**20).to_bytes(4, "big") + b"free" + bytes(24 * 2**20 - 8)
    large.write_bytes((CLIPS / "vanish.mp4").read_bytes() + free)
    seen = """field => {
        window.seen = [];
        new MutationObserver(() => window.seen.push(field.dataset.upload)).observe(
            field, { attributes: true, attributeFilter: ["data-upload"] });
    }"""
    voila.locator(".vmx-field[data-slot='clip']").evaluate(seen)
    chosen = voila.get_by_label("upload clip", exact=True)
    chosen.set_input_files(large)
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("first.mp4:")
    chosen.set_input_files(CLIPS / "up_with_distractor.mp4")
    here = "up_with_distractor.mp4 is here"
    expect(voila.locator(".vmx-upload-state").first).to_contain_text(here)
    assert "failed" not in voila.evaluate("window.seen")
    run(voila)
    said(voila, "up_with_distractor.mp4: up")


def test_a_camera_that_is_not_allowed_is_a_sentence_and_the_file_before_stays(voila):
    voila.get_by_label("record clip", exact=True).click()
    said(voila, "The browser did not allow the camera.")
    expect(voila.locator(".vmx-message")).to_have_attribute("role", "alert")
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("is here")
    expect(voila.get_by_label("record clip", exact=True)).to_be_enabled()


def test_a_clip_of_the_webcam_is_recorded_sent_and_explored(voila, screenshot):
    voila.context.grant_permissions(["camera"])
    voila.get_by_label("record clip", exact=True).click()
    preview = voila.get_by_label("camera for clip", exact=True)
    expect(preview).to_be_visible()
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("s left")
    run(voila)
    said(voila, "Wait until the file is here.")
    screenshot(voila, "webcam.png")
    expect(voila.locator(".vmx-upload-state").first).to_contain_text("webcam.webm is here")
    expect(preview).to_be_hidden()
    assert preview.evaluate("video => video.srcObject") is None, "the camera's light stays on"
    voila.get_by_label("model", exact=True).select_option("motion-nano")
    run(voila)
    said(voila, "webcam.webm: ")
    said(voila, "But motion-nano names the motion of an object in a magenta and yellow ring")
    expect(voila.locator(".vmx-source")).to_contain_text("webcam.webm")
    screenshot(voila, "webcam_explored.png")
    voila.context.clear_permissions()


def test_paths_are_not_read_under_voila(voila):
    names = voila.get_by_label("clip", exact=True).locator("option").all_inner_texts()
    assert [name for name in names if "path" in name] == []


def test_a_run_can_be_cancelled_and_the_next_one_works(open_cells):
    page = open_cells([SLOW, "app"], "slow.ipynb")
    page.locator(".vmx-chooser[data-ready]").wait_for()
    kernel_does(page, "explorer_app.side_by_side = slowly")
    run(page)
    expect(page.locator(".vmx-words")).to_contain_text("taking its time")
    page.get_by_role("button", name="Cancel", exact=True).click()
    said(page, "Cancelled.")
    assert not kernel_value(page, "app._thread.is_alive()")
    kernel_does(page, "explorer_app.side_by_side = real")
    run(page)
    said(page, "right.mp4: right")
    page.get_by_text("Numbers: trajectories").click()
    page.locator(".vmx-numbers").wait_for()
    expect(page.locator(".vmx-numbers .gtitle").first).to_contain_text("Where the state")
    assert page.faults == [] and page.foreign == []


def test_no_page_of_ours_sends_what_is_refused(open_cells):
    """What is listed in `settable` is all that our own pages set."""
    page = open_cells([HEED, "from vmamba_explore import ExplorerApp; app = ExplorerApp()", "app",
                       "stepper", "panel"], "heed.ipynb")  # fmt: skip
    page.locator(".vmx-chooser[data-ready]").wait_for()
    page.get_by_label("compare with").select_option(label="the clip played backwards")
    run(page)
    said(page, "right.mp4: right")
    page.locator(".vmx-explorer[data-ready='1']").focus()
    for key in ("ArrowRight", "ArrowDown", "q", "d", "p"):
        page.keyboard.press(key)
    page.get_by_text("Numbers: trajectories").click()
    for name in ("channels", "memory", "score card", "states"):
        page.get_by_role("tab", name=name).click()
        kernel_comes_to(page, "app.children[-1].children[0].children[0].words.value", "")
    page.locator(".vmx-numbers .gtitle").first.wait_for()
    page.locator(".widget-play button").first.click()
    kernel_comes_to(page, "stepper.token > 0", True)
    page.locator(".widget-button", has_text="as built").click()
    page.locator(".js-plotly-plot .nsewdrag").last.dblclick()
    kernel_comes_to(page, "app.explorer.layer < 5", True)
    assert kernel_value(page, "refused") == []
