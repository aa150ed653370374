"""VideoMamba: tubelets, position embedding, bidirectional Mamba blocks, one linear head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.edits import Slot, editing, pinned
from vmamba_explore.errors import shown
from vmamba_explore.hooks import name_hooks
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.hub import OnTheHub
from vmamba_explore.model.labels import checked_names
from vmamba_explore.model.mixer import BidirectionalMixer, Block
from vmamba_explore.model.position import initial_pos_embed, sinusoidal_table, without_class_row
from vmamba_explore.model.predict import Prediction, top_predictions
from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32


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

    `model(clips)` maps clips (batch, channels, num_frames, H, W), float, normalized as
    `Clip.tensor()` does, to logits (batch, num_classes). An encoder, a model without a head
    (`num_classes` 0), gives its features (batch, d_model) in their place.

    Raises:
        ValueError: clips of another shape than the configuration's; the message names the axis.
    Source:
        Park, Kim, Ko, Kim and Kim 2024, arXiv:2407.08476. With `cls_position="middle"` and
        `direction_merge="mean"` it is Vim (arXiv:2401.09417); with
        `pos_embed="spatial_temporal"` it is OpenGVLab's VideoMamba (arXiv:2403.06977), with
        `scan_variant="videomambapro"` too VideoMambaPro (arXiv:2406.19006), and with
        `cls_position="every_frame"` and half the sum ViViM (arXiv:2403.09626).
    """

    pos_embed: Tensor | None
    pool_norm: nn.LayerNorm | None
    head: nn.Linear | None
    vision_proj: nn.Linear | None

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
        self.pool_norm = nn.LayerNorm(d_model) if config.pool_norm else None
        self.head = nn.Linear(d_model, config.num_classes) if config.num_classes else None
        self.vision_proj = None if config.text_dim is None else nn.Linear(d_model, config.text_dim)
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

    @property
    def is_encoder(self) -> bool:
        """Whether there is no head, so that the output is the read-out's features."""
        return self.head is None

    @property
    def num_outputs(self) -> int:
        """Length of the output: classes, or features of an encoder."""
        return self.config.num_classes or self.config.d_model

    def forward(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch outputs"]:
        """Map clips to logits, or to features where there is no head."""
        return self.read_out(self.encode(clips))

    def predict(self, clip: Clip | Generated | Tensor, k: int = 5) -> list[Prediction]:
        """Say what one clip shows.

        Args:
            clip: A clip, a generated one, or its tensor (channels, num_frames, height, width),
                float, normalized as `Clip.tensor()` does.
            k: How many classes, at least 1.
        Returns:
            The k most probable classes with name, index and probability, the most probable first.
        Raises:
            ValueError: a clip of another shape than the model reads or with pixels that are not
                finite, logits that are not finite, k less than 1, or a model without a head.
        """
        self.check_head("predict")
        if not isinstance(clip, Tensor):
            clip = shown_by(clip).tensor()
        if not bool(clip.isfinite().all()):
            raise ValueError(
                "predict: the clip has pixels that are not finite; expected what Clip.tensor() "
                "gives."
            )
        with torch.no_grad():
            logits = self(clip.unsqueeze(0).to(self.norm_f.weight.device))[0]
        return top_predictions(logits, self.class_names, k)

    def encode(
        self,
        clips: Float[Tensor, "batch channels num_frames height width"],
        stop_at_layer: int | None = None,
    ) -> Float[Tensor, "batch seqlen d_model"]:
        """Give the last block's output, natural clip order; `read_out` makes it logits.

        Args:
            clips: As for the model.
            stop_at_layer: Run the blocks before this one only, and give what would enter it;
                negative ones count from the last. None: run all.
        Raises:
            ValueError: there is no such layer.
        """
        blocks = self.layers[: self.checked_stop(stop_at_layer)]
        residual = self.tokens(clips)
        kept = self.kept_tokens
        if kept is not None:
            residual = residual[:, kept]
        for layer in blocks:
            residual = self.run_block(layer, residual)
        return residual

    def checked_stop(self, stop_at_layer: int | None) -> int:
        """The number of blocks before `stop_at_layer`; all of them where it is None.

        Raises:
            ValueError: there is no such layer.
        """
        depth = len(self.layers)
        stop = depth if stop_at_layer is None else stop_at_layer
        if type(stop) is not int or not -depth <= stop <= depth:
            raise ValueError(
                f"stop_at_layer is {shown(stop)}; this model has layers 0 to {depth - 1}, expected "
                f"{-depth} to {depth}."
            )
        return stop + depth if stop < 0 else stop

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
    ) -> Float[Tensor, "batch d_model"]:
        """Give the features of clips: what the head reads, and an encoder's output."""
        return self.features(self.encode(clips))

    def frame_features(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch frame d_model"]:
        """Give features of each token frame, after the last norm.

        The mean of a frame's video tokens; where the read-out averages class tokens, the frame's
        own; where it adds a class token to the mean of the video tokens, that with the mean of the
        frame's (`pool_norm` included). The blocks have mixed the frames: each has seen the others.

        Raises:
            ValueError: tokens are being dropped, or clips of another shape than the model reads.
        """
        self.check_whole("frame_features")
        return self.read_frames(self.encode(clips))

    def read_frames(
        self, residual: Float[Tensor, "batch seqlen d_model"]
    ) -> Float[Tensor, "batch frame d_model"]:
        """Give the features of each token frame from the last block's output."""
        normed = self.norm_f(residual.to(self.norm_f.weight.dtype))
        video, cls = self.grid.split(normed, dim=1)
        if self.config.cls_position == "every_frame":
            return cast(Tensor, cls)
        frames = video.mean((2, 3))
        if self.pool_norm is None:
            return frames
        return self.pool_norm(frames + cast(Tensor, cls).unsqueeze(1))

    def text_direction(
        self, embedding: Float[Tensor, "*batch text_dim"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Turn an embedding of a text into the direction over the features that it is read along.

        What a clip's features have along it is the dot product of the text's embedding with the
        clip's in the space they share, but for a constant: `vision_proj` is linear.

        Args:
            embedding: Of texts, in that space, as the text encoder of the same checkpoint gives it.
        Raises:
            ValueError: the model shares no space with texts, or the width is another.
        """
        proj = self.vision_proj
        if proj is None:
            raise ValueError(
                "text_direction: this model has no projection into a space shared with texts "
                "(vision_proj); a text–video checkpoint has one."
            )
        if embedding.shape[-1] != proj.out_features:
            raise ValueError(
                f"text_direction: the embedding is {tuple(embedding.shape)}, expected "
                f"{proj.out_features} numbers along its last axis."
            )
        return embedding.to(proj.weight) @ proj.weight

    def encoder(self) -> VideoMamba:
        """Return this model without its head: its output is the features, `embed(clips)`.

        It shares all other weights with this model, and edits; nothing is copied. So a direction
        over the features of a classifier can be explained, too.
        """
        model = cast(VideoMamba, _shared(self))
        model._modules["head"] = None
        model.config = replace(self.config, num_classes=0)
        model._class_names = None
        return model

    def check_head(self, call: str) -> nn.Linear:
        """Return the head; raise ValueError where there is none, and `call` begins the message."""
        if self.head is None:
            raise ValueError(
                f"{call}: this model is an encoder, without the head (head.weight) that gives "
                "logits for classes. embed(clips) and frame_features(clips) give its features; "
                "analyses take a direction over these in place of a class."
            )
        return self.head

    def tokens(
        self, clips: Float[Tensor, "batch channels num_frames height width"]
    ) -> Float[Tensor, "batch seqlen d_model"]:
        """Turn clips into tokens with their positions, float32: what the first block reads."""
        self.check(clips)
        video = self.patch_embed(clips.to(self.norm_f.weight.dtype))
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
    ) -> Float[Tensor, "batch outputs"]:
        """Give the output, logits or features, of the last block's output."""
        features = self.features(residual)
        return features if self.head is None else self.head(features)

    def features(
        self, residual: Float[Tensor, "batch seqlen d_model"]
    ) -> Float[Tensor, "batch d_model"]:
        """Give the features of the last block's output.

        The class token, or the mean of all class tokens, or of all tokens where there is none,
        through the last RMSNorm; with `pool_norm` see `VideoMambaConfig`.
        """
        read = self.read_tokens(residual).to(self.norm_f.weight.dtype)
        pooled = self.pooled(self.norm_f(read))
        return pooled if self.pool_norm is None else self.pool_norm(pooled)

    def read_tokens(
        self, residual: Float[Tensor, "batch seqlen d_model"]
    ) -> Float[Tensor, "batch read d_model"]:
        """Give the tokens that the read-out sees: class tokens, or all of them."""
        if self.cls_token is None or self.pool_norm is not None:
            return residual
        return residual[:, self._cls_places()]

    def pooled(self, normed: Float[Tensor, "batch read d_model"]) -> Float[Tensor, "batch d_model"]:
        """Make one token of those that the read-out sees, after the last RMSNorm."""
        if self.pool_norm is None:
            return normed.mean(dim=1)
        is_cls = torch.zeros(normed.shape[1], dtype=torch.bool, device=normed.device)
        is_cls[self._cls_places()] = True
        cls = normed[:, is_cls].sum(1)
        return cls if is_cls.all() else cls + normed[:, ~is_cls].mean(dim=1)

    def _cls_places(self) -> list[int]:
        """Where the class tokens stand among the tokens that the blocks see."""
        kept, indices = self.kept_tokens, self.grid.cls_indices
        if kept is None:
            return list(indices)
        return torch.isin(kept.cpu(), torch.tensor(indices)).nonzero()[:, 0].tolist()

    @contextmanager
    def only_tokens(self, kept: Sequence[int] | Tensor) -> Iterator[None]:
        """Let the blocks see only some of the tokens, for the duration of the block.

        The others are dropped after they got their positions: they reach no block, no convolution
        and no scan, and `seqlen` counts the kept tokens. Inside another such block, tokens that
        either of the two drops are dropped.

        Args:
            kept: Natural indices of the tokens to keep, the class token among them, or one of
                several.
        Raises:
            ValueError: an index is out of range, no token is left, or the class token, which the
                logits are read from, would be dropped.
        """
        chosen = self.grid.checked(kept, "VideoMamba.only_tokens").to(self.norm_f.weight.device)
        seqlen, cls_indices = self.grid.seqlen, self.grid.cls_indices
        outer = self.kept_tokens
        if outer is not None:
            chosen = chosen[torch.isin(chosen, outer)]
        if not len(chosen):
            raise ValueError(
                f"VideoMamba.only_tokens: got 0 tokens, expected at least one of 0 to {seqlen - 1}."
            )
        if cls_indices and not any(index in chosen for index in cls_indices):
            which = f"class token, index {cls_indices[0]}, is"
            if len(cls_indices) > 1:
                which = f"class tokens, indices {', '.join(map(str, cls_indices))}, are"
            raise ValueError(
                f"VideoMamba.only_tokens: the {which} what the logits are read from and must be "
                f"kept{', at least one of them' if len(cls_indices) > 1 else ''}."
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
        return cast(VideoMamba, _shared(self, constant=True))

    def positions(self) -> tuple[Tensor | None, Tensor | None]:
        """The position embeddings of the video tokens, (1, num_patches, d_model), and of the class
        token, (1, 1, d_model), or of one in every frame, (1, frames, d_model); None where nothing
        is added."""
        spatial = self.pos_embed
        if spatial is None or self.config.pos_embed not in ("spatial", "spatial_temporal"):
            return spatial, None
        spatial, cls_row = without_class_row(spatial, self.config)
        if self.config.pos_embed == "spatial":
            return spatial, cls_row
        both = self.temporal_pos_embedding.unsqueeze(2) + spatial.unsqueeze(1)
        if self.config.cls_position == "every_frame" and cls_row is not None:
            cls_row = cls_row + self.temporal_pos_embedding
        return both.flatten(1, 2), cls_row

    def check(self, clips: Tensor) -> None:
        """Raise ValueError where `clips` is not what this model reads; TypeError: not a tensor."""
        config = self.config
        names = ("channels", "num_frames", "height", "width")
        wanted = (config.in_channels, config.num_frames, config.img_size, config.img_size)
        if not isinstance(clips, Tensor):
            raise TypeError(
                f"VideoMamba: clips is a {type(clips).__name__}, expected a tensor (batch, "
                "channels, num_frames, height, width). For one clip use clip.tensor().unsqueeze(0)."
            )
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
                f"VideoMamba: clips is {clips.dtype}, expected normalized floats as "
                "Clip.tensor() gives them."
            )

    def _init_weights(self) -> None:
        """Draw the weights as Vim does: the last projections of the blocks scaled by depth."""
        fan_in = self.patch_embed.proj.weight[0].numel()
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=fan_in**-0.5)
        if self.head is not None:
            nn.init.trunc_normal_(self.head.weight, std=0.02)
        for layer in (self.patch_embed.proj, self.head):
            if layer is not None and layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, BidirectionalMixer):
                nn.init.kaiming_uniform_(module.out_proj.weight, a=math.sqrt(5))
                with torch.no_grad():
                    module.out_proj.weight /= math.sqrt(self.config.depth)


def _shared(module: nn.Module, constant: bool = False) -> nn.Module:
    """The same module in new objects; `constant` in evaluation mode, without weight gradients."""
    other = type(module).__new__(type(module))
    for name, value in vars(module).items():  # of parameters, children and hooks, tables of its own
        other.__dict__[name] = value.copy() if isinstance(value, dict) else value
    if constant:
        other.__dict__["training"] = False
        for name, weight in module._parameters.items():
            if weight is not None:
                other._parameters[name] = nn.Parameter(weight.detach(), requires_grad=False)
    for name, child in module._modules.items():
        if child is not None:
            other._modules[name] = _shared(child, constant)
    return other
