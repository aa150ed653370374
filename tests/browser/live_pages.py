"""What tests of pages with a model inside share: such pages, and what their workers say."""

import pathlib
import re
import zlib

import numpy as np

from vmamba_explore.view import live
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.live.embed import worker_code, worker_wasm
from vmamba_explore.view.live.portable import packed_model
from vmamba_explore.view.page import html_page
from vmamba_explore.view.widgets.browser_code import plain_json, read_code

EXPORTED = pathlib.Path(live.__file__).parent / "exported.js"

READY = ".vmx-explorer[data-ready='1']"
WATCH = """(() => {
    window.heard = [];
    const plain = (value) => {
        if (ArrayBuffer.isView(value)) return { bytes: Array.from(value) };
        if (Array.isArray(value)) return value.map(plain);
        if (value === null || typeof value !== "object") return value;
        return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
    };
    window.Worker = class extends Worker {
        constructor(...given) {
            super(...given);
            this.addEventListener("message", ({ data }) => window.heard.push(plain(data)));
        }
    };
})();"""
"""Notes what workers send."""
KERNEL = """
const given = standaloneModel(DATA).get;
const text = document.getElementById("text").textContent;
const weights = { header: given("header"), text };
const portable = { about: given("about"), weights, defaults: given("defaults") };
const clip = { ...given("clip"), frames: new Uint8Array(given("clip").frames.buffer) };
const el = document.getElementById("here");
const start = (changes = {}) =>
    startWorker({ code: given("code"), wasm: given("wasm"), ...changes });
const shown = async (worker, changes = {}, report = () => {}) => {
    const { model } = await kernelFor(worker, { ...portable }, { ...clip, ...changes }, report);
    const end = render({ model, el });
    return { model, close() { end(); model.close(); } };
};
Object.assign(window, { start, shown, clip, el });
"""
"""JavaScript that shows a clip as a page with a model of its own does: `shown(await start())`."""


def kernel_page(path, portable, clip):
    """Write a page in which a test starts workers and explorers itself."""
    header, text = packed_model(portable)
    own = {
        "frames": clip.frames.tobytes(), "size": list(clip.frames.shape[1:3]), "fps": clip.fps,
        "seconds": clip.seconds.tolist(), "source": clip.source, "title": "",
    }  # fmt: skip
    data = {
        "code": worker_code(), "wasm": worker_wasm(), "header": header, "clip": own,
        "about": dict(portable.about), "defaults": Explorer.defaults(),
    }  # fmt: skip
    code = f"{Explorer._code}\n{read_code(EXPORTED)}\n{KERNEL.replace('DATA', plain_json(data))}"
    body = (
        f"<style>{Explorer._css}</style><div id=here></div><script type=text/plain id=text>{text}"
        f"</script><script type=module>{code}</script>"
    )
    path.write_text(html_page("kernel", body, live=True), "utf-8")


def opened(browser, path, before=WATCH, ready=READY, **options):
    """Open a page offline; what goes wrong and what it asks the network for are noted.

    Args:
        browser: A browser.
        path: The page.
        before: JavaScript that runs before the page's own.
        ready: What to wait for.
        options: Of the browser's context.
    """
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_offline(True)
    page = context.new_page()
    page.faults, page.foreign = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: m.type == "error" and page.faults.append(m.text))
    inside = ("file:", "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(inside) or page.foreign.append(r.url))
    page.add_init_script(before)
    page.goto(path.as_uri())
    page.locator(ready).first.wait_for(state="attached")
    return page


def heard(page, wanted):
    """Wait for a message of the page's worker, and return the last one.

    Args:
        page: As `opened` opens it.
        wanted: JavaScript that tells of a message `m` whether it is one.
    """
    found = page.wait_for_function(f"() => window.heard.findLast((m) => {wanted})")
    return _bytes(found.json_value())


def _bytes(value):
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"bytes"}:
        return np.array(value["bytes"], np.uint8)
    return {key: _bytes(item) for key, item in value.items()}


def inflated(packed):
    """Levels, unpacked."""
    return np.frombuffer(zlib.decompress(bytes(packed)), np.uint8)


def apart(mine, theirs):
    """By how many levels some levels differ; a value that only one of them has counts as many."""
    assert len(mine) == len(theirs)
    return np.abs(np.asarray(mine, int) - np.asarray(theirs, int))


def without_policy_for_workers(text):
    """A page whose policy, or that of its site, lets it start no worker."""
    return re.sub(r"; worker-src blob:", "; worker-src 'none'", text, count=1)
