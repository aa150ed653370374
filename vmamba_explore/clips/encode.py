"""Write frames to a video file."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

import av
import numpy as np
from jaxtyping import UInt8

from vmamba_explore.files import AnyPath, atomic_write


def write_clip(
    path: AnyPath,
    frames: UInt8[np.ndarray, "num_frames height width 3"],
    fps: int = 16,
    quality: int = 20,
) -> None:
    """Write frames as an H.264 file that every browser and player can show, whole or not at all.

    Args:
        path: The file to write, `.mp4`.
        frames: RGB pixels, (num_frames, height, width, 3); height and width even.
        fps: Frames per second.
        quality: x264's constant rate factor, 0 (lossless) to 51; smaller files as it grows.
    Raises:
        ValueError: height or width is odd.
        OSError: the file cannot be written.
    """
    atomic_write(path, lambda file: encode_clip(file, frames, fps, quality))


def encode_clip(
    file: BinaryIO | BytesIO,
    frames: UInt8[np.ndarray, "num_frames height width 3"],
    fps: int = 16,
    quality: int = 20,
) -> None:
    """Write frames as H.264 to an open file that can be rewound; see `write_clip`."""
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"write_clip: frames of {width} x {height} pixels; H.264 needs even sides. "
            "Crop or pad by one pixel."
        )
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(quality), "preset": "slow", "threads": "1"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
