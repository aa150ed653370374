"""Write the bundled real film: `python -m vmamba_explore.studies.subjects.city cityCC0.mpg`.

A time lapse of towers at night, public domain (CC0). `data/SOURCES.md` says where the original is.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from vmamba_explore import resources
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.errors import one_line

ORIGINAL = "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279"
"""sha256 of the file that the film is made from."""
WIDTH, HEIGHT, FPS, QUALITY = 320, 180, 25, 26


def shrunk(path: Path) -> UInt8[np.ndarray, "num_frames height width 3"]:
    """Read every frame of a video file at the size of the bundled film.

    Raises:
        ValueError: it is not the original.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != ORIGINAL:
        raise ValueError(
            f"city: {one_line(path)} is not the original; data/SOURCES.md says how to get it."
        )
    with av.open(path) as container:
        frames = [
            frame.to_ndarray(format="rgb24", width=WIDTH, height=HEIGHT, interpolation="AREA")
            for frame in container.decode(video=0)
        ]
    return np.stack(frames)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `data/clips/city.mp4`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("original", type=Path)
    parser.add_argument("--output", type=Path, default=resources.data_dir() / "clips" / "city.mp4")
    options = parser.parse_args(arguments)
    write_clip(options.output, shrunk(options.original), FPS, QUALITY)


if __name__ == "__main__":
    main()
