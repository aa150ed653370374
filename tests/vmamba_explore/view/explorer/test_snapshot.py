"""The explorer drawn without a browser."""

import numpy as np
import pytest
from PIL import ImageFont

from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.snapshot import Snapshots


@pytest.fixture
def explorer(make_exploration):
    return Explorer(make_exploration(0))


def pixels(explorer, frame=2):
    return np.asarray(Snapshots(explorer.view).picture(frame))


def test_all_frames_have_one_even_size(explorer):
    snapshots = Snapshots(explorer.view)
    sizes = {snapshots.picture(frame).size for frame in range(6)}
    assert len(sizes) == 1
    assert all(side % 2 == 0 for side in sizes.pop())


@pytest.mark.parametrize(
    "trait, value",
    [("quantity", "delta"), ("quantity", ""), ("layer", 0), ("direction", "difference"),
     ("direction", "forward"), ("opacity", 0.9), ("query", [1, 1, 2]), ("path", True)],
)  # fmt: skip
def test_every_choice_changes_the_picture(explorer, trait, value):
    before = pixels(explorer)
    setattr(explorer, trait, value)
    after = pixels(explorer)
    assert before.shape != after.shape or (before != after).any()


def test_a_missing_value_leaves_the_gray_frame(make_exploration):
    explorer = Explorer(make_exploration(0), quantity="delta")
    explorer.layer, explorer.direction = 0, "forward"  # of frame 0 nothing is known there
    explorer.opacity = 1.0
    pane = pixels(explorer, 0)[68:180, 8:200].astype(int)
    assert (np.ptp(pane, axis=-1) == 0).all(), "something is colored"
    seen = pixels(explorer, 2)[68:180, 8:200].astype(int)
    assert (np.ptp(seen, axis=-1) > 0).any()


def test_two_sides_stand_beside_each_other_with_their_difference(make_exploration):
    one, two = (
        Snapshots(Explorer(*(make_exploration(n) for n in range(count))).view).picture(0)
        for count in (1, 2)
    )
    assert two.width > 1.3 * one.width and two.height > one.height


@pytest.mark.parametrize("direction", ["both", "forward", "difference"])
@pytest.mark.parametrize("quantity", ["contribution", "relevance", ""])
def test_the_query_is_drawn_in_its_own_frame_whatever_lies_there(explorer, quantity, direction):
    explorer.quantity, explorer.direction, explorer.path = quantity, direction, True
    here, elsewhere = pixels(explorer, 2), pixels(explorer, 4)  # token frames 1 and 2
    explorer.query = [1, 1, 2]
    assert (here != pixels(explorer, 2)).any()
    assert (elsewhere == pixels(explorer, 4)).all()


def test_the_part_of_the_path_that_is_still_to_read_is_thinner(explorer):
    explorer.direction, explorer.path, explorer.opacity = "forward", True, 0.0
    blue, counts = (0, 114, 178), []
    for query in ([], [1, 1, 3], [1, 0, 0]):  # all of it, up to its end, up to its beginning
        explorer.query = query
        counts.append((pixels(explorer) == blue).all(-1).sum())
    assert counts[2] < counts[1] <= counts[0]


def test_a_long_name_is_cut_within_the_picture(make_exploration):
    long = pixels(Explorer(make_exploration(0, name="name " * 60)))
    assert (long[8:24, -8:] == 255).all()
    assert (long[8:24, -60:-8] < 255).any()


def test_accents_are_letters_and_no_boxes(make_exploration):
    drawn = [pixels(Explorer(make_exploration(0, name=name))) for name in ("é", "è", "ж")]
    assert (drawn[0] != drawn[1]).any() and (drawn[0] != drawn[2]).any()


@pytest.mark.parametrize("quantity, direction", [("contribution", "difference"), ("", "both")])
def test_the_paths_of_two_directions_do_not_hide_each_other(explorer, quantity, direction):
    explorer.quantity, explorer.direction, explorer.path = quantity, direction, True
    seen = pixels(explorer)
    length = [(seen == color).all(-1).sum() for color in ((0, 114, 178), (213, 94, 0))]
    assert min(length) > 0.5 * max(length)


@pytest.mark.parametrize("picture", ["picture", "sheet"])
def test_a_theme_is_ground_and_ink_and_never_a_maps_colors(explorer, picture):
    drawn = {}
    for theme in ("light", "dark"):
        snapshots = Snapshots(explorer.view, theme)
        image = snapshots.sheet() if picture == "sheet" else snapshots.picture(2)
        drawn[theme] = np.asarray(image).astype(int)
    apart = np.abs(drawn["light"] - drawn["dark"]).max(-1)
    ground, ink = drawn["dark"][0, 0], drawn["dark"].max()
    assert apart[0, 0] > 200 and (ground < 40).all() and ink > 220
    top = 8 if picture == "sheet" else 68
    assert (apart[top : top + 112, 8:200] == 0).all()


def test_another_theme_is_refused(explorer, unchecked):
    for save in (explorer.to_png, explorer.to_gif, explorer.to_mp4):
        with pytest.raises(ValueError, match="theme is 'sepia', expected 'light' or 'dark'"):
            save(theme="sepia")
        with pytest.raises(ValueError, match=r"theme is \[\], expected 'light' or 'dark'"):
            save(theme=[])


def test_a_name_is_measured_a_few_times_however_long_it_is(make_exploration, monkeypatch):
    calls = []
    measure = ImageFont.FreeTypeFont.getlength
    monkeypatch.setattr(
        ImageFont.FreeTypeFont,
        "getlength",
        lambda font, text, *more: calls.append(len(text)) or measure(font, text, *more),
    )
    pixels(Explorer(make_exploration(0, name="\r" + "ж" * 5000)))
    assert sum(calls) < 20_000
