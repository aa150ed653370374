"""An uploaded file is a film, or it is refused before anything that it names is opened."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore import resources
from vmamba_explore.clips import ClipError, load_clip
from vmamba_explore.clips.container import check_uploaded


def test_every_bundled_clip_may_be_uploaded():
    for path in (resources.data_dir() / "clips").glob("*.mp4"):
        check_uploaded(path, path.name)


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mkv", "libx264"), ("mov", "libx264"), ("avi", "mpeg4"), ("ts", "libx264"), ("gif", "gif")],
)
def test_common_containers_may_be_uploaded(tmp_path, ending, codec):
    path = tmp_path / f"film.{ending}"
    shades = np.repeat(np.arange(0, 160, 20, np.uint8), 64 * 64 * 3).reshape(8, 64, 64, 3)
    write_video(path, shades, 25, codec, format="mpegts" if ending == "ts" else None)
    check_uploaded(path.rename(tmp_path / "without-an-ending"), path.name)


def test_a_playlist_that_would_open_another_file_is_refused(tmp_path):
    shutil.copy(resources.path("clips/right.mp4"), tmp_path / "private.mp4")
    playlist = tmp_path / "upload"
    playlist.write_text("ffconcat version 1.0\nfile private.mp4\n")
    with pytest.raises(ClipError, match="a playlist or a page, which names other files"):
        load_clip(playlist, img_size=32)
    with pytest.raises(ClipError, match=r"holiday\.mp4: not a film .* not a playlist"):
        check_uploaded(playlist, "holiday.mp4")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 64, b"#EXTM3U\n#EXTINF:1,\n/etc/hosts"]
)
def test_what_is_no_film_is_refused_without_its_place(tmp_path, content):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(ClipError) as caught:
        check_uploaded(path, "mine.mp4")
    assert str(tmp_path) not in str(caught.value)
