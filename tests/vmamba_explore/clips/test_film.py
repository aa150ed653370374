"""The file behind a clip: where its pixels lie, and what a strip shows of it."""

from dataclasses import replace

import numpy as np
import pytest

from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips import ClipError, film
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.film import file_strip, source_frames
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.stream import stream_clips

WIDE, TALL, SIZE = 636, 360, 64  # resized to 113 x 64, so the crop is half a pixel off the middle
LEFT, RIGHT = 24 * WIDE / 113, 88 * WIDE / 113


def shaded(count, height=TALL, width=WIDE):
    """Frames that get brighter by 5, from 60."""
    shades = 60 + 5 * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (count, height, width, 3)).copy()


@pytest.fixture
def marked(tmp_path):
    """A film that is black beside what a model sees, but for a pixel or so."""
    frames = shaded(24)
    frames[:, :, : round(LEFT) + 1] = frames[:, :, round(RIGHT) - 1 :] = 0
    write_clip(tmp_path / "marked.mp4", frames, 8, 0)
    return tmp_path / "marked.mp4"


def test_the_pixels_of_the_file_show_what_the_model_sees_and_no_more(marked):
    assert (round(LEFT), round(RIGHT)) == (135, 495)
    clip = load_clip(marked, 8, 2, 3, SIZE)
    frames = source_frames(clip)
    assert frames.shape == (8, TALL, TALL, 3)
    dark = frames[0, TALL // 2, :, 0] < 35
    assert dark.nonzero()[0].tolist() == [0, TALL - 1], "the crop is another one than the model's"
    shades = frames[:, TALL // 2, TALL // 2, 0].astype(int)
    np.testing.assert_allclose(shades, 60 + 5 * clip.indices, atol=2)


def test_a_clip_played_backwards_is_backwards_with_all_pixels_too(marked):
    clip = load_clip(marked, 4, 2, 3, SIZE)
    turned = replace(clip, frames=clip.frames[::-1], indices=clip.indices[::-1])
    np.testing.assert_array_equal(source_frames(turned), source_frames(clip)[::-1])


def test_every_reader_says_which_file_a_clip_is_of(marked, monkeypatch):
    monkeypatch.chdir(marked.parent)
    for clip in (
        load_clip("marked.mp4", 4, 2, 0, SIZE),
        next(stream_clips("marked.mp4", 4, 2, None, SIZE)),
    ):
        assert clip.path == str(marked) and clip.source == "marked.mp4"
        assert source_frames(clip).shape == (4, TALL, TALL, 3)
    assert MotionClips(1)[0].clip.path == ""


def test_frames_are_no_larger_than_asked_and_a_long_clip_has_smaller_ones(marked, monkeypatch):
    clip = load_clip(marked, 4, img_size=SIZE)
    assert source_frames(clip, 100).shape == (4, 100, 100, 3)
    monkeypatch.setattr(film, "MOST_PIXELS", 4 * 80 * 80 + 3)
    assert source_frames(clip).shape == (4, 80, 80, 3)
    monkeypatch.setattr(film, "MOST_PIXELS", 4 * 60 * 60)
    assert source_frames(clip) is None, "fewer pixels than the model sees"


@pytest.mark.parametrize(
    "change",
    [
        lambda clip: replace(clip, path=""),
        lambda clip: replace(clip, frames=clip.frames // 2),
        lambda clip: replace(clip, frames=np.roll(clip.frames, 3, 0)),
        lambda clip: replace(clip, frames=clip.frames[:, 1:]),
    ],
    ids=["no file", "darker", "other frames", "not square"],
)
def test_frames_that_are_not_those_of_the_file_have_no_more_pixels(marked, change):
    clip = load_clip(marked, 8, 2, 0, SIZE)
    assert source_frames(change(clip)) is None
    assert source_frames(clip) is not None


def test_a_clip_that_has_all_pixels_has_no_more(marked):
    assert source_frames(load_clip(marked, 4, img_size=TALL)) is None
    assert source_frames(load_clip(marked, 4, img_size=None)) is None


def test_a_file_that_is_gone_or_shorter_now_is_one_sentence_with_the_clips_own_name(marked):
    clip = replace(load_clip(marked, 8, 2, 8, SIZE), source="my holiday.mp4")
    write_clip(marked, shaded(12), 8, 0)
    with pytest.raises(ClipError, match=r"^my holiday\.mp4: the file has changed"):
        source_frames(clip)
    marked.write_bytes(b"no film")
    for call in (source_frames, file_strip):
        with pytest.raises(ClipError, match=r"^my holiday\.mp4: not a video") as error:
            call(clip)
        assert str(marked) not in str(error.value)
    marked.unlink()
    for call in (source_frames, file_strip):
        with pytest.raises(ClipError, match=r"^my holiday\.mp4: the file is gone; it was moved"):
            call(clip)


def strip_of(path, *, count=5, **options):
    return file_strip(load_clip(path, 4, 1, img_size=SIZE, **options), count)


def shown_numbers(strip):
    middles = [picture[len(picture) // 2, picture.shape[1] // 2, 0] for picture in strip.pictures]
    return [round((int(value) - 60) / 5) for value in middles]


def test_a_strip_is_spaced_evenly_and_each_picture_is_the_frame_it_says(marked):
    strip = strip_of(marked)
    assert strip.numbers == [0, 6, 12, 17, 23] == shown_numbers(strip)
    np.testing.assert_allclose(strip.seconds, np.array(strip.numbers) / 8, atol=1e-3)
    assert (strip.count, strip.size) == (24, (TALL, WIDE))
    assert {picture.shape for picture in strip.pictures} == {(72, 128, 3)}


def test_the_strip_of_a_long_file_shows_key_frames_under_their_own_numbers(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.mp4", shaded(32, 36, 64), 8, gop=8)
    decoded = []
    whole = film.decode_from

    def counted(*given):
        for one in whole(*given):
            decoded.append(one)
            yield one

    monkeypatch.setattr(film, "decode_from", counted)
    monkeypatch.setattr(film, "DECODED", 20)
    strip = strip_of(path, count=4)
    assert strip.numbers == [0, 8, 16, 24] == shown_numbers(strip)
    assert strip.count == 32 and len(decoded) == 4


@pytest.mark.parametrize("suffix", ["avi", "h264", "ts", "mkv"])
def test_a_strip_of_any_container_shows_the_frames_it_says(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = write_video(tmp_path / f"film.{suffix}", shaded(12, 36, 64), 8, codec)
    strip = strip_of(path, count=3, damaged="show")
    assert strip.numbers == [0, 6, 11] == shown_numbers(strip) and strip.count == 12


def test_a_strip_tells_how_far_it_is_and_can_be_stopped(marked):
    told = []

    def report(words, share):
        told.append(share)
        if len(told) == 3:
            raise LookupError

    with pytest.raises(LookupError):
        file_strip(load_clip(marked, 4, img_size=SIZE), 5, report=report)
    assert told == [0, 0.2, 0.4]


def test_a_file_of_one_frame_has_a_strip_of_one(tmp_path):
    path = write_video(tmp_path / "one.mp4", shaded(1, 36, 64), 8)
    strip = strip_of(path)
    assert (strip.numbers, strip.count) == ([0], 1)
