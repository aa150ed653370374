"""Figures of the clip itself."""

import base64
import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from vmamba_explore.view.figures import class_scores, frames


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def captions(figure):
    return list(figure.data[0].text)


def test_every_frame_is_shown_with_its_time(clip):
    figure = frames(clip)
    assert len(figure.layout.images) == 16
    assert captions(figure)[:2] == ["0 · 0.00 s", "1 · 0.12 s"]
    assert len(figure.to_json()) < 60_000


def test_a_long_clip_is_thinned_from_its_first_frame_to_its_last(clip):
    shown = captions(frames(clip, max_frames=4))
    assert [caption.split()[0] for caption in shown] == ["0", "5", "10", "15"]


def test_chosen_frames_are_shown_in_their_order_larger_and_sharp(clip, grid_map):
    figure = frames(clip, grid_map()[0, 0], name="delta", which=[9, 2], title="")
    assert [caption.split()[0] for caption in captions(figure)] == ["9", "2"]
    assert figure.layout.title.text == ""
    sizes = [opened(each.source).size for each in figure.layout.images]
    side = max(clip.frames.shape[1:3])
    assert all(max(size) >= 280 and max(size) % side == 0 for size in sizes)


@pytest.mark.parametrize("which, words", [([16], "names frame 16"), ([-1], "names frame -1"),
                                          ([], "is empty")])  # fmt: skip
def test_a_frame_that_the_clip_does_not_have_is_refused(clip, which, words):
    with pytest.raises(ValueError, match=f"frames: which {words}, expected some of the frames 0 "):
        frames(clip, which=which)


@pytest.mark.parametrize("most", [0, -1])
def test_fewer_pictures_than_one_are_refused(clip, most):
    with pytest.raises(ValueError, match=f"frames: max_frames is {most}, expected at least 1"):
        frames(clip, max_frames=most)


def test_frames_that_repeat_the_last_one_say_so(clip):
    shown = captions(frames(replace(clip, repeated=2)))
    assert shown[13] == "13 · 1.62 s" and shown[14:] == ["14 · held", "15 · held"]


def test_the_name_of_the_file_shows_as_text(clip):
    assert "<img" not in frames(clip).layout.title.text


def test_a_signed_overlay_is_centered_on_zero_and_has_a_legend_with_unit(clip, grid_map):
    values = grid_map(signed=True)[0, 0].assign_attrs(unit="bit")
    axis = frames(clip, values, name="gain").layout.coloraxis
    assert axis.cmin == -axis.cmax and axis.colorbar.title.text == "gain (bit)"
    assert "#f7f7f7" in [color for _, color in axis.colorscale]


def test_scores_are_sorted_probabilities():
    figure = class_scores(torch.tensor([0.0, 2.0, 1.0]), ["a", "<b>", "c"], top=2)
    bars = figure.data[0]
    assert list(bars.customdata) == ["&lt;b&gt;", "c"]
    assert list(bars.x) == pytest.approx([66.524, 24.473], abs=1e-2)
    assert figure.layout.xaxis.title.text == "probability (%)"


def test_classes_without_names_are_numbered():
    assert list(class_scores(torch.tensor([0.0, 1.0])).data[0].customdata) == ["class 1", "class 0"]
