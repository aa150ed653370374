import numpy as np
import pytest

from vmamba_explore.clips import load_clip
from vmamba_explore.clips.clip import ClipError
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.datasets.views import Views, read_views


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """A video, 40 frames: red is the frame, green the column, blue the row."""
    time, rows, cols = np.mgrid[0:40, 0:32, 0:96]
    frames = np.stack([time * 6, cols * 2, rows * 7], -1).astype(np.uint8)
    root = tmp_path_factory.mktemp("ramps")
    write_clip(root / "wide.mp4", frames, quality=1)
    write_clip(root / "tall.mp4", frames.swapaxes(1, 2), quality=1)
    return root


def test_clips_spread_from_the_start_to_the_end(ramps):
    views = read_views(ramps / "wide.mp4", Views(3, 1), num_frames=4, img_size=32)
    assert views.shape == (3, 4, 32, 32, 3)
    red = views[..., 0].mean((2, 3)) / 6
    starts = [0, 16, 33]
    wanted = np.array(starts)[:, None] + 2 * np.arange(4)
    assert np.abs(red - wanted).max() < 1  # half a frame's step of red is what H.264 loses


@pytest.mark.parametrize("name", ["wide.mp4", "tall.mp4"])
def test_crops_go_along_the_longer_side_from_one_end_to_the_other(ramps, name):
    views = read_views(ramps / name, Views(1, 3), num_frames=2, img_size=32)
    middle = views[..., 1].mean((1, 2, 3))
    assert np.allclose(middle, [31, 95, 159], atol=3)


def test_one_view_is_the_clip_a_model_sees(ramps):
    views = read_views(ramps / "wide.mp4", Views(1, 1), num_frames=8, img_size=32)
    assert np.array_equal(views[0], load_clip(ramps / "wide.mp4", 8, 2, img_size=32).frames)


def test_times_come_before_places(ramps):
    both = read_views(ramps / "wide.mp4", Views(2, 3), num_frames=4, img_size=32)
    assert both.shape[0] == 6
    red = both[..., 0].mean((1, 2, 3))
    assert np.allclose(red[:3], red[0], atol=2) and red[3] > red[0] + 50


def test_a_short_video_repeats_its_last_frame(tmp_path):
    write_clip(tmp_path / "short.mp4", np.full((3, 32, 32, 3), 90, np.uint8))
    views = read_views(tmp_path / "short.mp4", Views(4, 3), num_frames=8, img_size=16)
    assert views.shape == (12, 8, 16, 16, 3)


def test_what_cannot_be_read_or_counted_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(ClipError, match="a.mp4"):
        read_views(tmp_path / "a.mp4", Views(), 4, 32)
    with pytest.raises(ValueError, match="Views: temporal is 0, expected at least 1"):
        Views(temporal=0)
