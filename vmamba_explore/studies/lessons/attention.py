"""Questions of notebook 04: who reads whom, and what of it reaches the logit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.attention import TokenAttention
from vmamba_explore.analysis.evidence import EvidenceCurve
from vmamba_explore.analysis.rollout import Rollout
from vmamba_explore.analysis.token_weights import FrameContributions
from vmamba_explore.analysis.truth import in_window, share_inside
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge


def brings_the_clip(answer: Answer, reads: TokenAttention, layer: int = 0) -> Verdict:
    """Judge which direction's row of the class token reaches video tokens, in one layer."""
    sums = abs(reads.array()).sel(layer=layer).sum(["frame", "row", "col"])
    truth = str(sums["direction"].values[int(sums.values.argmax())])
    hint = "In which order does each direction read, and what has it seen at the class token?"
    return judge(answer, truth, hint=hint, choices=("forward", "backward"))


def own_frame(answer: Answer, split: FrameContributions) -> Verdict:
    """Judge what part of a frame's output came from its own tokens, on average, 0 to 1."""
    shares = split.array().sel(target=_frames(split), source=_frames(split)).values
    hint = "How wide was this layer's band? (A share, not in percent; with the skip D u.)"
    return judge(answer, float(np.diag(shares).mean()), hint=hint, tolerance=0.15)


def speaks(answer: Answer, found: TokenAttention) -> Verdict:
    """Judge which layer adds most to the logit directly."""
    sums = np.abs(found.values[0].sum((-1, -2)).cpu().numpy())
    truth = float(found.layers[int(sums.argmax())])
    hint = "Which layer's output is read at the class token with no other layer in between?"
    return judge(answer, truth, hint=hint)


def inside_window(answer: Answer, found: TokenAttention, window: tuple[int, int]) -> Verdict:
    """Judge what share of the positive contributions stands in frames of the window, 0 to 1."""
    array = found.array()
    share = share_inside(array, in_window(window, array)).positive
    hint = "Outside the window nothing tells the clip from its twin: what could a token add there?"
    return judge(answer, share, hint=hint, tolerance=0.1)


def rollout_finds_it(answer: Answer, rollout: Rollout, window: tuple[int, int]) -> Verdict:
    """Judge whether a roll-out puts more weight into the window than a uniform map would."""
    array = rollout.array(layer=rollout.layers[0])
    share = share_inside(array, in_window(window, array))
    hint = "It multiplies sizes and knows no class. Which tokens stand next to the class token?"
    return judge(answer, bool(share.positive > share.area), hint=hint)


def still_sure(answer: Answer, before: float, after: float) -> Verdict:
    """Judge whether more than half of a logit difference is left after an intervention."""
    hint = "Compare what is left, below, with `sure`, the difference of the whole run."
    return judge(answer, bool(after > before / 2), hint=hint)


def says(answer: Answer, logits: Float[Tensor, " num_classes"], names: Sequence[str]) -> Verdict:
    """Judge which class a model names."""
    hint = "What did the last sections say about where the motion is seen?"
    return judge(answer, names[int(logits.argmax())], hint=hint, choices=tuple(names))


def more(answer: Answer, before: float, after: float) -> Verdict:
    """Judge whether a number becomes "more" or "less"."""
    truth = "more" if after > before else "less"
    hint = "What does the scan do to the state at a token that it reads?"
    return judge(answer, truth, hint=hint, choices=("more", "less"))


def turns(answer: Answer, curve: EvidenceCurve) -> Verdict:
    """Judge at which token frame a curve of evidence crosses half of its full value for good."""
    crossing = float(curve.half_crossing()[0])
    hint = "Which token frame is the first that holds two frames of the motion?"
    return judge(answer, crossing, hint=hint)


def looks_ahead(answer: Answer, reads: TokenAttention, layer: int, frame: int) -> Verdict:
    """Judge whether a token reads more from "later" or from "earlier" frames than its own."""
    sums = abs(reads.array()).sel(layer=layer).sum(["direction", "row", "col"])
    later, earlier = _beyond(sums, frame)
    hint = "Add up the tiles right of the token's own frame, and those left of it."
    truth = "later" if later > earlier else "earlier"
    return judge(answer, truth, hint=hint, choices=("later", "earlier"))


def _beyond(sums: xr.DataArray, frame: int) -> tuple[float, float]:
    frames = sums["frame"].values
    return float(sums.values[frames > frame].sum()), float(sums.values[frames < frame].sum())


def _frames(split: FrameContributions) -> list[str]:
    return [str(name) for name in split.targets if isinstance(name, int)]
