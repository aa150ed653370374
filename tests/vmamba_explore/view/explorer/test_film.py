"""What the browser gets of the file behind a clip: when it asks, and in a page that cannot ask."""

import base64
import dataclasses
import io
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.view.explorer import Exploration, Explorer
from vmamba_explore.view.explorer.exploration import Moved
from vmamba_explore.view.explorer.film import film_key

HANG = 600
"""Seconds after which a test hangs."""


@pytest.fixture
def clip(tmp_path):
    """A clip of 6 frames of 32 pixels, of a film of 96 x 160."""
    shades = 40 + 10 * np.arange(12, dtype=np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (12, 96, 160, 3))
    write_clip(tmp_path / "film.mp4", frames, 8, 0)
    return load_clip(tmp_path / "film.mp4", 6, 1, 3, 32)


class Window:
    """Windows of a clip; those that were asked for are kept."""

    def __init__(self, sides, fault=None):
        self.sides, self.fault, self.asked = sides, fault, []

    def window(self):
        return {"name": "film.mp4", "first": 3, "code": f"start={len(self.asked)}"}

    def moved(self, start, first, report):
        self.asked.append((start, list(first)))
        report("layer 0", 0.5)
        if self.fault is not None:
            raise self.fault
        return Moved(self.sides, None, self)


@pytest.fixture
def explored(make_exploration):
    """Return a function that makes an explorer, and what it sends."""
    made = []

    def make(*clips, windows=None):
        sides = [make_exploration(seed, clip=clip) for seed, clip in enumerate(clips)]
        explorer = Explorer(*sides, windows=windows)
        made.append(explorer)
        sent = []
        explorer.send = lambda content, buffers=None: sent.append((content, buffers))
        return explorer, sent

    yield make
    for explorer in made:
        explorer.close()
        assert explorer._runs.wait(HANG)


def asks(explorer, sent, **content):
    explorer._handle_custom_msg(content, [])
    assert explorer._runs.wait(HANG)
    return sent[-1]


def pictures(content, buffers):
    ends = content["offsets"]
    return [
        np.asarray(Image.open(io.BytesIO(buffers[0][start:end])))
        for start, end in itertools.pairwise(ends)
    ]


def test_a_clip_without_a_file_has_no_film_and_no_window(explored, make_exploration):
    explorer, sent = explored(make_exploration().clip)
    assert explorer.sides[0]["film"] == "" and explorer.window == {} and explorer.films == []
    for kind in ("pictures", "strip"):
        content, _ = asks(explorer, sent, request=1, run=kind, film="")
        assert content["error"] == (
            "Explorer: there is no file of these frames, or they are shown no more."
        )
    content, _ = asks(explorer, sent, request=1, run="window", start=3)
    assert content["error"] == "Explorer: this clip was not read from a file that could be shown."


def test_the_frames_are_sent_with_all_pixels_when_they_are_asked_for(explored, clip):
    explorer, sent = explored(clip)
    film = explorer.sides[0]["film"]
    content, buffers = asks(explorer, sent, request=7, run="pictures", film=film)
    assert (content["reply"], content["done"]) == (7, True)
    found = pictures(content, buffers)
    assert [picture.shape for picture in found] == [(96, 96, 3)] * 6
    shades = [int(picture[48, 48, 0]) for picture in found]
    np.testing.assert_allclose(shades, 40 + 10 * clip.indices, atol=2)


def test_each_side_has_the_frames_of_its_own_clip_and_the_same_clip_is_one_film(explored, clip):
    turned = dataclasses.replace(clip, frames=clip.frames[::-1], indices=clip.indices[::-1])
    explorer, sent = explored(clip, turned)
    one, other = (side["film"] for side in explorer.sides)
    found = [
        pictures(*asks(explorer, sent, request=1, run="pictures", film=film))
        for film in (one, other)
    ]
    np.testing.assert_array_equal(found[0], found[1][::-1])
    assert film_key(dataclasses.replace(clip)) == one != other


def test_frames_that_are_shown_no_more_are_not_sent(explored, clip, make_exploration):
    explorer, sent = explored(clip)
    film = explorer.sides[0]["film"]
    explorer.replace(make_exploration())
    content, _ = asks(explorer, sent, request=1, run="pictures", film=film)
    assert content["error"].endswith("or they are shown no more.")


def test_a_file_that_is_gone_is_answered_in_a_sentence(explored, clip, tmp_path):
    explorer, sent = explored(clip, windows=Window(()))
    film = explorer.sides[0]["film"]
    (tmp_path / "film.mp4").unlink()
    for kind in ("pictures", "strip"):
        content, _ = asks(explorer, sent, request=1, run=kind, film=film)
        assert content["error"] == (
            "film.mp4: the file is gone; it was moved or removed since the clip was read."
        )


def test_the_strip_says_which_frames_it_shows_and_what_the_model_sees_of_them(explored, clip):
    explorer, sent = explored(clip, windows=Window(()))
    content, buffers = asks(explorer, sent, request=1, run="strip")
    assert content["numbers"] == list(range(12)) and content["count"] == 12
    assert content["box"] == pytest.approx([10 / 53, 0, 42 / 53, 1])
    assert {picture.shape for picture in pictures(content, buffers)} == {(77, 128, 3)}
    assert json.dumps(content)


@pytest.mark.parametrize("start", [None, "3", 2.5, True, [3], {}])
def test_a_window_starts_at_the_number_of_a_frame(explored, clip, start):
    windows = Window(())
    explorer, sent = explored(clip, windows=windows)
    content, _ = asks(explorer, sent, request=1, run="window", start=start)
    assert "expected a frame's number." in content["error"] and windows.asked == []


def test_a_window_that_is_moved_replaces_what_is_shown(explored, clip, make_exploration):
    windows = Window((make_exploration(5),))
    explorer, sent = explored(clip, windows=windows)
    explorer.frame, explorer.layer, explorer.quantity = 4, 0, "relevance"
    content, _ = asks(explorer, sent, request=1, run="window", start=9)
    assert content == {"reply": 1, "done": True} and windows.asked == [(9, ["relevance"])]
    assert (explorer.frame, explorer.layer, explorer.quantity) == (4, 0, "relevance")
    assert explorer.explorations == windows.sides and explorer.window["code"] == "start=1"
    asks(explorer, sent, request=2, run="change", changes=[])
    assert explorer.explorations == windows.sides, "undoing changes led to another clip"


def test_a_window_that_cannot_be_shown_leaves_the_view_as_it_was(explored, clip):
    windows = Window((), fault=ValueError("frame 9 is damaged."))
    explorer, sent = explored(clip, windows=windows)
    before = explorer.explorations
    content, _ = asks(explorer, sent, request=1, run="window", start=9)
    assert content == {"reply": 1, "error": "frame 9 is damaged."}
    assert explorer.explorations == before and explorer.revision == 0
    assert explorer.window["code"] == "start=0"


def test_a_page_has_the_pixels_of_the_file_where_they_are_asked_for_and_nothing_to_move(
    explored, clip
):
    explorer, _ = explored(clip, clip, windows=Window(()))
    film = explorer.sides[0]["film"]
    plain, full = explorer.to_html(), explorer.to_html(source=True)
    assert '"films": []' in plain and len(full) > len(plain)
    assert full.count(film) == 3, "two sides and one film"
    assert '"window": {}' in full and '"window": {}' in plain
    (state,) = re.findall(r'^show\(render, "[^"]+", (.*)\);$', full, re.MULTILINE)
    (one,) = json.loads(state)["films"]
    found = pictures(one, [base64.b64decode(one["frames"]["base64"])])
    assert [picture.shape for picture in found] == [(96, 96, 3)] * 6


def test_a_page_is_not_written_without_the_pixels_that_were_asked_for(
    explored, clip, tmp_path, make_exploration
):
    explorer, _ = explored(make_exploration().clip)
    with pytest.raises(ValueError, match="no file with more pixels than the model sees"):
        explorer.to_html(tmp_path / "page.html", source=True)
    assert not (tmp_path / "page.html").exists()
    explorer.to_html(tmp_path / "page.html")


def test_what_is_sent_on_load_does_not_grow_by_the_pixels_of_the_file(explored, clip):
    one, _ = explored(clip)
    other, _ = explored(dataclasses.replace(clip, path=""))
    assert one.bytes_on_load() - other.bytes_on_load() == len(one.sides[0]["film"]) == 16
    before = one.bytes_on_load()
    one.to_html(source=True)
    assert one.bytes_on_load() == before


def test_the_browser_may_choose_whose_pixels_are_shown_and_not_the_window(explored, clip, caplog):
    explorer, _ = explored(clip, windows=Window(()))
    update = lambda **state: explorer._handle_msg(  # noqa: E731
        {"content": {"data": {"method": "update", "state": state}}, "buffers": []}
    )
    update(pixels="model")
    assert explorer.view.pixels == "model"
    update(pixels="/etc/passwd")
    update(window={"name": "/etc/passwd"}, films=[{}])
    assert explorer.pixels == "model" and explorer.window["name"] == "film.mp4"
    assert explorer.films == [] and "not to be set from there" in caplog.text
    assert isinstance(explorer.explorations[0], Exploration)
