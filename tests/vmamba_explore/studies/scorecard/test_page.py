"""The score card's page, from the measured file to the browser."""

import json

import pytest

from vmamba_explore.studies.scorecard.page import scorecard_page


def test_the_score_card_page_works_offline(score_summary, tmp_path, open_offline):
    (tmp_path / "card.json").write_text(json.dumps(score_summary))
    page = open_offline(scorecard_page(tmp_path / "card.html", tmp_path / "card.json"))
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.locator(".js-plotly-plot").count() == 5
    assert page.locator("tbody th").all_inner_texts().count("low<b>") == 3  # a row in each table
    assert "low<b>" in page.locator(".js-plotly-plot .ytick text").all_text_contents()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_page_of_a_subject_with_parts_says_whose_it_is(parts_summary, tmp_path, open_offline):
    (tmp_path / "card.json").write_text(json.dumps(parts_summary))
    page = open_offline(scorecard_page(tmp_path / "card.html", tmp_path / "card.json"))
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.locator(".js-plotly-plot").count() == 6
    words = page.inner_text("body")
    assert "recall clips with distractors" in words and "Which part of the cause?" in words
    assert "small mark" not in words and "motion backwards" not in words
    assert page.errors == []


def test_a_score_card_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.json"):
        scorecard_page(tmp_path / "card.html", tmp_path / "absent.json")
    with pytest.raises(FileNotFoundError, match="scorecard_page: cannot write"):
        scorecard_page(tmp_path / "absent" / "card.html")
