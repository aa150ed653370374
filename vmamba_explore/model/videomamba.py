"""VideoMamba: tubelets, position embedding, bidirectional Mamba blocks, one linear head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vmamba_explore.clips.clip import Clip
from vmamba_explore.edits import Slot, editing, pinned
from vmamba_explore.hooks import name_hooks
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.hub import OnTheHub
from vmamba_explore.model.labels import checked_names
from vmamba_explore.model.mixer import BidirectionalMixer, Block
from vmamba_explore.model.position import initial_pos_embed, sinusoidal_table, without_class_row
from vmamba_explore.model.predict import Prediction, top_predictions
from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32

if TYPE_CHECKING:
    from vmamba_explore.clips.motion import MotionClip
    from vmamba_explore.clips.recall import RecallClip


class PatchEmbed(nn.Module):
    """Cut clips into non-overlapping tubelets and project each to one token.

    Source:
        Park et al. 2024, arXiv:2407.08476, section 3.
    """

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        tubelet = (config.tubelet_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(config.in_channels, config.d_model, tubelet, stride=tubelet)

    def forward(self, clips: Tensor) -> Tensor:
        """Map (batch, channels, num_frames, H, W) to (batch, num_patches, d_model)."""
        return rearrange(self.proj(clips), "b d t h w -> b (t h w) d")


class VideoMamba(nn.Module, OnTheHub):
    """Classify clips with a bidirectional spatio-temporal state-space model.

    Args:
        config: What to build; `VideoMambaConfig.preset(...)` knows the published sizes.

    `model(clips)` maps clips (batch, channels, num_frames, H, W), float, normalised as
    `Clip.tensor()` does, to logits (batch, num_classes).

    Raises:
        ValueError: clips of another shape than the configuration's; the message names the axis.
    Source:
        Park, Kim, Ko, Kim and Kim 2024, arXiv:2407.08476. With `cls_position="middle"` and
        `direction_merge="mean"` it is Vim (arXiv:2401.09417); with
        `pos_embed="spatial_temporal"` it is OpenGVLab's VideoMamba (arXiv:2403.06977).
    """

    pos_embed: Tensor | None

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = config.grid
        self._class_names: tuple[str, ...] | None = None
        self.kept: Slot[Tensor | None] = Slot()
        self.recompute: Slot[bool] = Slot()
        d_model = config.d_model
        self.patch_embed = PatchEmbed(config)
        self.cls_token = (
            nn.Parameter(torch.zeros(1, 1, d_model)) if config.cls_position is not None else None
        )
        if config.pos_embed == "sinusoidal":
            table = sinusoidal_table(self.grid.num_patches, d_model)
            self.register_buffer("pos_embed", table.unsqueeze(0), persistent=False)
        elif config.pos_embed_shape is None:
            self.register_parameter("pos_embed", None)
        else:
            self.pos_embed = nn.Parameter(initial_pos_embed(config).unsqueeze(0))
        if config.pos_embed == "spatial_temporal":
            self.temporal_pos_embedding = nn.Parameter(torch.zeros(1, self.grid.frames, d_model))
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_f = nn.RMSNorm(d_model, eps=config.norm_eps)
        self.head = nn.Linear(d_model, config.num_classes)
        self._init_weights()
        name_hooks(self)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """A name for each class, or None; setting it checks them (`labels.checked_names`)."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        known = None if names is None else checked_names(names, self.config.num_classes)
        self._class_names = known

    @property
    def kept_tokens(self) -> Tensor | None:
        """The natural indices of the tokens that the blocks see; None where none are dropped."""
        return self.kept.last(None)

    def forward(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Map clips to logits."""
        return self.read_out(self.encode(clips))

    def predict(
        self, clip: Clip | MotionClip | RecallClip | Tensor, k: int = 5
    ) -> list[Prediction]:
        """Say what one clip shows.

        Args:
            clip: A clip, a generated one, or its tensor (channels, num_frames, height, width),
                float, normalised as `Clip.tensor()` does.
            k: How many classes, at least 1.
        Returns:
            The k most probable classes with name, index and probability, the most probable first.
        Raises:
            ValueError: a clip of another shape than the model reads or with pixels that are not
                finite, logits that are not finite, or k less than 1.
        """
        if not isinstance(clip, Tensor):
            clip = (clip if isinstance(clip, Clip) else clip.clip).tensor()
        if not bool(clip.isfinite().all()):
            raise ValueError(
                "predict: the clip has pixels that are not finite; expected what Clip.tensor() "
                "gives."
            )
        with torch.no_grad():
            logits = self(clip.unsqueeze(0).to(self.head.weight.device))[0]
        return top_predictions(logits, self.class_names, k)

    def encode(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch seqlen d_model"]:
        """Give the last block's output, natural clip order; `read_out` makes it logits."""
        residual = self.embed(clips)
        kept = self.kept_tokens
        if kept is not None:
            residual = residual[:, kept]
        for layer in self.layers:
            residual = self.run_block(layer, residual)
        return residual

    def run_block(
        self, block: Callable[[Tensor], Tensor], residual: Float[Tensor, "batch seqlen d_model"]
    ) -> Float[Tensor, "batch seqlen d_model"]:
        """Run one block; inside `recomputing` its gradient stores `residual` and nothing else."""
        if self.recompute.last(False) and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(pinned(block), residual, use_reentrant=False))
        return block(residual)

    def recomputing(self, wanted: bool = True) -> AbstractContextManager[None]:
        """Let gradients take less memory and a third more time, for the duration of the block.

        Only the input of each block of the model is stored; its gradient runs the block a second
        time, under the edits of the first. Values and gradients keep their bits.

        Args:
            wanted: False runs every block once.
        """
        return editing((self.recompute, wanted))

    def embed(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch seqlen d_model"]:
        """Turn clips into tokens with their positions, float32."""
        self.check(clips)
        video = self.patch_embed(clips.to(self.head.weight.dtype))
        position, cls_position = self.positions()
        if position is not None:
            video = video + position
        if self.cls_token is None:
            return at_least_float32(video)
        cls_token = self.cls_token if cls_position is None else self.cls_token + cls_position
        tokens = self.grid.insert_cls(video, cls_token.expand(len(video), -1, -1))
        return at_least_float32(tokens)

    def read_out(
        self, residual: Float[Tensor, "batch seqlen d_model"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Give the logits of the last block's output.

        The class token, or the mean of all tokens where there is none, through the last RMSNorm.
        """
        dtype = self.head.weight.dtype
        cls_index = self.grid.cls_index
        if cls_index is None:
            return self.head(self.norm_f(residual.to(dtype)).mean(dim=1))
        kept = self.kept_tokens
        if kept is not None:
            cls_index = int((kept < cls_index).sum())
        return self.head(self.norm_f(residual[:, cls_index].to(dtype)))

    @contextmanager
    def only_tokens(self, kept: Sequence[int] | Tensor) -> Iterator[None]:
        """Let the blocks see only some of the tokens, for the duration of the block.

        The others are dropped after they got their positions: they reach no block, no convolution
        and no scan, and `seqlen` counts the kept tokens. Inside another such block, tokens that
        either of the two drops are dropped.

        Args:
            kept: Natural indices of the tokens to keep, the class token among them.
        Raises:
            ValueError: an index is out of range, no token is left, or the class token, which the
                logits are read from, would be dropped.
        """
        chosen = self.grid.checked(kept, "VideoMamba.only_tokens").to(self.head.weight.device)
        seqlen, cls_index = self.grid.seqlen, self.grid.cls_index
        outer = self.kept_tokens
        if outer is not None:
            chosen = chosen[torch.isin(chosen, outer)]
        if not len(chosen):
            raise ValueError(
                f"VideoMamba.only_tokens: got 0 tokens, expected at least one of 0 to {seqlen - 1}."
            )
        if cls_index is not None and cls_index not in chosen:
            raise ValueError(
                f"VideoMamba.only_tokens: the class token, index {cls_index}, is what the logits "
                "are read from and must be kept."
            )
        place = torch.full((seqlen,), -1, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        orders = []
        for module in self.modules():
            if isinstance(module, SelectiveSSM) and module.full_order is not None:
                shorter = place[module.full_order]
                orders.append((module.orders, shorter[shorter >= 0]))
        with editing((self.kept, chosen), *orders):
            yield

    def check_whole(self, call: str) -> None:
        """Raise ValueError where tokens are dropped; `call` begins the message."""
        if self.kept_tokens is not None:
            raise ValueError(
                f"{call}: tokens are being dropped, and the whole grid is needed. Leave the `with` "
                "block that drops them first."
            )

    def with_constant_weights(self) -> VideoMamba:
        """Return the same model in evaluation mode and without gradients to its weights.

        Only the module objects are new: weights, buffers and edits are shared with this model, so
        nothing is copied and nothing changes here. Module hooks registered on one of the two are
        not seen by the other.
        """
        return cast(VideoMamba, _with_constant_weights(self))

    def positions(self) -> tuple[Tensor | None, Tensor | None]:
        """The position embeddings of the video tokens, (1, num_patches, d_model), and of the class
        token, (1, 1, d_model); None where nothing is added."""
        spatial = self.pos_embed
        if spatial is None or self.config.pos_embed not in ("spatial", "spatial_temporal"):
            return spatial, None
        spatial, cls_row = without_class_row(spatial, self.config)
        if self.config.pos_embed == "spatial":
            return spatial, cls_row
        both = self.temporal_pos_embedding.unsqueeze(2) + spatial.unsqueeze(1)
        return both.flatten(1, 2), cls_row

    def check(self, clips: Tensor) -> None:
        """Raise ValueError where `clips` is not what this model reads; nothing runs."""
        config = self.config
        names = ("channels", "num_frames", "height", "width")
        wanted = (config.in_channels, config.num_frames, config.img_size, config.img_size)
        if clips.ndim != 5:
            raise ValueError(
                f"VideoMamba: clips has {clips.ndim} axes, shape {tuple(clips.shape)}; expected "
                "(batch, channels, num_frames, height, width). "
                "For one clip use clip.tensor().unsqueeze(0)."
            )
        for name, size, want in zip(names, clips.shape[1:], wanted, strict=True):
            if size != want:
                raise ValueError(
                    f"VideoMamba: clips has {name} {size}, this model expects {want}. clips is "
                    f"{tuple(clips.shape)}; load_clip(path, num_frames={config.num_frames}, "
                    f"img_size={config.img_size}) gives the right shape."
                )
        if not clips.is_floating_point():
            raise ValueError(
                f"VideoMamba: clips is {clips.dtype}, expected normalised floats as "
                "Clip.tensor() gives them."
            )

    def _init_weights(self) -> None:
        """Draw the weights as Vim does: the last projections of the blocks scaled by depth."""
        fan_in = self.patch_embed.proj.weight[0].numel()
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=fan_in**-0.5)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        for bias in (self.patch_embed.proj.bias, self.head.bias):
            if bias is not None:
                nn.init.zeros_(bias)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, BidirectionalMixer):
                nn.init.kaiming_uniform_(module.out_proj.weight, a=math.sqrt(5))
                with torch.no_grad():
                    module.out_proj.weight /= math.sqrt(self.config.depth)


def _with_constant_weights(module: nn.Module) -> nn.Module:
    other = type(module).__new__(type(module))
    for name, value in vars(module).items():  # of parameters, children and hooks, tables of its own
        other.__dict__[name] = value.copy() if isinstance(value, dict) else value
    other.__dict__["training"] = False
    for name, weight in module._parameters.items():
        if weight is not None:
            other._parameters[name] = nn.Parameter(weight.detach(), requires_grad=False)
    for name, child in module._modules.items():
        if child is not None:
            other._modules[name] = _with_constant_weights(child)
    return other
