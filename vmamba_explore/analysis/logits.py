"""A logit as an exact sum: which layer, which direction, which frame put how much into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.evidence import LogitReadout, logit_readout
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.model.contrast import Classes
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import TokenLabels, Trace


@dataclass(frozen=True, eq=False)
class LogitParts:
    """A logit, or the difference of two, split by layer, direction and source.

    With q the read-out of the last residual stream (`LogitReadout`) and beta a block's mixer as a
    linear operator on its input x::

        logit = sum over layer, direction, token s of (beta^T W_out^T q)[s] x[s]
                + the same of the convolution's bias + q embedding + the head's bias

    It is exact, with three things frozen as they were in this run: the last RMSNorm, and in every
    block the selection (delta, B, C) and the gates. A source is a token of that layer's input: in
    layer 0 the patch itself, in later layers a token into which the blocks before have mixed
    others.

    Attributes:
        tokens: What each token of a layer's input adds, (batch, layer, direction, seqlen), natural
            clip order, logits.
        offset: What the convolution's bias adds, (batch, layer, direction), logits.
        embedding: What the embedding adds past all blocks, (batch, seqlen), logits.
        bias: What the head's bias adds, (batch,), logits.
        logit: What the model itself gave, (batch,).
        steps: For each direction the natural index of the token read at each step.
        labels: Places and times of the tokens.
    """

    tokens: Float[Tensor, "batch layer direction seqlen"]
    offset: Float[Tensor, "batch layer direction"]
    embedding: Float[Tensor, "batch seqlen"]
    bias: Float[Tensor, " batch"]
    logit: Float[Tensor, " batch"]
    steps: dict[str, Tensor]
    labels: TokenLabels

    @staticmethod
    def names(model: VideoMamba) -> list[str]:
        """List what a trace must hold for `logit_parts`, as a `names_filter`.

        The blocks' inputs are enough, each layer is run again from its own when it is split; where
        `ScanOperator.names(kind="beta")` was recorded too, nothing is run again.
        """
        return ["*.hook_block_input", *LogitReadout.names(model)]

    @property
    def directions(self) -> tuple[str, ...]:
        """The names on the axis `direction`."""
        return tuple(self.steps)

    @property
    def sources(self) -> tuple[int | str, ...]:
        """The names on the axis `source` of `values`: token frames by number, "cls" where there is
        a class token, and "offset", the convolution's bias."""
        return (*self.labels.sources, "offset")

    @property
    def values(self) -> Float[Tensor, "batch layer direction source"]:
        """By source (see `sources`), logits; with `embedding` and `bias` they sum to the logit."""
        return torch.cat([self._by_frame(self.tokens), self.offset.unsqueeze(-1)], dim=-1)

    @property
    def frames(self) -> Float[Tensor, "batch frames"]:
        """What each token frame adds over all layers, directions and its embedding, logits."""
        return self.labels.grid.by_frame(self.tokens.sum((1, 2)) + self.embedding)

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The sum of all parts, (batch,), logits."""
        blocks = self.tokens.sum((1, 2, 3)) + self.offset.sum((1, 2))
        return blocks + self.embedding.sum(1) + self.bias

    @property
    def residual(self) -> float:
        """How far the sum is from the model's logit: the largest distance over the clips, relative
        to the logit or to 1, whichever is larger. Rounding only."""
        error = (self.total - self.logit).abs() / self.logit.abs().clamp_min(1)
        return float(error.detach().max())

    def array(self, clip: int = 0) -> xr.DataArray:
        """`values` of one clip with labels: dims layer, direction, source, logits.

        `attrs` hold what has no layer: "embedding" by source, "bias" and "logit"; and "residual".
        """
        values = self.values[clip].detach().cpu().numpy().copy()
        coords = {
            "layer": np.arange(values.shape[0]),
            "direction": list(self.directions),
            "source": [str(source) for source in self.sources],
        }
        attrs = {
            "quantity": "contribution to the logit",
            "unit": "logits",
            "embedding": self._by_frame(self.embedding)[clip].tolist(),
            "bias": float(self.bias[clip]),
            "logit": float(self.logit[clip]),
            "residual": self.residual,
        }
        return xr.DataArray(values, coords, tuple(coords), "contribution to the logit", attrs)

    def direct(self) -> DirectCurves:
        """Add the parts up in the order in which each scan reads them."""
        after_frame = []
        frame_of = self.labels.grid.frame_of_tokens()
        for place, steps in enumerate(self.steps.values()):
            summed = self.tokens[:, :, place, steps].cumsum(-1)  # in scan order
            step_of = steps.argsort().cpu()
            frames = range(self.labels.grid.frames)
            last = torch.stack([step_of[frame_of == frame].max() for frame in frames])
            after_frame.append(summed[..., last.to(summed.device)])
        return DirectCurves(torch.stack(after_frame, dim=2), self.directions, self.labels)

    def _by_frame(self, tokens: Tensor) -> Tensor:
        """(..., seqlen) summed over each frame, the class token, where there is one, last."""
        grid = self.labels.grid
        frames, cls_index = grid.by_frame(tokens), grid.cls_index
        if cls_index is None:
            return frames
        return torch.cat([frames, tokens[..., cls_index, None]], dim=-1)


@dataclass(frozen=True, eq=False)
class DirectCurves:
    """What the logit reads directly from a layer's scan, added up as the scan goes through a clip.

    A forward scan adds from the first frame on, a backward scan that reverses time from the last
    frame on. Unlike a prefix curve nothing is removed: the tokens stay what the whole clip made
    them. So after layer 0 these are curves over mixed tokens, and an early one may know the end.

    Attributes:
        values: Once all tokens of a frame have been read, (batch, layer, direction, frame), natural
            clip order, logits. The convolution's bias is left out.
        directions: The names on the axis `direction`.
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch layer direction frame"]
    directions: tuple[str, ...]
    labels: TokenLabels

    def layer_name(self, layer: int) -> str:
        """What to call a layer in a legend: whether its tokens are mixed belongs to it."""
        return f"layer {layer}, {'patches' if layer == 0 else 'mixed tokens'}"

    def array(self, clip: int = 0) -> xr.DataArray:
        """One clip with labels: dims layer, direction, frame; the coordinate `tokens` of `layer`
        says whether they are patches or mixed."""
        layers = range(self.values.shape[1])
        dims = {"layer": layers, "direction": self.directions}
        name, tokens = "direct evidence", ["patches" if n == 0 else "mixed tokens" for n in layers]
        array = self.labels.frames(self.values[clip], clip, name, dims, unit="logits")
        return array.assign_coords(tokens=("layer", tokens))


def logit_parts(
    trace: Trace, target: Classes, minus: Classes | None = None, *, progress: bool = True
) -> LogitParts:
    """Split a logit, or the difference of two, by layer, direction and source: one scan for each.

    Args:
        trace: A recording with what `LogitParts.names(model)` lists.
        target, minus: As for `logit_readout`.
        progress: Whether to show a bar.
    Raises:
        KeyError, ValueError: as `logit_readout`.
    """
    if "layers.0.hook_block_input" not in trace:
        raise UnknownNameError(
            "logit_parts: the trace lacks layers.0.hook_block_input, the embedding. Record with "
            "names_filter=LogitParts.names(model)."
        )
    readout = logit_readout(trace, target, minus)
    tokens, offsets = [], []
    layers = range(trace.config.depth)
    for layer in tqdm(layers, "logit parts", unit="layer", leave=False, disable=not progress):
        operator = ScanOperator.from_trace(trace, layer=layer, direction="both", kind="beta")
        v = readout.at_mixer(trace, layer)
        tokens.append(torch.stack([((p.T @ v) * p.source).sum(1) for p in operator.parts], 1))
        rest = [v.new_zeros(()) if p.offset is None else v * p.offset for p in operator.parts]
        offsets.append(torch.stack([x.expand_as(v).sum((1, 2)) for x in rest], dim=1))
    embedding = at_least_float32(trace["layers.0.hook_block_input"])
    seqlen = embedding.shape[1]
    return LogitParts(
        tokens=torch.stack(tokens, dim=1),
        offset=torch.stack(offsets, dim=1),
        embedding=torch.einsum("bct,btc->bt", readout.q, embedding),
        bias=readout.bias,
        logit=readout.logit,
        steps={name: trace.ssm(0, name).steps(seqlen) for name in trace.config.directions},
        labels=trace.labels,
    )
