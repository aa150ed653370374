"""Record with a camera that plays a film: `python live_camera.py CHROMIUM FILM PAGE FOLDER`.

Prints what was seen, as JSON; then, of a Chromium without a camera, what its page says.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from playwright.sync_api import sync_playwright
from served import watched

SHOWN = "body[data-state='shown'] .vmx-explorer[data-ready='1']"
PIXELS = """canvas => {
    const [y, w] = [canvas.height >> 1, canvas.width];
    const at = (x) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
    return [at(w >> 3), at(w - (w >> 3))];
}"""
OPTIONS = ["--no-sandbox", "--disable-gpu"]


def opened(playwright, program, address, *options):
    chromium = playwright.chromium.launch(executable_path=program, args=[*OPTIONS, *options])
    context = chromium.new_context(offline=True, permissions=["camera"])
    page = watched(context, "")
    page.goto(address)
    page.locator(SHOWN).wait_for()
    return chromium, page


def main(program, film, address, folder):
    with sync_playwright() as playwright:
        fake = "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"
        chromium, page = opened(playwright, program, address, *fake)
        page.get_by_role("button", name="use the webcam").click()
        preview = page.locator(".live-preview")
        page.locator("#live-camera strong", has_text="1 …").wait_for()
        stream = preview.evaluate_handle("video => video.srcObject")
        found = {
            "transform": preview.evaluate("video => getComputedStyle(video).transform"),
            "words": page.locator("#live-camera").inner_text(),
        }
        page.screenshot(path=pathlib.Path(folder) / "live-recording.png")
        explorer = page.locator(f"{SHOWN}[aria-label*='webcam']")
        explorer.wait_for()
        page.get_by_label("quantity").select_option("")
        explorer.locator("[data-quantity='']").or_(explorer).first.wait_for()
        page.wait_for_timeout(500)
        found |= {
            "tracks": stream.evaluate("stream => stream.getTracks().map(t => t.readyState)"),
            "pixels": explorer.locator(".vmx-panes canvas").first.evaluate(PIXELS),
            "title": explorer.locator(".vmx-source").inner_text().split(" · ")[0],
            "frames": 1 + int(explorer.locator("input[type=range]").first.get_attribute("max")),
            "faults": page.faults,
            "foreign": page.foreign,
        }
        page.screenshot(path=pathlib.Path(folder) / "live-recorded.png")
        chromium.close()
        chromium, page = opened(playwright, program, address)
        page.get_by_role("button", name="use the webcam").click()
        page.get_by_role("alert").wait_for()
        found["none"] = page.get_by_role("alert").inner_text()
        chromium.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
