"""What the readers of lists ask of folders."""

from __future__ import annotations

import os
from pathlib import Path

from vmamba_explore.errors import one_line
from vmamba_explore.files import AnyPath

SUFFIXES = frozenset(".mp4 .mkv .webm .avi .mov .m4v .mpg .mpeg .wmv .flv .3gp .ts .ogv".split())


def folder(path: AnyPath, call: str) -> Path:
    """Take a path for a folder, or raise ValueError in the name of `call`."""
    found = Path(os.path.expanduser(path))
    if not os.path.isdir(found):
        raise ValueError(f"{call}: {one_line(path)} is not a folder (looked from {os.getcwd()}).")
    return found


def is_video(name: str) -> bool:
    """Whether a file is a video by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def videos_below(root: Path) -> list[Path]:
    """All files below a folder that are videos by their name, in alphabetical order."""
    return sorted(
        Path(where) / name
        for where, _, names in os.walk(root)
        for name in names
        if is_video(name) and not name.startswith(".")
    )


def by_stem(root: Path) -> dict[str, Path]:
    """The videos below a folder by their names without the ending."""
    return {path.stem: path for path in videos_below(root)}
