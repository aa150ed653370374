"""Figures saved as pictures and pages."""

import os
import re
import shutil
import xml.etree.ElementTree as ET

import plotly.graph_objects as go
import pytest
from PIL import Image

from vmamba_explore.figures import curve, frames, save
from vmamba_explore.view.figures.layout import INK
from vmamba_explore.view.figures.saving import NAMED

DARK, LIGHT = (17, 17, 17), (255, 255, 255)


@pytest.fixture
def drawn(grid_map, clip, require):
    """Return a curve and a map over frames; without a browser the test is skipped."""
    if not any(map(shutil.which, ("chromium", "google-chrome"))):
        require("browser", "there is no chromium on this machine")
    course = curve(grid_map()[0].mean(["row", "col"]), "x < y", title="a <b>title</b>, größer")
    return course, frames(clip, grid_map()[0, 0], name="delta", which=[3, 4])


def test_text_in_an_svg_stays_text_and_pictures_are_inside(drawn, tmp_path):
    course, shown = drawn
    text = save(course, tmp_path / "a.svg").read_text("utf-8")
    words = ["".join(each.itertext()) for each in ET.fromstring(text).iter() if
             each.tag.endswith("text")]  # fmt: skip
    assert "a <b>title</b>, größer" in words and "x < y (no unit)" in words and "forward" in words
    inside = save(shown, tmp_path / "b.svg").read_text("utf-8")
    assert len(re.findall(r'<image[^>]*href="data:image/jpeg;base64,', inside)) == 2
    assert not re.search(r'href="(?!data:|#)', inside)


def test_a_png_has_its_theme_and_twice_its_width(drawn, tmp_path):
    for theme, ground in (("light", LIGHT), ("dark", DARK)):
        picture = Image.open(save(drawn[0], tmp_path / f"{theme}.png", theme=theme, width=640))
        assert picture.width == 1280
        assert picture.convert("RGB").getpixel((2, 2)) == ground


def test_the_ink_of_a_picture_is_readable_on_its_ground(drawn, tmp_path):
    for theme, ink in (("light", "rgb(34, 34, 34)"), ("dark", "rgb(232, 232, 232)")):
        text = save(drawn[0], tmp_path / f"{theme}.svg", theme=theme).read_text("utf-8")
        assert f"fill: {ink}" in text and "rgb(118, 118, 119)" not in text
    assert INK in drawn[0].to_json(), "the figure itself has changed"


def test_a_page_needs_nothing_else(drawn, tmp_path, open_offline):
    path = save(drawn[0], tmp_path / "a.html")
    page = open_offline(path, "dark")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.title() == "a <b>title</b>, größer"
    assert page.errors == [] and {url.partition(":")[0] for url in page.requests} <= {
        "file",
        "data",
    }


def test_a_page_is_written_without_a_browser_and_a_picture_says_that_it_needs_one(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(NAMED, raising=False)
    monkeypatch.setattr("vmamba_explore.view.figures.saving.BROWSERS", ("chromium",))
    assert save(go.Figure(), tmp_path / "a.html").exists()
    with pytest.raises(
        RuntimeError, match="drawn by Chromium or Chrome, and none was found; insta"
    ):
        save(go.Figure(), tmp_path / "a.png")
    monkeypatch.setenv(NAMED, "/no/such")
    with pytest.raises(RuntimeError, match="BROWSER_PATH is '/no/such', which is not a program"):
        save(go.Figure(), tmp_path / "a.svg")
    assert os.listdir(tmp_path) == ["a.html"]


@pytest.mark.parametrize("does, words", [("exit 3", "drew nothing"), ("echo gone >&2", "(gone)")])
def test_a_browser_that_fails_is_told_in_one_line(does, words, tmp_path, monkeypatch):
    program = tmp_path / "browser"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv(NAMED, str(program))
    with pytest.raises(RuntimeError, match=re.escape(words)) as caught:
        save(go.Figure(), tmp_path / "a.png")
    assert "\n" not in str(caught.value) and not (tmp_path / "a.png").exists()


def test_a_figure_that_plotly_cannot_draw_is_told(drawn, tmp_path, monkeypatch):
    refuse = 'document.getElementById("result").textContent = "Error: no"; // %s %s'
    monkeypatch.setattr("vmamba_explore.view.figures.saving._DRAW", refuse)
    with pytest.raises(RuntimeError, match="the browser could not draw it: Error: no"):
        save(drawn[0], tmp_path / "a.png")


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("a.pdf", {}, "a.pdf ends in '.pdf', expected .png, .svg or .html"),
        ("a", {}, "a ends in '', expected .png"),
        ("a.png", {"theme": "sepia"}, "theme is 'sepia', expected"),
        ("a.png", {"width": 0}, "width is 0, expected 100 to 10000 pixels"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_drawn(
    name, options, words, tmp_path, unchecked, monkeypatch
):
    monkeypatch.setenv(NAMED, "/no/such")
    with pytest.raises(ValueError, match=words):
        save(go.Figure(), tmp_path / name, **options)


def test_a_file_is_replaced_only_when_told(tmp_path):
    (tmp_path / "a.html").write_text("mine")
    with pytest.raises(FileExistsError, match="figures.save: .*a.html exists already; overwrite=T"):
        save(go.Figure(), tmp_path / "a.html")
    save(go.Figure(), tmp_path / "a.html", overwrite=True)
    assert (tmp_path / "a.html").read_text("utf-8").endswith("</html>\n")


def test_what_is_not_a_figure_is_refused(tmp_path, unchecked):
    with pytest.raises(TypeError, match="figures.save: got dict, expected a plotly figure"):
        save({}, tmp_path / "a.html")
