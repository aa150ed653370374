"""The frame around every offline page."""

import pytest

from vmamba_explore.view.page import html_page

ADDRESS = "https://example.com/x"


def test_the_title_shows_as_text():
    assert "<title>&lt;b&gt;</title>" in html_page("<b>", "")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        f'<img src="{ADDRESS}">',
        f'<script src="{ADDRESS}"></script>',
        f"<script>fetch('{ADDRESS}')</script>",
    ],
)
def test_a_page_cannot_reach_the_network(body, live, tmp_path, open_offline):
    path = tmp_path / "page.html"
    path.write_text(html_page("x", body, live=live))
    assert any("Content Security Policy" in error for error in open_offline(path).errors)
