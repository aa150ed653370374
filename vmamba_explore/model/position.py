"""Position embeddings: four ways from an image table to a clip table, and a fixed one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.errors import shown
from vmamba_explore.model.config import VideoMambaConfig


def expand_pos_embed(
    image_table: Float[Tensor, "patches d_model"], num_frames: int, how: str
) -> Float[Tensor, "tokens d_model"]:
    """Make a table over all video tokens from a table over the patches of one image.

    Args:
        image_table: (n_h * n_w, d_model).
        num_frames: Token frames n_t.
        how: "temporal_expanding" repeats the whole table for every frame (the paper's choice);
            "token_interpolation" stretches it along the token axis; "embedding_interpolation"
            stretches each row to n_t * d_model numbers and cuts these into frames; "random"
            draws a new one with the same spread.
    Returns:
        (n_t * n_h * n_w, d_model), time-major.
    Raises:
        ValueError: an unknown way.
    Source:
        Park et al. 2024, arXiv:2407.08476, section 4.2.
    """
    patches, d_model = image_table.shape
    if how == "temporal_expanding":
        return image_table.repeat(num_frames, 1)
    if how == "token_interpolation":
        rows = image_table.T.unsqueeze(0)
        return F.interpolate(rows, size=num_frames * patches, mode="linear")[0].T.contiguous()
    if how == "embedding_interpolation":
        wide = F.interpolate(image_table.unsqueeze(0), size=num_frames * d_model, mode="linear")[0]
        return wide.view(patches, num_frames, d_model).transpose(0, 1).reshape(-1, d_model)
    if how == "random":
        return torch.randn(num_frames * patches, d_model) * image_table.std()
    raise ValueError(
        "expand_pos_embed: how must be 'temporal_expanding', 'token_interpolation', "
        f"'embedding_interpolation' or 'random', got {shown(how)}."
    )


def initial_pos_embed(config: VideoMambaConfig) -> Tensor:
    """Draw the learnable table a new model starts with, `config.pos_embed_shape`."""
    if config.pos_embed in ("spatial", "spatial_temporal"):
        assert config.pos_embed_shape is not None
        return torch.randn(config.pos_embed_shape) * 0.02
    image_table = torch.randn(config.grid.rows * config.grid.cols, config.d_model) * 0.02
    return expand_pos_embed(image_table, config.grid.frames, config.pos_embed)


def class_row(config: VideoMambaConfig) -> int | None:
    """Which row of a sister model's table, over one frame and the class token, is the latter's."""
    if config.cls_position is None:
        return None
    return 0 if config.cls_position == "front" else config.grid.rows * config.grid.cols // 2


def without_class_row(table: Tensor, config: VideoMambaConfig) -> tuple[Tensor, Tensor | None]:
    """The rows of a table (..., rows, d_model) over the patches, and that of the class token."""
    row = class_row(config)
    if row is None:
        return table, None
    patches = torch.cat([table[..., :row, :], table[..., row + 1 :, :]], dim=-2)
    return patches, table[..., row : row + 1, :]


def with_class_row(patches: Tensor, cls_row: Tensor | None, config: VideoMambaConfig) -> Tensor:
    """Put a class token's row where `config` has it; `without_class_row` takes it out again."""
    row = class_row(config)
    if row is None or cls_row is None:
        return patches
    return torch.cat([patches[..., :row, :], cls_row, patches[..., row:, :]], dim=-2)


def resize_table(
    table: Float[Tensor, "tokens d_model"], old: tuple[int, int, int], new: tuple[int, int, int]
) -> Float[Tensor, "new_tokens d_model"]:
    """Stretch a table over tokens to another number of frames, rows and columns.

    Args:
        table: (frames * rows * cols, d_model), time-major, then rows.
        old: Its frames, rows and columns.
        new: Those wanted.
    Returns:
        The table of the new size: bicubic over rows and columns, linear over frames, and the same
        values where a size does not change.
    """
    frames, sides = new[0], new[1:]
    if sides != old[1:]:
        pictures = table.view(*old, -1).permute(0, 3, 1, 2)
        pictures = F.interpolate(pictures, size=sides, mode="bicubic", align_corners=False)
        table = pictures.permute(0, 2, 3, 1).reshape(-1, table.shape[-1])
    if frames != old[0]:
        rows = table.reshape(1, old[0], -1).transpose(1, 2)
        rows = F.interpolate(rows, size=frames, mode="linear", align_corners=False)
        table = rows.transpose(1, 2).reshape(-1, table.shape[-1])
    return table


def sinusoidal_table(num_tokens: int, d_model: int) -> Float[Tensor, "{num_tokens} {d_model}"]:
    """Sine and cosine of the token's place at geometrically spaced rates, (num_tokens, d_model).

    Raises:
        ValueError: a size is less than 1.
    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    for name, size in (("num_tokens", num_tokens), ("d_model", d_model)):
        if size < 1:
            raise ValueError(f"sinusoidal_table: {name} is {size}, expected at least 1.")
    place = torch.arange(num_tokens, dtype=torch.float64).unsqueeze(1)
    channel = torch.arange(d_model)
    angle = place / 10_000 ** (2 * (channel // 2) / d_model)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()
