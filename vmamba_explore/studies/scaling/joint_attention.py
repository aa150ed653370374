"""Joint space-time attention over the same tokens: what VideoMamba's cost is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vmamba_explore.errors import shown
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.position import initial_pos_embed, sinusoidal_table
from vmamba_explore.model.videomamba import PatchEmbed

HEAD_WIDTH = 64
"""Channels of an attention head, as in ViT; narrower models have one head."""
MLP_RATIO = 4


@dataclass(frozen=True)
class AttentionMacs:
    """Multiply-accumulates of one clip.

    Args:
        linear: Tokenizer, linear layers and head: they grow with the number of tokens.
        attention: Queries times keys and weights times values: with its square.
    """

    linear: int
    attention: int

    @property
    def total(self) -> int:
        """Both."""
        return self.linear + self.attention


class JointAttention(nn.Module):
    """Classify clips with a plain vision transformer in which every token attends to every other.

    Made for comparisons of cost, so everything but the mixing of tokens is VideoMamba's: tubelets,
    position embedding, class token, width, head. A block of attention and MLP has 12 d_model^2
    weights, as the input and output projections of two VideoMamba blocks (expand 2) have; so it
    gets half as many blocks and both do about the same work per token, attention itself aside.

    Args:
        config: What to build. Used: the clip and its cutting, `num_classes`, `d_model`, `depth`
            (halved, rounded up), `cls_position`, `pos_embed`.

    `model(clips)` maps clips (batch, channels, num_frames, H, W), float, to logits
    (batch, num_classes).

    Raises:
        ValueError: the configuration has a position embedding of the sister models, or clips are
            of another shape than the configuration's.
    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929; joint space-time attention over tubelets as in
        VideoMAE (Tong et al. 2022, arXiv:2203.12602), with a class token.
    """

    pos_embed: Tensor | None

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        if config.pos_embed in ("spatial", "spatial_temporal"):
            raise ValueError(
                f"JointAttention: pos_embed={shown(config.pos_embed)} is not built here; use one "
                "of VideoMamba's, such as 'temporal_expanding'."
            )
        self.config = config
        self.grid = config.grid
        d_model = config.d_model
        self.patch_embed = PatchEmbed(config)
        self.cls_token = (
            nn.Parameter(torch.zeros(1, 1, d_model)) if config.cls_position is not None else None
        )
        if config.pos_embed == "sinusoidal":
            table = sinusoidal_table(self.grid.num_patches, d_model)
            self.register_buffer("pos_embed", table.unsqueeze(0), persistent=False)
        elif config.pos_embed == "none":
            self.register_parameter("pos_embed", None)
        else:
            self.pos_embed = nn.Parameter(initial_pos_embed(config).unsqueeze(0))
        self.layers = nn.ModuleList(AttentionBlock(d_model) for _ in range(_num_blocks(config)))
        self.norm_f = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, config.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Map clips to logits."""
        config = self.config
        wanted = (config.in_channels, config.num_frames, config.img_size, config.img_size)
        if clips.shape[1:] != wanted:
            raise ValueError(
                f"JointAttention: clips is {tuple(clips.shape)}, expected (batch, channels, "
                f"num_frames, height, width) = (batch, {', '.join(map(str, wanted))})."
            )
        tokens = self.patch_embed(clips.to(self.head.weight.dtype))
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        if self.cls_token is not None:
            tokens = self.grid.insert_cls(tokens, self.cls_token.expand(len(tokens), -1, -1))
        for layer in self.layers:
            tokens = layer(tokens)
        cls_index = self.grid.cls_index
        read = tokens.mean(dim=1) if cls_index is None else tokens[:, cls_index]
        return self.head(self.norm_f(read))


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: attention among all tokens, then a two-layer perceptron."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.num_heads = _num_heads(d_model)
        self.norm_attention = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.norm_mlp = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, MLP_RATIO * d_model),
            nn.GELU(),
            nn.Linear(MLP_RATIO * d_model, d_model),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, seqlen, d_model) to the same shape."""
        heads = self.qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (batch, head, seqlen, channel) each
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out_proj(mixed)
        return tokens + self.mlp(self.norm_mlp(tokens))


def attention_macs(config: VideoMambaConfig) -> AttentionMacs:
    """Count what `JointAttention(config)` computes for one clip; no weight is made.

    ::

        linear    = tokenizer + blocks * seqlen * 12 d_model^2 + head
        attention = blocks * 2 seqlen^2 d_model
    """
    seqlen, d_model, blocks = config.grid.seqlen, config.d_model, _num_blocks(config)
    tokenizer = config.in_channels * config.num_frames * config.img_size**2 * d_model
    per_token = (4 + 2 * MLP_RATIO) * d_model**2
    return AttentionMacs(
        linear=tokenizer + blocks * seqlen * per_token + d_model * config.num_classes,
        attention=blocks * 2 * seqlen**2 * d_model,
    )


def _num_blocks(config: VideoMambaConfig) -> int:
    return (config.depth + 1) // 2


def _num_heads(d_model: int) -> int:
    """As many heads of about `HEAD_WIDTH` channels as divide the width."""
    return max(n for n in range(1, max(1, d_model // HEAD_WIDTH) + 1) if d_model % n == 0)
