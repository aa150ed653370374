import csv
import os
import pathlib
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from vmamba_explore.clips.encode import write_clip
from vmamba_explore.datasets.augment import Augment
from vmamba_explore.datasets.batches import BrokenFiles, VideoBatches
from vmamba_explore.datasets.lists import Video, VideoList, from_folders

SAMPLES = pathlib.Path(__file__).parents[4] / "shared" / "clips"
SIZES = {"num_frames": 4, "img_size": 16}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Seven videos of two classes; the brightness of each is its number."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(7):
        folder = root / ("even" if number % 2 == 0 else "odd")
        folder.mkdir(exist_ok=True)
        frames = np.full((9, 20, 24, 3), 20 + 30 * number, np.uint8)
        frames += np.arange(9, dtype=np.uint8)[:, None, None, None] * 2
        write_clip(folder / f"{number}.mp4", frames)
    return from_folders(root)


@pytest.fixture
def with_broken(videos, tmp_path):
    """The same with two files that are none."""
    bad = []
    for name in ("text.mp4", "empty.mp4"):
        (tmp_path / name).write_text("no video" if name == "text.mp4" else "")
        bad.append(Video(tmp_path / name, 0))
    return VideoList((*videos.videos, *bad), videos.class_names, "with broken")


class Steps(Dataset):
    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, step):
        return self.batches(step)


def same(batch):
    return batch


def in_workers(batches, steps, **options):
    """The batches of these steps, read by two processes."""
    return DataLoader(
        Steps(batches),
        batch_size=None,
        sampler=range(steps),
        num_workers=2,
        collate_fn=same,
        **options,
    )


def numbers(frames):
    """Which video each clip of a batch is."""
    return (np.round((frames[:, 0].mean((1, 2, 3)) - 28) / 30)).astype(int).tolist()


def test_every_video_comes_once_an_epoch_and_labels_belong_to_it(videos):
    batches = VideoBatches(videos, batch_size=2, **SIZES)
    assert batches.steps_per_epoch == 4
    seen = []
    for step in range(7):  # two epochs without a gap
        frames, labels = batches(step)
        assert frames.shape == (2, 4, 16, 16, 3) and labels.dtype == np.int64
        found = numbers(frames)
        assert [n % 2 for n in found] == labels.tolist()
        seen += found
    assert sorted(seen[:7]) == sorted(seen[7:]) == list(range(7))
    assert seen[:7] != seen[7:]


def test_a_batch_larger_than_the_data_set_holds_clips_of_the_next_epoch(videos):
    frames, _ = VideoBatches(videos, batch_size=10, **SIZES)(0)
    assert max(Counter(numbers(frames)).values()) == 2


def test_rows_are_rows_of_the_batch(videos):
    batches = VideoBatches(videos, batch_size=5, **SIZES, augment=Augment())
    frames, labels = batches(3)
    some, their_labels = batches.rows(3, [4, 1])
    assert np.array_equal(some, frames[[4, 1]]) and np.array_equal(their_labels, labels[[4, 1]])


def test_clips_begin_at_other_times_in_other_epochs(videos):
    batches = VideoBatches(videos, batch_size=7, **SIZES, stride=1)
    begins = set()
    for step in range(6):
        frames, _ = batches(step)
        begins |= {round(float(clip[0].mean()) - 20) % 30 // 2 for clip in frames}
    assert len(begins) >= 4


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_give_the_same_bytes(videos, context):
    batches = VideoBatches(videos, batch_size=3, **SIZES, augment=Augment())
    batches(0)  # a reader was open in this process before
    loader = in_workers(batches, 4, multiprocessing_context=context)
    for step, (frames, labels) in enumerate(loader):
        here, his_labels = batches(step)
        assert np.array_equal(frames, here) and np.array_equal(labels, his_labels)


def test_broken_files_are_listed_once_with_their_reason_and_replaced(with_broken, tmp_path):
    broken = tmp_path / "run" / "broken.csv"
    batches = VideoBatches(with_broken, batch_size=3, **SIZES, broken=broken)
    frames = [batches(step)[0] for step in range(9)]
    assert all(len(part) == 3 for part in frames)
    assert len(broken.read_text().splitlines()) == 2
    found = batches.broken_files()
    assert {pathlib.Path(name).name for name in found} == {"text.mp4", "empty.mp4"}
    assert "empty (0 bytes)" in found[str(tmp_path / "empty.mp4")]
    again = VideoBatches(with_broken, batch_size=3, **SIZES)
    assert all(np.array_equal(again(8 - s)[0], frames[8 - s]) for s in range(9))  # in any order


def test_workers_list_broken_files_in_one_file(with_broken, tmp_path):
    broken = tmp_path / "broken.csv"
    batches = VideoBatches(with_broken, batch_size=3, **SIZES, broken=broken)
    assert len(list(in_workers(batches, 9))) == 9
    assert len(batches.broken_files()) == 2


def test_a_data_set_of_which_more_than_half_is_broken_is_refused(videos, tmp_path):
    a, b = Video(tmp_path / "a.mp4", 0), Video(tmp_path / "b.mp4", 0)  # neither is there
    for name, parts, count in (
        ("mostly broken", (a, b, videos.videos[0]), "2 of the 3"),
        ("one file", (a,) * 8, "1 of the 1"),  # which does not hold up the search for others
    ):
        batches = VideoBatches(VideoList(parts, ("x",), name), batch_size=4, **SIZES)
        with pytest.raises(ValueError, match=f"{count} videos of {name} cannot be read"):
            for step in range(5):
                batches(step)


def test_files_that_are_back_do_not_count_as_broken_any_more(with_broken, tmp_path):
    broken = tmp_path / "broken.csv"  # the disk was away when an earlier run wrote it
    broken.write_text("".join(f"{video.path},no such file\n" for video in with_broken.videos))
    batches = VideoBatches(with_broken, batch_size=3, **SIZES, broken=broken)
    assert all(len(batches(step)[0]) == 3 for step in range(6))
    assert len(broken.read_text().splitlines()) == len(with_broken)


def test_what_others_could_not_read_is_tried_all_the_same(videos, tmp_path):
    broken = tmp_path / "broken.csv"
    batches, plain = (
        VideoBatches(videos, batch_size=7, **SIZES, broken=path) for path in (broken, None)
    )
    broken.write_text("".join(f"{video.path},stale handle\n" for video in videos.videos[:3]))
    assert len(batches.broken_files()) == 3
    assert np.array_equal(batches(0)[0], plain(0)[0])


def test_a_broken_file_whose_name_is_no_utf_8_stops_nothing(videos, tmp_path, caplog):
    caplog.set_level("CRITICAL")  # pytest-xdist cannot hand such a name on
    bad = tmp_path / os.fsdecode(b"bad\xff.mp4")
    bad.write_text("no video")
    parts = VideoList((*videos.videos, Video(bad, 0)), videos.class_names, "odd name")
    batches = VideoBatches(parts, batch_size=8, **SIZES, broken=tmp_path / "broken.csv")
    assert len(batches(0)[0]) == 8 and list(batches.broken_files()) == [str(bad)]


def test_a_batch_or_a_data_set_of_nothing_is_refused(videos):
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        VideoBatches(videos, batch_size=0, **SIZES)
    with pytest.raises(ValueError, match="nothing has no videos, expected at least 1"):
        VideoBatches(VideoList((), ("x",), "nothing"), batch_size=1, **SIZES)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample videos here")
def test_real_files_of_many_kinds_are_read_by_workers_and_the_broken_one_is_listed(tmp_path):
    files = sorted(p for p in SAMPLES.iterdir() if p.suffix in {".mp4", ".mkv", ".mov"})
    videos = VideoList(tuple(Video(p, 0) for p in files), ("any",), "real files")
    batches = VideoBatches(
        videos, batch_size=2, num_frames=4, img_size=32, stride=1, broken=tmp_path / "broken.csv"
    )
    assert {frames.shape for frames, _ in in_workers(batches, 4)} == {(2, 4, 32, 32, 3)}
    assert {pathlib.Path(name).name for name in batches.broken_files()} <= {"corrupted.mp4"}


# The list of broken files


def note_all(file, names):
    broken = BrokenFiles(file)
    for name in names:
        broken.add(name, f"why {name}")


def test_a_file_is_noted_once_and_others_see_it(tmp_path):
    one, other = (BrokenFiles(tmp_path / "run" / "broken.csv") for _ in range(2))
    assert one.add("a.mp4", "cut\noff") and not one.add("a.mp4", "again")
    assert not other.add("a.mp4", "cut off") and other.add("b, c.mp4", "empty")
    assert one.reasons() == other.reasons() == {"a.mp4": "cut off", "b, c.mp4": "empty"}
    assert one.met == {"a.mp4", "b, c.mp4"}


def test_without_a_file_the_first_reason_is_kept_in_mind():
    broken = BrokenFiles(None)
    assert broken.add("a.mp4", "cut off") and not broken.add("a.mp4", "again")
    assert broken.reasons() == {"a.mp4": "cut off"}


def test_what_an_earlier_run_noted_is_listed_but_not_met(tmp_path):
    note_all(tmp_path / "broken.csv", ["a.mp4"])
    later = BrokenFiles(tmp_path / "broken.csv")
    assert later.reasons() == {"a.mp4": "why a.mp4"} and not later.met
    assert not later.add("a.mp4", "still") and later.met == {"a.mp4"}


@pytest.mark.skipif(sys.platform == "win32", reason="no lock there: a name may stand twice")
def test_those_who_meet_a_file_at_the_same_time_note_it_once(tmp_path, monkeypatch):
    write = os.write

    def slowly(file, line):
        time.sleep(0.2)
        return write(file, line)

    monkeypatch.setattr(os, "write", slowly)
    several = [BrokenFiles(tmp_path / "broken.csv") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:  # each has the file open for itself, as processes have
        noted = list(pool.map(lambda broken: broken.add("a.mp4", "cut off"), several))
    assert sorted(noted) == [False, False, True]
    assert (tmp_path / "broken.csv").read_text().splitlines() == ["a.mp4,cut off"]


def test_every_line_is_read_once_however_many_files_are_broken(tmp_path, monkeypatch):
    read, reader = [], csv.reader
    monkeypatch.setattr(csv, "reader", lambda lines: read.extend(reader(lines)) or read[-1:])
    names = [f"{n}.mp4" for n in range(50)]
    note_all(tmp_path / "broken.csv", names)
    assert [row[0] for row in read] == names[:-1]  # the last one was added after the last look


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path):
    file = tmp_path / "broken.csv"
    file.write_bytes(b"a.mp4,no\r\nb.m")
    broken = BrokenFiles(file)
    assert broken.reasons() == {"a.mp4": "no"}
    file.write_bytes(b"a.mp4,no\r\nb.mp4,cut off\r\n")
    assert broken.reasons() == {"a.mp4": "no", "b.mp4": "cut off"}


def test_a_list_of_broken_files_is_safe_in_a_spreadsheet_and_read_back_from_one(tmp_path):
    file = tmp_path / "broken.csv"
    BrokenFiles(file).add("=cmd.mp4", "cut\r\noff\u2028")
    assert file.read_bytes().startswith(b"'=cmd.mp4,") and file.read_bytes().count(b"\n") == 1
    assert BrokenFiles(file).reasons() == {"=cmd.mp4": r"cut\r off\u2028"}
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    again = BrokenFiles(file)
    assert list(again.reasons()) == ["=cmd.mp4"] and not again.add("=cmd.mp4", "again")


def test_a_cell_too_long_for_a_reason_does_not_stop_a_training(tmp_path):
    file = tmp_path / "broken.csv"
    file.write_text("a.mp4,cut off\n" + "b" * 200_000 + ",x\n")
    assert BrokenFiles(file).reasons() == {"a.mp4": "cut off"}
