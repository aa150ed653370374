"""Frames come in the order of display; damage is told of exactly those that it may reach."""

import os
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips.test_decode import number_in, picture
from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips import load_clip
from vmamba_explore.clips.bitstream import ORIENTATION
from vmamba_explore.clips.decoding import HELD_BACK, _Judge, decode_from
from vmamba_explore.clips.look import LostError, look_at
from vmamba_explore.clips.stream import Damage, stream_clips

FRAMES, GOP = 48, 12
PICTURES = [picture(number) for number in range(FRAMES)]
H264 = {"x264-params": f"bframes=3:b-adapt=0:b-pyramid=none:scenecut=0:keyint={GOP}"}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("decoding") / "counting.mp4"
    return write_video(path, PICTURES, 25, codec_options=H264)


def decoded(look, start=0):
    container, stream = look.open()
    with container:
        yield from decode_from(look, container, stream, start)


def emptied(video, path, place):
    """Copy a file with the bytes of one packet, but for its head, set to zero."""
    with av.open(str(video)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][place]
        data = bytearray(video.read_bytes())
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_frames_come_in_the_order_of_display_each_with_its_own_packet(tmp_path, suffix, codec):
    options = H264 if codec == "libx264" else {"bf": "2", "b_strategy": "0"}
    path = write_video(tmp_path / f"a.{suffix}", PICTURES, 25, codec, codec_options=options)
    frames = list(decoded(look_at(os.fspath(path))))
    assert [number_in(one.frame.to_ndarray(format="rgb24")) for one in frames] == list(
        range(FRAMES)
    )
    assert [one.reason for one in frames] == [""] * FRAMES
    assert sorted(one.place for one in frames) == list(range(FRAMES))
    assert [one.place for one in frames] != list(range(FRAMES)), "the file has no B-frames any more"


@pytest.mark.parametrize("start", [12, 24, 36])
def test_from_a_start_come_the_frames_that_are_shown_from_there(video, start):
    frames = list(decoded(look_at(os.fspath(video)), start))
    shown = [number_in(one.frame.to_ndarray(format="rgb24")) for one in frames]
    assert shown == list(range(start, FRAMES))
    assert frames[0].place == start


@pytest.mark.parametrize("place", [1, 5, 13, 14, 25, 30, 44])
def test_damage_is_told_of_what_is_decoded_after_it_up_to_the_next_start(tmp_path, video, place):
    look = look_at(os.fspath(emptied(video, tmp_path / "damaged.mp4", place)))
    assert list(look.damaged) == [place]
    told = {one.place for one in decoded(look) if one.reason}
    assert told == set(range(place, place // GOP * GOP + GOP))
    numbers = sorted(look.number(one, 0) for one in told)
    clip = load_clip(look.path, FRAMES, 1, 0, None, damaged="show")
    assert np.flatnonzero(clip.damaged).tolist() == numbers
    whole = [number for number in range(FRAMES) if number not in numbers]
    assert [number_in(clip.frames[number]) for number in whole] == whole


def test_damage_of_a_key_frame_lasts_to_the_next_one(tmp_path, video):
    path = emptied(video, tmp_path / "damaged.mp4", GOP)
    clip = load_clip(path, FRAMES, 1, 0, None, damaged="show")
    assert np.flatnonzero(clip.damaged).tolist() == list(range(GOP, 2 * GOP))
    parts = list(stream_clips(path, 4, 1, img_size=32))
    (damage,) = [part for part in parts if isinstance(part, Damage)]
    assert (damage.index, damage.start, damage.end) == pytest.approx((GOP, GOP / 25, 2 * GOP / 25))


def test_a_frame_that_never_comes_holds_back_no_more_than_a_decoder_may(video):
    look = look_at(os.fspath(video))
    judge, shown = _Judge(look), []
    for place in range(FRAMES):
        judge.expect(place)
        if place != 5:
            frame = av.VideoFrame(16, 16, "rgb24")
            frame.opaque = [place]
            judge.add([frame])
        shown += [one.place for one in judge.ready()]
        assert place - len(shown) <= HELD_BACK
    shown += [one.place for one in judge.ready(at_end=True)]
    assert shown == [place for place in range(FRAMES) if place != 5]


def write_shaped(path, part, aspect):
    with av.open(str(path), "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=25, options=H264)
        video.height, video.width = part[0].shape[:2]
        video.pix_fmt, video.codec_context.sample_aspect_ratio = "yuv420p", aspect
        for pixels in part:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
    return path


def test_the_shape_of_pixels_may_change_on_the_way(tmp_path):
    """As on television, between 4:3 and 16:9."""
    parts = [
        write_shaped(tmp_path / "a.ts", PICTURES[:20], Fraction(1)),
        write_shaped(tmp_path / "b.ts", PICTURES[20:], Fraction(4, 3)),
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(decoded(look_at(os.fspath(path))))
    assert [one.pixels().shape[:2] for one in frames] == [(72, 96)] * 20 + [(72, 128)] * 28
    clip = load_clip(path, 4, 10, 10, 72)
    wide = load_clip(parts[1], 1, 1, 0, 72)
    assert np.array_equal(clip.frames[1], wide.frames[0])


def test_other_packets_than_those_listed_are_noticed(video):
    look = look_at(os.fspath(video))
    fewer = replace(look, stamps=look.stamps[:-1])
    other = replace(look, stamps=[(1, 1), *look.stamps[1:]])
    for known, start in ((fewer, 0), (other, 0)):
        with pytest.raises(LostError, match=r"counting\.mp4"):
            list(decoded(known, start))
    elsewhere = replace(look, stamps=[(pts + 1, dts + 1) for pts, dts in look.stamps])
    with pytest.raises(LostError):
        list(decoded(elsewhere, 24))


def test_an_orientation_holds_until_another_one_comes(tmp_path):
    """A message in the stream (SEI) stands at key frames only."""

    def oriented(path, rotation, part):
        # not canceled, not mirrored, 16 bits of the angle, repeated (ue 1), no extension
        bits = f"000{rotation * 65536 // 360:016b}0100".ljust(24, "0")
        message = b"\0\0\1\x06" + bytes([ORIENTATION, 3]) + int(bits, 2).to_bytes(3) + b"\x80"
        options = {"x264-params": "repeat-headers=1:annexb=1:keyint=12:bframes=0:aud=0"}
        write_video(path, part, 25, codec_options=options, format="h264")
        data = path.read_bytes()
        place = data.index(b"\0\0\1\x65")
        path.write_bytes(data[:place] + message + data[place:])
        return path

    parts = [
        oriented(tmp_path / "a.h264", 90, PICTURES[:8]),
        oriented(tmp_path / "b.h264", 180, PICTURES[8:16]),
    ]
    path = tmp_path / "joined.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    turns = [one.turn.tolist() for one in decoded(look_at(os.fspath(path)))]
    assert len(turns) == 16
    assert turns[:8] == [turns[0]] * 8
    assert turns[8:] == [[[-1, 0], [0, -1]]] * 8
    assert turns[0] in ([[0, 1], [-1, 0]], [[0, -1], [1, 0]])


def test_a_frame_that_is_not_there_has_a_reason_wherever_it_belongs(video):
    judge = _Judge(look_at(os.fspath(video)))
    judge._begin(12)
    judge.fail(3, "damaged (a test)")  # decoded before what is shown now
    (missing,) = judge.ready(at_end=True)
    assert (missing.frame, missing.reason) == (None, "damaged (a test)")
