"""When a logit is decided: what reads it out, and how it grows as a clip is seen frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.errors import check_choice
from vmamba_explore.hooks import UnknownNameError, plain
from vmamba_explore.model.contrast import Classes, Contrast
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import Clips, as_batch, clip_seconds
from vmamba_explore.trace.trace import TokenLabels, Trace

Kind = Literal["prefix", "suffix"]
Removal = Literal["dropped", "held"]


@dataclass(frozen=True, eq=False)
class LogitReadout:
    """What every entry of the last residual stream adds to a logit, the last RMSNorm frozen.

    With w the norm's weight, W the head and r[t] the root mean square of token t's residual::

        logit = sum over t, c of q[c, t] residual[t, c] + bias
        q[c, t] = share[t] w[c] (W[target, c] - W[minus, c]) / r[t]

    where share is what of a token enters the read-out (`VideoMambaConfig.read_weights`): 1 at the
    class token and 0 elsewhere, or 1 / seqlen where the tokens are pooled. Of an encoder a
    direction over its features stands in place of W[target, c]. Where a LayerNorm follows
    (`pool_norm`), its divisor is frozen too. Since the residual is the embedding plus what every
    block adds, q reads each of them too.

    Attributes:
        q: (batch, d_model, seqlen), natural clip order, logits per unit of the residual stream.
        bias: What the head's bias, and that of `pool_norm`, adds, (batch,), logits.
        logit: What the model itself gave, (batch,): the target's logit, less that of `minus`.
        residual: The largest distance of q's sum to `logit`, logits: rounding only.
        contrast: The classes.
    """

    q: Float[Tensor, "batch d_model seqlen"]
    bias: Float[Tensor, " batch"]
    logit: Float[Tensor, " batch"]
    residual: float
    contrast: Contrast

    @staticmethod
    def names(model: VideoMamba) -> list[str]:
        """List what a trace must hold for `logit_readout`, as a `names_filter`."""
        last = f"layers.{len(plain(model).layers) - 1}"
        return [f"{last}.hook_block_input", f"{last}.mixer.hook_out"]

    def at_mixer(self, trace: Trace, layer: int) -> Float[Tensor, "batch d_inner seqlen"]:
        """Carry the read-out back through a block's output projection: `W_out^T q`.

        It is what the logit reads directly from that block's scans, past all later blocks, and
        what `ScanOperator.read` of kind "beta" takes (gate and scale are inside beta).

        Args:
            trace: The recording that this read-out was made from.
            layer: Block number.
        Raises:
            ValueError: no such layer.
        """
        weight = at_least_float32(trace.mixer(layer).out_proj.weight.detach())
        return torch.einsum("oi,bot->bit", weight, self.q)


def logit_readout(trace: Trace, target: Classes, minus: Classes | None = None) -> LogitReadout:
    """Find what reads a logit, or the difference of two, out of the last residual stream.

    Args:
        trace: A recording with what `LogitReadout.names(model)` lists.
        target: The class, by number or name, one for all clips or one for each; or a direction over
            an encoder's features, (d_model,) or (batch, d_model).
        minus: The class whose logit is subtracted, for motion clips the twin's, `label ^ 1`.
    Raises:
        KeyError: the last block's input or output was not recorded.
        ValueError: no such class, or not one for each clip.
    """
    model = trace.model
    names = LogitReadout.names(model)
    missing = [name for name in names if name not in trace]
    if missing:
        raise UnknownNameError(
            f"logit_readout: the trace lacks {' and '.join(missing)}. Record with "
            "names_filter=LogitReadout.names(model)."
        )
    with torch.no_grad():
        residual = trace[names[0]].detach() + at_least_float32(trace[names[1]].detach())
        contrast = Contrast.of(model, len(residual), target, minus, "logit_readout")
        logit = contrast.of_logits(model.read_out(residual))

        weight, offset = contrast.of_features(model)
        if model.pool_norm is not None:
            read = model.read_tokens(residual).to(model.norm_f.weight.dtype)
            pooled = at_least_float32(model.pooled(model.norm_f(read)))
            spread = pooled.var(-1, correction=0, keepdim=True) + model.pool_norm.eps
            offset = offset + (weight * model.pool_norm.bias).sum(-1)
            weight = weight * model.pool_norm.weight
            weight = (weight - weight.mean(-1, keepdim=True)) / spread.sqrt()
        weight = at_least_float32(model.norm_f.weight) * weight
        rms = (residual.square().mean(-1) + model.config.norm_eps).sqrt()
        share = model.config.read_weights().to(rms)
        q = weight.unsqueeze(-1) * (share / rms).unsqueeze(1)
        total = torch.einsum("bct,btc->b", q, residual) + offset
    error = float((total - logit).abs().max())
    return LogitReadout(q, offset, logit, error, contrast)


@dataclass(frozen=True, eq=False)
class EvidenceCurve:
    """A logit as more and more of a clip is seen, one token frame after the other.

    Attributes:
        values: (batch, frame), logits. Entry f of a prefix is the logit of token frames 0 to f,
            of a suffix that of token frames f to the last; so the whole clip's is the last entry
            of a prefix and the first of a suffix.
        kind: "prefix" or "suffix".
        removal: What was done to the rest: "dropped" (no block meets those tokens) or "held" (the
            last clip frame of a prefix, the first of a suffix, stands still there).
        labels: Places and times of the tokens.
    """

    values: Float[Tensor, "batch frames"]
    kind: Kind
    removal: Removal
    labels: TokenLabels

    @property
    def full(self) -> Float[Tensor, " batch"]:
        """The whole clip's, (batch,)."""
        return self.values[:, -1 if self.kind == "prefix" else 0]

    def half_crossing(self) -> Float[Tensor, " batch"]:
        """Find the token frame from which on the curve stays beyond half of its full value.

        "From which on" is towards later frames for a prefix, towards earlier ones for a suffix;
        "beyond" is on the side of the full value, whichever sign it has.

        Returns:
            (batch,), token frames; NaN where the full value is zero or not a number.
        """
        full = self.full.unsqueeze(1)
        beyond = self.values * full.sign() >= full.abs() / 2
        towards_full = beyond.flip(1) if self.kind == "prefix" else beyond
        lasting = towards_full.long().cumprod(1).sum(1)  # entries in a row, the full one included
        frame = self.values.shape[1] - lasting if self.kind == "prefix" else lasting - 1
        known = (self.full != 0) & self.full.isfinite()
        return torch.where(known, frame.to(self.values.dtype), torch.nan)

    def array(self, clip: int = 0) -> xr.DataArray:
        """One clip's curve: dim frame, with the coordinates clip_frame and seconds."""
        name = f"{self.kind}, the rest {self.removal}"
        return self.labels.frames(self.values[clip], clip, name, unit="logits")


def prefix_curve(
    model: VideoMamba,
    clips: Clips,
    target: Classes,
    minus: Classes | None = None,
    *,
    progress: bool = True,
) -> EvidenceCurve:
    """Give the model the first 1, 2, ... token frames, all later tokens dropped.

    A shorter clip is not what the model was trained on; `held_frame_curve` is the other way to
    hide a future, with another unusual clip.

    Args:
        model: The model.
        clips: As for the model: a tensor, a `Clip`, or a list of them.
        target, minus: As for `logit_readout`.
        progress: Whether to show a bar.
    Raises:
        ValueError: clips of another shape, no such class, or not one for each clip.
    """
    return _curve(model, clips, target, minus, "prefix", "dropped", progress)


def suffix_curve(
    model: VideoMamba,
    clips: Clips,
    target: Classes,
    minus: Classes | None = None,
    *,
    progress: bool = True,
) -> EvidenceCurve:
    """Give the model the last 1, 2, ... token frames, all earlier tokens dropped.

    Args and Raises as for `prefix_curve`.
    """
    return _curve(model, clips, target, minus, "suffix", "dropped", progress)


def held_frame_curve(
    model: VideoMamba,
    clips: Clips,
    target: Classes,
    minus: Classes | None = None,
    kind: Kind = "prefix",
) -> EvidenceCurve:
    """Let the clip stand still: after a prefix its last clip frame, before a suffix its first.

    The model gets as many tokens as it was trained with, but a picture that freezes.
    Args and Raises as for `prefix_curve`; `kind` is "prefix" or "suffix".
    """
    check_choice("held_frame_curve: kind", kind, get_args(Kind))
    return _curve(model, clips, target, minus, kind, "held")


def _curve(
    model: VideoMamba,
    clips: Clips,
    target: Classes,
    minus: Classes | None,
    kind: Kind,
    removal: Removal,
    progress: bool = True,
) -> EvidenceCurve:
    batch = as_batch(model, clips)
    contrast = Contrast.of(model, len(batch), target, minus, f"{kind} curve")
    run = _logits_dropped if removal == "dropped" else _logits_held
    frames = tqdm(
        range(model.grid.frames),
        f"{kind}, {removal}",
        unit="run",
        leave=False,
        disable=not progress,
    )
    with torch.no_grad():
        rows = [contrast.of_logits(run(model, batch, kind, n)) for n in frames]
    labels = TokenLabels(model.grid, model.config.tubelet_size, clip_seconds(clips))
    return EvidenceCurve(torch.stack(rows, dim=1), kind, removal, labels)


def _logits_dropped(model: VideoMamba, clips: Tensor, kind: Kind, frame: int) -> Tensor:
    """Logits of the clip up to, or from, a token frame."""
    of_token = model.grid.frame_of_tokens()
    kept = of_token <= frame if kind == "prefix" else (of_token >= frame) | (of_token == -1)
    with model.only_tokens(kept.nonzero().flatten()):  # the class token, -1, is in both
        return model(clips)


def _logits_held(model: VideoMamba, clips: Tensor, kind: Kind, frame: int) -> Tensor:
    """Logits of the clip that stands still after, or before, a token frame."""
    first = frame * model.config.tubelet_size
    number = torch.arange(clips.shape[2], device=clips.device)
    last = first + model.config.tubelet_size - 1
    shown = number.clamp(max=last) if kind == "prefix" else number.clamp(min=first)
    return model(clips[:, :, shown])
