"""What the packets of a file tell: which frames, when, from where, by which reader."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips.test_decode import number_in, picture, spoil
from tests.vmamba_explore.clips.videos import write_video
from vmamba_explore.clips import ClipError, load_clip
from vmamba_explore.clips.bitstream import Bitstream
from vmamba_explore.clips.look import LostError, _one_after_the_other, _Packets, look_at
from vmamba_explore.clips.stream import Damage, stream_clips

FRAMES, RATE = 48, 25
PICTURES = [picture(number) for number in range(FRAMES)]
H264 = {"x264-params": "bframes=3:b-adapt=0:scenecut=0:keyint=12"}
XVID = {"bf": "2", "b_strategy": "0"}


def write(path, codec="libx264", pictures=PICTURES, **options):
    defaults = {"libx264": H264, "mpeg4": XVID, "libx265": {"x265-params": "log-level=none"}}
    options = {"codec_options": defaults.get(codec), **options}
    return write_video(path, pictures, RATE, codec, **options)


def look(path):
    return look_at(os.fspath(path))


def numbers(clip):
    return [number_in(frame) for frame in clip.frames]


def remux(source, target, change=lambda video, packets: packets, **options):
    """Write the packets of a file into another, after a change."""
    with av.open(str(source)) as old, av.open(str(target), "w", **options) as new:
        video = new.add_stream_from_template(old.streams.video[0])
        for packet in change(video, [packet for packet in old.demux(video=0) if packet.size]):
            packet.stream = video
            new.mux(packet)
    return target


# -- which frames, and when ------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_times_of_avi_with_b_frames_do_not_depend_on_what_is_asked(tmp_path, codec):
    path = write(tmp_path / "a.avi", codec)
    assert (look(path).order is None) == (codec == "libx264")  # others tell it by their kinds
    times = {}
    for start, stride in ((0, 1), (0, 4), (7, 3), (30, 2)):
        clip = load_clip(path, 6, stride, start, None)
        assert (
            numbers(clip) == clip.indices.tolist() == list(range(start, start + 6 * stride, stride))
        )
        for number, second in zip(clip.indices.tolist(), clip.seconds.tolist(), strict=True):
            assert times.setdefault(number, second) == second == pytest.approx(number / RATE)


def test_the_times_of_joined_transport_streams_go_on(tmp_path):
    parts = [write(tmp_path / f"{n}.ts", pictures=PICTURES[24 * n :][:24]) for n in (0, 1)]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = load_clip(path, FRAMES, 1, 0, None)
    assert numbers(clip) == list(range(FRAMES))
    assert np.diff(clip.seconds) == pytest.approx(1 / RATE, abs=1e-3)
    assert not look(path).seekable


@pytest.mark.parametrize("place", [5, 14, 15, 30])
def test_a_decoding_time_that_is_a_little_wrong_is_no_new_recording(tmp_path, monkeypatch, place):
    path = write(tmp_path / "a.ts")
    whole, add = look(path), _Packets.add

    def add_late(packets, packet):
        add(packets, packet)
        if len(packets.dts) == place + 1:
            packets.dts[place] -= 2 * 90000 // RATE

    monkeypatch.setattr(_Packets, "add", add_late)
    known = look(path)
    assert known.seekable
    assert np.array_equal(known.times, whole.times)


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path):
    times = [40 * (number - 10) for number in range(FRAMES)]
    path = write(tmp_path / "trimmed.mp4", milliseconds=times)
    known = look(path)
    assert (known.count, known.times[known.place(0)]) == (FRAMES - 10, 0)


def test_a_film_that_starts_late_is_seen_from_its_first_frame(tmp_path):
    times = [5000 + 40 * number for number in range(FRAMES)]
    clip = load_clip(write(tmp_path / "late.mkv", milliseconds=times), 3, 1, 0)
    assert clip.seconds == pytest.approx([0, 0.04, 0.08], abs=2e-3)


def test_two_frames_at_the_same_time_are_counted(tmp_path):
    def twice(video, packets):
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = 40 * (number // 2 * 2)
            packet.time_base = Fraction(1, 1000)
        return packets

    source = write(tmp_path / "a.mkv", codec_options={"bf": "0"})
    path = remux(source, tmp_path / "twice.mkv", twice)
    assert look(path).order is None
    clip = load_clip(path, 6, 3, 5, None)
    assert numbers(clip) == [5, 8, 11, 14, 17, 20]
    assert (np.diff(clip.seconds) > 0).all()


@pytest.mark.parametrize("b_frames", [0, 2])
def test_empty_and_repeating_pictures_of_avi_show_the_frame_before_for_longer(tmp_path, b_frames):
    """Programs that drop frames leave chunks without a picture: 0 bytes, or 1 from XviD."""

    def with_gaps(video, packets):
        made = []
        for number, packet in enumerate(packets):
            data = bytes(packet).replace(b"Lavc", b"XviD", 1)
            place = number + number // 4 * 2  # after four pictures, one that repeats, and none
            contents = [(place, data), (place + 1, b"\x7f")][: 1 + (number % 4 == 3)]
            for at, content in contents:
                made.append(av.Packet(content))
                made[-1].pts = made[-1].dts = at
                made[-1].time_base = Fraction(1, RATE)
                made[-1].is_keyframe = packet.is_keyframe and content == data
        return made

    options = {"bf": str(b_frames), "b_strategy": "0"}
    source = write(tmp_path / "a.avi", "mpeg4", codec_options=options)
    path = remux(source, tmp_path / "gaps.avi", with_gaps)
    known = look(path)
    assert (known.cut_off, known.damaged, len(known.hidden)) == ("", {}, 12)
    clip = load_clip(path, FRAMES, 1, 0, None)
    assert numbers(clip) == list(range(FRAMES))
    shown = [number + number // 4 * 2 for number in range(FRAMES)]
    assert clip.seconds == pytest.approx(np.array(shown) / RATE)


# -- where decoding starts -------------------------------------------------------------------------


def test_frames_before_an_open_key_frame_are_decoded_from_the_one_before(tmp_path):
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12"}
    known = look(write(tmp_path / "open.mkv", codec_options=options))
    first, second, third = known.starts[:3]
    assert known.times[third + 1] < known.times[third], "the file has no open groups any more"
    assert known.start_before(third) == third
    assert known.start_before(third + 1) == second
    assert known.start_before(second - 1) == first == 0


def test_recovery_points_of_intra_refresh_are_not_starts(tmp_path):
    options = {"intra-refresh": "1", "x264-params": "bframes=0:keyint=12"}
    known = look(write(tmp_path / "a.mp4", codec_options=options))
    assert known.starts == [0]
    assert known.not_decord == "decoding cannot start at each of its key frames"


PALETTES = np.random.default_rng(0).integers(0, 256, (2, 256, 4), dtype=np.uint8)


def write_palette(path, codec, changes):
    """Write eight-bit pictures that share the first palette up to a frame, then the second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE)
        video.width = video.height = 32
        video.pix_fmt, video.gop_size = "pal8", 12
        for number in range(FRAMES):
            places = np.full((32, 32), number, np.uint8)
            places[8:24, 8:24] = 100
            palette = PALETTES[int(number >= changes)]
            frame = av.VideoFrame.from_ndarray((places, palette), format="pal8")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


@pytest.mark.parametrize("codec", ["rawvideo", "msrle"])
@pytest.mark.parametrize("changes", [FRAMES, 20, 24])
def test_colors_of_a_palette_are_right_wherever_reading_starts(tmp_path, codec, changes):
    path = write_palette(tmp_path / "a.avi", codec, changes)
    whole = load_clip(path, FRAMES, 1, 0, None)
    for number in range(FRAMES):
        color = PALETTES[int(number >= changes), number, 1:]
        assert np.array_equal(whole.frames[number, 2, 2], color), number
        alone = load_clip(path, 1, 1, number, None)
        assert np.array_equal(alone.frames[0], whole.frames[number]), number


# -- which stream, and which shape -----------------------------------------------------------------


def write_two(path):
    """Write two video streams; the second shows the pictures backward and is larger."""
    with av.open(str(path), "w") as container:
        streams = []
        for scale in (1, 2):
            streams.append(container.add_stream("libx264", rate=RATE, options=H264))
            height, width, _ = PICTURES[0].shape
            streams[-1].height, streams[-1].width = height * scale, width * scale
            streams[-1].pix_fmt = "yuv420p"
        for number in range(FRAMES):
            for stream, shown in zip(streams, (number, FRAMES - 1 - number), strict=True):
                scale = stream.width // 96
                pixels = PICTURES[shown].repeat(scale, 0).repeat(scale, 1)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def test_of_two_streams_all_readers_show_the_same(tmp_path):
    path = write_two(tmp_path / "two.mkv")
    known = look(path)
    assert known.not_decord == "it has several video streams"
    with av.open(str(path)) as container:
        assert known.stream == container.streams.best("video").index
    loaded = load_clip(path, 8, 1, 0, 72)
    streamed = next(iter(stream_clips(path, 8, 1, img_size=72)))
    assert np.array_equal(loaded.frames, streamed.frames)


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.height, video.width = PICTURES[0].shape[:2]
        video.pix_fmt, video.codec_context.sample_aspect_ratio = "yuv420p", Fraction(2)
        for pixels in PICTURES[:8]:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
    known = look(path)
    assert (known.aspect, known.not_decord) == (2, "its pixels are not square")
    assert load_clip(path, 1, start=0, img_size=None).frames.shape[1:3] == (72, 192)


# -- by which reader -------------------------------------------------------------------------------


def join_packets(parts, path):
    """Write the packets of files into one, times going on, with the parameters of the first."""
    with av.open(str(path), "w") as target:
        video, offset = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                video = video or target.add_stream_from_template(stream)
                packets = [packet for packet in source.demux(stream) if packet.size]
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = video
                    target.mux(packet)
                offset += round(len(packets) / RATE / stream.time_base)
    return path


def other_parameters(folder):
    repeated = {"x264-params": "bframes=0:repeat-headers=1:annexb=1"}
    parts = [
        write(folder / f"{refs}.ts", codec_options={**repeated, "refs": refs}) for refs in "14"
    ]
    return join_packets(parts, folder / "joined.mkv")


def open_groups(folder):
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12"}
    return write(folder / "a.mp4", codec_options=options)


def negative(folder):
    return write(folder / "a.mp4", milliseconds=[40 * (number - 10) for number in range(FRAMES)])


def swapped(folder):
    def change(video, packets):
        for number, packet in enumerate(packets):
            packet.pts += 40 * (3 - 2 * (number % 2))
        return packets

    source = write(folder / "a.mkv", codec_options={"bf": "0"})
    return remux(source, folder / "swapped.mkv", change)


NOT_DECORD = {
    "": lambda folder: write(folder / "a.mp4"),
    "its container is neither MP4 nor Matroska": lambda folder: write(folder / "a.ts"),
    "its pictures are coded as mpeg4": lambda folder: write(folder / "a.mp4", "mpeg4"),
    "its pixels are yuv444p": lambda folder: write_444(folder / "a.mp4"),
    "it has several video streams": lambda folder: write_two(folder / "a.mkv"),
    "it is damaged or cut off": lambda folder: spoil(
        write(folder / "a.mp4"), folder / "spoiled.mp4", 0.3, 0.3
    ),
    "its packets do not tell the order of its frames": swapped,
    "some of its packets show no frame": negative,
    "its groups of pictures are open": open_groups,
    "its parameters change on the way": other_parameters,
    "it is turned or mirrored": lambda folder: write(folder / "a.mp4", rotation=90),
}


def write_444(path):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.height, video.width = PICTURES[0].shape[:2]
        video.pix_fmt = "yuv444p"
        for pixels in PICTURES:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
    return path


@pytest.mark.parametrize("reason", NOT_DECORD)
def test_the_look_says_why_decord_is_not_asked(tmp_path, reason):
    path = NOT_DECORD[reason](tmp_path)
    assert look(path).not_decord == reason
    reader = load_clip(path, 4, 2, 8, damaged="show").reader
    assert reader.startswith(f"PyAV ({reason}" if reason else "decord")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n",
        "ffconcat version 1.0\nfile a.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nm=video 5004 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("name", ["a.m3u8", "a.mp4", "a"])
def test_a_playlist_is_refused_without_opening_what_it_names(tmp_path, text, name):
    write(tmp_path / "a_film.mp4")
    (tmp_path / name).write_text(text.replace("a.mp4", "a_film.mp4"))
    with pytest.raises(ClipError, match="a playlist or a page, which names other files"):
        look(tmp_path / name)


def test_another_file_in_its_place_is_a_clip_error(tmp_path):
    path = write(tmp_path / "a.mp4")
    known = look(path)
    write_video(path, [], silence=1.0)
    with pytest.raises(LostError, match=r"a\.mp4: it does not hold the same packets"):
        known.open()
    assert issubclass(LostError, ClipError)


@pytest.mark.parametrize("change", ["shorter", "other"])
def test_a_file_that_changes_while_it_is_read_ends_in_a_sentence(tmp_path, monkeypatch, change):
    from vmamba_explore.clips import decode, stream

    path, other = (
        write(tmp_path / "a.avi", "mpeg4"),
        write(tmp_path / "b.avi", "mpeg4", PICTURES[:9]),
    )

    def look_and_change(filename):
        known = look_at(filename)
        data = other.read_bytes() if change == "other" else path.read_bytes()[:9000]
        path.write_bytes(data)
        return known

    original = path.read_bytes()
    for module in (decode, stream):
        monkeypatch.setattr(module, "look_at", look_and_change)
    for read in (lambda: load_clip(path, 4, 1, 30), lambda: list(stream_clips(path))):
        path.write_bytes(original)
        try:
            result = read()
        except ValueError as error:
            said = ("a.avi: it does not hold", "start=30", "frame 30 is damaged (it cannot be")
            assert any(reason in str(error) for reason in said)
        else:
            assert all(len(part.frames) == 16 for part in result if not isinstance(part, Damage))


def test_a_file_whose_packets_show_no_frame_has_times_all_the_same():
    packets = _Packets(Bitstream("mpeg4"), pts=[0, 1], dts=[0, 1], hidden={0, 1})
    assert _one_after_the_other(packets, base=0.04, begin=0.0, rate=25.0).tolist() == [0.0]
