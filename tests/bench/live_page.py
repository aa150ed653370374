"""How fast the model runs in a browser: `python tests/bench/live_page.py` (`make bench`).

In headless Chromium and, where it is installed, Firefox. In a worker: milliseconds from a clip's
pixels to its logits, all maps, evidence and controls. On the page itself: from the click on
a clip to its explorer, and the longest task of the main thread meanwhile and while evidence and
controls come (Chromium tells both). Writes live_page.md beside this file.
"""

import json
import pathlib
import shutil
import statistics
import sys
import tempfile

from playwright.sync_api import sync_playwright

from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.app.live_page import MODELS, write_live_page
from vmamba_explore.app.portable import portable
from vmamba_explore.studies.scaling.cost import machine
from vmamba_explore.view.live.embed import worker_wasm
from vmamba_explore.view.live.portable import packed_model
from vmamba_explore.view.widgets.browser_code import read_code

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "browser"))
from firefox import running_firefox  # noqa: E402

ROUNDS = 15
CLIPS = {
    "motion-nano": ("right", "clockwise", "vanish"),
    "recall-nano": ("recall_red_blue", "recall_yellow_blue"),
    "camera-nano": ("camera_zoom_in", "camera_cut", "city"),
}
ASKED = {"logits": 150, "maps": 600, "evidence": 2000}
SHOWN = "body[data-state='shown'] .vmx-explorer[data-ready='1']"
WORK = """([code, message]) => new Promise((resolve, reject) => {
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(message);
})"""
WATCH = """
window.longest = [];
new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
        window.longest.push([startTime, duration]);
    }
}).observe({ type: "longtask", buffered: true });
"""


def message(name):
    """What the worker is sent: the model and the pixels of a clip."""
    model = portable(load_model(name))
    header, text = packed_model(model)
    clip = load_clip(resources.path(f"clips/{CLIPS[name][0]}.mp4"), img_size=64)
    wasm = worker_wasm()
    return {
        "about": dict(model.about), "header": header, "text": text, "rounds": ROUNDS,
        "pixels": clip.frames.ravel().tolist(), "wasm": None if wasm is None else list(wasm),
    }  # fmt: skip


def medians(found):
    return {name: statistics.median(times) for name, times in found["found"].items()}


def shown_after(page, name):
    """Milliseconds from a click on a clip to its explorer; the longest task until all is there."""
    page.evaluate("window.longest.length = 0")
    start = page.evaluate(
        f"""() => {{
            const [button] = document.querySelectorAll("#live-clips button[title^='{name}.mp4']");
            button.click();
            return performance.now();
        }}"""
    )
    page.wait_for_selector(
        f"body[data-state='shown'] .vmx-explorer[aria-label*='{name}.mp4'][data-ready='1']"
    )
    end = page.evaluate("performance.now()")
    page.wait_for_selector(".vmx-trust table")
    page.wait_for_timeout(300)
    tasks = [duration for _, duration in page.evaluate("window.longest")]
    return end - start, max(tasks, default=0.0)


def main():
    code = read_code(HERE / "live_page.js")
    rows, pages = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = write_live_page(pathlib.Path(folder) / "live.html")
        size = path.stat().st_size
        blank = pathlib.Path(folder) / "blank.html"
        blank.write_text("<!doctype html><title>blank</title>")
        program = shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu"]
            chromium = playwright.chromium.launch(executable_path=program, args=options)
            version = f"Chromium {chromium.version}"
            page = chromium.new_page()
            page.goto(blank.as_uri())
            for name in MODELS:
                rows[version, name] = medians(page.evaluate(WORK, [code, message(name)]))
            page = chromium.new_page(viewport={"width": 1280, "height": 720})
            page.add_init_script(WATCH)
            page.goto(path.as_uri())
            page.wait_for_selector(SHOWN)
            for name in MODELS:
                page.click(f"#live-models button[title='Run {name}']")
                page.wait_for_selector(f"{SHOWN}[aria-label*='{name}']")
                page.wait_for_selector(".vmx-trust table")
                found = [shown_after(page, clip) for _ in range(3) for clip in CLIPS[name]]
                pages.append(
                    (name, statistics.median(t for t, _ in found), max(t for _, t in found))
                )
            chromium.close()
        firefox_program = shutil.which("firefox-esr") or shutil.which("firefox")
        if firefox_program:
            profile = pathlib.Path(folder) / "firefox"
            profile.mkdir()
            with running_firefox(firefox_program, profile) as firefox:
                firefox.open(blank.as_uri())
                for name in MODELS:
                    ask = json.dumps([code, message(name)])
                    rows["Firefox", name] = medians(firefox.value(f"({WORK})({ask})"))
    write(rows, pages, size)


def write(rows, pages, size):
    lines = [
        "# The model in a browser", "",
        f"{machine()}. Made by `python tests/bench/live_page.py`. Medians of {ROUNDS} rounds in a "
        "worker, milliseconds.", "",
        "| browser | model | pixels to logits | all maps | evidence | controls |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (browser, name), times in rows.items():
        cells = " | ".join(
            f"{times[key]:.0f}" for key in ("logits", "maps", "evidence", "controls")
        )
        lines.append(f"| {browser} | {name} | {cells} |")
    limits = ", ".join(f"{name} {limit}" for name, limit in ASKED.items())
    lines += [
        "", f"Asked of motion-nano in Chromium: {limits}; of Firefox twice as much.", "",
        "On the page, Chromium: from the click on a clip to its explorer, median; and the longest "
        "task of the main thread until evidence and controls are shown (asked: 50).", "",
        "| model | to the explorer | longest task |", "|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {first:.0f} | {longest:.0f} |" for name, first, longest in pages]
    lines += ["", f"The page with {', '.join(MODELS)} has {size:,} bytes (asked: 5,000,000)."]
    text = "\n".join(lines) + "\n"
    (HERE / "live_page.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
