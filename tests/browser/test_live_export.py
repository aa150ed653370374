"""An exported page with the model inside: it answers offline what a notebook answers."""

import numpy as np
import pytest
from live_pages import READY, apart, heard, inflated, opened, without_policy_for_workers
from served import comes_true

from vmamba_explore import explore, resources
from vmamba_explore.view.explorer.packing import pack_answer
from vmamba_explore.view.explorer.states import choices_answer, state_answer

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
HANG = 600
PANES = "all => all.map(canvas => canvas.toDataURL())"
MUTE = [{"kind": "mute", "direction": "backward"}]


def explored(**options):
    clip = resources.path("clips/right.mp4")
    return explore(clip, "motion-nano", progress=False, **options)


def changed_in_python(changes, **options):
    """An explorer after the same clicks, complete."""
    explorer = explored(**options)
    explorer.send = lambda content, buffers=None: None
    explorer.quantity = "delta"
    explorer._handle_custom_msg({"request": 1, "run": "change", "changes": changes}, [])
    assert explorer._runs.wait(HANG)
    explorer.complete()
    return explorer


@pytest.fixture(scope="module")
def explorer():
    explorer = explored()
    explorer.quantity, explorer.frame, explorer.layer, explorer.direction = "delta", 4, 3, "both"
    explorer.complete()
    yield explorer
    explorer.close()


@pytest.fixture(scope="module")
def file(explorer, tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "live.html"
    explorer.to_html(path)
    return path


@pytest.fixture
def page(browser, file):
    page = opened(browser, file)
    yield page
    assert page.faults == [] and page.foreign == []
    page.context.close()


def ask_patch(root):
    """Click the first patch of the first pane."""
    root.locator(".vmx-panes canvas").first.click(position={"x": 12, "y": 12})
    expect(root).to_have_attribute("data-asking", "answered")


def change(root, words):
    root.get_by_role("tab", name="change the model").click()
    root.get_by_role("button", name=words, exact=True).click()
    root.locator("[aria-label='what was changed']").wait_for()


def panes(root):
    return root.locator(".vmx-panes canvas").evaluate_all(PANES)


def same_classes(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert [each["name"] for each in one["classes"][:1]] == [other["classes"][0]["name"]]
        shares = [{c["name"]: c["probability"] for c in side["classes"]} for side in (one, other)]
        assert shares[0] == pytest.approx(shares[1], abs=1e-4)
        assert (one["target"], one["minus"], one["explained"], one["title"]) == (
            other["target"], other["minus"], other["explained"], other["title"],
        )  # fmt: skip


def test_a_clicked_patch_shows_what_python_says_of_it(page, explorer, screenshot):
    root = page.locator(READY)
    ask_patch(root)
    place = [int(n) for n in root.get_attribute("data-query").split(",")]
    answer = heard(page, "m.content?.maps")
    described, levels = pack_answer(explorer.ask(0, 3, tuple(place)))
    assert [each["name"] for each in answer["content"]["maps"]] == ["reads", "read_by"]
    for mine, theirs, own, expected in zip(
        answer["content"]["maps"], described, answer["buffers"], levels, strict=True
    ):
        assert np.allclose(mine.pop("ranges"), theirs.pop("ranges"), rtol=1e-4)
        assert mine == theirs
        assert apart(own, np.frombuffer(expected, np.uint8)).max() <= 1
    screenshot(page, "live_patch.png")


def test_the_model_muted_by_a_click_says_what_python_says_and_undo_shows_it_as_it_was(
    page, screenshot
):
    root = page.locator(READY)
    before = panes(root)
    change(root, "mute backward")
    complete = heard(page, "m.traits?.late?.every(({ missing }) => !missing)")["traits"]
    shown = heard(page, "m.traits?.sides")["traits"]
    theirs = changed_in_python(MUTE)
    same_classes(shown["sides"], theirs.sides)
    assert shown["changes"] == theirs.changes
    assert shown["code"] == theirs.code
    assert shown["heading"] == theirs.heading
    assert [each["name"] for each in complete["maps"]] == [each["name"] for each in theirs.maps]
    for mine, other in zip(complete["maps"], theirs.maps, strict=True):
        assert (mine["name"], mine["late"], mine["log"], mine["about"]) == (
            other["name"], other["late"], other["log"], other["about"],
        )  # fmt: skip
        assert np.allclose(mine["ranges"], other["ranges"], rtol=1e-3, atol=1e-4), mine["name"]
    for name, mine in (("levels", shown), ("late_levels", complete)):
        difference = apart(inflated(mine[name]), inflated(getattr(theirs, name)))
        assert difference.max() <= 1, (name, np.bincount(difference))
    for mine, other in zip(complete["late"], theirs.late, strict=True):
        assert mine["controls"] == other["controls"]
        assert mine["headline"] == other["headline"]
        for one, two in zip(mine["curves"], other["curves"], strict=True):
            assert (one["name"], one["direction"]) == (two["name"], two["direction"])
            assert one["values"] == pytest.approx(two["values"], abs=2e-4)
    expect(root.locator(".vmx-late")).to_be_hidden()
    screenshot(page, "live_muted.png")
    root.get_by_role("button", name="undo", exact=True).click()
    expect(root.locator("[aria-label='what was changed']")).to_have_count(0)
    expect(root.locator(".vmx-panes canvas")).to_have_count(len(before))
    comes_true(page, lambda: panes(root) == before, "all is as it was")
    assert root.get_by_role("option", name="relevance").count() == 1, "Python's own maps are back"
    theirs.close()


def test_a_single_state_and_those_that_stand_out_are_pythons(page, explorer):
    root = page.locator(READY)
    root.get_by_label("quantity").select_option("state")
    answer = heard(page, "m.content?.map")
    channel, number = (
        int(root.get_by_label(name).input_value())
        for name in ("channel of the state", "number of the state")
    )
    expected, (levels,) = state_answer(explorer.explorations, 3, channel, number)
    mine = answer["content"]["map"]
    assert np.allclose(mine.pop("ranges"), expected["map"].pop("ranges"), rtol=1e-4)
    assert mine == expected["map"]
    assert apart(answer["buffers"][0], np.frombuffer(levels, np.uint8)).max() <= 1
    choices = heard(page, "m.content?.choices")["content"]["choices"]
    theirs = choices_answer(explorer.explorations[0], 3, None)["choices"]
    assert len(choices) == len(theirs)
    for one, other in zip(choices, theirs, strict=True):
        assert one.pop("value") == pytest.approx(other.pop("value"), rel=1e-3)
        assert one == other


def test_the_clip_is_compared_with_its_controls_and_with_another_class(page, screenshot):
    root = page.locator(READY)
    root.get_by_role("button", name="compare with the clip, played backwards").click()
    shown = heard(page, "m.traits?.sides?.length === 2")["traits"]
    theirs = changed_in_python([{"kind": "show", "shown": "reversed"}])
    same_classes(shown["sides"], theirs.sides)
    assert shown["code"] == theirs.code
    assert apart(inflated(shown["levels"]), inflated(theirs.levels)).max() <= 1
    expect(root.locator(".vmx-late")).to_be_hidden()
    screenshot(page, "live_reversed.png")
    root.get_by_role("tab", name="change the model").click()
    root.get_by_role("button", name="undo all").click()
    root.get_by_label("minus").select_option(label="left")
    asked = heard(page, "m.traits?.sides?.[0].minus === 1")["traits"]
    assert asked["sides"][0]["explained"] == "right − left"
    theirs.close()


def test_a_cancelled_run_leaves_the_view_as_it_was(page):
    root = page.locator(READY)
    before = panes(root)
    root.get_by_role("tab", name="change the model").click()
    page.evaluate(
        """() => {
            const all = () => [...document.querySelectorAll(".vmx-explorer button")];
            const named = (words) => all().find((button) => button.textContent === words);
            named("mute forward").click();
            named("cancel").click();
        }"""
    )
    expect(root.locator(".vmx-changes")).to_contain_text("Cancelled: the view stays as it was.")
    assert panes(root) == before


def test_a_page_of_two_clips_and_one_of_a_changed_model_answer_for_both_sides(
    browser, tmp_path, explorer
):
    two = explored(compare="reversed")
    two.to_html(tmp_path / "two.html")
    muted = changed_in_python(MUTE)
    muted.to_html(tmp_path / "muted.html")
    for name, theirs in (("two.html", two), ("muted.html", muted)):
        page = opened(browser, tmp_path / name)
        root = page.locator(READY)
        layer = int(root.get_attribute("data-layer"))
        ask_patch(root)
        place = tuple(int(n) for n in root.get_attribute("data-query").split(","))
        answers = page.evaluate("window.heard.filter((m) => m.content?.maps).length")
        assert answers == 2
        _, levels = pack_answer(theirs.ask(1, layer, place))
        last = heard(page, "m.content?.maps")
        for own, expected in zip(last["buffers"], levels, strict=True):
            assert apart(own, np.frombuffer(expected, np.uint8)).max() <= 1
        assert page.faults == [] and page.foreign == []
        page.context.close()
        theirs.close()


BLOCKED = "the browser, or the site that this page is on, does not let it start a worker"
NONE = "this browser has no workers"


@pytest.mark.parametrize("case", ["a policy forbids workers", "the browser has none"])
def test_without_a_worker_the_page_says_so_and_stays_what_an_exported_page_is(
    browser, file, tmp_path, screenshot, case
):
    blocked = case.startswith("a policy")
    path, before = file, "delete window.Worker;"
    if blocked:
        path, before = tmp_path / "blocked.html", ""
        path.write_text(without_policy_for_workers(file.read_text("utf-8")), "utf-8")
    page = opened(browser, path, before)
    root = page.locator(READY)
    status = root.locator(".vmx-status")
    expect(status).to_contain_text("The model in this page cannot run here")
    expect(status).to_contain_text(BLOCKED if blocked else NONE)
    assert status.inner_text().count("cannot run here") == 1
    root.locator(".vmx-panes canvas").first.click(position={"x": 12, "y": 12})
    expect(root).to_have_attribute("data-asking", "failed")
    root.focus()
    root.press("ArrowRight")
    expect(root).to_have_attribute("data-frame", "5")
    root.get_by_role("tab", name="change the model").click()
    expect(root.locator(".vmx-changes")).to_contain_text("There is no model here to change")
    assert root.get_by_role("button", name="mute backward").is_disabled()
    screenshot(page, f"live_{'blocked' if blocked else 'no_worker'}.png")
    page.context.close()


def test_nothing_in_the_page_or_its_worker_may_connect(page):
    refused = page.evaluate("fetch('https://example.com/').then(() => false, () => true)")
    in_worker = page.evaluate(
        """() => new Promise((resolve) => {
            const tell = "() => postMessage(false), () => postMessage(true)";
            const code = new Blob([`fetch("https://example.com/").then(${tell})`]);
            const worker = new Worker(URL.createObjectURL(code));
            worker.onmessage = ({ data }) => resolve(data);
        })"""
    )
    assert refused and in_worker
    assert sum("Content Security Policy" in fault for fault in page.faults) >= 1
    page.faults.clear()
