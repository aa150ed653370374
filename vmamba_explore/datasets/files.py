"""What the readers of lists ask of folders and files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

AnyPath = str | os.PathLike[str]
SUFFIXES = frozenset(".mp4 .mkv .webm .avi .mov .m4v .mpg .mpeg .wmv .flv .3gp .ts .ogv".split())


def folder(path: AnyPath, call: str) -> Path:
    """Take a path for a folder, or raise ValueError in the name of `call`."""
    found = Path(path).expanduser()
    if not found.is_dir():
        raise ValueError(f"{call}: {path} is not a folder (looked from {os.getcwd()}).")
    return found


def text(path: AnyPath, call: str) -> str:
    """The text of a file, or a ValueError in the name of `call`."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise ValueError(f"{call}: {path} is not a file (looked from {os.getcwd()}).")
    try:
        return found.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{call}: {path} is no text in UTF-8 ({error.reason} at byte {error.start})."
        ) from None


def json_of(path: AnyPath, kind: type, call: str) -> Any:
    """What a JSON file holds, which must be a `kind`."""
    return parsed_json(text(path, call), kind, f"{call}: {path}")


def parsed_json(content: str, kind: type, where: str) -> Any:
    """What a JSON text holds, which must be a `kind`; `where` begins the message of an error."""
    try:
        found = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}).") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply.") from None
    except ValueError:  # Python's limit against integers that take forever
        most = sys.get_int_max_str_digits()
        raise ValueError(f"{where} has an integer of more than {most:,} digits.") from None
    if not isinstance(found, kind):
        raise ValueError(
            f"{where} holds a JSON {type(found).__name__}, expected a {kind.__name__}."
        )
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
