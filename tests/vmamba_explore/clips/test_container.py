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


def test_an_animated_webp_is_called_so_and_a_still_one_is_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pictures = [image.new("RGB", (32, 32), (20 * shade, 0, 0)) for shade in range(4)]
    pictures[3].save(tmp_path / "still.webp", lossless=True)
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:])
    assert load_clip(tmp_path / "still.webp", 1, img_size=None).frames[0, 0, 0].tolist() == [
        60,
        0,
        0,
    ]
    with pytest.raises(ClipError, match=r"a\.webp: an animated WebP picture, .* to GIF or MP4"):
        load_clip(tmp_path / "a.webp")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 64, b"#EXTM3U\n#EXTINF:1,\n/etc/hosts"]
)
def test_what_is_no_film_is_refused_without_its_place(tmp_path, content):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(ClipError) as caught:
        check_uploaded(path, "mine.mp4")
    assert str(tmp_path) not in str(caught.value)
