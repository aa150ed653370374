"""Workers and explorers on a page that starts them itself: opened, closed, replaced, failing."""

import pytest
import torch
from live_pages import READY, kernel_page, opened
from served import comes_true

from vmamba_explore import load_model, resources
from vmamba_explore.app.portable import portable
from vmamba_explore.clips import load_clip
from vmamba_explore.model.predict import top_predictions

BEGIN = "async () => { window.worker = await start(); window.one = await shown(worker); }"
sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect


@pytest.fixture(scope="module")
def model():
    return load_model("motion-nano")


@pytest.fixture(scope="module")
def clip():
    return load_clip(resources.path("clips/right.mp4"), 16, img_size=64)


@pytest.fixture(scope="module")
def file(model, clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernel") / "kernel.html"
    kernel_page(path, portable(model), clip)
    return path


@pytest.fixture
def page(browser, file):
    page = opened(browser, file, ready="#here")
    page.wait_for_function("window.shown !== undefined")
    yield page
    assert page.faults == [] and page.foreign == []
    page.context.close()


def test_a_clip_is_opened_with_its_first_maps_and_completed_in_the_background(page, model, clip):
    told = page.evaluate(
        """async () => {
            const told = [];
            const tell = (words, share) => told.push([words, share]);
            window.one = await shown(await start(), {}, tell);
            return told;
        }"""
    )
    assert told[0][0] == "layer 0" and all(0 <= share <= 1 for _, share in told)
    root = page.locator(READY)
    root.wait_for()
    expect(root.locator(".vmx-late")).to_be_hidden()
    got = page.evaluate(
        """() => ({
            classes: one.model.get("sides")[0].classes, late: one.model.get("late")[0],
            maps: one.model.get("maps").map(({ name }) => name),
        })"""
    )
    with torch.no_grad():
        logits = model(clip.tensor()[None])[0]
    expected = {p.name: p.probability for p in top_predictions(logits, model.class_names, 5)}
    found = {each["name"]: each["probability"] for each in got["classes"]}
    assert found == pytest.approx(expected, abs=1e-4)
    assert got["maps"] == [
        "delta", "state norm", "retention", "look-back", "hidden attention", "contribution",
    ]  # fmt: skip
    assert got["late"]["controls"]["sentence"].startswith("motion-nano says")
    assert len(got["late"]["curves"]) == 2


def test_ten_rounds_of_opening_and_closing_leave_no_worker_and_no_view_behind(page):
    for number in range(10):
        page.evaluate(
            """async (early) => {
                const worker = await start();
                const one = await shown(worker);
                const changes = [{ kind: "freeze", frame: 0 }];
                if (early) one.model.send({ request: 1, run: "change", changes });
                one.close();
                worker.close();
            }""",
            number % 2 == 1,
        )
        page.wait_for_function("document.querySelectorAll('.vmx-explorer').length === 0")
    comes_true(page, lambda: page.workers == [], "all workers are gone")


def test_one_worker_serves_one_explorer_after_the_other(page):
    root = page.locator(READY)
    page.evaluate(BEGIN)
    root.wait_for()
    sources = page.evaluate(
        """async () => {
            one.close();
            const still = { source: "second", frames: clip.frames.slice().fill(90) };
            window.one = await shown(worker, still);
            return [one.model.get("heading"), worker.hearers.size, worker.models.size];
        }"""
    )
    assert sources == ["second · model: motion-nano", 1, 1]
    expect(root.locator(".vmx-source")).to_have_text("second · model: motion-nano")
    root.locator(".vmx-panes canvas").first.click(position={"x": 12, "y": 12})
    expect(root).to_have_attribute("data-asking", "answered")


def test_a_clip_of_another_size_is_refused_in_a_sentence(page):
    words = page.evaluate(
        """async () => {
            window.worker = await start();
            const short = { frames: clip.frames.subarray(0, 99) };
            return shown(worker, short).then(() => "", (error) => error.message);
        }"""
    )
    assert words.startswith("The clip has 99 numbers, this model reads 16 frames")
    assert page.evaluate("worker.hearers.size") == 0


def test_a_question_to_a_worker_that_broke_is_answered_with_a_sentence(page):
    page.evaluate(BEGIN)
    root = page.locator(READY)
    root.wait_for()
    expect(root.locator(".vmx-late")).to_be_hidden()
    page.evaluate("worker.worker.postMessage({ does: 'nothing known' })")
    expect(root.locator(".vmx-status")).to_contain_text("The model in this page stopped:")
    root.locator(".vmx-panes canvas").first.click(position={"x": 12, "y": 12})
    expect(root).to_have_attribute("data-asking", "failed")
    assert page.evaluate("one.model.get('choices')") == {}
    page.faults.clear()


def test_code_that_is_broken_is_told_when_the_worker_starts(page):
    words = page.evaluate(
        """() => start({ code: "throw new Error('not this one')" })
            .then(() => "", (error) => error.message)"""
    )
    assert words.startswith("The model in this page cannot run here") and "not this one" in words


def test_plain_javascript_answers_the_same_where_there_is_no_webassembly(page):
    logits = page.evaluate(
        """async () => {
            const found = [];
            for (const changes of [{}, { wasm: null }]) {
                const worker = await start(changes);
                const one = await shown(worker);
                found.push(one.model.get("sides")[0].classes.map(({ probability }) => probability));
                one.close();
                worker.close();
            }
            return found;
        }"""
    )
    assert logits[0] == pytest.approx(logits[1], abs=1e-5)
