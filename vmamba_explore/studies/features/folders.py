"""Generated clips as files, a folder for each class: the form in which data sets come."""

from __future__ import annotations

from pathlib import Path

from vmamba_explore.clips.encode import write_clip
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.files import AnyPath


def write_folders(series: MotionClips | RecallClips, count: int, root: AnyPath) -> None:
    """Write the first clips of a series as ROOT/CLASS/NUMBER.mp4.

    Args:
        series: The clips.
        count: How many.
        root: Folder to write into; it is made where there is none.
    """
    for number in range(count):
        made = series[number]
        folder = Path(root) / made.class_name
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(folder / f"{number:04}.mp4", made.clip.frames, quality=0)  # the same every time
