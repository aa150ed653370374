"""A decoded frame becomes what a player shows: upright, with square pixels."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from vmamba_explore.clips.picture import (
    UPRIGHT,
    middle_square,
    orientation,
    pixel_aspect,
    square_box,
    upright,
)

STORED = np.zeros((16, 32, 3), np.uint8)
STORED[:8, :8], STORED[8:, :8], STORED[:8, 24:] = 255, (0, 255, 0), (255, 0, 0)


def decoded(path, **how):
    """Write and decode the stored picture, losslessly, with an orientation."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "rgb24"
        stream.options = {"crf": "0"}
        stream.set_display_rotation(**how)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(STORED, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize(
    ("degrees", "hflip", "vflip"),
    itertools.product((0, 90, 180, 270), (False, True), (False, True)),
)
def test_all_eight_orientations_are_shown_right(tmp_path, degrees, hflip, vflip):
    frame = decoded(tmp_path / "a.mp4", degrees=degrees, hflip=hflip, vflip=vflip)
    turn = orientation(frame)
    # PyAV: counterclockwise, then mirrored
    right = np.rot90(STORED, degrees // 90)
    right = right[:: -1 if vflip else 1, :: -1 if hflip else 1]
    assert np.array_equal(upright(frame, UPRIGHT if turn is None else turn), right)


def test_a_frame_without_an_orientation_says_none():
    assert orientation(av.VideoFrame.from_ndarray(STORED, format="rgb24")) is None


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(2), (16, 64)),
        (Fraction(1, 2), (32, 32)),
        (Fraction(16, 15), (16, 34)),
        (Fraction(1), (16, 32)),
    ],
)
def test_pixels_become_square_by_stretching_never_by_shrinking(aspect, shape):
    frame = av.VideoFrame.from_ndarray(STORED, format="rgb24")
    pixels = upright(frame, UPRIGHT, aspect)
    assert pixels.shape == (*shape, 3)
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[-3, 2].tolist() == [0, 255, 0]
    assert pixels[2, -3].tolist() == [255, 0, 0]


def test_a_turned_picture_is_stretched_before_it_is_turned():
    frame = av.VideoFrame.from_ndarray(STORED, format="rgb24")
    quarter = np.array([[0, 1], [-1, 0]])
    assert upright(frame, quarter, Fraction(2)).shape == (64, 16, 3)


def test_palettes_give_their_colors():
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[7, 1:] = 255, (10, 200, 30)
    frame = av.VideoFrame.from_ndarray((np.full((16, 32), 7, np.uint8), palette), format="pal8")
    assert (upright(frame) == (10, 200, 30)).all()


@pytest.mark.parametrize(
    ("said", "used"),
    [
        (None, 1),
        (Fraction(0), 1),
        (Fraction(1281, 1280), 1),  # what rounding a size to even numbers leaves
        (Fraction(16, 15), Fraction(16, 15)),
        (Fraction(1, 2), Fraction(1, 2)),
        (Fraction(1000), 1),
        (Fraction(1, 1000), 1),
    ],
)
def test_an_aspect_that_means_nothing_is_not_used(said, used):
    assert pixel_aspect(said) == used


@pytest.mark.parametrize(
    ("height", "width"), [(360, 636), (636, 360), (64, 64), (250, 334), (65, 400)]
)
def test_the_box_of_the_middle_square_is_what_the_square_shows(height, width):
    across = np.linspace(0, 255, width)[None, :, None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None, None].repeat(width, 1)
    ramp = np.concatenate([across, down, across], 2).round().astype(np.uint8)
    square = middle_square(ramp, 64).astype(float)
    left, top, right, bottom = square_box(height, width, 64)
    middle = square[24:40, 24:40].mean((0, 1))
    assert middle[0] == pytest.approx((left + right - 1) / 2 / (width - 1) * 255, abs=0.3)
    assert middle[1] == pytest.approx((top + bottom - 1) / 2 / (height - 1) * 255, abs=0.3)
    assert right - left == pytest.approx(min(height, width), rel=0.01)
