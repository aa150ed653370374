"""The explorer in JupyterLab, with a kernel: every way to move it, and what it leaves behind."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
from explorer_notebook import (
    CELLS,
    GRID,
    PIXELS,
    click_patch,
    drawn,
    expect,
    is_at,
    middle_of,
    pane,
)
from served import comes_true, kernel_comes_to, kernel_does, kernel_value, watched


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
    expect(explorer.get_by_label("play", exact=True)).to_be_visible()
    comes_true(notebook, lambda: drawn(explorer) != before, "the panes show another frame")
    notebook.wait_for_timeout(100)
    frame = explorer.get_attribute("data-frame")
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
    assert names == [*kernel_value(notebook, "list(first.maps)"), "state", ""]
    names.remove("state")  # it is asked of the kernel: see below
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
    comes_true(notebook, lambda: drawn(explorer) != before, "less of the map is seen")


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
    expect(explorer.locator(".vmx-query figure")).to_have_count(2)
    expect(explorer.locator(".vmx-query")).not_to_be_visible()
    is_at(explorer, asking="none", query="")
    explorer.press("End")
    click_patch(pane(explorer, direction="backward"), 4, 3)
    frame = kernel_value(notebook, "one.token_frames[-1]")
    is_at(explorer, query=f"{frame},4,3", asking="answered")
    expect(explorer.locator(".vmx-query")).to_be_visible()
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
    film.click(position={"x": 5, "y": 25})
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
    explorer.get_by_role("tab", name="over time").click()
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
    expect(explorer.locator(".vmx-query figure")).to_have_count(2 * 2 * 2)
    expect(explorer.locator(".vmx-legend")).to_contain_text("B − A")
    expect(explorer.locator(".vmx-classes li")).to_have_count(
        kernel_value(notebook, "sum(len(e.classes) for e in two.explorations)")
    )
    screenshot(explorer, "compare.png")


@pytest.mark.parametrize("kind", ["PNG", "HTML", "GIF", "MP4", "CSV"])
def test_the_view_is_saved(notebook, show, browser, kind, tmp_path):
    explorer = show("one")
    with notebook.expect_download() as download:  # before the kernel has heard of the keys
        explorer.evaluate(
            """(explorer, name) => {
                for (const key of ["ArrowRight", "ArrowDown"])
                    explorer.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
                explorer.querySelector(`[aria-label="${name}"]`).click();
            }""",
            f"save as {kind}",
        )
    is_at(explorer, frame=1, layer=4)
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
    with opened_alone(browser, path) as explorer:
        is_at(explorer, frame=1, layer=4, quantity="delta", direction="both")
        click_patch(pane(explorer), 1, 1)
        is_at(explorer, asking="answered")  # by the model inside
        before = drawn(explorer)
        explorer.press("ArrowUp")
        is_at(explorer, layer=5)
        assert drawn(explorer) != before
        lens = explorer.locator(".vmx-lens canvas")
        words = re.compile("state lens, layer 5. label, forward")
        expect(lens).to_have_attribute("aria-label", words)
        lens.click(position={"x": lens.bounding_box()["width"] - 20, "y": 25})  # last token frame
        is_at(explorer, frame=14)


def test_a_page_without_the_model_says_what_needs_a_kernel(notebook, show, browser, tmp_path):
    show("one")
    path = tmp_path / "without.html"
    kernel_does(notebook, f"_ = one.to_html({str(path)!r}, live=False)")
    with opened_alone(browser, path) as explorer:
        click_patch(pane(explorer), 1, 1)
        is_at(explorer, asking="failed")
        expect(explorer.locator(".vmx-status")).to_contain_text("There is no model to ask here")
        state = explorer.get_by_label("quantity").locator("option[value=state]")
        expect(state).to_have_text("state (needs a kernel)")
        expect(state).to_be_disabled()


@contextmanager
def opened_alone(browser, path):
    """The explorer of a saved page, without a network."""
    context = browser.new_context(viewport={"width": 1200, "height": 1400}, offline=True)
    page = watched(context, "")
    page.goto(path.as_uri())
    yield page.locator(".vmx-explorer[data-ready='1']")
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


def test_a_click_mutes_a_direction_and_undo_brings_the_model_back(notebook, show, screenshot):
    kernel_does(notebook, "three = explore(clip('right'), progress=False)")
    explorer = show("three")
    expect(explorer.locator(".vmx-late")).to_be_hidden()
    kernel_comes_to(notebook, "three.late[0]['missing']", False)
    classes = explorer.locator(".vmx-classes > div")
    expect(classes).to_have_count(1)
    before = classes.first.inner_text()
    explorer.get_by_role("tab", name="change the model").click()
    explorer.get_by_label("mute backward", exact=True).click()
    expect(classes).to_have_count(2)
    became = explorer.get_by_role("table", name="top classes before and after").locator("tr")
    expect(became).to_have_count(3)
    expect(became.first).to_contain_text(re.compile(r"right.*→"))
    expect(explorer).to_have_class(re.compile("vmx-changed"))
    expect(explorer.locator(".vmx-changed-list")).to_contain_text("backward scans muted")
    expect(explorer.locator(".vmx-changed-list pre")).to_contain_text("mute(model, 'backward')")
    assert classes.first.text_content().endswith(before.replace("\n", "").split("classes", 1)[1])
    expect(classes.nth(1)).to_contain_text(re.compile(r"\(new\)[^(]*\(\+[\d.]+\)"))
    expect(pane(explorer, "difference", "forward")).to_have_count(1)
    expect(explorer.locator(".vmx-late")).to_be_hidden()
    screenshot(explorer, "changed.png")
    assert explorer.get_by_label("mute backward", exact=True).evaluate(
        "node => node === document.activeElement"
    ), "the focus is lost when the data are replaced"
    code = explorer.locator(".vmx-changed-list pre").inner_text()
    kernel_does(notebook, f"model = 'motion-nano'; clip_ = clip; clip = clip('right')\n{code}")
    kernel_does(notebook, "clip = clip_")
    explorer.get_by_label("undo", exact=True).click()
    expect(classes).to_have_count(1)
    expect(explorer).not_to_have_class(re.compile("vmx-changed"))
    kernel_comes_to(notebook, "(len(three.sides), three.changes, three.code)", [1, [], ""])
    explorer.get_by_role("tab", name="the answer").click()
    assert classes.first.inner_text() == before


def test_a_control_is_one_click_to_compare(notebook, show, screenshot):
    kernel_does(notebook, "five = explore(clip('right'), progress=False); five.complete()")
    explorer = show("five")
    explorer.get_by_role("tab", name="the answer").click()
    compare = explorer.get_by_label("compare with the clip, its first frame held still")
    compare.click()
    expect(explorer.locator(".vmx-classes > div")).to_have_count(2)
    expect(compare).to_have_attribute("aria-pressed", "true")
    kernel_comes_to(notebook, "five.changes[0]['shown']", "frozen")
    expect(explorer).not_to_have_class(re.compile("vmx-changed"))
    screenshot(explorer, "compared.png")
    compare.click()
    expect(explorer.locator(".vmx-classes > div")).to_have_count(1)


def test_patches_are_brushed_and_a_wrong_question_is_a_sentence(notebook, show, screenshot):
    kernel_does(notebook, "four = explore(clip('right'), progress=False)")
    explorer = show("four")
    explorer.get_by_role("tab", name="change the model").click()  # while evidence arrives
    expect(explorer.locator(".vmx-late")).to_be_hidden()
    explorer.get_by_label("brush over patches").check()
    box = pane(explorer).bounding_box()
    notebook.mouse.move(box["x"] + 5, box["y"] + 5)
    notebook.mouse.down()
    notebook.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5, steps=20)
    notebook.mouse.up()
    brushed = explorer.get_by_label(re.compile("mute [0-9]+ brushed patches"))
    expect(brushed).to_have_text("mute 5 brushed patches")
    is_at(explorer, query="")
    brushed.click()
    expect(explorer.locator(".vmx-changed-list")).to_contain_text("5 patches kept out")
    screenshot(explorer, "brushed.png")
    explorer.get_by_label("explain", exact=True).select_option(label="left")
    expect(explorer.locator(".vmx-changed-list li")).to_have_count(2)
    expect(explorer.locator(".vmx-classes")).to_contain_text("explained: left")
    explorer.get_by_label("minus", exact=True).select_option(label="left")
    expect(explorer.locator(".vmx-changes")).to_contain_text("Choose two different classes.")
    explorer.get_by_label("undo all").click()
    expect(explorer.locator(".vmx-changed-list")).to_have_count(0)
    kernel_comes_to(notebook, "four.explorations[0].target", "right")


def test_a_single_state_is_asked_of_the_kernel_drawn_and_followed_in_time(notebook, show):
    explorer = show("one")
    kernel_does(notebook, "one.query = [3, 4, 2]")
    explorer.get_by_label("quantity").select_option("state")
    label = explorer.locator(".vmx-legend .vmx-name")
    choices = explorer.get_by_label("states that stand out")
    expect(choices).not_to_have_value("")  # the one that adds most to the logit is shown first
    channel, number = kernel_value(notebook, "[one.channel, one.state_number]")
    expect(label).to_have_text(f"state {number} of channel {channel}, layer 5")
    most = kernel_value(
        notebook,
        "list(max((c for c in first.states.choices(5, None) if c.unit), "
        "key=lambda c: abs(c.value) if c.unit == 'logits' else 0)[2:4])",
    )
    assert [channel, number] == most
    seen = drawn(explorer)
    row, col = 4, 2
    pane(explorer).hover(position=middle_of(pane(explorer), row, col))
    words = explorer.locator(".vmx-readout").inner_text()
    value = float(re.search(r"state forward: (\S+) ", words)[1])
    wanted, reach = kernel_value(
        notebook,
        f"(m := first.states.state(5, {channel}, {number})) is not None and "
        f"[float(m.sel(direction='forward')[0, {row}, {col}]), float(abs(m).max())]",
    )
    assert abs(value - wanted) <= reach / 120
    explorer.get_by_label("channel of the state").fill("3")
    explorer.get_by_label("channel of the state").press("Enter")
    expect(label).to_have_text(f"state {number} of channel 3, layer 5")
    kernel_comes_to(notebook, "one.channel", 3)
    assert drawn(explorer) != seen
    timeline = explorer.locator(".vmx-timeline canvas")
    expect(timeline).to_have_attribute("aria-label", re.compile("channel 3, layer 5: mean over"))
    kernel_does(notebook, "one.channel, one.state_number, one.query = 0, 0, []")
