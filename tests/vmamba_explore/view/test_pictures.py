"""Encoded frames, and maps laid over them."""

import io

import numpy as np
from PIL import Image

from vmamba_explore.view.colors import MISSING, color_table
from vmamba_explore.view.pictures import Overlay, encode, thumbnail


def test_a_small_frame_is_encoded_without_loss(clip):
    decoded = np.asarray(Image.open(io.BytesIO(encode(clip.frames[3]))))
    assert (decoded == clip.frames[3]).all()


def test_a_large_frame_is_a_small_jpeg():
    frame = np.broadcast_to(np.arange(224, dtype=np.uint8)[:, None, None], (224, 224, 3))
    image = Image.open(io.BytesIO(encode(np.ascontiguousarray(frame))))
    assert image.format == "JPEG" and image.size == (224, 224)


def test_a_thumbnail_keeps_the_shape_and_fits_its_side():
    uri = thumbnail(np.zeros((100, 200, 3), np.uint8), side=50)
    assert uri.startswith("data:image/jpeg;base64,") and len(uri) < 2000


def test_clip_frames_follow_the_coordinate_or_are_shared_evenly(grid_map):
    unknown = grid_map()[0, 0].drop_vars("clip_frame")
    known = unknown.assign_coords(clip_frame=("frame", [0, 1, 2, 3, 4, 5, 6, 12]))
    covering = [Overlay.from_map(each, 16).token_frame.tolist() for each in (known, unknown)]
    assert covering[0] == [0, 1, 2, 3, 4, 5, *[6] * 6, *[7] * 4]
    assert covering[1] == [frame for frame in range(8) for _ in range(2)]


def test_a_map_covers_its_own_tokens_and_leaves_missing_ones_alone(clip, grid_map):
    values = grid_map()[0, 0].copy()
    values[2] = values.min()
    values[2, 1, 3], values[2, 0, 0] = values.max(), np.nan
    picture = Overlay.from_map(values, 16).over(clip, frame=5, opacity=1.0)
    table = color_table(signed=False)
    assert (picture[8:16, 24:32] == table[254]).all()
    assert (picture[8:16, 16:24] == table[0]).all()
    assert (np.ptp(picture[:8, :8], axis=2) == 0).all()  # the gray frame


def test_a_map_of_nothing_but_missing_values_draws_the_frame_alone(clip, grid_map):
    overlay = Overlay.from_map(grid_map()[0, 0] * np.nan, 16)
    assert (overlay.levels == MISSING).all()
    assert (np.ptp(overlay.over(clip, 0, 1.0), axis=2) == 0).all()
