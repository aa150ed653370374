"""The page that runs models in the browser, opened from disk in Chromium and Firefox, offline."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from films import make_film
from served import watched

from vmamba_explore import VideoMamba, VideoMambaConfig, load_clip, load_model, resources
from vmamba_explore.app.live_page import MODELS, write_live_page
from vmamba_explore.model.bundled import model_for

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
SHOWN = "body[data-state='shown'] .vmx-explorer[data-ready='1']"
FAILED = "body[data-state='failed']"
ANSWER = """[...document.querySelectorAll(".vmx-classes li:first-child span")]
    .map((each) => each.textContent)"""
LABELS = {name: load_model(name) for name in MODELS}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_live_page(tmp_path_factory.mktemp("live") / "live.html")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture
def opened(browser, file):
    """Return a function that opens the page; at the end nothing may have gone wrong."""
    contexts = []

    def go(script="", wait=SHOWN, **options):
        contexts.append(browser.new_context(offline=True, **options))
        page = watched(contexts[-1], "")
        if script:
            page.add_init_script(script)
        page.goto(file.as_uri())
        page.locator(wait).wait_for()
        return page

    yield go
    for context in contexts:
        for page in context.pages:
            assert page.foreign == [] and page.faults == []
        context.close()


@pytest.fixture(scope="module")
def in_firefox(firefox, file):
    firefox.faults.clear()
    firefox.requests.clear()
    firefox.size(1280, 720)
    firefox.open(file.as_uri())
    firefox.wait(f"""document.querySelector("{SHOWN}") !== null""")
    yield firefox
    asked = [one for one in firefox.requests if not one.startswith(("file:", "blob:", "data:"))]
    assert asked == [] and firefox.faults == []


def answer(page):
    """The first class of the explorer, and its probability."""
    name, share = page.evaluate(ANSWER)
    return name, float(share.removesuffix(" %")) / 100


def python_says(path, name):
    model = LABELS[name]
    first = model.predict(load_clip(path, img_size=64), 1)[0]
    return first.name, first.probability


def chosen(page, name):
    """Choose a bundled clip of the model that is chosen."""
    page.locator(f"#live-clips button[title^='{name}.mp4']").click()
    page.locator(f".vmx-explorer[aria-label*='{name}.mp4'][data-ready='1']").wait_for()
    page.locator(SHOWN).wait_for()


def use(page, model):
    page.locator(f"#live-models button[title='Run {model}']").click()
    page.locator(f".vmx-explorer[aria-label*='{model}'][data-ready='1']").wait_for()
    page.locator(SHOWN).wait_for()


def test_the_page_runs_a_clip_that_says_something_when_it_opens(opened, screenshot):
    page = opened(viewport={"width": 1280, "height": 720})
    assert answer(page)[0] == "pan right"
    page.wait_for_function(  # the parts are made anew when late numbers come
        "() => document.querySelector('.vmx-panes canvas')?.getBoundingClientRect().y < 400"
    )
    page.wait_for_timeout(500)
    screenshot(page, "live-1280.png")


def test_every_bundled_clip_gets_the_label_that_python_gives(opened):
    page = opened()
    for model in MODELS:
        use(page, model)
        for name in resources.CLIPS:
            path = resources.path(f"clips/{name}.mp4")
            if model_for(load_clip(path, img_size=64)) != model:
                continue
            chosen(page, name)
            label, share = python_says(path, model)
            found = answer(page)
            assert found[0] == label, name
            assert found[1] == pytest.approx(share, abs=0.0006), name


def test_firefox_gives_the_labels_that_python_gives(in_firefox, screenshot):
    for model, name in (
        ("motion-nano", "right"), ("motion-nano", "vanish"), ("recall-nano", "recall_yellow_blue"),
        ("camera-nano", "camera_zoom_in"), ("camera-nano", "city"),
    ):  # fmt: skip
        in_firefox.click(f"#live-models button[title='Run {model}']")
        in_firefox.wait(f"""document.querySelector("{SHOWN}[aria-label*='{model}']") !== null""")
        in_firefox.click(f"#live-clips button[title^='{name}.mp4']")
        in_firefox.wait(f"""document.querySelector("{SHOWN}[aria-label*='{name}.mp4']") !== null""")
        label, share = python_says(resources.path(f"clips/{name}.mp4"), model)
        found = in_firefox.value(ANSWER)
        assert found[0] == label, name
        assert float(found[1].removesuffix(" %")) / 100 == pytest.approx(share, abs=0.0006), name


@pytest.mark.parametrize("name", ["vp8.webm", "vp9.webm", "wide.webm", "ntsc.mp4", "turned.mp4"])
def test_a_video_gets_the_label_that_python_gives(name, opened, films, require):
    path = make_film(name, films, require)
    page = opened()
    page.get_by_label("choose a video file").set_input_files(path)
    page.locator(f".vmx-explorer[aria-label*='{name}'][data-ready='1']").wait_for()
    page.locator(SHOWN).wait_for()
    label, share = python_says(path, "camera-nano")
    found = answer(page)
    assert found[0] == label
    assert found[1] == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("name", ["vp8.webm", "vp9.webm"])
def test_a_video_in_firefox_gets_the_label_that_python_gives(name, in_firefox, films, require):
    path = make_film(name, films, require)
    in_firefox.click("#live-models button[title='Run camera-nano']")
    in_firefox.choose("#live-own input[type=file]", path)
    in_firefox.wait(f"""document.querySelector("{SHOWN}[aria-label*='{name}']") !== null""")
    assert in_firefox.value(ANSWER)[0] == python_says(path, "camera-nano")[0]


def test_a_video_can_be_seen_with_all_its_pixels(opened, films, require):
    page = opened()
    page.get_by_label("choose a video file").set_input_files(make_film("vp8.webm", films, require))
    page.locator(".vmx-explorer[aria-label*='vp8.webm'][data-ready='1']").wait_for()
    box = page.get_by_label("what the model sees")
    box.wait_for()
    assert not box.is_checked()


def test_a_dropped_video_is_read_and_the_frames_can_be_chosen(opened, films, require):
    path = make_film("vp8.webm", films, require)
    page = opened()
    drop = """([bytes, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: "video/webm" }));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }"""
    page.evaluate(drop, [list(path.read_bytes()), "dropped.webm"])
    explorer = page.locator(".vmx-explorer[aria-label*='dropped.webm'][data-ready='1']")
    explorer.wait_for()
    expect(explorer).to_contain_text(f"{load_clip(path).seconds[0]:.2f} s")
    page.get_by_text("which frames of a video").click()
    page.get_by_label("first frame", exact=True).fill("4")
    page.get_by_label("first frame", exact=True).press("Enter")
    expect(explorer).to_contain_text(f"{load_clip(path, start=4).seconds[0]:.2f} s")


def test_another_video_chosen_meanwhile_is_the_one_that_is_shown(opened, films, require):
    page = opened()
    field = page.get_by_label("choose a video file")
    field.set_input_files(make_film("ntsc.mp4", films, require))
    field.set_input_files(make_film("vp8.webm", films, require))
    page.locator(".vmx-explorer[aria-label*='vp8.webm'][data-ready='1']").wait_for()
    page.wait_for_timeout(2000)
    assert page.locator(".vmx-explorer").count() == 1
    assert page.locator(".vmx-explorer[aria-label*='vp8.webm']").count() == 1


def test_a_model_and_a_clip_chosen_anew_leave_one_explorer_and_one_worker(opened):
    page = opened()
    for _ in range(3):
        for model in MODELS:
            use(page, model)
    assert page.locator(".vmx-explorer").count() == 1
    assert len(page.workers) == 2  # one runs models, one reads pixels


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty.mp4", "empty.mp4: the file is empty (0 bytes)."),
        ("notes.mp4", "notes.mp4: not a video."),
        ("old.avi", "old.avi: this browser cannot decode this video (AVI)"),
        ("sound.webm", "sound.webm: it has no pictures."),
        ("<b>.mp4", "<b>.mp4: not a video."),
    ],
)
def test_a_file_that_cannot_be_shown_is_a_sentence_and_the_explorer_stays(
    name, sentence, opened, films, require, tmp_path
):
    if name in ("old.avi", "sound.webm"):
        path = make_film(name, films, require)
    else:
        path = tmp_path / name
        path.write_text("" if name == "empty.mp4" else "no film")
    page = opened()
    page.get_by_label("choose a video file").set_input_files(path)
    page.locator(FAILED).wait_for()
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    assert page.locator(".vmx-explorer[data-ready='1']").count() == 1
    page.faults.clear()  # a browser logs what it cannot decode


def test_a_video_of_4k_is_read(opened, films, require):
    page, film = opened(), make_film("large.webm", films, require)
    page.get_by_label("choose a video file").set_input_files(film)
    expect(page.locator("#live-doing")).to_contain_text("reading the video: frame")
    page.locator(".vmx-explorer[aria-label*='large.webm'][data-ready='1']").wait_for()


def test_a_camera_that_is_denied_is_a_sentence(opened):
    page = opened()
    page.get_by_role("button", name="use the webcam").click()
    expect(page.get_by_role("alert")).to_contain_text("The browser did not allow the camera.")
    expect(page.get_by_role("button", name="use the webcam")).to_be_visible()
    assert not page.locator("#live-camera").is_visible()


def test_a_page_in_the_background_during_a_recording_is_a_sentence(opened):
    page = opened(permissions=["camera"])
    page.get_by_role("button", name="use the webcam").click()
    expect(page.locator("#live-camera strong")).to_contain_text("1 …")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("alert")).to_contain_text("in the background during the recording")
    assert not page.locator("#live-camera").is_visible()


def test_a_recording_can_be_cancelled(opened):
    page = opened(permissions=["camera"])
    page.get_by_role("button", name="use the webcam").click()
    expect(page.locator("#live-camera strong")).to_contain_text("2 …")
    stream = page.evaluate_handle("document.querySelector('.live-preview').srcObject")
    page.get_by_role("button", name="cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("The recording was cancelled.")
    assert stream.evaluate("stream => stream.getTracks().map(t => t.readyState)") == ["ended"]


def camera_film(path, width=320, height=240, frames=4):
    """A raw film of two halves, as a camera of Chromium's plays it."""
    half = width // 2
    y = np.full((height, width), 76, np.uint8)
    y[:, half:] = 29
    u, v = (np.full((height // 2, half), level, np.uint8) for level in (85, 255))
    u[:, half // 2 :], v[:, half // 2 :] = 255, 107
    frame = b"FRAME\n" + b"".join(plane.tobytes() for plane in (y, u, v))
    head = f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + frame * frames)
    return path


def test_the_webcam_is_shown_mirrored_and_read_as_it_is(browser, file, tmp_path):
    """In a process of its own, with browsers of its own."""
    script = pathlib.Path(__file__).parent / "live_camera.py"
    program = shutil.which("chromium") or shutil.which("google-chrome")
    film = camera_film(tmp_path / "halves.y4m")
    shots = os.environ.get("VMAMBA_SCREENSHOTS") or tmp_path
    words = [sys.executable, script, program, film, file.as_uri(), shots]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["transform"].startswith("matrix(-1,")
    assert "The preview is mirrored" in found["words"]
    assert found["tracks"] == ["ended"]
    left, right = np.array(found["pixels"])
    assert left[0] > left[2] + 60, "red is on the left of the picture"
    assert right[2] > right[0] + 60, "blue is on the right of the picture"
    assert found["title"] == "webcam" and found["frames"] == 16
    assert found["none"].startswith("No camera was found on this computer.")
    assert found["faults"] == [] and found["foreign"] == []


def test_firefox_records_with_the_webcam(in_firefox):
    in_firefox.click("#live-own button")
    in_firefox.wait(f"""document.querySelector("{SHOWN}[aria-label*='webcam']") !== null""")
    stream = "document.querySelector('.live-preview')?.srcObject ?? null"
    assert in_firefox.value(f"({stream}) === null")


def test_a_browser_without_workers_says_so(opened):
    page = opened("delete window.Worker;", FAILED)
    expect(page.get_by_role("alert")).to_contain_text("this browser has no workers")


def test_a_browser_without_webassembly_runs_the_model_more_slowly(opened):
    page = opened()
    share = answer(page)
    plain = opened("delete window.WebAssembly;")
    assert answer(plain)[0] == share[0]


def test_a_browser_that_cannot_unpack_the_page_says_so(opened):
    page = opened("delete window.DecompressionStream;", "#live-choose")
    expect(page.locator("#live-doing")).to_contain_text("This browser is too old to run this page")
    page.faults.clear()


def test_the_page_may_ask_nothing_of_any_network(opened):
    page = opened()
    tries = """async () => {
        const refused = [];
        document.addEventListener("securitypolicyviolation",
            ({ effectiveDirective }) => refused.push(effectiveDirective));
        const address = "https://example.org/a";
        await fetch(address).catch(() => {});
        try { new WebSocket("wss://example.org") } catch {}
        navigator.sendBeacon(address, "x");
        new Image().src = address;
        const code = `fetch("${address}")
            .then(() => postMessage("went out"), () => postMessage("refused"))`;
        const worker = new Worker(URL.createObjectURL(new Blob([code])));
        const said = await new Promise((resolve) => {
            worker.onmessage = ({ data }) => resolve(data);
        });
        await new Promise((resolve) => setTimeout(resolve, 200));
        return [said, [...new Set(refused)].sort()];
    }"""
    assert page.evaluate(tries) == ["refused", ["connect-src", "img-src"]]
    page.faults.clear()
    page.foreign.clear()  # what was tried


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(opened, scheme, screenshot):
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.wait_for_timeout(500)
    screenshot(page, f"live-360-{scheme}.png")


def test_the_page_stays_small(file):
    assert file.stat().st_size <= 5_000_000


def test_an_own_model_of_another_shape_runs_on_a_clip_of_its_shape(browser, tmp_path):
    config = VideoMambaConfig.preset("toy")
    VideoMamba(config).save_pretrained(tmp_path / "mine")
    path = write_live_page(tmp_path / "mine.html", [str(tmp_path / "mine"), "camera-nano"])
    context = browser.new_context(offline=True)
    page = watched(context, "")
    page.goto(path.as_uri())
    page.locator(SHOWN).wait_for()
    assert "mine" in page.locator(".vmx-explorer").get_attribute("aria-label")
    use(page, "camera-nano")
    assert answer(page)[0] == "pan right"
    assert page.faults == [] and page.foreign == []
    context.close()
