"""How fast the explorer is, and how much it sends: `python tests/bench/explorer.py` (`make bench`).

In headless Chromium under JupyterLab: the milliseconds from a key press, or from a click on a
patch, to the frame of the browser in which the answer has been drawn; the bytes that one explorer
sends when it is shown, and those of a notebook saved with it. Models: the bundled one, and
published and long ones with random weights. Writes explorer.md beside this file.
"""

import pathlib
import statistics
import sys
import tempfile

from playwright.sync_api import sync_playwright

from vmamba_explore.studies.scaling.cost import machine

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "browser"))
from served import jupyter_lab, kernel_value, open_notebook, run_all_cells, write_notebook  # noqa: E402

ROUNDS = 21
CHROMIUM = ["--no-sandbox", "--disable-gpu"]
MAKE = """
import time, torch
from vmamba_explore import VideoMamba, VideoMambaConfig, explore, load_clip, resources
clip = resources.path("clips/right.mp4")
def untrained(config):
    torch.manual_seed(0)
    return VideoMamba(config).eval()
def film(config):
    return load_clip(clip, config.num_frames, None, 0, config.img_size)
begin = time.perf_counter()
"""
CASES = {
    "`motion-nano`, 16 frames of 64 x 64": "explorer = explore(clip)",
    "the same beside its reversal": "explorer = explore(clip, compare='reversed')",
    "`kaist_small`, 16 frames of 224 x 224": """
config = VideoMambaConfig.preset("kaist_small", num_frames=16)
explorer = explore(film(config), untrained(config))""",
    "width 64, 6 layers, 128 frames of 112 x 112": """
config = VideoMambaConfig(num_frames=128, img_size=112, patch_size=16, tubelet_size=2,
                          num_classes=10, d_model=64, depth=6)
explorer = explore(film(config), untrained(config))""",
}
ASKED = {
    "frame": "50", "layer": "50", "direction": "50", "patch": "300; `kaist_small` 1500",
    "muted": "500; `kaist_small` 3000",
    "load": "1 MB for `kaist_small`", "saved": "1.5 MB", "made": "0.7; `kaist_small` 6",
}  # fmt: skip
DRAWN = """async function drawn(start, done) {
    while (!done()) {
        if (performance.now() - start > 30000) throw new Error("nothing changed in 30 seconds");
        await new Promise(requestAnimationFrame);
    }
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""
KEY = f"""async ([root, key, name]) => {{
    {DRAWN}
    const before = root.dataset[name], start = performance.now();
    root.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
    return drawn(start, () => root.dataset[name] !== before);
}}"""
CLICK = f"""async ([root, canvas, x, y]) => {{
    {DRAWN}
    const box = canvas.getBoundingClientRect(), {{ query }} = root.dataset;
    const place = {{ clientX: box.left + x * box.width, clientY: box.top + y * box.height }};
    const start = performance.now();
    for (const type of ["pointermove", "pointerdown", "pointerup", "click"]) {{
        canvas.dispatchEvent(new PointerEvent(type, {{ bubbles: true, ...place }}));
    }}
    return drawn(start, () => root.dataset.query !== query && root.dataset.asking === "answered");
}}"""
MUTE = f"""async (root) => {{
    {DRAWN}
    const before = root.dataset.revision, start = performance.now();
    root.querySelector("button[aria-label='mute backward']").click();
    const shown = () => root.dataset.revision !== before && root.classList.contains("vmx-changed");
    return drawn(start, shown);
}}"""
MUTED = 5
"""How often a direction is muted."""
SAVE = "async () => { await window.jupyterapp.commands.execute('docmanager:save') }"


def measure(page) -> dict[str, list[float]]:
    """Milliseconds of every action on the explorer of an open notebook."""
    root = page.locator(".vmx-explorer[data-ready='1']")
    root.wait_for(timeout=60_000)
    root.scroll_into_view_if_needed()
    node, found = root.element_handle(), {}
    for name, key in (("frame", "ArrowRight"), ("layer", "ArrowDown"), ("direction", "d")):
        found[name] = []
        for number in range(ROUNDS):
            pressed = {"ArrowDown": ("ArrowDown", "ArrowUp")[number % 2]}.get(key, key)
            found[name].append(page.evaluate(KEY, [node, pressed, name]))
    for _ in range(10):  # until both directions are shown again
        if root.get_attribute("data-direction") == "both":
            break
        page.evaluate(KEY, [node, "d", "direction"])
    canvas = root.locator(".vmx-panes canvas").first.element_handle()
    _, rows, cols = kernel_value(page, "explorer.explorations[0].steps['forward'].shape")
    places = [((n % cols + 0.5) / cols, (n // cols % rows + 0.5) / rows) for n in range(ROUNDS)]
    found["muted"] = []
    root.get_by_role("tab", name="change the model").click()
    for _ in range(MUTED):
        root.locator(".vmx-late").wait_for(state="hidden", timeout=600_000)
        found["muted"].append(page.evaluate(MUTE, node))
        root.get_by_label("undo all").click()
        root.locator(".vmx-changed-list").wait_for(state="detached")
    canvas = root.locator(".vmx-panes canvas").first.element_handle()  # those before are gone
    found["patch"] = [page.evaluate(CLICK, [node, canvas, *place]) for place in places]
    return found


def run() -> dict[str, dict]:
    """Measure every case in a notebook of its own."""
    results = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, root = pathlib.Path(folder) / "home", pathlib.Path(folder) / "lab"
        setting = home / "settings" / "@jupyter-widgets" / "jupyterlab-manager"
        setting.mkdir(parents=True)
        root.mkdir()
        (setting / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        with jupyter_lab(root, home) as lab:
            for number, (name, code) in enumerate(CASES.items()):
                cells = [f"{MAKE}{code}\nseconds = time.perf_counter() - begin", "explorer"]
                path = write_notebook(lab, f"case{number}.ipynb", cells)
                context = browser.new_context(viewport={"width": 1400, "height": 1400})
                page = open_notebook(lab, context, path.name)
                run_all_cells(page)
                results[name] = {**measure(page)}
                results[name]["load"] = kernel_value(page, "explorer.bytes_on_load()")
                results[name]["made"] = kernel_value(page, "seconds")
                page.wait_for_timeout(1000)
                page.evaluate(SAVE)
                results[name]["saved"] = path.stat().st_size
                context.close()
                print(name, {k: v if isinstance(v, int | float) else round(statistics.median(v), 1)
                             for k, v in results[name].items()})  # fmt: skip
        browser.close()
    return results


def table(results: dict[str, dict]) -> str:
    """The page explorer.md."""
    rows = [
        "# How fast the explorer is, and how much it sends",
        "",
        f"Written by `python tests/bench/explorer.py` on {machine()}, headless Chromium under "
        "JupyterLab.",
        f"Milliseconds from a key press or a click to the drawn frame, medians of {ROUNDS} (and "
        "the slowest); the browser",
        "draws every 16.7 ms, and a time holds up to two such frames. A patch's row and column "
        "come from the kernel.",
        f'Muted: from a click on "mute backward" to the changed model beside the other, {MUTED} '
        "times. Made: seconds of",
        "`explore(...)` itself; evidence, controls and slow maps come after that. Saved: a "
        "notebook with this explorer and its",
        "widget state.",
        "",
        "| | frame step, ms | layer, ms | direction, ms | patch to its row, ms | muted, ms "
        "| sent on load, kB | saved, kB | made, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        times = [
            f"{statistics.median(found[each]):.0f} ({max(found[each]):.0f})"
            for each in ("frame", "layer", "direction", "patch", "muted")
        ]
        sizes = [f"{found[each] / 1000:.0f}" for each in ("load", "saved")]
        rows.append("| " + " | ".join([name, *times, *sizes, f"{found['made']:.1f}"]) + " |")
    asked = " | ".join(["*asked, at most*", *ASKED.values()])
    return "\n".join([*rows, f"| {asked} |", ""])


def main() -> None:
    (HERE / "explorer.md").write_text(table(run()), encoding="utf-8")


if __name__ == "__main__":
    main()
