"""Change features inside a running model: context managers, as in `trace.interventions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.edits import Addition, editing
from vmamba_explore.errors import check_choice
from vmamba_explore.hooks import hook_points, plain
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import Frames, frame_tokens, natural_tokens, numbers, scans

Change = Callable[[Tensor], Tensor]
"""Maps vectors (batch, n, size) to others of that shape."""


def reconstruct(
    model: VideoMamba,
    features: SparseFeatures,
    by: Literal["reconstruction", "mean"] = "reconstruction",
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Replace vectors by what their features make of them, for the duration of the block.

    Video tokens are replaced, class tokens are not. States are replaced where the scan hands them
    on at the end of each token frame, so a later state has come from replaced ones.

    Args:
        model: The model.
        features: Features of one of its sites.
        by: "reconstruction", or "mean": the mean of the vectors that were trained on.
        frames: Only at these token frames; None: at all.
    Raises:
        ValueError: the model has no such site or frame, or vectors of another size.
    """
    model = plain(model)
    check_choice("reconstruct: by", by, ("reconstruction", "mean"))

    def change(rows: Tensor) -> Tensor:
        if by == "mean":
            return features.mean.to(rows).expand_as(rows)
        return features.decode(features.encode(rows)).to(rows)

    return changing(model, features, change, frames, "reconstruct")


def steer(
    model: VideoMamba,
    features: SparseFeatures,
    feature: int | Sequence[int],
    amount: float | Tensor,
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Add features to vectors, for the duration of the block.

    Every video token, or the state after every token frame, becomes x + amount * direction. What
    the scan does with a state that was added to is its own: it decays, and the next is added.

    Args:
        model: The model.
        features: Features of one of its sites.
        feature: Number of the feature, or of several, which are all added.
        amount: Units of the code; negative ones take away. Or one for each clip, (batch,).
        frames: Only at these token frames; None: at all.
    Raises:
        ValueError: there is no such feature, site or frame, or vectors have another size.
    """
    model, chosen = plain(model), numbers(feature)
    features.check(chosen, "steer")
    direction = torch.stack([features.direction(each) for each in chosen]).sum(0)

    def change(rows: Tensor) -> Tensor:
        times = torch.as_tensor(amount, dtype=rows.dtype, device=rows.device)
        if times.ndim:  # one for each clip
            times = times[:, None, None]
        return rows + times * direction.to(rows)

    return changing(model, features, change, frames, "steer")


def remove_feature(
    model: VideoMamba,
    features: SparseFeatures,
    feature: int | Sequence[int],
    *,
    frames: Frames | None = None,
) -> AbstractContextManager[None]:
    """Take features' parts out of vectors, for the duration of the block.

    x becomes x - code * direction; what no feature explains stays, and so does a vector in which
    none of them is active.

    Args:
        model, features, feature, frames: As for `steer`.
    Raises:
        ValueError: there is no such feature, site or frame, or vectors have another size.
    """
    model, chosen = plain(model), numbers(feature)
    features.check(chosen, "remove_feature")
    directions = torch.stack([features.direction(each) for each in chosen])

    def change(rows: Tensor) -> Tensor:
        codes = features.encode(rows)[..., chosen].to(rows)
        return rows - codes @ directions.to(rows)

    return changing(model, features, change, frames, "remove_feature")


def changing(
    model: VideoMamba,
    features: SparseFeatures,
    change: Change,
    frames: Frames | None,
    call: str,
) -> AbstractContextManager[None]:
    """Change the vectors at the features' site, for the duration of the block.

    Args:
        model, features, frames: As for `steer`.
        change: What to do with them.
        call: Begins the message of an error.
    """
    site = features.site
    size = site.size(model)
    if size != len(features.mean):
        raise ValueError(
            f"{call}: the features are of vectors of {len(features.mean)} numbers, and the {site} "
            f"of this model has {size}; load the model in which they were found."
        )
    grid = model.grid
    wanted = list(range(grid.frames)) if frames is None else numbers(frames)
    among = frame_tokens(grid, wanted)  # raises where there is no such frame
    if site.direction is None:
        tokens = among[torch.isin(among, grid.video_tokens)]
        point = hook_points(model)[f"layers.{site.layer}.hook_block_input"]

        def edit(values: Tensor, _: object) -> Tensor:
            where = torch.isin(natural_tokens(model), tokens).nonzero()[:, 0].to(values.device)
            old = values.index_select(1, where)
            return values.clone().index_copy_(1, where, change(old))

        return editing((point.functions, edit))
    model.check_whole(call)
    (scan,) = scans(model, site.layer, site.direction)
    _, ends = frame_ends(model, site.direction)

    def replace_state(state: Tensor) -> Tensor:
        return change(state.flatten(1)[:, None])[:, 0].view_as(state)

    edits: list[Addition] = [(scan.ssm.handovers, (int(ends[f]), replace_state)) for f in wanted]
    return editing(*edits)
