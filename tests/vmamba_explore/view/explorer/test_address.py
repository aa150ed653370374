"""The state of a view as text, in a mapping and in the address of a page."""

import json
import re

import pytest

from vmamba_explore.view.explorer import ClipPlayer, Explorer
from vmamba_explore.view.explorer.address import fragment, read_state

STATE = {
    "frame": 8, "quantity": "state norm", "direction": "", "query": [1, 0, 1], "path": False,
    "opacity": 0.55,
}  # fmt: skip
TEXT = "view:frame=8&quantity=state+norm&direction=&query=[1,0,1]&path=false&opacity=0.55"
"""The same as in tests/javascript/address.test.js."""


def shown(page):
    """What a page with one explorer shows, and what its status line and its address say."""
    root = page.locator(".vmx-explorer[data-ready]")
    root.wait_for()
    names = ("frame", "layer", "quantity", "direction")
    said = root.locator(".vmx-status").inner_text()
    return {n: root.get_attribute(f"data-{n}") for n in names}, said, page.url.partition("#")[2]


@pytest.fixture
def explorer(make_exploration):
    explorer = Explorer(make_exploration())
    yield explorer
    explorer.close()


def test_a_state_is_written_as_in_javascript_and_read_from_an_address_or_a_part_of_it():
    assert fragment(STATE) == TEXT
    for before in ("file:///a/page.html#", "#", ""):
        assert read_state(f"{before}{TEXT}", "call") == STATE
    assert read_state(TEXT.removeprefix("view:"), "call") == STATE
    assert read_state(STATE, "call") == STATE


@pytest.mark.parametrize("name", ["8", "true", "[1]", "a=b&c#d", 'x"y', "NaN", "größe", "1e999"])
def test_a_name_that_looks_like_something_else_comes_back_as_text(name):
    assert read_state(fragment({"quantity": name}), "call") == {"quantity": name}


@pytest.mark.parametrize(
    "state, words",
    [
        ("", "state is '', expected the address of an explorer's page"),
        ("page.html#section-2", "state is 'page.html#section-2', expected"),
        ("frame=1&" * 5000, "state is 'frame=1&frame=1"),
        ("view:zoom=2", "state has 'zoom', expected some of frame, quantity"),
        ({"frame": 1, 3: 4}, "state has 3, expected some of"),
    ],
)
def test_what_is_not_a_state_is_refused_in_one_line(state, words):
    with pytest.raises(ValueError, match=rf"^explore: {re.escape(words)}") as caught:
        read_state(state, "explore")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_is_neither_mapping_nor_text_is_refused_by_its_type(unchecked):
    with pytest.raises(TypeError, match="explore: state is list, expected a mapping or text"):
        read_state([("frame", 1)], "explore")


def test_a_state_goes_through_json_to_another_explorer(explorer, make_exploration):
    explorer.frame, explorer.layer, explorer.quantity = 4, 0, "delta"
    explorer.query, explorer.path, explorer.scale = [2, 1, 3], True, "all"
    state = json.loads(json.dumps(explorer.state()))
    for form in (state, fragment(state)):
        other = Explorer(make_exploration())
        other.restore(form)
        assert other.state() == explorer.state()
        other.close()


def test_a_state_is_a_copy(explorer):
    explorer.query = [0, 0, 0]
    explorer.state()["query"].append(1)
    assert explorer.query == [0, 0, 0]


@pytest.mark.parametrize(
    "state, words",
    [
        ({"frame": 2, "layer": 7}, "layer is 7, expected one of 0, 3"),
        ({"frame": 2, "query": [9, 9, 9]}, r"query is \[9, 9, 9\], expected"),
        ("frame=2&opacity=3", "opacity"),
        ("frame=2&layer=0.5", "layer"),
        ({"frame": 2, "speed": float("nan")}, "speed"),
        ({"frame": 2, "path": "yes"}, "path"),
    ],
)
def test_of_a_state_with_a_wrong_value_nothing_is_shown(explorer, state, words):
    before = explorer.state()
    with pytest.raises(ValueError, match=words) as caught:
        explorer.restore(state)
    assert "\n" not in str(caught.value)
    assert explorer.state() == before


def test_a_frame_beyond_the_clip_is_its_last(explorer):
    explorer.restore({"frame": 99})
    assert explorer.frame == 5


def test_a_link_to_a_page_opens_its_view_and_follows_the_reader(explorer, tmp_path, open_offline):
    explorer.to_html(tmp_path / "page.html")
    page = open_offline(tmp_path / "page.html")
    assert shown(page)[2] == "", "written before anything moved"
    page.locator(".vmx-explorer").press("ArrowRight")
    page.wait_for_url(lambda url: "frame=1" in url)
    url = page.url
    again = page.context.new_page()
    again.goto(f"{url.partition('#')[0]}#{fragment({'frame': 4, 'layer': 0, 'quantity': 'delta'})}")
    state, said, _ = shown(again)
    assert (state["frame"], state["layer"], state["quantity"], said) == ("4", "0", "delta", "")
    again.evaluate("hash => { location.hash = hash }", url.partition("#")[2])
    again.locator(".vmx-explorer[data-frame='1']").wait_for()
    assert shown(again)[0]["layer"] == "3"
    explorer.restore(again.url)
    assert explorer.frame == 1
    assert page.errors == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("section-2", "The address holds no view behind its #"),
        ("view:frame=2&layer=1", "The address asks for layer=1, which this view does not have"),
        ("view:frame=2&sides=[]&__proto__=1", "The address asks for sides=[]"),
        ("view:frame=%E0%A4%A&quantity=<b>x</b>", "The address asks for frame="),
    ],
)
def test_a_foreign_or_bad_address_is_ignored_in_a_sentence(
    text, words, explorer, tmp_path, open_offline
):
    explorer.to_html(tmp_path / "page.html")
    page = open_offline(tmp_path / "page.html")
    page.goto(f"{page.url}#{text}")
    page.reload()
    state, said, _ = shown(page)
    assert state["frame"] == "0" and words in said
    assert page.errors == [] and page.locator("b").count() == 0


def test_views_that_share_a_page_leave_its_address_alone(make_exploration, tmp_path, open_offline):
    views = [Explorer(make_exploration(n)).to_fragment() for n in range(2)]
    (tmp_path / "page.html").write_text("\n".join(["<!doctype html>", *views]), "utf-8")
    page = open_offline(tmp_path / "page.html")
    page.goto(f"{page.url}#view:frame=3")
    page.reload()
    page.locator(".vmx-explorer[data-ready]").nth(1).press("ArrowRight")
    page.wait_for_timeout(1000)
    frames = page.locator(".vmx-explorer").evaluate_all("all => all.map(r => r.dataset.frame)")
    assert frames == ["0", "1"] and page.url.endswith("#view:frame=3")


def copied(page, path, button):
    """Open a page whose clipboard is a variable, press a button, and return what was copied."""
    page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: "
        "{ writeText: async text => { window.copied = text } } })"
    )
    page.goto(path.as_uri())
    page.get_by_role("button", name=button).click()
    page.locator(".vmx-status", has_text="copied").wait_for()
    return page.evaluate("window.copied")


def test_the_link_of_a_page_is_copied(explorer, tmp_path, open_offline):
    explorer.to_html(tmp_path / "page.html")
    page = open_offline(tmp_path / "page.html")
    text = copied(page, tmp_path / "page.html", "copy link")
    assert text == f"{(tmp_path / 'page.html').as_uri()}#{fragment(explorer.state())}"
    page.get_by_text("copied the link").wait_for()


@pytest.mark.parametrize("compact", [False, True])
def test_elsewhere_a_line_of_python_is_copied_that_restores_the_view(
    compact, make_exploration, tmp_path, open_offline
):
    one = make_exploration()
    view = ClipPlayer(one.clip) if compact else Explorer(one)
    view.frame = 3
    page = f"<!doctype html>\n{view.to_fragment()}"
    (tmp_path / "page.html").write_text(page, "utf-8")
    opened = open_offline(tmp_path / "page.html")
    line = copied(opened, tmp_path / "page.html", "copy as Python")
    call = "player.restore(" if compact else "explore(..., state="
    assert line.startswith(call) and line.endswith(")")
    state = eval(line.removeprefix(call).removesuffix(")"), {})
    assert state == view.state()
    view.close()


def test_where_the_clipboard_is_closed_the_link_is_shown(explorer, tmp_path, open_offline):
    explorer.to_html(tmp_path / "page.html")
    page = open_offline(tmp_path / "page.html")
    page.add_init_script(
        "document.execCommand = () => false;"
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )
    page.reload()
    page.get_by_role("button", name="copy link").click()
    page.get_by_text("to be copied from here: file:").wait_for()
