"""Where features are active in all vectors: how often, how strongly, and in which clips most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.features.activations import Activations
from vmamba_explore.analysis.features.sae import SparseFeatures

_ROWS = 8192
"""Vectors that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class Activity:
    """How features act in clips, each a view of a video: number video * views + view.

    Args:
        clips, rows: How many clips and vectors there are.
        fires: By feature, the share of the vectors in which it is active.
        fires_clips: The share of the clips in which it is active anywhere.
        mean_code: Its mean code where it is active, 0 where it never is.
        share: Its part of the sum of all squared codes.
        top: The clips with its largest codes, the largest first, (width, top); -1 where there is no
            further clip in which it is active.
        peak: Its largest code in each of these.
        by_class: Mean over the clips of a class of its largest code in a clip, (width, class);
            None where no label is known.
        class_sizes: Clips of each class; None likewise.
    """

    clips: int
    rows: int
    fires: Float[np.ndarray, " width"]
    fires_clips: Float[np.ndarray, " width"]
    mean_code: Float[np.ndarray, " width"]
    share: Float[np.ndarray, " width"]
    top: Int64[np.ndarray, "width top"]
    peak: Float[np.ndarray, "width top"]
    by_class: Float[np.ndarray, "width class"] | None
    class_sizes: Int64[np.ndarray, " class"] | None

    @property
    def order(self) -> Int64[np.ndarray, " width"]:
        """The features by their share of the codes, the largest first, silent ones left out."""
        found = np.argsort(-self.share, kind="stable")
        return found[self.fires[found] > 0]


@torch.no_grad()
def feature_activity(
    features: SparseFeatures,
    activations: Activations,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    *,
    top: int = 8,
    block_mib: float = 64.0,
) -> Activity:
    """Encode all vectors, a block of videos at a time, and keep what is asked of each feature.

    Args:
        features: The features.
        activations: The vectors.
        labels: The class of each video; -1 where it is not known.
        top: How many clips to keep for each feature.
        block_mib: Largest block of vectors in memory, MiB; at least one video.
    Raises:
        ValueError: not one label for each video, or vectors of another site.
    """
    check_site(features, activations, "feature_activity")
    if labels is not None and len(labels) != activations.videos:
        raise ValueError(
            f"feature_activity: got {len(labels)} labels for {activations.videos} videos, expected "
            "one for each."
        )
    classes = None if labels is None else np.asarray(labels, dtype=np.int64)
    if classes is not None and (classes < 0).all():
        classes = None
    width, device = features.width, features.mean.device
    views = activations.shape[1] if "clip" in activations.places else 1
    sums = torch.zeros(width, dtype=torch.float64, device=device)
    squares, fired, fired_clips = sums.clone(), sums.clone(), sums.clone()
    best = torch.zeros(0, width, device=device)
    best_clips = torch.zeros(0, width, dtype=torch.long, device=device)
    by_class = None
    if classes is not None:
        by_class = torch.zeros(int(classes.max(initial=0)) + 1, width, device=device)
    for videos, peaks, codes in _blocks(features, activations, views, block_mib):
        for part in codes:
            active = part > 0
            sums += part.sum(0)
            squares += part.square().sum(0)
            fired += active.sum(0)
        fired_clips += (peaks > 0).sum(0)
        numbers = videos.repeat_interleave(views) * views + torch.arange(views).repeat(len(videos))
        best = torch.cat([best, peaks])
        best_clips = torch.cat([best_clips, numbers.to(device)[:, None].expand(-1, width)])
        best, places = best.topk(min(top, len(best)), dim=0)
        best_clips = best_clips.gather(0, places)
        if by_class is not None and classes is not None:
            of = torch.from_numpy(classes[videos.numpy()]).repeat_interleave(views).to(device)
            by_class.index_add_(0, of[of >= 0], peaks[of >= 0])
    sizes = None
    if by_class is not None and classes is not None:
        sizes = np.bincount(classes[classes >= 0], minlength=len(by_class)) * views
        by_class = by_class / torch.from_numpy(sizes).to(device).clamp_min(1)[:, None]
    clips = activations.videos * views
    return Activity(
        clips=clips,
        rows=len(activations),
        fires=(fired / len(activations)).cpu().numpy(),
        fires_clips=(fired_clips / clips).cpu().numpy(),
        mean_code=(sums / fired.clamp_min(1)).cpu().numpy(),
        share=(squares / squares.sum().clamp_min(1e-30)).cpu().numpy(),
        top=torch.where(best > 0, best_clips, -1).T.cpu().numpy(),
        peak=best.T.cpu().numpy(),
        by_class=None if by_class is None else by_class.T.cpu().numpy(),
        class_sizes=sizes,
    )


def check_site(features: SparseFeatures, activations: Activations, call: str) -> None:
    """Raise a ValueError unless features and vectors are of the same site and size."""
    if features.site != activations.site or len(features.mean) != activations.size:
        raise ValueError(
            f"{call}: the features are of the {features.site} ({len(features.mean)} numbers), the "
            f"vectors of the {activations.site} ({activations.size}); expected the same."
        )


def _blocks(
    features: SparseFeatures, activations: Activations, views: int, block_mib: float
) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """Videos of a block, the largest codes in each of their clips, and all codes in parts."""
    per_clip = len(activations) // (activations.videos * views)
    one = per_clip * views * (activations.size + features.width) * 4
    step = max(1, int(block_mib * 2**20 // one))
    starts = tqdm(range(0, activations.videos, step), desc="feature activity", unit="block")
    for start in starts:
        videos = torch.arange(start, min(start + step, activations.videos))
        rows = torch.from_numpy(activations.block(videos.numpy()))
        codes = [features.encode(part.float()) for part in rows.split(_ROWS)]
        yield videos, torch.cat(codes).unflatten(0, (-1, per_clip)).amax(1), codes
