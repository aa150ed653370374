"""How long a hidden state lasts: half-lives, and what is left of one frame at another.

Both follow from delta and A alone. With S[d, t] the sum of delta over all tokens read up to t, a
state fades from token s to token t by exp(A[d, n] (S[d, t] - S[d, s])); S is kept in float64,
since in float32 a single step of it would be off by 0.1 % after 1 569 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from torch import Tensor

from vmamba_explore.analysis.decay import (
    Place,
    check_channels,
    check_clip,
    decay,
    frame_tokens,
    places,
    stack,
)
from vmamba_explore.analysis.states import reading_strength
from vmamba_explore.errors import check_choice
from vmamba_explore.trace.trace import Trace

_ELEMENTS = 2**21  # numbers worked on at once


@dataclass(frozen=True, eq=False)
class HalfLives:
    """How long states last from each token on: dims layer, direction, frame, row, col.

    A state whose half-life ends beyond the clip is censored: all that is known is that it lasts
    longer than the tokens that are left. At one token every censored state outlasts every other,
    so a quantile over states is exact unless it is itself censored.

    Attributes:
        tokens: The quantile, in tokens; where `censored`, the tokens left, a lower bound.
        frames: The same in frames: boundaries crossed, or tokens / tokens per frame if `frozen`.
        censored: Whether the quantile lies beyond the clip.
        share_censored: Share of the states whose half-life does.
        quantile: Which quantile over channels and states; 0.5 is the median.
        frozen: Whether delta was held at its value at the token.
    """

    tokens: xr.DataArray
    frames: xr.DataArray
    censored: xr.DataArray
    share_censored: xr.DataArray
    quantile: float
    frozen: bool


def half_lives(
    trace: Trace,
    layer: int | None = None,
    direction: str | None = None,
    *,
    quantile: float = 0.5,
    channels: Sequence[int] | Tensor | None = None,
    frozen: bool = False,
    clip: int = 0,
) -> HalfLives:
    """Map how long the state written at each token lasts until half of it is gone.

    True half-life: the tokens until S has grown by ln 2 / |A|, found by a search in S. With
    `frozen`, what it would be if delta stayed as it is at the token: ln 2 / (delta |A|).

    Args:
        trace: Holds `hook_delta` of the layers to map.
        layer, direction: Which; None takes every recorded one.
        quantile: Over channels and states, 0 < quantile <= 1: 0.5 for the median, 0.9 for the
            long-lived tenth.
        channels: Channel numbers, None for all; for groups see `channel_groups`.
        frozen: Hold delta.
        clip: Which clip of the batch.
    Raises:
        KeyError: delta was not recorded there.
        ValueError: no such layer, direction, channel or clip, or a quantile out of range.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"half_lives: quantile is {quantile}, expected above 0, at most 1.")
    check_clip("half_lives", trace, clip)
    maps: dict[tuple[str, str], dict[Place, xr.DataArray]] = {}
    for place in places(trace, layer, direction, "half-lives"):
        fading = decay(trace, *place)
        chosen = check_channels("half_lives", channels, len(fading.A))
        S, A = fading.S[clip, chosen][:, fading.steps], fading.A[chosen]
        lasting, share = (_frozen if frozen else _lasting)(S, A, quantile)
        frames = fading.frames[fading.steps]
        left = len(frames) - torch.arange(len(frames), device=S.device)
        if frozen:
            crossed = lasting / (trace.grid.rows * trace.grid.cols)
            censored = torch.zeros_like(lasting, dtype=torch.bool)
        else:
            until = torch.arange(len(frames), device=S.device) + lasting.long()
            crossed = (frames[until.clamp(max=len(frames) - 1)] - frames).double()
            censored = lasting >= left
        found = {
            ("half-life", "tokens"): lasting,
            ("half-life", "frames"): crossed,
            ("censored", ""): censored,
            ("censored share", ""): share,
        }
        back = fading.steps.argsort()
        for (name, unit), values in found.items():
            array = trace.labels.array(values[back], clip, name, unit=unit)
            maps.setdefault((name, unit), {})[place] = array
    tokens, in_frames, beyond, share_beyond = map(stack, maps.values())
    return HalfLives(tokens, in_frames, beyond.astype(bool), share_beyond, quantile, frozen)


def _lasting(S: Tensor, A: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """The quantile of the true half-lives at each step, in steps, and the share censored."""
    (channels, seqlen), d_state = S.shape, A.shape[1]
    rank = math.ceil(quantile * channels * d_state)
    need = math.log(2) / A.abs()  # (channels, d_state): how much S must grow
    chosen, share = [], []
    width = max(1, _ELEMENTS // (channels * d_state))
    for start in range(0, seqlen, width):
        here = S[:, None, start : start + width] + need[..., None]
        until = torch.searchsorted(S.contiguous(), here.flatten(1)).view(here.shape)
        share.append((until >= seqlen).double().mean((0, 1)))
        steps = torch.arange(start, start + here.shape[-1], device=S.device)
        chosen.append((until - steps).flatten(0, 1).kthvalue(rank, dim=0).values)
    return torch.cat(chosen).double(), torch.cat(share)


def _frozen(S: Tensor, A: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """The quantile of ln 2 / (delta |A|) at each step, in steps; none is censored."""
    delta = torch.diff(S, dim=-1, prepend=torch.zeros_like(S[:, :1]))
    need, rank = math.log(2) / A.abs(), math.ceil(quantile * A.numel())
    width = max(1, _ELEMENTS // A.numel())
    chosen = [
        (need[..., None] / part[:, None]).flatten(0, 1).kthvalue(rank, dim=0).values
        for part in delta.split(width, dim=-1)
    ]
    return torch.cat(chosen), torch.zeros_like(S[0])


def retention(
    trace: Trace,
    layer: int | None = None,
    direction: str | None = None,
    *,
    weights: Literal["equal", "written"] = "written",
    channels: Sequence[int] | Tensor | None = None,
    clip: int = 0,
) -> xr.DataArray:
    """Measure how much of what the state took from frame k is left after it has read frame t.

    What frame k left in state n of channel d when its last token had been read has shrunk, after
    the last token of frame t, by exactly exp(A (S_t - S_k)). The mean over states weights them
    equally, or by what the frame wrote into them, as it is read::

        rms_t(C[t, n]) * sum over the tokens s of frame k of exp(A (S_k - S_s)) |B_bar_s u_s|

    In a VideoMambaPro the first token read also wrote the state that the scan starts from.

    Args:
        trace: Holds `hook_delta` of the layers; for "written" also `hook_u`, `hook_B`, `hook_C`.
        layer, direction, channels, clip: As for `half_lives`.
        weights: Of the mean over channels and states.
    Returns:
        A share from 0 to 1: dims layer, direction, source (frame k), frame (frame t), in natural
        clip order; NaN where the scan reads frame t before frame k.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer, direction, channel, clip or weighting.
    """
    check_choice("retention: weights", weights, ("equal", "written"))
    check_clip("retention", trace, clip)
    found = {}
    for place in places(trace, layer, direction, "retention"):
        fading = decay(trace, *place)
        chosen = check_channels("retention", channels, len(fading.A))
        S, A = fading.S[clip, chosen], fading.A[chosen]
        tokens = frame_tokens(trace.grid, fading.steps)
        ends = torch.stack([read[-1] for read in tokens])
        order = fading.steps.argsort()[ends]
        share = S.new_full((len(ends), len(ends)), math.nan)
        written = _writes(trace, place, clip, chosen, S, A) if weights == "written" else None
        for k, read in enumerate(tokens):
            weight = torch.ones_like(A) if written is None else written(read)
            weight = weight / weight.sum()
            for t in (order >= order[k]).nonzero().flatten().tolist():
                faded = torch.exp(A * (S[:, ends[t]] - S[:, ends[k]])[:, None])
                share[k, t] = (weight * faded).sum()
        coords = trace.labels.frame_coords(clip) | {"source": range(trace.grid.frames)}
        found[place] = xr.DataArray(
            share.cpu().numpy(), coords, ("source", "frame"), "retention", {"unit": ""}
        )
    return stack(found)


def retained_share(
    trace: Trace,
    layer: int,
    direction: str,
    *,
    tokens: int | None = None,
    clip: int = 0,
) -> xr.DataArray:
    """Map how much of what is written at each token is left a fixed number of tokens later.

    The mean over channels and states of exp(A (S_{t + n} - S_t)), S counted in scan order.

    Args:
        trace: Holds `hook_delta` there.
        layer, direction: Which scan.
        tokens: How many tokens later, n; None for as many as a frame has.
        clip: Which clip of the batch.
    Returns:
        A share from 0 to 1, dims frame, row, col; NaN where fewer tokens are left to read.
    Raises:
        KeyError: delta was not recorded there.
        ValueError: no such layer, direction or clip, or fewer than one token.
    """
    grid = trace.grid
    later = grid.tokens_per_frame if tokens is None else tokens
    if later < 1:
        raise ValueError(f"retained_share: tokens is {tokens}, expected at least 1.")
    check_clip("retained_share", trace, clip)
    fading = decay(trace, layer, direction)
    S, A = fading.S[clip][:, fading.steps], fading.A.float()
    read = S.new_full((grid.seqlen,), math.nan, dtype=torch.float32)
    grown = (S[:, later:] - S[:, :-later]).float()
    width = max(1, _ELEMENTS // A.numel())
    shares = [
        torch.exp(A[..., None] * part[:, None]).mean((0, 1)) for part in grown.split(width, dim=-1)
    ]
    read[: grown.shape[-1]] = torch.cat(shares) if shares else read[:0]
    return trace.labels.array(read[fading.steps.argsort()], clip, "retained share", unit="")


def _writes(
    trace: Trace, place: Place, clip: int, chosen: Tensor, S: Tensor, A: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return a function: what tokens wrote into each state, as it is read after the last one."""
    at = f"layers.{place[0]}.mixer.ssm_{place[1]}.hook_"
    u, delta = (trace[at + name][clip, chosen].detach() for name in ("u", "delta"))
    B, C = (trace[at + name][clip].detach().double() for name in ("B", "C"))
    mass, reading = (u * delta).abs().double(), reading_strength(C)
    ssm = trace.ssm(*place)
    first = ssm.first(u.shape[-1]) if ssm.starts_from_first else None

    def written(read: Tensor) -> Tensor:
        total = torch.zeros_like(A)
        if first is not None and first in read:
            total += torch.exp(A * S[:, read[-1:]]) * u[:, first, None].abs()
        for part in read.split(max(1, _ELEMENTS // A.numel())):
            faded = torch.exp(A[..., None] * (S[:, read[-1:]] - S[:, part])[:, None])
            total += torch.einsum("dnt,dt,nt->dn", faded, mass[:, part], B[:, part].abs())
        return total * reading

    return written
