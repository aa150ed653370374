"""The page of neighbors: pictures from the files, sentences where there are none, names as text."""

import dataclasses
import os
import re

import numpy as np
import pytest

from tests.vmamba_explore.stores.stores import write_film
from vmamba_explore.clips.clip import Clip
from vmamba_explore.stores.neighbors import Neighbor, Neighbors
from vmamba_explore.view.neighbors_page import neighbors_page


@pytest.fixture
def found(tmp_path):
    """A query and three neighbors, whose labels are markup."""
    paths = [tmp_path / f"<i>{number}.mp4" for number in range(4)]
    for number, path in enumerate(paths):
        write_film(path, number)
    rows = [
        Neighbor(number, 1, 1 - number / 8, str(path), f"<b>{number}", (0, 2, 4, 6, 8),
                 (0.0, 0.25, 0.5, 0.75, 1.0))
        for number, path in enumerate(paths)
    ]  # fmt: skip
    return Neighbors(rows[0], tuple(rows[1:]), "embedding", "cosine", 1234, 2, "small<", 32)


def test_each_clip_has_four_pictures_its_similarity_its_label_and_its_place(found, tmp_path):
    text = neighbors_page(found, tmp_path / "page.html").read_text("utf-8")
    assert text.count("<img ") == 16
    assert re.findall(r'vmx-value" title="cosine similarity">([\d.]+)<', text) == [
        "0.875", "0.750", "0.625",
    ]  # fmt: skip
    assert "&lt;b&gt;2" in text and "<b>" not in text and "<i>" not in text
    assert "&lt;i&gt;3.mp4, 0.00 to 1.00 s (video 3, clip 1)" in text
    assert "embedding of 1,234 clips" in text and "small&lt;" in text
    assert "2 clips of the query&#x27;s own video" in text


def test_a_missing_or_changed_file_is_a_sentence_and_the_others_keep_their_pictures(
    found, tmp_path
):
    os.remove(found.found[0].path)
    os.remove(found.found[1].path)
    write_film(found.found[1].path, 2, frames=6)
    with open(found.found[2].path, "wb") as file:
        file.write(b"not a film")
    text = neighbors_page(found, tmp_path / "page.html").read_text("utf-8")
    assert text.count("<img ") == 4
    assert "No pictures: the file" in text and "1.mp4 is not there any more." in text
    assert "2.mp4 has 6 frames now, fewer than when its states were extracted." in text
    assert "3.mp4: not a video that can be read" in text


def test_a_query_that_is_a_clip_is_shown_by_its_own_frames(found, tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    clip = Clip(frames, np.arange(3.0), "<made>", np.arange(3))
    one = dataclasses.replace(found, query=clip, measure="euclidean", left_out=0)
    text = neighbors_page(one, tmp_path / "page.html").read_text("utf-8")
    assert text.count("<img ") == 15 and "Most like &lt;made&gt;" in text
    assert "Euclidean distance; 0 is the same" in text and "Left out" not in text


def test_a_page_never_replaces_a_video_or_makes_a_folder(found, tmp_path):
    with pytest.raises(FileExistsError):
        neighbors_page(found, found.found[1].path)
    with pytest.raises(FileNotFoundError, match="neighbors_page: cannot write .* does not exist"):
        neighbors_page(found, tmp_path / "no" / "page.html")


@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_is_wider_than_the_page(found, tmp_path, browser, width):
    path = neighbors_page(found, tmp_path / "page.html")
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth >= 112)")
    page.close()
