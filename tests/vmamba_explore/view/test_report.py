"""A page of sections."""

import pytest

from vmamba_explore.view import figures
from vmamba_explore.view.explorer import ClipPlayer
from vmamba_explore.view.report import Section, report_page
from vmamba_explore.view.tables import Cell, Table

EVIL = "</script><script>window.evil = true</script>"


@pytest.fixture
def page(clip, grid_map):
    delta = grid_map().rename(EVIL)
    views = [figures.delta_maps(delta, clip), ClipPlayer(clip, {EVIL: delta[0, 0]})]
    views.append(Table([EVIL] * 2, [[Cell(EVIL), Cell(EVIL, bold=True)]]))
    return report_page(EVIL, {EVIL: EVIL}, [Section(EVIL, [EVIL], views)], footer=EVIL)


def test_plotly_goes_in_once_whatever_the_number_of_figures(clip):
    one = report_page("x", {}, [Section("a", [], [figures.frames(clip)])])
    two = report_page("x", {}, [Section("a", [], [figures.frames(clip)] * 2)])
    assert 4e6 < len(one) < 6e6 and len(two) - len(one) < 100_000


def test_html_in_any_text_shows_as_text(page, tmp_path, open_offline):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    opened = open_offline(path)
    opened.wait_for_selector(".vmx-explorer[data-ready='1']")
    assert opened.evaluate("window.evil") is None
    assert opened.locator("h1").inner_text() == EVIL
    assert opened.locator("section p").inner_text() == EVIL
    assert opened.locator("th:visible, td:visible").all_inner_texts() == [EVIL] * 4
    opened.wait_for_function("document.querySelectorAll('.heatmaplayer image').length === 2")
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize(("scheme", "lightest"), [("light", False), ("dark", True)])
def test_figures_take_the_colors_of_the_page(page, tmp_path, open_offline, scheme, lightest):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    opened = open_offline(path, color_scheme=scheme)
    title = opened.locator(".js-plotly-plot .gtitle").first
    color = title.evaluate("(node) => getComputedStyle(node).fill")
    assert (color == "rgb(255, 255, 255)") == lightest
    assert color == opened.evaluate("getComputedStyle(document.body).color")


def test_a_row_of_another_length_than_the_titles_is_named():
    with pytest.raises(ValueError, match="the row of 'a' has 1 cells, expected 2"):
        Table(["x", "y"], [[Cell("a")]])


def test_only_bold_cells_stand_out():
    fragment = Table(["x", "y", "z"], [[Cell("a"), Cell("1", bold=True), Cell("2")]]).to_fragment()
    assert "<td><strong>1</strong></td><td>2</td>" in fragment


def test_a_name_in_a_table_is_one_line_of_at_most_400_characters():
    row = [Cell("a\r" * 3000), Cell("\ud83d\u2028", bold=True)]
    html = Table(["class", "x"], [row]).to_fragment()
    assert len(html) < 1000 and html.encode() and r"a\ra\r" in html
    assert r"<strong>\ud83d\u2028</strong>" in html
