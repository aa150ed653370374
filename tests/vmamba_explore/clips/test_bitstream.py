"""Packets are read without decoding: where decoding can start, and which bytes are missing."""

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips.bitstream import START_OF_SCAN, ZEROS_IN_CODE, Bitstream

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
MOVING = np.stack([np.roll(NOISE, (n, 2 * n), (0, 1)) for n in range(24)])
FILMS = {
    "length before each unit": ("a.mp4", "libx264", {}),
    "start codes": ("a.ts", "libx264", {}),
    "H.265": ("a.mkv", "libx265", {"x265-params": "log-level=none"}),
    "MPEG-4": ("a.avi", "mpeg4", {}),
    "MPEG-2": ("b.ts", "mpeg2video", {}),
    "VP8": ("a.webm", "libvpx", {"deadline": "realtime"}),
    "VP9": ("b.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


def read(path):
    """The packets of a file, and what reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        bits = Bitstream(context.name, bytes(context.extradata or b""))
        packets = [packet for packet in container.demux(stream) if packet.size]
        return bits, [bytes(packet) for packet in packets], [p.is_keyframe for p in packets]


@pytest.fixture(params=FILMS)
def film(request, tmp_path):
    name, codec, options = FILMS[request.param]
    return read(write_video(tmp_path / name, MOVING, 25, codec, gop=8, codec_options=options))


def test_no_packet_of_a_whole_film_is_damaged(film):
    bits, packets, _ = film
    assert [bits.is_damaged(data) for data in packets] == [False] * 24


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_twenty_zeros_inside_a_packet_are_damage(film, share):
    bits, packets, _ = film
    for data in packets:
        place = int(share * (len(data) - 24))
        if len(data) > 100:
            assert bits.is_damaged(data[:place] + bytes(20) + b"\x55" + data[place + 21 :])


@pytest.mark.parametrize("film", ["start codes", "MPEG-4", "MPEG-2"], indirect=True)
def test_zeros_that_fill_up_a_packet_of_start_codes_are_no_damage(film):
    bits, packets, _ = film
    assert not bits.is_damaged(packets[1] + bytes(40))
    assert not bits.is_damaged(bytes(5) + packets[1])


def test_a_length_that_leads_past_the_end_is_damage(tmp_path):
    bits, packets, _ = read(write_video(tmp_path / "a.mp4", MOVING))
    assert bits.is_damaged(packets[3][:-1])
    assert bits.is_damaged(b"\0\0\0\0" + packets[3])


def test_jpeg_pictures_may_be_filled_up_with_zeros_behind_their_end():
    picture = b"\xff\xd8" + bytes(30) + b"\xff\xda" + b"picture" * 20 + b"\xff\xd9"
    bits = Bitstream("mjpeg")
    assert not bits.is_damaged(picture + bytes(100))
    assert bits.is_damaged(picture[:70] + bytes(16) + picture[86:])


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_without_detail_may_be_written_as_zeros_by_jpeg(tmp_path, shade):
    flat = np.full((3, 480, 640, 3), shade, np.uint8)
    options = {"huffman": "optimal", "threads": "1"}  # which allow it
    bits, packets, _ = read(
        write_video(tmp_path / "a.avi", flat, 25, "mjpeg", codec_options=options)
    )
    assert any(ZEROS_IN_CODE in data[data.index(START_OF_SCAN) :] for data in packets)
    assert [bits.is_damaged(data) for data in packets] == [False] * 3


def test_zeros_in_a_jpeg_with_detail_are_damage(tmp_path):
    bits, packets, _ = read(write_video(tmp_path / "a.avi", MOVING, 25, "mjpeg"))
    for data in packets:
        assert not bits.is_damaged(data)
        place = data.index(START_OF_SCAN) + 100
        assert bits.is_damaged(data[:place] + bytes(20) + data[place + 20 :])


@pytest.mark.parametrize("name", ["length before each unit", "H.265"])
def test_start_codes_in_place_of_lengths_are_no_damage(tmp_path, name):
    """Some writers put them there, and decoders take them."""
    suffix, codec, options = FILMS[name]
    film = write_video(tmp_path / suffix, MOVING, 25, codec, gop=8, codec_options=options)
    bits, packets, keys = read(film)
    for data, key in zip(packets, keys, strict=True):
        units = b"".join(b"\0\0\0\1" + data[begin:end] for begin, end in bits._units(data))
        assert len(units) == len(data)
        assert not bits.is_damaged(units)
        assert not key or bits.is_start(units)


def test_early_writers_of_h265_gave_their_parameters_version_0(tmp_path):
    suffix, codec, options = FILMS["H.265"]
    film = write_video(tmp_path / suffix, MOVING, 25, codec, gop=8, codec_options=options)
    bits, packets, keys = read(film)
    early = Bitstream("hevc", b"\0" + bits.extradata[1:])
    assert [early.is_damaged(data) for data in packets] == [False] * 24
    assert [early.is_start(data) for data in packets] == keys


def test_a_byte_that_repeats_the_picture_before_is_neither_damage_nor_a_frame():
    bits = Bitstream("mpeg4")
    assert not bits.is_damaged(b"\x7f")
    assert bits.is_hidden(b"\x7f")
    assert bits.is_damaged(b"\x7f\x7f")
    assert not bits.is_hidden(b"\0\0\1\xb6picture")


@pytest.mark.parametrize("name", ["length before each unit", "start codes", "H.265"])
def test_decoding_starts_at_the_key_frames_of_ordinary_films(tmp_path, name):
    suffix, codec, options = FILMS[name]
    film = write_video(tmp_path / suffix, MOVING, 25, codec, gop=8, codec_options=options)
    bits, packets, keys = read(film)
    assert sum(keys) == 3
    starts = [bits.is_start(data) for data, key in zip(packets, keys, strict=True) if key]
    assert starts == [True] * 3
    assert not (bits.turns or bits.changes or bits.packs)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"intra-refresh": "1", "x264-params": "bframes=0"}),
        ("libx265", {"x265-params": "intra-refresh=1:bframes=0:log-level=none"}),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_with_intra_refresh_decoding_starts_at_the_first_frame_only(
    tmp_path, codec, options, suffix
):
    film = write_video(tmp_path / f"a.{suffix}", MOVING, 25, codec, gop=8, codec_options=options)
    bits, packets, keys = read(film)
    if sum(keys) == 1:
        pytest.skip("this encoder marks no recovery point as a key frame")
    starts = [bits.is_start(data) for data, key in zip(packets, keys, strict=True) if key]
    assert starts == [True] + [False] * (sum(keys) - 1)


def test_an_open_group_of_pictures_is_a_start(tmp_path):
    options = {"x264-params": "open-gop=1"}
    film = write_video(tmp_path / "a.mkv", MOVING, 25, gop=8, codec_options=options)
    bits, packets, keys = read(film)
    assert sum(keys) == 3
    assert all(bits.is_start(data) for data, key in zip(packets, keys, strict=True) if key)


def test_an_orientation_in_the_stream_is_noticed():
    message = bytes([47, 3, 0x20, 0x11, 0x80])  # display orientation
    unit = b"\0\0\0\1\x06" + message + b"\x80"
    bits = Bitstream("h264")
    bits.is_start(unit + b"\0\0\1\x65picture")
    assert bits.turns


def test_two_pictures_in_one_packet_are_noticed():
    bits = Bitstream("mpeg4")
    picture = b"\0\0\1\xb6picture"
    assert not bits.is_damaged(picture)
    assert not bits.packs
    assert not bits.is_damaged(picture + picture)
    assert bits.packs
