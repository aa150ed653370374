"""Which videos a data set has and what they show, read from the files it is published with."""

from __future__ import annotations

import logging
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from vmamba_explore.datasets import files
from vmamba_explore.errors import first_line, one_line, shown
from vmamba_explore.files import AnyPath, read_json, read_text
from vmamba_explore.spreadsheets import DELIMITERS, delimiter_of, number, rows_of

logger = logging.getLogger(__name__)

ENDINGS = "|".join(map(re.escape, sorted(files.SUFFIXES)))
VIDEO_AND_LABEL = re.compile(rf"(.+(?:{ENDINGS}))[\s,;]+(.+)", re.IGNORECASE)
MOST_CLASSES = 100_000
"""A larger number is not that of a class: names for all below it would fill the memory."""
HMDB51_PARTS = {"train": "1", "test": "2"}


@dataclass(frozen=True)
class Video:
    """A video file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class VideoList:
    """The videos of a data set, or of a part of it.

    Args:
        videos: Those whose files are there.
        class_names: By label.
        name: What to call it in messages and files.
        missing: Files that the list names and that are not there.
    """

    videos: tuple[Video, ...]
    class_names: tuple[str, ...]
    name: str
    missing: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def unnamed(self) -> bool:
        """Whether nobody said what the classes are called."""
        return self.class_names == _numbered(len(self.class_names))

    def identity(self) -> dict[str, str | int]:
        """What tells this list from others, for a file that holds its results: name, number of
        videos, and a checksum of their file names and labels, in their order."""
        labeled = [(video.path.name, video.label) for video in self.videos]
        checksum = zlib.crc32(repr(labeled).encode())
        return {"name": self.name, "videos": len(self.videos), "labels": checksum}

    def numbered_as(self, class_names: Sequence[str]) -> VideoList:
        """Give the same videos, their classes numbered by their places in `class_names`.

        Args:
            class_names: Other names may be among them. Where a name is not, capitals, spaces,
                underscores and other signs do not count.
        Raises:
            ValueError: a class of this list is not among them, or two are the same one.
        """
        found = places_of(self.class_names, class_names)
        unknown = [name for name, places in zip(self.class_names, found, strict=True) if not places]
        if unknown:
            raise ValueError(
                f"numbered_as: {len(unknown)} of the {len(self.class_names)} classes of "
                f"{self.name} are not among the {len(class_names)} wanted, {shown(unknown[0])} "
                "first. Both lists, or list and model, must be of the same data set."
            )
        numbers = [place for places in found for place in places]
        if len(set(numbers)) < len(numbers) or len(numbers) > len(found):
            raise ValueError(
                f"numbered_as: which class is which cannot be told, since several of {self.name} "
                "differ by no letter or digit. Write both lists in the same way."
            )
        videos = tuple(Video(video.path, numbers[video.label]) for video in self.videos)
        return replace(self, videos=videos, class_names=tuple(class_names))


def read_list(
    data: str, class_names: Sequence[str] | None = None, part: Literal["train", "test"] = "train"
) -> VideoList:
    """Read the list that a description such as "folders:ROOT" names.

    Args:
        data: "folders:ROOT", "kinetics:LIST.csv[,ROOT]", "ssv2:PART.json,LABELS.json,ROOT" or
            "hmdb51:SPLITS,ROOT[,NUMBER[,PART]]".
        class_names: What the labels of a "kinetics" list are called, by number.
        part: Which part of a split of HMDB51, unless `data` names it.
    Raises:
        ValueError: an unknown kind, or the wrong number of paths.
    """
    kind, _, rest = data.partition(":")
    given = [word for word in rest.split(",") if word]
    if kind == "folders" and len(given) == 1:
        return from_folders(*given)
    if kind == "kinetics" and len(given) in (1, 2):
        return from_csv(given[0], given[1] if len(given) == 2 else None, class_names)
    if kind == "ssv2" and len(given) == 3:
        return from_ssv2(*given)
    if kind == "hmdb51" and len(given) in (2, 3, 4):
        splits, root, number, chosen = given + ["1", part][len(given) - 2 :]
        if number not in ("1", "2", "3"):
            raise ValueError(
                f"data {shown(data)}: the split is {shown(number)}, expected 1, 2 or 3."
            )
        return from_hmdb51(splits, root, int(number), cast(Literal["train", "test"], chosen))
    raise ValueError(
        f"data {shown(data)} is none of folders:ROOT, kinetics:LIST.csv[,ROOT], "
        "ssv2:PART.json,LABELS.json,ROOT, hmdb51:SPLITS,ROOT[,NUMBER[,PART]]."
    )


def from_folders(root: AnyPath) -> VideoList:
    """List videos by class: `root/CLASS/.../video.mp4`, the classes in alphabetical order.

    Args:
        root: Holds a folder for each class; what lies deeper belongs to it. Hidden files and
            files that are no videos by their name are left out.
    Raises:
        ValueError: no such folder, or no video in it.
    """
    root = files.folder(root, "from_folders")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [(files.videos_below(folder), folder.name) for folder in folders]
    names = tuple(name for paths, name in found if paths)
    videos = [(path, names.index(name)) for paths, name in found for path in paths]
    if not videos:
        raise ValueError(
            f"from_folders: {one_line(root)} holds no ROOT/CLASS/video file ({len(folders)} "
            f"folders looked through for {', '.join(sorted(files.SUFFIXES))})."
        )
    return _listed(videos, names, root.name, "from_folders")


def from_csv(
    file: AnyPath, root: AnyPath | None = None, class_names: Sequence[str] | None = None
) -> VideoList:
    """List videos by a text file: the official lists of Kinetics, or lines "path label".

    Args:
        file: Either has the columns `label`, `youtube_id`, `time_start`, `time_end` in its first
            line, or lines of a path, a comma, semicolon, tab or space, and a label, a number or a
            name; a first line such as "path,label" is passed over. UTF-8, or UTF-16 as
            spreadsheets mark it.
        root: Where the videos are; None means beside `file`. Official lists name no files:
            any file below is taken that is called ID_START_END, six digits each, or ID.
        class_names: What the labels are called, by number; None takes the names in the list in
            alphabetical order, and for numbers "class 0", "class 1", ...
    Raises:
        ValueError: no such file, a line that is none of these, an unknown label, or no video.
    """
    text, file = read_text(file, "from_csv"), Path(os.path.expanduser(file))
    where = f"from_csv: {one_line(file)}"
    place = file.parent if root is None else files.folder(root, "from_csv")
    if delimiter := delimiter_of(text, ["youtube_id"]):
        pairs = _official(text, delimiter, place, where)
    else:
        named = _paths_and_labels(text, where)
        names_columns = [files.is_video(path) for path, _ in named[:2]] == [False, True]
        if names_columns and not os.path.isfile(place / named[0][0]):
            del named[0]
        pairs = [(place / path, label) for path, label in named]
    labels = {label for _, label in pairs}
    wrong = sorted(label for label in labels if not label or re.fullmatch(r"-\d+", label))
    if wrong:
        raise ValueError(f"{where} has the label {shown(wrong[0])}, which names no class.")
    if class_names is not None and all(label.isdecimal() for label in labels):
        logger.warning(
            "%s numbers its classes; taken as places among %d names: 0 is %r, 1 is %r",
            where, len(class_names), *[*class_names, "", ""][:2],
        )  # fmt: skip
    if class_names is not None:
        names = tuple(class_names)
    elif all(label.isdecimal() for label in labels):
        large = [label for label in labels if len(label) > 9 or int(label) >= MOST_CLASSES]
        if large:
            raise ValueError(
                f"{where} has the label {one_line(large[0], 60)}, expected numbers below "
                f"{MOST_CLASSES}, or names."
            )
        names = _numbered(max(map(int, labels), default=-1) + 1)
    else:
        names = tuple(sorted(labels))
    numbers = {name: index for index, name in enumerate(names)}
    for label in sorted(labels):
        if label.isdecimal() and len(label) <= 9 and label not in numbers:
            numbers[label] = int(label)
        if numbers.get(label, len(names)) >= len(names):
            raise ValueError(
                f"{where} has the label {shown(label, 60)}, which is none of "
                f"the {len(names)} class_names."
            )
    return _listed([(path, numbers[name]) for path, name in pairs], names, file.stem, "from_csv")


def from_ssv2(annotations: AnyPath, labels: AnyPath, root: AnyPath) -> VideoList:
    """List the videos of Something-Something V2.

    Args:
        annotations: Its train.json or validation.json.
        labels: Its labels.json: number by template.
        root: Where ID.webm lie (or another video format).
    Raises:
        ValueError: a file is missing or is not of this form, or no video is there.
    """
    given = read_json(labels, dict, "from_ssv2")
    numbers = {name: int(n) for name, n in given.items() if re.fullmatch(r"\d{1,9}", str(n))}
    names = tuple(sorted(numbers, key=lambda name: numbers[name]))
    if sorted(numbers.values()) != list(range(len(given))):
        raise ValueError(
            f"from_ssv2: {one_line(labels)} numbers its {len(given)} labels otherwise than 0 to "
            f"{len(given) - 1}."
        )
    place = files.folder(root, "from_ssv2")
    there = files.by_stem(place)
    videos = []
    for at, entry in enumerate(read_json(annotations, list, "from_ssv2")):
        try:
            name = re.sub(r"[\[\]]", "", entry["template"])
            label, stem = numbers[name], str(entry["id"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"from_ssv2: {one_line(annotations)}, entry {at}: expected an id and a template "
                f"that is in {one_line(os.path.basename(labels))}, got {shown(entry, 200)} "
                f"({first_line(error)})."
            ) from None
        videos.append((there.get(stem, place / f"{stem}.webm"), label))
    return _listed(videos, names, Path(annotations).stem, "from_ssv2")


def from_hmdb51(
    splits: AnyPath, root: AnyPath, split: int = 1, part: Literal["train", "test"] = "train"
) -> VideoList:
    """List one part of a split of HMDB51.

    Args:
        splits: Folder of the files CLASS_test_splitN.txt.
        root: Holds CLASS/video.avi.
        split: 1, 2 or 3.
        part: "train" or "test"; videos that the split uses for neither are left out.
    Raises:
        ValueError: no such split or part, a line that is not "name number", or no video.
    """
    if part not in HMDB51_PARTS:
        raise ValueError(f"from_hmdb51: part is {shown(part)}, expected 'train' or 'test'.")
    ending = f"_test_split{split}.txt"
    lists = sorted(files.folder(splits, "from_hmdb51").glob(f"*{ending}"))
    names = tuple(file.name.removesuffix(ending) for file in lists)
    place = files.folder(root, "from_hmdb51")
    videos = []
    for label, file in enumerate(lists):
        text = read_text(file, "from_hmdb51")
        for video, use in _paths_and_labels(text, f"from_hmdb51: {one_line(file)}"):
            if use == HMDB51_PARTS[part]:
                videos.append((place / names[label] / video, label))
    if not lists:
        raise ValueError(f"from_hmdb51: {one_line(splits)} holds no file CLASS{ending}.")
    return _listed(videos, names, f"hmdb51-{part}{split}", "from_hmdb51")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def letters(name: str) -> str:
    """A class name without what lists write differently: capitals, spaces, underscores, signs."""
    return re.sub(r"\W|_", "", name.casefold())


def places_of(names: Sequence[str], among: Sequence[str]) -> list[list[int]]:
    """Where each name stands among others: written in the same way or, if none is, likewise."""
    exact = {name: place for place, name in enumerate(among)}
    alike: dict[str, list[int]] = {}
    for name, place in exact.items():
        alike.setdefault(letters(name), []).append(place)
    return [[exact[name]] if name in exact else alike.get(letters(name), []) for name in names]


def _listed(
    videos: Iterable[tuple[Path, int]], names: tuple[str, ...], name: str, call: str
) -> VideoList:
    """Keep the videos that are there, and remember those that are not."""
    there, missing = [], []
    for path, label in videos:
        if os.path.isfile(path):
            there.append(Video(path, label))
        else:
            missing.append(path)
    if not there:
        first = f"; the first missing one is {one_line(missing[0])}" if missing else ""
        raise ValueError(
            f"{call}: {one_line(name)} lists {len(missing)} videos and none is there{first}."
        )
    if missing:
        logger.warning(
            "%s: %d of %d listed videos are not there, %s first",
            one_line(name), len(missing), len(missing) + len(there), one_line(missing[0]),
        )  # fmt: skip
    return VideoList(tuple(there), names, name, tuple(missing))


def _official(text: str, delimiter: str, root: Path, where: str) -> list[tuple[Path, str]]:
    """Paths and labels of an official list of Kinetics."""
    there = files.by_stem(root)
    rows = rows_of(text, delimiter, where)
    _, titles = next(rows)
    found = []
    for line, cells in rows:
        row = dict(zip(titles, cells, strict=False))
        try:
            times = (number(row[name], delimiter != ",") for name in ("time_start", "time_end"))
            start, end = map(int, times)
            label, stem = row["label"], row["youtube_id"]
        except (KeyError, ValueError, OverflowError):
            raise ValueError(
                f"{where}, line {line}: expected label, youtube_id, time_start and "
                f"time_end, got {shown(row, 200)}."
            ) from None
        cut = f"{stem}_{start:06}_{end:06}"
        found.append((there.get(cut) or there.get(stem) or root / f"{cut}.mp4", label))
    return found


def _paths_and_labels(text: str, where: str) -> list[tuple[str, str]]:
    """Split lines behind the name of a video; elsewhere at the last comma, semicolon or tab, else
    the last space."""
    pairs = []
    for place, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        line = line.strip().rstrip(",;")  # of empty columns
        if not line:
            continue
        if '"' not in line and (plain := VIDEO_AND_LABEL.fullmatch(line)):
            path, label = plain.groups()
        else:
            unquoted = re.sub('"[^"]*"', "", line)
            delimiter = next((sign for sign in DELIMITERS if sign in unquoted), None)
            if delimiter is None:
                cells = line.rsplit(maxsplit=1)
            else:
                cells = next(row for _, row in rows_of(line, delimiter, f"{where}, line {place}"))
            path, label = (delimiter or "").join(cells[:-1]), cells[-1]
        if re.fullmatch(r"\d+\s+\d+", label):
            raise ValueError(
                f"{where}, line {place}: expected a path and a label, got two numbers behind the "
                f"path: {shown(line, 200)}. Lists with a number of frames are for folders of "
                "pictures; leave that number out."
            )
        if not path.strip() or not label.strip():
            raise ValueError(
                f"{where}, line {place}: expected a path and a label, got {shown(line, 200)}."
            )
        pairs.append((path.strip(), label.strip()))
    return pairs
