"""Fields that are pictures of their own: two of them are one frame, at the time of the first."""

import io

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips.paff import write_fields
from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips import load_clip
from vmamba_explore.clips.bitstream import Bitstream
from vmamba_explore.clips.fields import Fields
from vmamba_explore.clips.stream import stream_clips

FRAMES = 30
SHADES = 20 + 7 * np.arange(FRAMES, dtype=np.uint8)
GRAYS = np.broadcast_to(SHADES[:, None, None], (FRAMES, 32, 32))


@pytest.fixture(params=["ts", "mp4", "mkv", "avi"])
def film(request, tmp_path):
    path = write_fields(tmp_path / f"fields.{request.param}", GRAYS)
    with av.open(str(path)) as container:
        packets = sum(bool(packet.size) for packet in container.demux(video=0))
    assert packets == 2 * FRAMES, "the file no longer has a packet for each field"
    return path


def numbers(frames):
    """The numbers of frames, from their shade of gray, which is stored from 16 to 235."""
    shades = frames.reshape(len(frames), -1).mean(1) * 219 / 255 + 16
    return np.abs(shades[:, None] - SHADES).argmin(1).tolist()


@pytest.mark.parametrize(("start", "stride"), [(0, 1), (0, 4), (7, 3), (20, 2)])
def test_frames_are_counted_not_fields(film, start, stride):
    clip = load_clip(film, 4, stride, start, None)
    expected = list(range(start, start + 4 * stride, stride))
    assert clip.indices.tolist() == numbers(clip.frames) == expected


def test_a_clip_of_all_frames_has_the_times_of_their_first_fields(film):
    clip = load_clip(film, FRAMES, 1, 0, None)
    assert (clip.repeated, numbers(clip.frames)) == (0, list(range(FRAMES)))
    assert np.diff(clip.seconds) == pytest.approx(1 / 25, abs=2e-3)
    streamed = list(stream_clips(film, 10, 1, img_size=32))
    assert np.concatenate([part.indices for part in streamed]).tolist() == list(range(FRAMES))
    seconds = np.concatenate([part.seconds for part in streamed])
    assert seconds == pytest.approx(clip.seconds, abs=1e-6)


def test_a_damaged_second_field_makes_its_frame_damaged(tmp_path):
    path = write_fields(tmp_path / "fields.mkv", GRAYS)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    second = packets[2 * 15 + 1]
    path.write_bytes(path.read_bytes().replace(second, second[:100] + bytes(len(second) - 100)))
    clip = load_clip(path, FRAMES, 1, 0, None, damaged="show")
    assert np.flatnonzero(clip.damaged).tolist() == list(range(15, 24))


@pytest.mark.parametrize(
    "options",
    [{}, {"x264-params": "interlaced=1"}, {"profile": "high", "x264-params": "cqm=jvt"}],
)
def test_no_picture_of_other_films_is_a_second_field(tmp_path, options):
    pictures = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "frames.mp4", pictures, 25, codec_options=options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        bits = Bitstream("h264", bytes(stream.codec_context.extradata))
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    assert [bits.is_hidden(data) for data in packets] == [False] * 24


def test_parameters_and_slices_that_end_early_say_nothing():
    fields = Fields()
    unit = bytes.fromhex("674d001e95a0202220")
    for length in range(len(unit)):
        fields.read_parameters(unit[:length])
    for content in (b"", b"\x65", b"\x65\x88", bytes(40)):
        assert not fields.is_second(content)
    for content in io.BytesIO(np.random.default_rng(0).bytes(4000)):
        fields.read_parameters(content)
        assert fields.is_second(content) in (True, False)
