"""Features that claim a factor, added to and removed from the running model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.analysis.features.steering import changing
from vmamba_explore.clips.recall_plan import NUM_COLORS
from vmamba_explore.intervals import mean_interval
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.studies.features.factors import Factor, Rows
from vmamba_explore.studies.features.scores import train_scores

CLAIMS = 0.9
"""The AUROC in training from which on a feature claims a factor; set before any test clip."""
STRONG = 0.95
"""Which quantile of its codes, where it is active in training, is added."""
CONTROLS = 2
"""Features that claim nothing beside each; all have the same length in the measure."""
ADDED_TO = 40
"""Clips at most to which a feature is added."""


class Claim(NamedTuple):
    """A feature that tells a factor in training, with what is added of it."""

    feature: int
    factor: Factor
    auroc: float
    amount: float


def claims(codes: NDArray[np.float32], train: Rows) -> tuple[list[Claim], list[int]]:
    """Find the features that claim a factor on which the answer depends, and live ones that do not.

    A feature claims the one factor of a group that it tells best.
    """
    asked = [each for each in train.factors.values() if each.answers]
    scores = train_scores(codes, asked) + 0.5
    groups = {each.group for each in asked}
    found = []
    for group in sorted(groups):
        members = [at for at, each in enumerate(asked) if each.group == group]
        top = np.array(members)[scores[:, members].argmax(1)]
        for feature in np.flatnonzero(scores[np.arange(len(top)), top] >= CLAIMS):
            active = codes[codes[:, feature] > 0, feature]
            at = int(top[feature])
            amount = float(np.quantile(active, STRONG))
            found.append(Claim(int(feature), asked[at], float(scores[feature, at]), amount))
    live = np.flatnonzero((codes > 0).any(0))
    quiet = [int(i) for i in live if (np.abs(scores[i] - 0.5) < (CLAIMS - 0.5) / 2).all()]
    return found, quiet


def right_way(
    model: VideoMamba,
    features: SparseFeatures,
    claim: Claim,
    quiet: list[int],
    clips: Float[Tensor, "clips rgb num_frames height width"],
    answers: Float[Tensor, "clips class"],
    truth: dict[str, NDArray[np.int64]],
    frames: list[int] | None,
    seed: int = 0,
) -> dict[str, Any]:
    """Add and remove a feature that claims a factor: does the answer move as the claim says?

    Added to clips for which the claim is false, what it claims should gain: the centered logit of
    the label that the clip would have. Removed from clips for which it is true, the label should
    lose. Controls are features that claim nothing, as long in the measure in which features are
    found, which does not depend on the arbitrary scale of a state.

    Args:
        model, features: The model and its features.
        claim: What is claimed.
        quiet: Features to draw controls from.
        clips: Test clips.
        answers: The model's logits for them, unchanged.
        truth: By group, which of its factors is true in each clip.
        frames: Token frames at which vectors are changed; None: all.
        seed: Of the controls.
    Returns:
        Effects with intervals over clips; `beyond` is the effect less the controls' mean, clip by
        clip, and `right` whether its interval lies on the right side of zero.
    """
    is_so = truth[claim.factor.group] == claim.factor.number
    unit = features.direction(claim.feature)
    rng = np.random.default_rng([seed, claim.feature])
    others = rng.choice(quiet, min(CONTROLS, len(quiet)), replace=False)
    controls = [features.direction(int(i)) for i in others]
    row: dict[str, Any] = {
        "feature": claim.feature, "claims": claim.factor.name, "auroc": round(claim.auroc, 4),
        "amount": round(claim.amount, 4),
    }  # fmt: skip
    to, of = np.flatnonzero(~is_so)[:ADDED_TO], np.flatnonzero(is_so)
    for what, chosen, sign in (("added", to, 1.0), ("removed", of, -1.0)):
        pixels, before = clips[chosen], answers[chosen]
        wanted = torch.from_numpy(_claimed(claim.factor, truth)[chosen])
        changes = [
            model_with(model, features, claim, direction, sign, frames, pixels)
            for direction in (unit, *controls)
        ]
        base = _centered(before, wanted)
        own, *other = [(_centered(after, wanted) - base).double().numpy() for after in changes]
        control = np.mean(other, axis=0) if other else np.zeros_like(own)
        beyond = mean_interval(sign * (own - control), 1000)
        row[what] = {
            "effect": mean_interval(own, 1000).to_dict(),
            "control": mean_interval(control, 1000).to_dict(),
            "beyond": beyond.to_dict(),
            "right": bool(beyond.low > 0),
            "answers": [
                round(float((each.argmax(1) == wanted).double().mean()), 4)
                for each in (before, changes[0])
            ],
        }
    return row


def model_with(
    model: VideoMamba, features: SparseFeatures, claim: Claim, direction: Tensor, sign: float,
    frames: list[int] | None, pixels: Tensor,
) -> Float[Tensor, "clips class"]:  # fmt: skip
    """Run with a direction added as strongly as the claim says, or its code's share removed."""

    def change(rows: Tensor) -> Tensor:
        if sign > 0:
            return rows + claim.amount * direction.to(rows)
        code = features.encode(rows)[..., claim.feature, None].to(rows)
        return rows - code * direction.to(rows)

    block: AbstractContextManager[None] = changing(model, features, change, frames, "right_way")
    with block, torch.inference_mode():
        return torch.cat([model(part) for part in pixels.split(20)])


def _claimed(factor: Factor, truth: dict[str, NDArray[np.int64]]) -> Int64[np.ndarray, " clip"]:
    """The label that each clip would have if the claim were true."""
    if factor.group == "sample color":
        return (truth["test color"] - factor.number) % NUM_COLORS
    if factor.group == "test color":
        return (factor.number - truth["sample color"]) % NUM_COLORS
    return np.full(len(truth[factor.group]), factor.number)


def _centered(logits: Tensor, which: Tensor) -> Tensor:
    """A logit less the mean of all, clip by clip."""
    return logits.gather(1, which[:, None])[:, 0] - logits.mean(1)
