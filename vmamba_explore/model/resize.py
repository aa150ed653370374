"""The same weights for other frame counts and resolutions: position tables are stretched."""

from __future__ import annotations

from dataclasses import replace

import torch

from vmamba_explore.model.position import resize_table, with_class_row, without_class_row
from vmamba_explore.model.videomamba import VideoMamba


def resized(
    model: VideoMamba, *, num_frames: int | None = None, img_size: int | None = None
) -> VideoMamba:
    """Give a model that reads clips of another size, with the same weights.

    Only its learned position tables change: stretched over rows and columns (bicubic) and over
    token frames (linear). The class token's row stays as it is.

    Args:
        model: The model.
        num_frames: Frames of a clip, a multiple of the tubelet's; None keeps the model's.
        img_size: Height and width of a frame, pixels, a multiple of the patch's; likewise.
    Returns:
        `model` itself where nothing changes, else a new one in evaluation mode.
    Raises:
        ValueError: a size that the tubelets do not divide, or more frames for an image model.
    """
    old = model.config
    if old.pos_embed == "spatial" and num_frames not in (None, old.num_frames):
        raise ValueError(
            f"resized: got num_frames={num_frames} for an image model, which has no table over "
            "time; from_image_checkpoint(what, config, layout=...) makes a model of clips from it."
        )
    new = replace(
        old,
        num_frames=old.num_frames if num_frames is None else num_frames,
        img_size=old.img_size if img_size is None else img_size,
    )
    if new == old:
        return model
    tensors = dict(model.state_dict())
    with torch.no_grad():
        if old.pos_embed in ("spatial", "spatial_temporal"):
            patches, cls_row = without_class_row(tensors["pos_embed"][0], old)
            patches = resize_table(patches, (1, *old.grid.shape[1:]), (1, *new.grid.shape[1:]))
            tensors["pos_embed"] = with_class_row(patches, cls_row, new)[None]
        elif "pos_embed" in tensors:
            table = resize_table(tensors["pos_embed"][0], old.grid.shape, new.grid.shape)
            tensors["pos_embed"] = table[None]
        if "temporal_pos_embedding" in tensors:
            times = ((frames, 1, 1) for frames in (old.grid.frames, new.grid.frames))
            table = resize_table(tensors["temporal_pos_embedding"][0], *times)
            tensors["temporal_pos_embedding"] = table[None]
    found = VideoMamba(new).to(model.norm_f.weight)
    found.load_state_dict(tensors, strict=True)
    found.class_names = model.class_names
    return found.eval()
