"""Clip: the very frames a model sees, with their times and where they come from."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from vmamba_explore.errors import one_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ClipError(ValueError):
    """A file that cannot be read as a clip; the message is one sentence that names the file."""


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames a model sees, already resized and cropped, and their place in the source.

    Args:
        frames: RGB pixels, uint8, (num_frames, height, width, 3).
        seconds: When each frame is shown in the source, float64, (num_frames,), seconds.
        source: Name of the file, or of the generated clip ("motion clip 17"), as one line of at
            most 200 characters: what does not print becomes an escape such as `\\r`.
        indices: Number of each frame in the source, int64, (num_frames,), the first frame is 0.
        repeated: How many of the last frames only repeat the source's last frame, because the
            source is shorter than what was asked for.
        damaged: Which frames the decoder reported as damaged, bool, (num_frames,); None for none.
        reader: What read the file, and why it was not decord; "" for a generated clip.
        path: The file, absolute; "" where the frames come from elsewhere.
    """

    frames: UInt8[np.ndarray, "num_frames height width 3"]
    seconds: Float64[np.ndarray, " num_frames"]
    source: str
    indices: Int64[np.ndarray, " num_frames"]
    repeated: int = 0
    damaged: Bool[np.ndarray, " num_frames"] | None = None
    reader: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", one_line(self.source))
        shape = self.frames.shape
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or self.frames.dtype != np.uint8:
            raise ValueError(
                "Clip: frames must be uint8 (num_frames, height, width, 3) with no empty axis, "
                f"got {self.frames.dtype} {shape}."
            )
        if self.seconds.shape != shape[:1] or self.indices.shape != shape[:1]:
            raise ValueError(
                f"Clip: {shape[0]} frames need as many seconds and indices, "
                f"got {self.seconds.shape} and {self.indices.shape}."
            )
        if self.damaged is not None and self.damaged.shape != shape[:1]:
            raise ValueError(
                f"Clip: {shape[0]} frames need as many marks of damage, got {self.damaged.shape}."
            )

    @property
    def num_frames(self) -> int:
        """How many frames the clip has, repeated ones included."""
        return len(self.frames)

    @property
    def fps(self) -> float:
        """Frames per second of this clip (not of its source); 0.0 for a single frame."""
        steps = np.diff(self.seconds[: self.num_frames - self.repeated])
        step = float(np.median(steps)) if len(steps) else 0.0
        return 1 / step if step > 0 else 0.0

    def tensor(self) -> Float[Tensor, "3 num_frames height width"]:
        """Return what the model reads: float32, ImageNet mean and deviation removed."""
        return normalize(self.frames)

    def __repr__(self) -> str:
        num_frames, height, width, _ = self.frames.shape
        note = f", the last {self.repeated} repeated" if self.repeated else ""
        if self.damaged is not None and self.damaged.any():
            note += f", {self.damaged.sum()} damaged"
        return (
            f"Clip({self.source!r}, {num_frames} frames of {width}x{height}, "
            f"{self.seconds[0]:.2f} to {self.seconds[-1]:.2f} s{note})"
        )


@runtime_checkable
class Generated(Protocol):
    """A clip that was generated, with the truth about it: a motion, recall or camera clip."""

    @property
    def clip(self) -> Clip:
        """Its frames."""


def shown_by(clip: Clip | Generated) -> Clip:
    """Return the frames of a clip, without the truth about it."""
    return clip if isinstance(clip, Clip) else clip.clip


def normalize(
    frames: UInt8[np.ndarray, "*batch num_frames height width 3"],
) -> Float[Tensor, "*batch 3 num_frames height width"]:
    """Turn uint8 pixels into a model's input.

    Args:
        frames: RGB pixels, (..., num_frames, height, width, 3).
    Returns:
        float32 (..., 3, num_frames, height, width): pixel / 255, less the ImageNet mean, over the
        ImageNet standard deviation of its color.
    Raises:
        ValueError: the frames are of another shape or type.
    """
    shape = tuple(getattr(frames, "shape", ()))
    if len(shape) < 4 or shape[-1] != 3 or getattr(frames, "dtype", None) != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise ValueError(
            "normalize: frames must be uint8 (..., num_frames, height, width, 3), "
            f"got {kind} {shape}."
        )
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -4)
    color = (3, 1, 1, 1)
    scale = 1 / (255 * torch.tensor(IMAGENET_STD).view(color))
    shift = -torch.tensor(IMAGENET_MEAN).view(color) / torch.tensor(IMAGENET_STD).view(color)
    return torch.addcmul(shift, pixels.float(), scale).contiguous()
