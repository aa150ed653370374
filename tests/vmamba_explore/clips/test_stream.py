"""Files read as clips, one after the other: every frame once, damage told, little held."""

import os
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips import Clip, ClipError, load_clip
from vmamba_explore.clips.decoding import HELD_BACK, Decoded
from vmamba_explore.clips.stream import Damage, stream_clips, video_seconds

SHARED = Path(__file__).resolve().parents[4] / "shared" / "clips"
FRAMES, RATE, GROUP = 100, 10, 20
PICTURES = np.random.default_rng(0).integers(0, 256, (FRAMES, 8, 8, 3), dtype=np.uint8)


def write(path, rate=RATE, **options):
    """Write noise that changes with every frame, a key frame every 20."""
    keys = {"keyint_min": str(GROUP), "sc_threshold": "0"}
    large = PICTURES.repeat(8, 1).repeat(8, 2)
    return write_video(path, large, rate, gop=GROUP, codec_options=keys, **options)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write(tmp_path_factory.mktemp("stream") / "noise.mp4")


@pytest.fixture
def damaged(video, tmp_path):
    """Return a copy with the packet of one frame, near 50, overwritten, and that packet's time."""
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        packet = packets[50]
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    return path


def numbers(parts):
    return [part.indices.tolist() for part in parts]


def test_clips_side_by_side_show_every_second_frame_once(video):
    parts = list(stream_clips(video, 10, stride=2, img_size=32))
    assert np.concatenate(numbers(parts)).tolist() == list(range(0, FRAMES, 2))


@pytest.mark.parametrize(
    ("stride", "hop", "starts"), [(1, 5, range(0, 95, 5)), (3, 8, (0, 24, 48))]
)
def test_a_streamed_clip_has_the_bits_that_load_clip_reads_there(video, stride, hop, starts):
    parts = list(stream_clips(video, 10, stride, hop, 32))
    assert [part.indices[0] for part in parts][: len(starts)] == list(starts)
    for part in parts:
        other = load_clip(video, 10, stride, int(part.indices[0]), 32)
        assert np.array_equal(part.frames, other.frames)
        assert np.array_equal(part.seconds, other.seconds)
        assert np.array_equal(part.indices, other.indices)


def test_the_last_clip_is_moved_back_to_end_with_the_file(video):
    *_, before, last = stream_clips(video, 16, 1, img_size=32)
    assert before.indices[-1] == 95
    assert last.indices.tolist() == list(range(84, 100))
    assert last.repeated == 0


def test_a_hop_beyond_the_clip_leaves_frames_out_and_ends_with_a_whole_hop(video):
    assert numbers(stream_clips(video, 4, 10, 6, 32)) == [
        [0, 10, 20, 30],
        [60, 70, 80, 90],
    ]
    assert len(list(stream_clips(video, 4, 1, 50, 32))) == 2  # nothing of what is skipped at 54


def test_a_file_shorter_than_a_clip_repeats_the_last_frame_of_the_clip(video):
    (only,) = stream_clips(video, 16, 10, img_size=32)
    assert (only.repeated, only.indices[-1]) == (6, 90)
    assert np.array_equal(only.frames[:10], load_clip(video, 10, 10, 0, 32).frames)
    assert (only.frames[10:] == only.frames[9]).all()


def test_a_damaged_stretch_is_told_and_clips_start_anew_at_the_next_key_frame(video, damaged):
    whole = {
        number: pixels
        for clip in stream_clips(video, 5, 1, 1, 32)
        for number, pixels in zip(clip.indices, clip.frames, strict=True)
    }
    parts = list(stream_clips(damaged, 5, 1, img_size=32))
    (damage,) = [part for part in parts if isinstance(part, Damage)]
    assert damage.reason.startswith("damaged")
    place = parts.index(damage)
    after = parts[place + 1]
    assert after.indices[0] == 60  # the next of the key frames at 0, 20, 40, ...
    assert damage.end == pytest.approx(6.0)
    assert 50 - 4 - HELD_BACK <= damage.index <= 50
    assert damage.start == pytest.approx(damage.index / RATE)
    shown = [part for part in parts if isinstance(part, Clip)]
    for part in shown:
        for number, pixels in zip(part.indices, part.frames, strict=True):
            assert not damage.index <= number < 60
            assert np.array_equal(pixels, whole[number])
    assert {number for part in shown for number in part.indices} == {
        *range(damage.index),
        *range(60, 100),
    }


@pytest.mark.parametrize("after", [-1, 0, 14, 34, 60])
def test_going_on_after_a_frame_gives_the_same_parts_as_the_whole(damaged, after):
    def first(part):
        return part.index if isinstance(part, Damage) else part.indices[0]

    whole = [part for part in stream_clips(damaged, 5, 1, 2, 32) if first(part) > after]
    rest = list(stream_clips(damaged, 5, 1, 2, 32, after))
    assert [first(part) for part in rest] == [first(part) for part in whole]
    for one, other in zip(rest, whole, strict=True):
        if isinstance(one, Damage):
            assert one == other
        else:
            assert np.array_equal(one.frames, other.frames)


@pytest.mark.parametrize(
    ("name", "options"), [("cut.mkv", {}), ("cut.mp4", {"movflags": "faststart"})]
)
def test_a_file_that_was_cut_off_says_so_where_it_ends(name, options, tmp_path):
    path = write(tmp_path / name, options=options)
    os.truncate(path, path.stat().st_size * 2 // 3)
    *_, clip, end = stream_clips(path, 8, 1, img_size=32)
    assert isinstance(end, Damage) and isinstance(clip, Clip)
    assert "cut off" in end.reason or "damaged" in end.reason
    assert 4 < end.start < 8 < end.end
    if name == "cut.mkv":  # which says how long it was
        assert end.end == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("slow.mkv", {"rate": Fraction(1, 2)}),
        ("sound.mkv", {"silence": 15}),
        ("sound.mp4", {"silence": 15}),
    ],
)
def test_a_whole_file_is_not_said_to_be_cut_off(name, how, tmp_path):
    path = write(tmp_path / name, **how)
    assert np.concatenate(numbers(stream_clips(path, 10, 1, img_size=32))).tolist() == [
        *range(FRAMES)
    ]


def test_a_file_that_an_edit_list_trims_is_whole(video, tmp_path):
    data = bytearray(video.read_bytes())
    length = data.index(b"elst") + 12  # of the first edit
    ticks = int.from_bytes(data[length : length + 4])
    data[length : length + 4] = (ticks // 2).to_bytes(4)
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(data)
    parts = list(stream_clips(path, 10, 1, img_size=32))
    assert np.concatenate(numbers(parts)).tolist() == list(range(FRAMES // 2))


def test_no_more_is_read_or_resized_than_clips_show(video, monkeypatch):
    seen = []
    pixels = Decoded.pixels
    monkeypatch.setattr(Decoded, "pixels", lambda *args: seen.append(1) or pixels(*args))
    list(islice(stream_clips(video, 4, 2, img_size=32), 1))
    assert len(seen) <= (4 * 2 + HELD_BACK) / 2 + 1
    seen.clear()
    list(stream_clips(video, 4, 5, img_size=32, after=49))
    assert len(seen) == 10


def test_a_file_that_is_no_video_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "page.mp4").write_text("<html>")
    for name, words in (("page.mp4", "not a video that can be read"), ("no.mp4", "no such file")):
        for read in (video_seconds, lambda path: list(stream_clips(path))):
            with pytest.raises(ClipError, match=words):
                read(tmp_path / name)
    with pytest.raises(ClipError, match="no such file"):
        stream_clips(tmp_path / "no.mp4")


@pytest.mark.parametrize("wrong", ["num_frames", "stride", "hop", "img_size"])
def test_numbers_below_one_are_refused_by_name(video, wrong):
    with pytest.raises(ValueError, match=f"{wrong} must be a whole number >= 1, got 0"):
        stream_clips(video, **{wrong: 0})


def test_the_length_is_what_the_file_says(video):
    assert video_seconds(video) == pytest.approx(10.0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize(
    ("name", "damages"),
    [("corrupted.mp4", 1), ("nasa_13013.mp4", 0), ("av1_video.mkv", 0), ("h265_video.mp4", 0)],
)
def test_real_files_are_read_to_their_end(name, damages):
    parts = list(stream_clips(SHARED / name, 16, 1, img_size=32))
    assert sum(isinstance(part, Damage) for part in parts) == damages
    last = parts[-1]
    end = last.end if isinstance(last, Damage) else last.seconds[-1]
    assert end == pytest.approx(video_seconds(SHARED / name), abs=0.25)
