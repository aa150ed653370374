"""The explorer in JupyterLab, with a kernel: every way to move it, and what it leaves behind."""

import pathlib
import re

import numpy as np
import pytest
from served import SECOND, kernel_does, kernel_value

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

GRID = 8  # rows and columns of tokens in a frame of the bundled model
BAD_NAME = "<img src=x onerror=alert(1)><b>bold</b>"
CELLS = [
    f"""
import dataclasses, ipywidgets
from vmamba_explore import resources
from vmamba_explore.app import explore
from vmamba_explore.view.explorer import Explorer
clip = lambda name: resources.path(f"clips/{{name}}.mp4")
one = explore(clip("right"), progress=False)
two = explore(clip("right"), compare="reversed", progress=False)
first = one.explorations[0]
bad = Explorer(dataclasses.replace(
    first,
    clip=dataclasses.replace(first.clip, source={BAD_NAME!r}),
    classes=[({BAD_NAME!r}, 0.75), ("other", 0.25)],
    target={BAD_NAME!r},
    model={BAD_NAME!r},
))
""",
    "box = ipywidgets.VBox()\nbox",
]
PIXELS = "canvas => canvas.toDataURL()"
LABELS = {
    "button": [
        "play",
        "ask the read-out",
        *(f"save as {k}" for k in "PNG HTML GIF MP4 CSV".split()),
    ],
    "slider": ["frame", "opacity"],
    "combobox": ["speed", "quantity", "layer", "direction", "scale"],
    "checkbox": ["scan path"],
}
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


@pytest.fixture(scope="module")
def notebook(open_cells):
    """A notebook with three explorers in its kernel and a box that shows one of them."""
    return open_cells(
        CELLS, "explorer.ipynb", (pathlib.Path(__file__).parent / "watch.js").read_text()
    )


@pytest.fixture
def show(notebook):
    """Return a function that shows one of the kernel's explorers, as it is when it is new."""

    def shown(name):
        kernel_does(notebook, f"box.children = (); {name}.set_trait('query', [])")
        kernel_does(
            notebook,
            f"{name}.frame, {name}.layer, {name}.quantity = 0, {name}.layers[-1], 'delta'; "
            f"{name}.direction, {name}.path = 'both', False; box.children = ({name},)",
        )
        explorer = notebook.locator(".vmx-explorer[data-ready='1']")
        expect(explorer).to_have_count(1, timeout=30 * SECOND)
        explorer.scroll_into_view_if_needed()
        return explorer

    notebook.faults.clear()
    yield shown
    assert notebook.faults == []
    assert notebook.foreign == []
    assert notebook.locator(".Toastify__toast").count() == 0


def pane(explorer, side="0", direction="forward"):
    return explorer.locator(f".vmx-panes canvas[data-side='{side}'][data-direction='{direction}']")


def drawn(explorer):
    """All that the panes show."""
    return explorer.locator(".vmx-panes canvas").evaluate_all(f"all => all.map({PIXELS})")


def is_at(explorer, **state):
    for name, value in state.items():
        expect(explorer).to_have_attribute(f"data-{name}", str(value))


def click_patch(canvas, row, col, of=GRID):
    box = canvas.bounding_box()
    canvas.click(
        position={"x": (col + 0.5) * box["width"] / of, "y": (row + 0.5) * box["height"] / of}
    )


def test_it_plays_and_tells_python_only_of_the_end(notebook, show):
    explorer = show("one")
    before = drawn(explorer)
    heard = "heard"
    kernel_does(notebook, f"{heard} = []; one.observe({heard}.append, 'frame')")
    explorer.get_by_label("speed").select_option("1")
    explorer.press(" ")
    expect(explorer.get_by_label("pause")).to_be_visible()
    notebook.wait_for_function(
        "() => Number(document.querySelector('.vmx-explorer').dataset.frame) > 3"
    )
    explorer.press(" ")
    expect(explorer.get_by_label("play")).to_be_visible()
    notebook.wait_for_timeout(100)
    frame = explorer.get_attribute("data-frame")
    assert drawn(explorer) != before
    notebook.wait_for_timeout(400)
    is_at(explorer, frame=frame)
    assert kernel_value(notebook, "one.frame") == int(frame)
    assert kernel_value(notebook, f"len({heard})") == 1
    kernel_does(notebook, "one.unobserve_all('frame')")


def test_keys_move_everything(notebook, show):
    explorer = show("one")
    last = kernel_value(notebook, "len(one.token_frames)") - 1
    top = kernel_value(notebook, "one.layers[-1]")
    explorer.focus()
    seen = [drawn(explorer)]
    for keys, state in (
        (["ArrowRight", "ArrowRight"], {"frame": 2}),
        (["ArrowLeft"], {"frame": 1}),
        (["End"], {"frame": last}),
        (["Home"], {"frame": 0}),
        (["ArrowLeft"], {"frame": last}),
        (["ArrowUp"], {"layer": top}),
        (["ArrowDown"], {"layer": top - 1}),
        (["d"], {"direction": "difference"}),
        (["d"], {"direction": "forward"}),
        (["q"], {"quantity": "state norm"}),
    ):
        for key in keys:
            explorer.press(key)
        is_at(explorer, **state)
        seen.append(drawn(explorer))
    assert seen[5] == seen[3] and seen[6] == seen[5]
    assert len({str(each) for each in seen}) == len(seen) - 3, "a key changed a name, not a pixel"
    path = explorer.get_by_label("scan path")
    explorer.press("p")
    expect(path).to_be_checked()
    assert drawn(explorer) != seen[-1]
    explorer.press("p")
    expect(path).not_to_be_checked()
    assert notebook.locator(".jp-Cell").count() == len(CELLS), "a key reached the notebook"
    state = "[one.frame, one.layer, one.direction, one.quantity]"
    assert kernel_value(notebook, state) == [last, top - 1, "forward", "state norm"]


def test_menus_show_every_quantity_layer_and_direction(notebook, show):
    explorer = show("one")
    canvas = pane(explorer)
    pictures = {}
    quantities = explorer.get_by_label("quantity").locator("option")
    names = quantities.evaluate_all("all => all.map(option => option.value)")
    assert names == [*kernel_value(notebook, "list(first.maps)"), ""]
    for name in names:
        explorer.get_by_label("quantity").select_option(name)
        is_at(explorer, quantity=name)
        pictures[name] = drawn(explorer)[0]
        about = kernel_value(notebook, f"first.maps[{name!r}].attrs['about']") if name else ""
        if about:
            expect(explorer.locator(".vmx-legend")).to_contain_text(about)
    assert len(set(pictures.values())) == len(names)
    explorer.get_by_label("quantity").select_option("delta")
    pictures = []
    for layer in kernel_value(notebook, "one.layers"):
        explorer.get_by_label("layer", exact=True).select_option(str(layer))
        is_at(explorer, layer=layer)
        pictures.append(canvas.evaluate(PIXELS))
    assert len(set(pictures)) == len(pictures)
    for direction, count in (("forward", 1), ("backward", 1), ("both", 2), ("difference", 1)):
        explorer.get_by_label("direction").select_option(direction)
        is_at(explorer, direction=direction)
        expect(explorer.locator(".vmx-panes canvas")).to_have_count(count)
    before = drawn(explorer)
    explorer.get_by_label("opacity").press("Home")
    notebook.wait_for_timeout(100)
    assert drawn(explorer) != before


def test_pointing_at_a_patch_tells_the_value_that_python_has(notebook, show):
    explorer = show("one")
    row, col = 2, 5
    box = pane(explorer).bounding_box()
    notebook.mouse.move(
        box["x"] + (col + 0.5) * box["width"] / GRID, box["y"] + (row + 0.5) * box["height"] / GRID
    )
    readout = explorer.locator(".vmx-readout")
    expect(readout).to_contain_text(f"row {row}, col {col}")
    words = readout.inner_text()
    shown = float(re.search(r"delta forward: ([-\d.e]+)", words)[1])
    place = f"layer=one.layer, direction='forward').values[0, {row}, {col}]"
    exact = kernel_value(notebook, f"float(first.maps['delta'].sel({place})")
    low, high = kernel_value(
        notebook, "next(m for m in one.maps if m['name'] == 'delta')['ranges'][-1]"
    )
    half_level = (high - low) / 254 / 2
    assert abs(np.log10(shown) - np.log10(exact)) <= half_level + 0.005  # of three digits
    step = kernel_value(notebook, f"int(one.explorations[0].steps['backward'][0, {row}, {col}])")
    assert f"backward: step {step + 1} of" in words


def test_a_click_on_a_patch_asks_the_kernel_and_escape_returns_to_the_read_out(
    notebook, show, screenshot
):
    explorer = show("one")
    read_out = explorer.locator(".vmx-reads canvas").first.evaluate(PIXELS)
    expect(explorer.locator(".vmx-query canvas")).to_have_count(2)
    is_at(explorer, asking="none", query="")
    explorer.press("End")
    click_patch(pane(explorer, direction="backward"), 4, 3)
    frame = kernel_value(notebook, "one.token_frames[-1]")
    is_at(explorer, query=f"{frame},4,3", asking="answered")
    expect(explorer.locator(".vmx-reads canvas")).to_have_count(2)
    expect(explorer.locator(".vmx-read-by canvas")).to_have_count(2)
    assert explorer.locator(".vmx-reads canvas").first.evaluate(PIXELS) != read_out
    expect(explorer.locator(".vmx-reads")).to_contain_text(f"frame {frame}, row 4, col 3")
    assert kernel_value(notebook, "one.query") == [frame, 4, 3]
    screenshot(explorer, "asked.png")
    row = explorer.locator(".vmx-reads canvas").first.evaluate(PIXELS)
    explorer.press("ArrowDown")
    is_at(explorer, layer=kernel_value(notebook, "one.layers[-2]"))
    expect(explorer.locator(".vmx-reads")).to_contain_text(
        f"layer {kernel_value(notebook, 'one.layers[-2]')}"
    )
    is_at(explorer, asking="answered")
    assert explorer.locator(".vmx-reads canvas").first.evaluate(PIXELS) != row
    film = explorer.locator(".vmx-read-by canvas").first
    film.click(position={"x": 5, "y": 5})
    is_at(explorer, frame=0)
    explorer.press("Escape")
    is_at(explorer, query="", asking="none")
    expect(explorer.locator(".vmx-read-by")).to_have_count(0)


def test_a_question_that_fails_is_answered_with_its_reason(notebook, show):
    explorer = show("one")
    kernel_does(
        notebook,
        "def refuse(*_): raise ValueError('no <b>answer</b> today')\n"
        "kept, one.ask = one.ask, refuse",
    )
    click_patch(pane(explorer), 0, 0)
    is_at(explorer, asking="failed")
    expect(explorer.locator(".vmx-status")).to_contain_text("no <b>answer</b> today")
    kernel_does(notebook, "one.ask = kept")
    click_patch(pane(explorer), 0, 1)
    is_at(explorer, asking="answered")
    expect(explorer.locator(".vmx-status")).not_to_contain_text("no <b>answer</b>")


def test_timeline_and_strip_are_places_to_go(notebook, show):
    explorer = show("one")
    timeline = explorer.locator(".vmx-timeline canvas")
    box = timeline.bounding_box()
    timeline.click(position={"x": box["width"] - 12, "y": 40})
    last = kernel_value(notebook, "len(one.token_frames)") - 1
    is_at(explorer, frame=last)
    timeline.hover(position={"x": box["width"] - 12, "y": 40})
    notebook.mouse.down()
    notebook.mouse.move(box["x"] - 200, box["y"] + 40, steps=4)  # out of it, while held
    notebook.mouse.up()
    is_at(explorer, frame=0)
    explorer.press("d"), explorer.press("d")
    is_at(explorer, direction="forward")
    strip = explorer.locator(".vmx-strip canvas")
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] - 4, "y": 20})  # first layer, backward, last frame
    frames = kernel_value(notebook, "one.token_frames")
    is_at(explorer, layer=0, direction="backward", frame=frames.index(frames[-1]))


def test_two_sides_move_in_step_and_have_a_difference(notebook, show, screenshot):
    explorer = show("two")
    for side in ("0", "1", "difference"):
        for direction in ("forward", "backward"):
            expect(pane(explorer, side, direction)).to_have_count(1)
        expect(explorer.locator(f".vmx-strip canvas[data-side='{side}']")).to_have_count(1)
    pictures = drawn(explorer)
    assert len(set(pictures)) == 6
    explorer.press("ArrowRight")
    is_at(explorer, frame=1)
    explorer.press("ArrowRight")
    is_at(explorer, frame=2)
    assert all(a != b for a, b in zip(pictures, drawn(explorer), strict=True))
    click_patch(pane(explorer, "difference", "forward"), 3, 3)
    is_at(explorer, asking="answered")
    expect(explorer.locator(".vmx-query canvas")).to_have_count(2 * 2 * 2)
    expect(explorer.locator(".vmx-legend")).to_contain_text("B − A")
    expect(explorer.locator(".vmx-classes li")).to_have_count(
        kernel_value(notebook, "sum(len(e.classes) for e in two.explorations)")
    )
    screenshot(explorer, "compare.png")


@pytest.mark.parametrize("kind", ["PNG", "HTML", "GIF", "MP4", "CSV"])
def test_the_view_is_saved(notebook, show, kind, tmp_path):
    explorer = show("one")
    with notebook.expect_download(timeout=60 * SECOND) as download:
        explorer.get_by_label(f"save as {kind}").click()
    name = download.value.suggested_filename
    assert name.lower().endswith(f".{kind.lower()}")
    path = tmp_path / "saved"
    download.value.save_as(path)
    check_saved(kind, path)
    expect(explorer.locator(".vmx-status")).to_contain_text("saved")


def check_saved(kind, path):
    from PIL import Image

    if kind in ("PNG", "GIF"):
        with Image.open(path) as picture:
            assert picture.format == kind and min(picture.size) > 100
            assert kind == "PNG" or picture.n_frames == 16
    elif kind == "MP4":
        import av

        with av.open(str(path)) as film:
            assert sum(1 for _ in film.decode(video=0)) == 16
    elif kind == "CSV":
        header = path.read_text().splitlines()[0].split(",")
        assert {"layer", "direction", "frame", "row", "col"} <= set(header)
    else:
        assert "vmx-explorer" in path.read_text()


def test_html_in_names_is_text(notebook, show):
    explorer = show("bad")
    assert explorer.locator("img, b").count() == 0
    expect(explorer.locator(".vmx-source")).to_contain_text(BAD_NAME)
    expect(explorer.locator(".vmx-classes li").first).to_contain_text(BAD_NAME)
    assert BAD_NAME in explorer.get_attribute("aria-label")


def test_every_control_and_picture_has_a_name(show):
    explorer = show("two")
    snapshot = explorer.aria_snapshot()
    for role, names in LABELS.items():
        for name in names:
            assert f'- {role} "{name}"' in snapshot
    nameless = explorer.locator("canvas:not([aria-label]):not([aria-hidden])")
    assert nameless.count() == 0
    assert "- status" in snapshot and 'group "explorer: right.mp4 and right.mp4, back' in snapshot


def test_everything_is_reached_and_moved_by_keys_alone(notebook, show):
    explorer = show("one")
    explorer.focus()
    reached = []
    for _ in range(20):
        notebook.keyboard.press("Tab")
        name, inside, outlined = notebook.evaluate(
            """() => {
                const { activeElement: node } = document;
                const { outlineStyle, boxShadow } = getComputedStyle(node);
                const inside = node.closest(".vmx-explorer") !== null;
                return [node.ariaLabel, inside, outlineStyle !== "none" || boxShadow !== "none"];
            }"""
        )
        if not inside:
            break
        assert outlined, f"{name} has the focus and does not show it"
        reached.append(name)
    disabled = {"ask the read-out"}  # there is nothing to return from
    assert set(reached) == set(sum(LABELS.values(), [])) - disabled
    explorer.get_by_label("quantity").focus()
    notebook.keyboard.press("ArrowDown")
    is_at(explorer, quantity="state norm", frame=0, layer=kernel_value(notebook, "one.layer"))
    explorer.get_by_label("play").focus()
    notebook.keyboard.press("Space")
    expect(explorer.get_by_label("pause")).to_be_focused()
    notebook.keyboard.press("Space")
    expect(explorer.get_by_label("play")).to_be_focused()


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_text_is_read_in_either_theme(notebook, show, screenshot, theme):
    explorer = show("two")
    before = drawn(explorer)
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
    notebook.evaluate(change, theme)
    dark = str(theme == "JupyterLab Dark").lower()
    notebook.wait_for_function(
        "dark => (document.body.dataset.jpThemeLight === 'false') === (dark === 'true')", arg=dark
    )
    notebook.wait_for_timeout(300)
    contrast, words = explorer.evaluate(CONTRAST)
    assert contrast >= 4.5, words
    assert drawn(explorer) == before, "the maps' colors do not depend on the theme"
    timeline = explorer.locator(".vmx-timeline canvas").evaluate(PIXELS)
    screenshot(explorer, f"{theme.split()[-1].lower()}.png")
    assert timeline


def test_ten_rounds_of_opening_and_closing_leave_nothing(notebook, show):
    explorer = show("two")
    opened = notebook.evaluate("vmxCount()")
    assert opened["listeners"] > 0 and opened["observers"] > 0, "nothing is counted"
    for _ in range(10):
        explorer = show("two")
        notebook.evaluate(
            "() => vmxRoots.push(new WeakRef(document.querySelector('.vmx-explorer')))"
        )
        explorer.press("End")
        click_patch(pane(explorer), 1, 1)  # closed while a question is open, and while it plays
        explorer.press(" ")
        kernel_does(notebook, "box.children = ()")
        expect(notebook.locator(".vmx-explorer")).to_have_count(0)
    assert notebook.evaluate("vmxCount()") == {"listeners": 0, "timers": 0, "observers": 0}
    session = notebook.context.new_cdp_session(notebook)
    session.send("HeapProfiler.collectGarbage")
    alive = notebook.evaluate("() => vmxRoots.filter((root) => root.deref()).length")
    assert alive <= 1, "closed explorers are still held by something"
