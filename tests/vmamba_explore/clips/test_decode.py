import itertools
import os
import pathlib
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.vmamba_explore.clips import videos
from vmamba_explore.clips import ClipError, decode, load_clip

SAMPLES = pathlib.Path(__file__).parents[4] / "shared" / "clips"
HEIGHT, WIDTH, RATE = 72, 96, 30


def picture(number: int) -> np.ndarray:
    """A frame from which its number can be read again: ten black or white blocks."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([rows * 2, columns * 2, np.full_like(rows, 128)], -1).astype(np.uint8)
    for bit in range(8):
        frame[8:24, 8 + 10 * bit : 18 + 10 * bit] = 255 * (number >> bit & 1)
    return frame


def number_in(frame: np.ndarray) -> int:
    return sum(int(frame[16, 13 + 10 * bit].mean() > 128) << bit for bit in range(8))


def write_video(path, num_frames=60, **options):
    return videos.write_video(path, [picture(n) for n in range(num_frames)], RATE, **options)


def spoil(source, target, start, length):
    """Copy a file with `length` of its bytes (shares of the whole) overwritten by noise."""
    data = bytearray(source.read_bytes())
    first, count = int(len(data) * start), int(len(data) * length)
    data[first : first + count] = np.random.default_rng(0).bytes(count)
    target.write_bytes(data)
    return target


def cut(source, target):
    data = source.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "counting.mp4")


@pytest.fixture(params=["decord", "av"])
def reader(request, monkeypatch):
    """Run a test with one reader only: the other may not be called."""
    if request.param == "av":
        monkeypatch.setattr(decode, "read_frames", None)
    else:
        pytest.importorskip("decord")
        monkeypatch.setattr(decode, "_read_with_av", None)
    return request.param


def with_av_only(monkeypatch, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_frames", None)
        return load_clip(*args, **kwargs)


def test_both_readers_fetch_the_frames_that_were_asked_for(video, reader):
    for start, stride in itertools.product((0, 1, 11, 12, 13, 40), (1, 2, 5)):
        clip = load_clip(video, 4, stride, start, img_size=None)
        expected = list(range(start, start + 4 * stride, stride))
        assert [number_in(frame) for frame in clip.frames] == expected
        assert clip.indices.tolist() == expected
        np.testing.assert_allclose(clip.seconds, clip.indices / RATE, atol=1e-6)


def test_the_clip_is_a_centered_square_by_default(video):
    clip = load_clip(video)
    assert clip.frames.shape == (16, 224, 224, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.indices[0] == 59 - clip.indices[-1] or clip.indices[0] == 58 - clip.indices[-1]
    assert clip.source == "counting.mp4"
    assert clip.repeated == 0
    assert clip.fps == pytest.approx(15, rel=0.01)


def test_resizing_keeps_the_shape_of_things_and_the_middle(tmp_path, video):
    native = load_clip(video, 1, start=0, img_size=None).frames[0]
    assert native.shape == (HEIGHT, WIDTH, 3)
    square = load_clip(video, 1, start=0, img_size=HEIGHT).frames[0]
    margin = (WIDTH - HEIGHT) // 2
    assert np.array_equal(square, native[:, margin : margin + HEIGHT])
    half = load_clip(video, 1, start=0, img_size=HEIGHT // 2).frames[0].astype(int)
    mean = square.reshape(HEIGHT // 2, 2, HEIGHT // 2, 2, 3).mean((1, 3))
    away_from_edges = np.s_[20:-4, 4:-4]
    assert np.abs(half - mean)[away_from_edges].max() <= 3


def test_any_path_like_and_a_relative_path_are_read(video, monkeypatch):
    class Path:
        def __fspath__(self):
            return os.fspath(video)

    monkeypatch.chdir(video.parent)
    frames = [load_clip(path, 2).frames for path in (video, str(video), Path(), video.name)]
    assert all(np.array_equal(frames[0], other) for other in frames[1:])


def test_a_file_name_with_a_colon_or_a_percent_sign_is_only_a_name(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:clip %03d é.mp4", "-i.mp4"):
        pathlib.Path(name).write_bytes(video.read_bytes())
        assert load_clip(name, 2).source == name


@pytest.mark.parametrize("length", [1, 5])
def test_a_short_file_repeats_its_last_frame_and_says_so(tmp_path, reader, length):
    clip = load_clip(write_video(tmp_path / "short.mp4", length), 8, 1)
    assert clip.indices.tolist() == [*range(length), *[length - 1] * (8 - length)]
    assert clip.repeated == 8 - length
    assert (clip.frames[length:] == clip.frames[length - 1]).all()
    assert (clip.seconds[length:] == clip.seconds[length - 1]).all()
    assert (clip.fps == 0) == (length == 1)


def test_variable_rate_files_keep_their_own_times(tmp_path, reader):
    times = np.cumsum(np.random.default_rng(0).integers(10, 120, 60)).tolist()
    clip = load_clip(write_video(tmp_path / "variable.mp4", milliseconds=times), 60, 1)
    expected = (np.array(times) - times[0]) / 1000
    np.testing.assert_allclose(clip.seconds - clip.seconds[0], expected, atol=2e-3)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_file_is_turned_upright(tmp_path, monkeypatch, rotation):
    path = write_video(tmp_path / "rotated.mp4", rotation=rotation)
    with av.open(str(path)) as container:
        lying = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    upright = load_clip(path, 4, img_size=None)
    expected = np.rot90(lying[upright.indices], rotation // 90, axes=(1, 2))
    assert np.array_equal(upright.frames, expected)
    assert np.array_equal(with_av_only(monkeypatch, path, 4, img_size=None).frames, upright.frames)


def test_a_trimmed_file_has_only_the_frames_that_a_player_shows(tmp_path):
    times = [round((number - 20) * 1000 / RATE) for number in range(60)]
    path = write_video(tmp_path / "trimmed.mp4", milliseconds=times)
    decord = pytest.importorskip("decord")
    assert len(decord.VideoReader(str(path))) > 40, "the file no longer has hidden frames"
    clip = load_clip(path, 40, 1, img_size=None)
    assert [number_in(frame) for frame in clip.frames] == list(range(20, 60))
    assert clip.repeated == 0
    assert clip.seconds[0] == pytest.approx(0, abs=1e-3)
    assert load_clip(path, 41, 1).repeated == 1


def test_open_gops_give_the_frames_that_were_asked_for(tmp_path):
    path = tmp_path / "open.mp4"
    write_video(path, codec="libx265", codec_options={"x265-params": "open-gop=1:log-level=none"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    times = sorted(packet.pts for packet in packets)
    moved = [p.pts != time for p, time in zip(packets, times, strict=True) if p.is_keyframe]
    assert any(moved), "the file no longer has open groups of pictures"
    for start in range(57):
        clip = load_clip(path, 4, 1, start, img_size=None)
        assert [number_in(frame) for frame in clip.frames] == list(range(start, start + 4))


@pytest.mark.parametrize("name", ["a.ts", "b.avi", "c.h264", "d.mkv"])
def test_other_containers_give_the_same_frames(tmp_path, name):
    clip = load_clip(write_video(tmp_path / name), 5, 10, 3, img_size=None)
    assert [number_in(frame) for frame in clip.frames] == [3, 13, 23, 33, 43]
    assert np.diff(clip.seconds) == pytest.approx(10 / RATE, abs=2e-3)


def test_frames_that_the_packets_do_not_announce_are_counted_by_decoding(video, monkeypatch):
    look = decode.look_at(os.fspath(video))
    wrong = decode.replace(
        look,
        stamps=[*look.stamps, (31000, 31000), (31512, 31512)],
        times=np.append(look.times, [2.0, 2.1]),
        order=np.append(look.order, [60, 61]),
        not_decord="a test",
    )
    monkeypatch.setattr(decode, "look_at", lambda filename: wrong)
    clip = load_clip(video, 4, 1, 58, img_size=None)
    assert [number_in(frame) for frame in clip.frames] == [58, 59, 59, 59]
    assert clip.repeated == 2


def test_without_decord_pyav_reads_the_same_pixels(video, monkeypatch):
    with_decord = load_clip(video)
    monkeypatch.setitem(sys.modules, "decord", None)
    assert np.array_equal(load_clip(video).frames, with_decord.frames)


def broken_files(folder, video):
    write_video(folder / "first.mp4", options={"movflags": "faststart"})
    write_video(folder / "film.mkv")
    write_video(folder / "film.avi", codec="mpeg4")
    videos.write_video(folder / "song.m4a", [], silence=3.2)
    (folder / "empty.mp4").touch()
    (folder / "letter.txt").write_text("Dear reader,\n" * 50)
    (folder / "letter.mp4").write_text("Dear reader,\n" * 50)
    (folder / "nowhere.mp4").symlink_to(folder / "nothing.mp4")
    return {
        folder / "missing.mp4": "no such file",
        folder / "nowhere.mp4": "a link that leads nowhere",
        folder: "a directory; give one video file inside it",
        folder / "empty.mp4": r"the file is empty \(0 bytes\)",
        folder / "letter.txt": "not a video that can be read",
        folder / "letter.mp4": "not a video that can be read",
        folder / "song.m4a": r"no video stream \(1 audio stream, 3.2 s\)",
        cut(video, folder / "cut.mp4"): "an MP4 file that was cut off",
        cut(folder / "first.mp4", folder / "cut_first.mp4"): r"cut off after .* of 2.00 s",
        cut(folder / "film.mkv", folder / "cut.mkv"): r"cut off after .* of 2.00 s",
        cut(folder / "film.avi", folder / "cut.avi"): "cut off after",
        spoil(video, folder / "spoiled.mp4", 0.3, 0.3): r"frame \d+ is damaged ",
    }


def test_a_file_that_is_no_good_clip_raises_one_sentence_that_says_why(tmp_path, video, capfd):
    for path, reason in broken_files(tmp_path, video).items():
        with pytest.raises(ClipError, match=reason) as caught:
            load_clip(path)
        message = str(caught.value)
        assert message.startswith(os.fspath(path))
        assert message.endswith(".")
        assert "\n" not in message
        assert ". " not in message
    assert capfd.readouterr() == ("", ""), "FFmpeg's messages reached the terminal"


def test_a_damaged_file_is_read_up_to_the_damage(tmp_path, video):
    path = spoil(video, tmp_path / "spoiled.mp4", 0.3, 0.3)
    with pytest.raises(ClipError) as caught:
        load_clip(path, 16, 1, 10)
    first_bad = int(str(caught.value).split("frame ")[1].split()[0])
    assert 5 <= first_bad < 26
    clip = load_clip(path, first_bad, 1, 0, img_size=None)
    assert [number_in(frame) for frame in clip.frames] == list(range(first_bad))
    assert clip.damaged is None


def test_a_header_that_promises_billions_of_frames_does_not_end_the_process(tmp_path, video):
    data = bytearray(video.read_bytes())
    count = data.index(b"stts") + 12  # how many frames have the first duration
    assert int.from_bytes(data[count : count + 4]) == 60
    data[count] = 0x45
    path = tmp_path / "promise.mp4"
    path.write_bytes(data)
    script = "import sys; from vmamba_explore.clips import load_clip as load; load(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(load_clip(path).frames, load_clip(video).frames)


def test_nothing_reaches_stdout_or_stderr_at_the_level_of_c(tmp_path, video):
    paths = [os.fspath(path) for path in broken_files(tmp_path, video)] + [os.fspath(video)]
    script = (
        "import sys\n"
        "from vmamba_explore.clips import ClipError, load_clip\n"
        "errors = 0\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_clip(path)\n"
        "    except ClipError: errors += 1\n"
        "sys.exit(errors)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == len(paths) - 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.avi"])
def test_a_forked_worker_reads_after_its_parent_has_read(tmp_path, name):
    """Workers that load batches are forked, and have none of the threads of their parent."""
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = write_video(tmp_path / name, codec=codec)
    script = (
        "import gc, os, sys\n"
        "from vmamba_explore.clips import load_clip\n"
        "for _ in range(3): load_clip(sys.argv[1])\n"
        "if not os.fork():\n"
        "    load_clip(sys.argv[1]); gc.collect(); os._exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    command = [sys.executable, "-c", script, os.fspath(path)]
    assert subprocess.run(command, timeout=600).returncode == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0}, "num_frames must be a whole number >= 1, got 0"),
        ({"stride": -2}, "stride must be a whole number >= 1, got -2"),
        ({"start": 60}, "start=60 lies past the end; the source has 60 frames"),
        ({"start": 1.5}, "start must be a whole number >= 0, got 1.5"),
        ({"img_size": 0}, "img_size must be a whole number >= 1, got 0"),
        ({"img_size": "big"}, "img_size must be a whole number >= 1, got 'big'"),
    ],
)
def test_an_impossible_argument_is_named(unchecked, video, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_clip(video, **arguments)


def test_the_file_is_closed_again(video, tmp_path, reader):
    path = tmp_path / "removed.mp4"
    path.write_bytes(video.read_bytes())
    load_clip(path, 2)
    open_files = pathlib.Path("/proc/self/fd")
    if not open_files.exists():
        pytest.skip("no /proc on this machine")
    names = [os.readlink(link) for link in open_files.iterdir() if link.is_symlink()]
    assert os.fspath(path) not in names


def test_a_recording_of_a_browser_without_duration_and_index_has_all_its_frames(tmp_path):
    path, shades = tmp_path / "webcam.webm", np.arange(50) * 4
    with path.open("wb") as file, av.open(file, "w", "webm", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=25, width=64, height=64, pix_fmt="yuv420p")
        for shade in shades:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = load_clip(path, 50, 1, 0)
    assert clip.repeated == 0 and load_clip(path, 51, 1, 0).repeated == 1
    np.testing.assert_allclose(clip.seconds, np.arange(50) / 25, atol=1e-9)
    np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), shades, atol=6)
    np.testing.assert_array_equal(load_clip(path, 8, 2, 30).frames, clip.frames[30:46:2])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the optional sample clips are not here")
class TestSampleFiles:
    """Files of other projects, with what is known about them."""

    @pytest.mark.parametrize(
        ("name", "num_frames", "seconds"),
        [
            ("arm_wrestling.mp4", 280, 9.964),
            ("av1_video.mkv", 125, 4.96),
            ("flipping_a_pancake.mkv", 310, 10.3),
            ("h265_video.mp4", 10, 0.9),
            ("nasa_13013.mp4", 390, 12.98),
            ("video_90.mov", 3, 0.067),
        ],
    )
    def test_every_frame_is_found_and_both_readers_agree(
        self, monkeypatch, name, num_frames, seconds
    ):
        clip = load_clip(SAMPLES / name, num_frames, 1)
        assert clip.repeated == 0
        assert clip.seconds[-1] == pytest.approx(seconds, abs=5e-3)
        assert load_clip(SAMPLES / name, num_frames + 1, 1).repeated == 1
        for start in (0, num_frames // 3, num_frames - 1):
            part = load_clip(SAMPLES / name, 8, 2, start)
            assert np.array_equal(part.frames, clip.frames[part.indices])
            alone = with_av_only(monkeypatch, SAMPLES / name, 8, 2, start)
            assert np.array_equal(alone.frames, part.frames)
            assert np.array_equal(alone.seconds, part.seconds)

    def test_the_phone_clip_stands_upright(self):
        assert load_clip(SAMPLES / "video_90.mov", img_size=None).frames.shape[1:3] == (568, 320)

    def test_the_corrupted_file_says_which_frame(self, capfd):
        with pytest.raises(ClipError, match="frame 29 is damaged "):
            load_clip(SAMPLES / "corrupted.mp4")
        assert capfd.readouterr() == ("", "")
