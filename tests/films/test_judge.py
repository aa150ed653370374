import pathlib

import numpy as np
import pytest

from tests.films import films, judge
from vmamba_explore.clips import Clip, ClipError

PATH = pathlib.Path("example.mp4")
FILM = films.Film("example.mp4", "")


def clip(numbers, seconds=None, first=0):
    indices = np.arange(first, first + len(numbers))
    seconds = indices / 25 if seconds is None else np.array(seconds, float)
    return Clip(np.stack([films.picture(n) for n in numbers]), seconds, "example", indices)


def middle(frames):
    return frames[:, :, 16:112]


@pytest.mark.parametrize("matrix", [films.UPRIGHT, *films.ORIENTATIONS.values()])
def test_a_number_is_read_where_the_picture_is_turned_as_it_should_be_and_nowhere_else(matrix):
    frames = np.stack([films.turned(films.picture(n), matrix) for n in range(films.NUMBERS)])
    for other in (films.UPRIGHT, *films.ORIENTATIONS.values()):
        seen = judge.numbers_in(frames, films.Film("a.mp4", "", matrix=other))
        right = (
            list(range(films.NUMBERS)) if other == matrix else [judge.UNREADABLE] * films.NUMBERS
        )
        assert seen == right


def test_a_number_is_read_in_the_middle_square_and_at_another_size():
    frames = np.stack([films.picture(n) for n in (0, 31, 63)])
    assert judge.numbers_in(middle(frames), FILM, square=True) == [0, 31, 63]
    assert judge.numbers_in(frames.repeat(2, 1).repeat(2, 2), FILM) == [0, 31, 63]
    assert judge.numbers_in(frames.repeat(2, 1), FILM) == [judge.UNREADABLE] * 3  # squeezed


def test_no_number_is_read_in_a_frame_with_one_damaged_block_or_none_of_its_colors():
    frame = films.picture(21)
    spoiled, gray = frame.copy(), frame.copy()
    spoiled[80:88, 64:72] = 255 - spoiled[80:88, 64:72] // 3
    gray[:] = frame.mean(2, keepdims=True)
    noise = np.random.default_rng(0).integers(0, 256, frame.shape, np.uint8)
    frames = np.stack([frame, spoiled, gray, noise, 0 * frame])
    assert judge.numbers_in(frames, FILM) == [21] + 4 * [judge.UNREADABLE]
    luma = films.Film("a.mp4", "", gray=True)
    assert judge.numbers_in(np.stack([gray]), luma) == [21]


def reading(monkeypatch, load, stream=None):
    """Judge a film that these functions read in place of the package's own."""
    parts = stream or [clip(range(films.FRAMES))]
    for part in parts:
        if isinstance(part, Clip):
            object.__setattr__(part, "frames", middle(part.frames))
    monkeypatch.setattr(judge, "load_clip", load)
    monkeypatch.setattr(judge, "stream_clips", lambda path, **_: iter(parts))
    return judge.judge


def right(path, num_frames, stride, start, img_size, **_):
    indices, repeated = judge.frame_indices(films.FRAMES, num_frames, stride, start)
    frames = np.stack([films.picture(n) for n in indices])
    frames = middle(frames) if img_size else frames
    return Clip(frames, indices / 25, "example", indices, repeated)


def shifted(change):
    """`right`, with the frames of one clip changed: that which starts at frame 7."""

    def load(path, **ask):
        made = right(path, **ask)
        return change(made) if ask["start"] == 7 else made

    return load


def test_a_reader_without_fault_is_found_to_have_none(monkeypatch):
    verdict = reading(monkeypatch, right)(PATH, FILM)
    assert verdict == judge.Verdict(clips=12)


def refuse(made):
    raise ClipError("no")


@pytest.mark.parametrize(
    "change, count",
    [
        (lambda made: clip([8], [7 / 25], 7), {"wrong": 1}),
        (lambda made: clip([7], [7 / 25], 8), {"wrong": 1}),
        (lambda made: clip([7], [7.6 / 25], 7), {"times": 1}),
        (refuse, {"refused": 1}),
    ],
)
def test_one_wrong_clip_is_counted_once_and_said(monkeypatch, change, count):
    verdict = reading(monkeypatch, shifted(change))(PATH, FILM)
    counts = {name: getattr(verdict, name) for name in ("wrong", "refused", "stream")}
    assert counts == {"wrong": 0, "refused": 0, "stream": 0} | {
        name: value for name, value in count.items() if name != "times"
    }
    assert ("times" in count) <= (verdict.times > 0)
    assert verdict.findings


def test_a_stream_that_leaves_a_frame_out_or_repeats_a_time_is_found(monkeypatch):
    short = [clip(range(films.FRAMES - 1))]
    assert reading(monkeypatch, right, short)(PATH, FILM).stream == 1
    times = np.arange(films.FRAMES) / 25
    times[20] = times[19]
    stands = [clip(range(films.FRAMES), times)]
    assert reading(monkeypatch, right, stands)(PATH, FILM).times > 0


@pytest.mark.parametrize("told, wrong, unseen", [(True, 1, 0), (False, 0, 1)])
def test_a_spoiled_frame_counts_as_wrong_only_where_ffmpeg_tells_of_damage(
    monkeypatch, told, wrong, unseen
):
    film = films.Film("damaged.mp4", "", damaged=True, intact=8)

    def spoil(made):
        made.frames[0, :16] = 255
        return made

    monkeypatch.setattr(judge, "told", lambda path: told)
    verdict = reading(monkeypatch, shifted(spoil))(PATH, film)
    assert (verdict.wrong, verdict.unseen, bool(verdict.findings)) == (wrong, unseen, told)


@pytest.mark.parametrize("suffix, wrong", [("mp4", 1), ("avi", 0)])
def test_a_frame_at_another_time_is_wrong_in_a_damaged_film_that_has_times(
    monkeypatch, suffix, wrong
):
    film = films.Film(f"damaged.{suffix}", "", damaged=True, intact=8)
    monkeypatch.setattr(judge, "told", lambda path: True)
    late = shifted(lambda made: clip([9], [7 / 25], 7))
    verdict = reading(monkeypatch, late)(pathlib.Path(film.name), film)
    assert (verdict.wrong, verdict.times) == (wrong, 1)


@pytest.mark.parametrize("numbers", [[7, 9, 8], [7, 7, 8]])
def test_a_frame_out_of_order_is_wrong_in_a_damaged_film_without_times(monkeypatch, numbers):
    film = films.Film("damaged.avi", "", damaged=True, intact=8)
    monkeypatch.setattr(judge, "told", lambda path: True)
    swapped = shifted(lambda made: clip(numbers, first=7))
    assert reading(monkeypatch, swapped)(pathlib.Path(film.name), film).wrong == 1


def test_a_reader_that_refuses_all_of_a_damaged_film_is_found(monkeypatch):
    film = films.Film("damaged.mp4", "", damaged=True, intact=8)
    monkeypatch.setattr(judge, "told", lambda path: True)
    verdict = reading(monkeypatch, lambda path, **ask: refuse(None), [clip([0])])(PATH, film)
    assert (verdict.refused, verdict.stream) == (verdict.clips, 7)
