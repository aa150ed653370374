"""What a VideoMamba is, as pure data: sizes, variants, presets, and what they cost."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.errors import shown
from vmamba_explore.tokens import BACKWARD_ORDERS, BackwardOrder, ClsPosition, TokenGrid

PosEmbed = Literal[
    "temporal_expanding",
    "token_interpolation",
    "embedding_interpolation",
    "random",
    "sinusoidal",
    "none",
    "spatial",
    "spatial_temporal",
]
DirectionMerge = Literal["sum", "mean"]
ScanVariant = Literal["mamba", "videomambapro"]
LARGEST_FIELD = 2**31 - 1
LATER = ("scan_variant", "pool_norm", "text_dim")
"""Fields that came after models had been saved and named by their fingerprints."""
MOST_NUMBERS = 2**40  # in the weights, or in a clip: 4 TiB of float32


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one clip.

    Args:
        paper: `in_proj`, `out_proj` and the tokenizer only, as the VideoMamba paper counts.
        total: Every linear and convolution layer.
        state_updates: Hidden-state elements computed by the scans of all layers and directions.
    """

    paper: int
    total: int
    state_updates: int


@dataclass(frozen=True)
class VideoMambaConfig:
    """Everything that fixes the shape of a VideoMamba; no tensor is made here.

    Args:
        num_frames: Frames of a clip.
        img_size: Height and width of a frame, pixels.
        patch_size: Height and width of a tubelet, pixels.
        tubelet_size: Length of a tubelet, frames.
        in_channels: Color channels.
        num_classes: Length of the logits; 0 for an encoder, a model without a head.
        d_model: Width of the residual stream.
        depth: Number of blocks.
        d_state: States per channel.
        d_conv: Width of the causal convolution, tokens.
        expand: `d_inner / d_model`.
        dt_rank: Rank of the step-size projection; None means `ceil(d_model / 16)`, worked out when
            the configuration is made.
        backward_order: How the backward scan reads the clip; None leaves the forward scan alone.
        direction_merge: Whether the directions' outputs are added ("sum") or halved too ("mean").
        cls_position: Class token in "front" or in the "middle", or one in the middle of
            "every_frame", which are averaged; None means mean pooling.
        pos_embed: Position embedding. A table over all video tokens, learnable, starting from an
            image table in one of four ways ("temporal_expanding", "token_interpolation",
            "embedding_interpolation", "random"), or fixed ("sinusoidal"), or "none"; the sister
            models' table over one frame and the class token ("spatial"), with a second one over
            token frames ("spatial_temporal").
        norm_eps: Epsilon of every RMSNorm.
        scan_variant: The recurrence of every scan: "mamba", or "videomambapro", whose states start
            from the first token's input and whose backward scan leaves out what a token writes
            itself (`SelectiveSSM` has both).
        pool_norm: Whether the read-out is a LayerNorm of the class token plus the mean of the video
            tokens, as in OpenGVLab's text–video encoders.
        text_dim: Width of the space that an encoder's features share with texts (`vision_proj`);
            None without one.
    Raises:
        ValueError: a value out of range, or two that do not go together.
    Source:
        Park et al. 2024, arXiv:2407.08476; sister models arXiv:2403.06977 and arXiv:2401.09417.
    """

    num_frames: int = 16
    img_size: int = 224
    patch_size: int = 16
    tubelet_size: int = 2
    in_channels: int = 3
    num_classes: int = 400
    d_model: int = 384
    depth: int = 24
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | None = None
    backward_order: BackwardOrder | None = "spatiotemporal"
    direction_merge: DirectionMerge = "sum"
    cls_position: ClsPosition | None = "front"
    pos_embed: PosEmbed = "temporal_expanding"
    norm_eps: float = 1e-5
    scan_variant: ScanVariant = "mamba"
    pool_norm: bool = False
    text_dim: int | None = None

    def __repr__(self) -> str:
        """The fields; those of `LATER` only where they are set, as fingerprints rest on this."""
        shown = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if field.name not in LATER or getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __post_init__(self) -> None:
        if self.dt_rank is None and isinstance(self.d_model, int):
            object.__setattr__(self, "dt_rank", -(-self.d_model // 16))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_int = isinstance(value, int) and not isinstance(value, bool)
            if field.type not in ("int", "int | None"):
                continue
            if field.name == "text_dim" and value is None:
                continue
            least = 0 if field.name == "num_classes" else 1
            if not is_int or not least <= value <= LARGEST_FIELD:
                limit = f"at least {least}"
                if is_int and value > 1:
                    limit = f"at most {LARGEST_FIELD:,}"
                raise ValueError(
                    f"VideoMambaConfig: {field.name} must be an integer of {limit}, "
                    f"got {shown(value)}."
                )
        eps = self.norm_eps
        if not isinstance(eps, float | int) or not 0 < eps <= sys.float_info.max:
            raise ValueError(
                f"VideoMambaConfig: norm_eps must be a number above 0, got {shown(eps)}."
            )
        for name, choices in {
            "backward_order": (None, *BACKWARD_ORDERS),
            "direction_merge": get_args(DirectionMerge),
            "cls_position": (None, *get_args(ClsPosition)),
            "pos_embed": get_args(PosEmbed),
            "scan_variant": get_args(ScanVariant),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"VideoMambaConfig: {name} must be one of {', '.join(map(repr, choices))}, "
                    f"got {shown(getattr(self, name))}."
                )
        for size, step in (("num_frames", "tubelet_size"), ("img_size", "patch_size")):
            if getattr(self, size) % getattr(self, step):
                raise ValueError(
                    f"VideoMambaConfig: {size}={getattr(self, size)} is not a multiple of "
                    f"{step}={getattr(self, step)}."
                )
        if not isinstance(self.pool_norm, bool):
            raise ValueError(
                f"VideoMambaConfig: pool_norm must be True or False, got {shown(self.pool_norm)}."
            )
        if self.pool_norm and self.cls_position not in ("front", "middle"):
            raise ValueError(
                "VideoMambaConfig: pool_norm adds the class token to the mean of the video tokens "
                f"and needs cls_position='front' or 'middle', got {shown(self.cls_position)}."
            )
        cls = self.cls_position
        if self.backward_order in ("spatial", "temporal") and cls in ("middle", "every_frame"):
            raise ValueError(
                f"VideoMambaConfig: backward_order={shown(self.backward_order)} is not defined "
                f"with cls_position={shown(cls)}; use 'spatiotemporal', or cls_position='front' or "
                "None."
            )
        if self.pos_embed == "spatial" and self.grid.frames > 1:
            raise ValueError(
                "VideoMambaConfig: pos_embed='spatial' has no table over time and needs one token "
                f"frame, got {self.grid.frames}; use 'spatial_temporal'."
            )
        self._check_amounts()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> VideoMambaConfig:
        """A published configuration by name, with the fields in `changes` replaced.

        Args:
            name: One of `PRESETS`: kaist_small, kaist_tiny, opengvlab_tiny, opengvlab_small,
                opengvlab_middle, vim_small, toy.
        Raises:
            ValueError: unknown name or field.
        """
        if name not in PRESETS:
            raise ValueError(f"No preset {shown(name)}. Presets: {', '.join(PRESETS)}.")
        known = [field.name for field in dataclasses.fields(cls)]
        for field in changes:
            if field not in known:
                raise ValueError(
                    f"VideoMambaConfig has no field {shown(field)}: {', '.join(known)}."
                )
        return cls(**{**PRESETS[name], **changes})

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return self.expand * self.d_model

    @property
    def directions(self) -> tuple[str, ...]:
        """("forward", "backward"), or ("forward",) without a backward scan."""
        return ("forward",) if self.backward_order is None else ("forward", "backward")

    @property
    def grid(self) -> TokenGrid:
        """Where the tokens stand."""
        side = self.img_size // self.patch_size
        return TokenGrid(self.num_frames // self.tubelet_size, side, side, self.cls_position)

    @property
    def pos_embed_shape(self) -> tuple[int, int] | None:
        """(tokens, d_model) of the learnable `pos_embed` table, None where nothing is learned."""
        if self.pos_embed in ("none", "sinusoidal"):
            return None
        if self.pos_embed in ("spatial", "spatial_temporal"):
            has_cls = self.cls_position is not None
            return self.grid.rows * self.grid.cols + has_cls, self.d_model
        return self.grid.num_patches, self.d_model

    @property
    def reads_one_token(self) -> bool:
        """Whether the read-out sees one token, the class token, and no other."""
        return self.grid.cls_index is not None and not self.pool_norm

    def read_weights(self) -> Float[Tensor, " seqlen"]:
        """How much of each token enters the read-out, float64, before any norm.

        1 for the class token; an even share where several class tokens, or all tokens, are
        averaged; both where the read-out adds the mean of the video tokens to the class token.
        """
        weights = torch.zeros(self.grid.seqlen, dtype=torch.float64)
        read = list(self.grid.cls_indices) or slice(None)
        weights[read] = 1 / len(weights[read])
        if self.pool_norm:
            weights[self.grid.video_tokens] = 1 / self.grid.num_patches
        return weights

    def num_parameters(self) -> int:
        """Learnable numbers in the whole model."""
        tubelet = self.in_channels * self.tubelet_size * self.patch_size**2
        embedding = (tubelet + 1) * self.d_model + (self.cls_position is not None) * self.d_model
        if self.pos_embed_shape is not None:
            embedding += math.prod(self.pos_embed_shape)
        if self.pos_embed == "spatial_temporal":
            embedding += self.grid.frames * self.d_model
        outputs = self.num_classes + (self.text_dim or 0)
        head = self.d_model * (3 if self.pool_norm else 1) + (self.d_model + 1) * outputs
        # biases of conv1d and dt_proj, A_log, D
        ssm = sum(self._ssm_macs_per_token()) + (3 + self.d_state) * self.d_inner
        block = self.d_model + 3 * self.d_model * self.d_inner + len(self.directions) * ssm
        return embedding + self.depth * block + head

    def macs(self) -> MacCount:
        """Multiply-accumulates of one clip, counted two ways."""
        tokenizer = self.in_channels * self.num_frames * self.img_size**2 * self.d_model
        projections = self.depth * self.grid.seqlen * 3 * self.d_model * self.d_inner
        scans = self.depth * len(self.directions) * self.grid.seqlen
        head = self.d_model * self.num_classes
        paper = tokenizer + projections
        return MacCount(
            paper=paper,
            total=paper + scans * sum(self._ssm_macs_per_token()) + head,
            state_updates=scans * self.d_inner * self.d_state,
        )

    def state_bytes(self) -> int:
        """Bytes of every hidden state of one clip (all layers and directions, float32)."""
        return 4 * self.macs().state_updates

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def _check_amounts(self) -> None:
        """Raise ValueError where no machine could hold the weights or a clip."""
        sizes = {k: v for k, v in self.to_dict().items() if isinstance(v, int)}
        largest = max(sizes, key=sizes.__getitem__)
        for what, count in {
            "parameters": self.num_parameters(),
            "pixel values in a clip": self.in_channels * self.num_frames * self.img_size**2,
            "numbers in the tokens of a clip": self.grid.seqlen * self.d_model,
        }.items():
            if count > MOST_NUMBERS:
                raise ValueError(
                    f"VideoMambaConfig: {largest}={sizes[largest]} and the other sizes make "
                    f"{count:,} {what}, expected at most {MOST_NUMBERS:,}."
                )

    def _ssm_macs_per_token(self) -> tuple[int, int, int]:
        """conv1d, x_proj and dt_proj of one direction (as many weights as products per token)."""
        rank = self.dt_rank or 0
        return (
            self.d_inner * self.d_conv,
            self.d_inner * (rank + 2 * self.d_state),
            self.d_inner * rank,
        )


_OPENGVLAB: dict[str, Any] = {"tubelet_size": 1, "pos_embed": "spatial_temporal"}
PRESETS: dict[str, dict[str, Any]] = {
    "kaist_small": {},
    "kaist_tiny": {"d_model": 192},
    "opengvlab_tiny": {**_OPENGVLAB, "num_frames": 8, "d_model": 192},
    "opengvlab_small": {**_OPENGVLAB, "num_frames": 8, "d_model": 384},
    "opengvlab_middle": {**_OPENGVLAB, "num_frames": 8, "d_model": 576, "depth": 32},
    "vim_small": {
        "num_frames": 1,
        "tubelet_size": 1,
        "num_classes": 1000,
        "cls_position": "middle",
        "direction_merge": "mean",
        "pos_embed": "spatial",
    },
    "toy": {
        "num_frames": 4,
        "img_size": 32,
        "num_classes": 5,
        "d_model": 32,
        "depth": 2,
        "d_state": 4,
    },
}
