"""From a model of images to a model of clips with the same weights: inflation."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vmamba_explore.errors import shown
from vmamba_explore.model.checkpoints import Layout, load_model
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.position import expand_pos_embed, with_class_row
from vmamba_explore.model.resize import resized
from vmamba_explore.model.videomamba import VideoMamba


def from_image_checkpoint(
    what: str | Path, config: VideoMambaConfig, *, layout: Layout | None = None
) -> VideoMamba:
    """Start a video model from an image checkpoint, Vim's or OpenGVLab's: `load_model`, `inflate`.

    Args:
        what: File or Hub reference, as for `load_model`.
        config: The model to make; its `pos_embed` names the way from the image's position table
            to the clip's.
        layout: "vim" or "opengvlab"; the tensors alone cannot tell.
    Returns:
        The video model, in evaluation mode, its head drawn at random (`torch.manual_seed`).
    Raises:
        CheckpointError: as `load_model`.
        ValueError: the two models do not go together; the message names the field.
    """
    return inflate(load_model(what, layout=layout), config)


def inflate(image_model: VideoMamba, config: VideoMambaConfig) -> VideoMamba:
    """Start a video model from an image model, as the paper starts from Vim.

    The tokenizer's kernel is repeated along time and divided by the tubelet's length. The image's
    position table becomes the clip's in the way `config.pos_embed` names, stretched to another
    resolution where that differs. The class token takes its row of the table with it, since a
    clip's table has none. Where half the sum of both directions becomes the sum, or the other way
    round, `out_proj` takes the factor. The head stays as drawn: it is for other classes.

    Args:
        image_model: One frame, tubelets of one frame, `pos_embed="spatial"`.
        config: The model to make.
    Returns:
        The video model, in evaluation mode.
    Raises:
        ValueError: `image_model` reads clips, or has another width, depth or state than `config`.
    Source:
        Park et al. 2024, arXiv:2407.08476, sections 3 and 4.2.
    """
    given = image_model.config
    if given.num_frames != 1 or given.tubelet_size != 1 or given.pos_embed != "spatial":
        raise ValueError(
            f"inflate: the image model reads {given.num_frames} frames in tubelets of "
            f"{given.tubelet_size} with pos_embed={shown(given.pos_embed)}; expected one frame, "
            "tubelets of one and 'spatial', as load_model reads an image checkpoint."
        )
    same = ("patch_size", "in_channels", "d_model", "depth", "d_state", "d_conv", "expand")
    for name in (*same, "dt_rank", "scan_variant"):
        if getattr(given, name) != getattr(config, name):
            raise ValueError(
                f"inflate: {name} is {getattr(given, name)} in the image model and "
                f"{getattr(config, name)} in the configuration; both must be the same."
            )
    if (given.backward_order is None) != (config.backward_order is None):
        raise ValueError("inflate: one of the two models has no backward scan; both must agree.")
    model = VideoMamba(config)
    tensors = dict(model.state_dict())
    skipped = ("patch_embed.proj.weight", "pos_embed", "cls_token", "head.")
    tensors |= {n: v for n, v in image_model.state_dict().items() if not n.startswith(skipped)}
    kernel = image_model.patch_embed.proj.weight.detach()
    length = config.tubelet_size
    tensors["patch_embed.proj.weight"] = kernel.repeat(1, 1, length, 1, 1) / length
    factor = {("mean", "sum"): 0.5, ("sum", "mean"): 2.0}.get(
        (given.direction_merge, config.direction_merge), 1.0
    )
    for name in tensors:
        if name.endswith("mixer.out_proj.weight"):
            tensors[name] = tensors[name] * factor
    with torch.no_grad():
        tensors |= _positions(image_model, config)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def _positions(image_model: VideoMamba, config: VideoMambaConfig) -> dict[str, Tensor]:
    """The class token and the position tables of the model to make."""
    image_model = resized(image_model, img_size=config.img_size)
    image_table, cls_row = image_model.positions()
    assert image_table is not None
    sister = config.pos_embed in ("spatial", "spatial_temporal")  # its table has the class token
    found: dict[str, Tensor] = {}
    if image_model.cls_token is not None and config.cls_position is not None:
        assert cls_row is not None
        found["cls_token"] = image_model.cls_token + (0 if sister else cls_row)
    if sister:
        found["pos_embed"] = with_class_row(image_table, cls_row, config)
    elif config.pos_embed not in ("none", "sinusoidal"):
        found["pos_embed"] = expand_pos_embed(image_table[0], config.grid.frames, config.pos_embed)[
            None
        ]
    return found
