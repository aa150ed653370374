"""Who can read and reach the explorer: names, keys alone, dark and light; HTML in names is text."""

import pytest
from explorer_notebook import BAD_NAME, PIXELS, drawn, expect, is_at
from served import kernel_value

from vmamba_explore.analysis.controls import DESCRIPTIONS

CONTRAST = """root => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const ancestors = (node) => (node ? [...ancestors(node.parentElement), node] : []);
    const light = (colors) => {  // of colors painted over each other
        for (const color of ["white", ...colors]) {
            pen.fillStyle = color;
            pen.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((part) => {
            const value = part / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return [...root.querySelectorAll("*")]
        .filter((node) => [...node.childNodes].some(({ data }) => data?.trim()))
        .filter((node) => node.getClientRects().length && !node.closest(":disabled"))
        .map((node) => {
            const grounds = ancestors(node).map((each) => getComputedStyle(each).backgroundColor);
            const ground = light(grounds);
            const ink = light([...grounds, getComputedStyle(node).color]);
            const [low, high] = [Math.min(ink, ground), Math.max(ink, ground)];
            return [(high + 0.05) / (low + 0.05), node.textContent];
        })
        .sort((one, other) => one[0] - other[0])[0];
}"""


DISABLED = [  # there is nothing to return from, no patch is asked, and nothing before frame 0
    "ask the read-out",
    "mute the asked patch",
    "mute the brushed patches",
    "reset state before token frame 0",
    "swap state before token frame 0",
]
LABELS = {
    "button": [
        "play",
        "help",
        *(f"save as {k}" for k in "PNG HTML GIF MP4 CSV".split()),
        "copy as Python",
        "show where it is decided",
        *(f"compare with the clip, {shown}" for shown in list(DESCRIPTIONS.values())[1:]),
    ],
    "slider": ["frame", "opacity", "window of the file"],
    "spinbutton": ["start of the window, seconds"],
    "combobox": ["speed", "quantity", "layer", "direction", "scale"],
    "checkbox": ["scan path", "what the model sees"],
    "tab": ["all maps", "the answer"],  # arrows lead to the others
}


def test_html_in_names_is_text(notebook, show):
    explorer = show("bad")
    assert explorer.locator("img, b").count() == 0
    expect(explorer.locator(".vmx-source")).to_contain_text(BAD_NAME)
    expect(explorer.locator(".vmx-classes li").first).to_contain_text(BAD_NAME)
    assert BAD_NAME in explorer.get_attribute("aria-label")


def test_every_control_and_picture_has_a_name(show):
    explorer = show("two")
    expect(explorer.get_by_label("what the model sees")).to_be_visible()
    expect(explorer.get_by_label("window of the file", exact=True)).to_be_visible()
    snapshot = explorer.aria_snapshot()
    for role, names in LABELS.items():
        for name in names:
            assert f'- {role} "{name}"' in snapshot
    nameless = explorer.locator("canvas:not([aria-label]):not([aria-hidden])")
    assert nameless.count() == 0
    assert (
        "- status" in snapshot and 'group "explorer: A: right.mp4 — B: right.mp4, back' in snapshot
    )


def test_everything_is_reached_and_moved_by_keys_alone(notebook, show):
    explorer = show("one")
    expect(explorer.get_by_label("what the model sees")).to_be_visible()
    expect(explorer.get_by_label("window of the file", exact=True)).to_be_visible()
    explorer.focus()
    reached = []
    for _ in range(40):
        notebook.keyboard.press("Tab")
        name, inside, outlined = notebook.evaluate(
            """() => {
                const { activeElement: node } = document;
                const { outlineStyle, boxShadow } = getComputedStyle(node);
                const inside = node.closest(".vmx-explorer") !== null;
                const by = document.getElementById(node.getAttribute("aria-labelledby"));
                const name = node.ariaLabel ?? (by ?? node).textContent;
                return [name, inside, outlineStyle !== "none" || boxShadow !== "none"];
            }"""
        )
        if not inside:
            break
        assert outlined, f"{name} has the focus and does not show it"
        reached.append(name)
    assert set(reached) == {*sum(LABELS.values(), []), "Python for this clip"}
    explorer.get_by_label("quantity").focus()
    notebook.keyboard.press("ArrowDown")
    is_at(explorer, quantity="state norm", frame=0, layer=kernel_value(notebook, "one.layer"))
    explorer.get_by_label("play", exact=True).focus()
    notebook.keyboard.press("Space")
    expect(explorer.get_by_label("pause")).to_be_focused()
    notebook.keyboard.press("Space")
    expect(explorer.get_by_label("play", exact=True)).to_be_focused()


def test_a_patch_is_asked_and_moved_by_keys_alone(show):
    explorer = show("one")
    explorer.focus()
    explorer.press("Shift+ArrowRight")  # the first one is in the middle
    is_at(explorer, query="0,4,4", asking="answered")
    explorer.press("Shift+ArrowUp")
    is_at(explorer, query="0,3,4", frame=0)
    explorer.press("Escape")
    is_at(explorer, query="")


def change_theme(notebook, timeline, theme):
    """Change JupyterLab's theme and wait until the canvas is drawn in it."""
    light, before = str(theme == "JupyterLab Light").lower(), timeline.evaluate(PIXELS)
    changes = notebook.evaluate("document.body.dataset.jpThemeLight") != light
    command = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
    notebook.evaluate(command, theme)
    notebook.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)
    if changes:
        redrawn = f"([canvas, before]) => ({PIXELS})(canvas) !== before"
        notebook.wait_for_function(redrawn, arg=[timeline.element_handle(), before])


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_text_is_read_in_either_theme(notebook, show, screenshot, theme):
    explorer = show("two")
    timeline = explorer.locator(".vmx-timeline canvas")
    other = "JupyterLab Light" if theme == "JupyterLab Dark" else "JupyterLab Dark"
    change_theme(notebook, timeline, other)
    before = drawn(explorer)
    change_theme(notebook, timeline, theme)
    contrast, words = explorer.evaluate(CONTRAST)
    assert contrast >= 4.5, words
    assert drawn(explorer) == before, "the maps' colors do not depend on the theme"
    screenshot(explorer, f"{theme.split()[-1].lower()}.png")
