"""What the stores of large data sets take, on paper: bytes, files and hours, each with its sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.stores.layout import Layout, Sampling
from vmamba_explore.stores.quantities import Quantity, variables
from vmamba_explore.stores.sizes import StoreSize, size_of

DATA_SETS = {"Kinetics-400": 240_000, "10 M clips": 10_000_000}
"""Videos, of one clip each."""
MODEL = "kaist_small"
QUANTITIES: Sequence[str | Quantity] = (
    "embedding",
    "logits",
    "frame_features",
    "delta:mean",
    "delta:float16",
    "h_over_channels:float16",
    "layers.12.hook_block_input:float16",
    Quantity("h_boundaries", layers=(12,), dtype="float16"),
    "h_boundaries:float16",
    Quantity("h", layers=(12,), dtype="float16"),
)
"""What one might store of them."""
GPU_TFLOPS = 20.0
"""An assumption, not a measurement: floating-point operations that one GPU does in a second on this
model, in units of 1e12. Scans of a long sequence are bound by memory, so it is far below what
is printed on such a device."""
DECODE_SECONDS = 0.1
"""An assumption, not a measurement: seconds in which one core reads the frames of one clip."""
TASK_SECONDS = 0.001
"""What Dask's documentation states that its scheduler takes for a task: up to a millisecond."""


@dataclass(frozen=True)
class Hours:
    """What running a model over a data set takes.

    Args:
        operations: Of one clip: two for each multiply-accumulate.
        gpu: Hours of one GPU, by `GPU_TFLOPS`.
        decoding: Hours of one core, by `DECODE_SECONDS`.
        scheduler: Hours in which one scheduler can give out the videos, by `TASK_SECONDS`.
    """

    operations: float
    gpu: float
    decoding: float
    scheduler: float


def planned(quantity: str | Quantity, videos: int, preset: str = MODEL) -> StoreSize:
    """Say what one quantity of a model takes, alone in a store; by what a dry run computes."""
    config = VideoMambaConfig.preset(preset)
    with torch.device("meta"):  # sizes alone
        model = VideoMamba(config)
    sampling = Sampling(config.num_frames, config.img_size)
    return size_of(Layout(variables(model, [quantity]), sampling), videos)


def hours(videos: int, preset: str = MODEL) -> Hours:
    """Say how long a model takes for so many clips."""
    operations = 2.0 * VideoMambaConfig.preset(preset).macs().total
    each = (operations / (GPU_TFLOPS * 1e12), DECODE_SECONDS, TASK_SECONDS)
    return Hours(operations, *(videos * seconds / 3600 for seconds in each))


def table() -> str:
    """The sizes as a Markdown table."""
    head = ["quantity", "numbers a video", "bytes a video", "files a video"]
    for name in DATA_SETS:
        head += [f"{name}: GB", f"{name}: million files"]
    lines = [head, ["---"] * len(head)]
    for quantity in QUANTITIES:
        first = planned(quantity, 1)
        name = next(name for name in first.bytes_by_variable if name not in ("path", "label"))
        size = first.bytes_by_variable[name]
        width = 2 if "float16" in str(quantity) else 4
        files = planned(quantity, 3).files - planned(quantity, 2).files
        row = [f"`{_said(quantity)}`", f"{size // width:,}", f"{size:,}", f"{files}"]
        for videos in DATA_SETS.values():
            planned_size = planned(quantity, videos)
            row += [f"{planned_size.total / 1e9:,.1f}", f"{planned_size.files / 1e6:,.2f}"]
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _said(quantity: str | Quantity) -> str:
    if isinstance(quantity, str):
        return quantity
    return f"{quantity.name}:{quantity.dtype}, layer {quantity.layers[0]}"  # type: ignore[index]
