"""A model's answers for many labeled clips, and for whole videos, each seen in several views."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import ClipError, normalize
from vmamba_explore.datasets.lists import Video, VideoList
from vmamba_explore.datasets.views import Views, read_views
from vmamba_explore.files import output_path, output_paths
from vmamba_explore.hooks import plain
from vmamba_explore.intervals import Interval, proportion
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.row_file import RowFile
from vmamba_explore.training.processes import OneProcess, read_ahead

COLUMNS = ("video", "path", "bytes", "label", "predicted", "probability", "rank", "reason")
WORDS = ("path", "reason")


@dataclass(frozen=True)
class VideoScores:
    """How often a model named the class of a video.

    Args:
        top1: Share of the videos whose class scored highest.
        top5: Share of those whose class is among the five highest.
        broken: Path and reason of each video that could not be read; they count nowhere.
    """

    top1: Interval
    top5: Interval
    broken: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "top1": self.top1.to_dict(),
            "top5": self.top5.to_dict(),
            "broken": [list(pair) for pair in self.broken],
        }


def evaluate_videos(
    model: VideoMamba,
    videos: VideoList,
    output: str | os.PathLike[str],
    *,
    views: Views | None = None,
    stride: int = 2,
    workers: int = 0,
    accelerator: Any = None,
) -> VideoScores:
    """Test a model on whole videos: the softmax of its logits, averaged over views of each video.

    Args:
        model: The model, on the device to run on.
        videos: What to test on; its classes are numbered as the model names them.
        output: CSV file with a line for each video, written as it goes; what it holds already is
            not run again, unless the video could not be read or its size has changed. `rank` is
            the place of the right class, 1 is the highest. Settings and result stand beside it,
            in a JSON file of the same name.
        views: Clips in time and crops in space; None takes 4 x 3.
        stride: Source frames from one frame of a clip to the next.
        workers: Processes that read videos beside the model; 0 reads them in between.
        accelerator: Shares the videos among its processes, as `processes.accelerator` makes it.
    Returns:
        Top-1 and top-5 with their 95 % intervals, and the videos that cannot be read.
    Raises:
        ValueError: the model lacks classes of the list, `output` belongs to another model, list
            or view, or no video at all can be read.
        FloatingPointError: the model's logits for a video are not finite.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.1, averages over several temporal and spatial
        views and does not say how many; 4 x 3 are those of Li et al. 2024, arXiv:2403.06977.
    """
    views, config = views or Views(), plain(model).config
    output = output_path(output, "evaluate_videos", parents=True)
    output_paths((output, output.with_suffix(".json")), "evaluate_videos", (), parents=True)
    processes = OneProcess() if accelerator is None else accelerator
    if model.class_names is not None and not videos.unnamed:
        videos = videos.numbered_as(model.class_names)
    elif len(videos.class_names) != config.num_classes and not (
        videos.unnamed and len(videos.class_names) < config.num_classes
    ):
        raise ValueError(
            f"evaluate_videos: the model has {config.num_classes} classes, {videos.name} has "
            f"{len(videos.class_names)}. Give the list the model was trained with."
        )
    settings = {
        "model": fingerprint(plain(model)),
        "data": videos.identity(),
        "views": asdict(views),
        "stride": stride,
    }
    rows = RowFile(output, COLUMNS, WORDS, processes)
    before = rows.start(settings)
    fine = before[before["reason"].isna()]
    sizes = dict(zip(fine["video"], fine["bytes"], strict=True))
    todo = [
        number
        for number, video in enumerate(videos.videos)
        if number not in sizes or sizes[number] != _size(video.path)
    ]
    todo = todo[processes.process_index :: processes.num_processes]
    reader = partial(_read, videos, views, config.num_frames, config.img_size, stride)
    bar = tqdm(
        read_ahead(reader, todo, workers),
        total=len(todo),
        desc="testing",
        unit="video",
        disable=not processes.is_main_process,
    )
    with rows:
        for number, frames, reason in bar:
            video = videos.videos[number]
            row = {"video": number, "path": video.path, "label": video.label}
            if frames is None:
                rows.append(**row, reason=reason)
                continue
            rows.append(**row, bytes=_size(video.path), **_judge(model, frames, video))
    rows.join()
    found = rows.read()
    unread = found[found["reason"].notna()]
    ranks = found.loc[found["reason"].isna(), "rank"].to_numpy(dtype=int)
    if not len(ranks):
        first = f"the first: {unread['reason'].iloc[0]}" if len(unread) else "the list is empty."
        raise ValueError(
            f"evaluate_videos: none of the {len(videos.videos)} videos of {videos.name} can be "
            f"read; {first}"
        )
    broken = tuple(zip(unread["path"], unread["reason"], strict=True))
    scores = VideoScores(proportion(ranks <= 1), proportion(ranks <= 5), broken)
    rows.finish(settings, scores.to_dict())
    return scores


def average_over_views(
    logits: Float[Tensor, "views num_classes"],
) -> Float[Tensor, " num_classes"]:
    """Turn the logits of a video's views into its probabilities: the mean of their softmax."""
    return logits.double().softmax(-1).mean(0)


def _judge(model: VideoMamba, frames: NDArray[np.uint8], video: Video) -> dict[str, Any]:
    """What a model says of one video, and at which place the right class stands."""
    probabilities = average_over_views(predict_logits(model, frames))
    if not probabilities.isfinite().all():
        raise FloatingPointError(
            f"evaluate_videos: the model's logits for {video.path} are not finite. Its weights or "
            "its precision are at fault; the videos before it are kept."
        )
    order = probabilities.argsort(descending=True, stable=True).tolist()  # of equals, the first
    return {
        "predicted": order[0],
        "probability": round(float(probabilities[order[0]]), 6),
        "rank": 1 + order.index(video.label),
    }


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


def _read(
    videos: VideoList, views: Views, num_frames: int, img_size: int, stride: int, number: int
) -> tuple[int, NDArray[np.uint8] | None, str | None]:
    """A video's number, and either its views or the reason why it cannot be read."""
    try:
        path = videos.videos[number].path
        return number, read_views(path, views, num_frames, img_size, stride), None
    except (ClipError, OSError) as error:
        return number, None, str(error)


def predict_logits(
    model: VideoMamba, frames: NDArray[np.uint8], batch_size: int = 50, desc: str | None = None
) -> Tensor:
    """Run a model over many clips.

    Args:
        model: The model.
        frames: uint8 (n, num_frames, H, W, 3).
        batch_size: Clips at a time.
        desc: Label of the progress bar; None shows none.
    Returns:
        Logits (n, num_classes) on the CPU.
    """
    device = plain(model).norm_f.weight.device
    starts = range(0, len(frames), batch_size)
    with torch.inference_mode():
        return torch.cat(
            [
                model(normalize(frames[i : i + batch_size]).to(device)).cpu()
                for i in tqdm(starts, desc=desc, disable=desc is None, unit="batch", leave=False)
            ]
        )


def within_pair(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the right class of each time-reversed pair (2k, 2k + 1) scores higher, (n,)."""
    label = torch.from_numpy(labels)
    right = logits.gather(1, label[:, None]) > logits.gather(1, (label ^ 1)[:, None])
    return right[:, 0].numpy()
