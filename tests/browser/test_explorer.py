"""The explorer in JupyterLab, with a kernel: every way to move it, and what it leaves behind."""

import re

import numpy as np
import pytest
from explorer_notebook import CELLS, GRID, PIXELS, click_patch, drawn, expect, is_at, pane
from served import kernel_comes_to, kernel_does, kernel_value, watched


def test_it_plays_and_tells_python_only_of_the_end(notebook, show):
    explorer = show("one")
    before = drawn(explorer)
    kernel_does(notebook, "heard = []; one.observe(heard.append, 'frame')")
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
    kernel_comes_to(notebook, "one.frame", int(frame))
    assert kernel_value(notebook, "len(heard)") == 1
    kernel_does(notebook, "one.unobserve_all('frame')")


def test_keys_move_everything(notebook, show):
    explorer = show("one")
    last = kernel_value(notebook, "len(one.token_frames)") - 1
    top = kernel_value(notebook, "one.layers[-1]")
    explorer.focus()
    seen = [drawn(explorer)]
    for key, state in (  # where every key leads, tests/javascript/moves.test.js has
        ("ArrowRight", {"frame": 1}),
        ("End", {"frame": last}),
        ("ArrowDown", {"layer": top - 1}),
        ("d", {"direction": "difference"}),
        ("d", {"direction": "forward"}),
        ("q", {"quantity": "state norm"}),
    ):
        explorer.press(key)
        is_at(explorer, **state)
        seen.append(drawn(explorer))
    assert len({str(each) for each in seen}) == len(seen), "a key changed a name, not a pixel"
    path = explorer.get_by_label("scan path")
    explorer.press("p")
    expect(path).to_be_checked()
    assert drawn(explorer) != seen[-1]
    explorer.press("p")
    expect(path).not_to_be_checked()
    assert notebook.locator(".jp-Cell").count() == len(CELLS), "a key reached the notebook"
    state = "[one.frame, one.layer, one.direction, one.quantity]"
    kernel_comes_to(notebook, state, [last, top - 1, "forward", "state norm"])


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
    kernel_comes_to(notebook, "one.query", [frame, 4, 3])
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
def test_the_view_is_saved(notebook, show, browser, kind, tmp_path):
    explorer = show("one")
    for key in ("ArrowRight", "ArrowDown"):
        explorer.press(key)
    is_at(explorer, frame=1, layer=4)
    with notebook.expect_download() as download:
        explorer.get_by_label(f"save as {kind}").click()
    name = download.value.suggested_filename
    assert name.lower().endswith(f".{kind.lower()}")
    path = tmp_path / f"saved.{kind.lower()}"
    download.value.save_as(path)
    check_saved(kind, path)
    if kind == "HTML":
        opens_offline_where_it_was(browser, path)
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
            seconds = sum(1 for _ in film.decode(video=0)) / film.streams.video[0].average_rate
        assert seconds == pytest.approx(16 / 8 / 0.5, abs=0.1)  # frames, per second, speed
    elif kind == "CSV":
        header = path.read_text().splitlines()[0].split(",")
        assert {"layer", "direction", "frame", "row", "col"} <= set(header)


def opens_offline_where_it_was(browser, path):
    context = browser.new_context(viewport={"width": 1200, "height": 1400}, offline=True)
    page = watched(context, "")
    page.goto(path.as_uri())
    explorer = page.locator(".vmx-explorer[data-ready='1']")
    is_at(explorer, frame=1, layer=4, quantity="delta", direction="both")
    click_patch(pane(explorer), 1, 1)
    is_at(explorer, asking="failed")
    expect(explorer.locator(".vmx-status")).to_contain_text("There is no model to ask here")
    before = drawn(explorer)
    explorer.press("ArrowUp")
    is_at(explorer, layer=5)
    assert drawn(explorer) != before
    assert page.faults == [] and page.foreign == []
    context.close()


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
