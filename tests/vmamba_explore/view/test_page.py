"""The frame around every offline page."""

from vmamba_explore.view.page import html_page


def test_the_title_shows_as_text():
    assert "<title>&lt;b&gt;</title>" in html_page("<b>", "")


def test_a_page_cannot_reach_the_network(tmp_path, open_offline):
    path = tmp_path / "page.html"
    path.write_text(html_page("x", '<img src="https://example.com/x.png">'))
    assert any("Content Security Policy" in error for error in open_offline(path).errors)
