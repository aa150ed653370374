"""How good sparse features are: on the vectors, and in the running model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from vmamba_explore.analysis.features.activations import keeping, room_for
from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.analysis.features.steering import reconstruct
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.edits import editing
from vmamba_explore.hooks import plain
from vmamba_explore.intervals import (
    NOTHING,
    RESAMPLES,
    Interval,
    drawn_counts,
    mean_interval,
    proportion,
)
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import as_batch


@dataclass(frozen=True, eq=False)
class FeatureQuality:
    """What features explain and what the model loses with them alone; intervals over clips.

    Args:
        unexplained: Fraction of variance unexplained: squared error over squared distance from the
            mean of the training vectors, both in the measure.
        active: Active features of a vector (L0).
        dead: Share of the features that are active in none of the vectors.
        fires: By feature, the share of the vectors in which it is active, (width,).
        harm: What the loss is: "cross-entropy" with given labels, the "divergence" from the
            model's own answer (Kullback-Leibler, nats), or an encoder's "distance" (squared).
        loss: Of the model as it is.
        loss_replaced: With every vector replaced by its reconstruction.
        loss_mean: With every vector replaced by the training mean, which is the scale.
        recovered: 1 - (loss_replaced - loss) / (loss_mean - loss); nothing where the mean does no
            harm.
        same_answer: Share of clips with the same answer after replacement; nothing of an encoder.
        same_answer_mean: The same with the mean.
        logit_change: Mean absolute change of the logits by replacement.
        logit_change_mean: The same with the mean.
        recovered_logits: 1 - logit_change / logit_change_mean, which also says something where the
            mean does no harm.
        clips, rows: How many were measured.
    """

    unexplained: Interval
    active: Interval
    dead: float
    fires: Float[np.ndarray, " width"]
    harm: str
    loss: Interval
    loss_replaced: Interval
    loss_mean: Interval
    recovered: Interval
    same_answer: Interval
    same_answer_mean: Interval
    logit_change: Interval
    logit_change_mean: Interval
    recovered_logits: Interval
    clips: int
    rows: int

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON, without `fires`."""
        plainly = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "fires":
                plainly[name] = value.to_dict() if isinstance(value, Interval) else value
        return plainly


def measure_features(
    model: VideoMamba,
    features: SparseFeatures,
    clips: Sequence[Clip | Generated],
    labels: Sequence[int] | None = None,
    *,
    batch_size: int = 16,
) -> FeatureQuality:
    """Measure features on clips that they were not found in.

    Args:
        model: The model.
        features: Features of one of its sites.
        clips: Held-out clips.
        labels: The right class of each, for the loss; None: the model's own answer is right.
        batch_size: Clips at a time.
    Raises:
        ValueError: there is no clip, not one label for each, or no such site.
    """
    model, site = plain(model), features.site
    if not len(clips) or (labels is not None and len(labels) != len(clips)):
        raise ValueError(
            f"measure_features: got {len(clips)} clips and "
            f"{'no' if labels is None else len(labels)} labels; expected at least one clip, and "
            "a label for each or none at all."
        )
    if labels is not None:
        model.check_head("measure_features")
    n, fired = len(clips), torch.zeros(features.width, dtype=torch.long)
    sums = np.zeros((n, 3))  # squared error, squared distance, active features
    losses, same, moved = np.zeros((n, 3)), np.zeros((n, 2), bool), np.zeros((n, 2))
    rows = 0
    starts = tqdm(range(0, n, batch_size), desc="feature quality", unit="batch", leave=False)
    with torch.inference_mode():
        for start in starts:
            part = slice(start, min(start + batch_size, n))
            batch = as_batch(model, [shown_by(clip) for clip in clips[part]])
            into = room_for(model, site, len(batch))
            with editing(*keeping(model, site, into, torch.zeros(model.config.d_state))):
                outputs = [at_least_float32(model(batch))]
            for by in ("reconstruction", "mean"):
                with reconstruct(model, features, by):
                    outputs.append(at_least_float32(model(batch)))
            vectors = into.reshape(len(batch), -1, len(features.mean))
            measured, codes = features.measured(vectors), features.encode(vectors)
            left = measured - codes @ features.decoder
            fired += (codes > 0).flatten(0, 1).sum(0).cpu()
            rows += vectors.shape[0] * vectors.shape[1]
            sums[part] = torch.stack(
                [left.square().sum((1, 2)), measured.square().sum((1, 2)),
                 (codes > 0).float().sum(-1).mean(-1)], 1,
            ).cpu()  # fmt: skip
            right = None if labels is None else torch.as_tensor(list(labels[part]))
            losses[part] = _losses(model, outputs, right).cpu()
            for at, output in enumerate(outputs[1:]):
                same[part, at] = (output.argmax(1) == outputs[0].argmax(1)).cpu()
                moved[part, at] = (output - outputs[0]).abs().mean(1).cpu()
    harm = "cross-entropy" if labels is not None else "divergence"
    loss, loss_replaced, loss_mean = losses.T
    answers = [NOTHING if model.is_encoder else proportion(each) for each in same.T]
    return FeatureQuality(
        unexplained=ratio(sums[:, 0], sums[:, 1]),
        active=mean_interval(sums[:, 2]),
        dead=float((fired == 0).float().mean()),
        fires=(fired / rows).numpy(),
        harm="distance" if model.is_encoder else harm,
        loss=mean_interval(loss),
        loss_replaced=mean_interval(loss_replaced),
        loss_mean=mean_interval(loss_mean),
        recovered=_less_than_one(ratio(loss_replaced - loss, loss_mean - loss)),
        same_answer=answers[0],
        same_answer_mean=answers[1],
        logit_change=mean_interval(moved[:, 0]),
        logit_change_mean=mean_interval(moved[:, 1]),
        recovered_logits=_less_than_one(ratio(moved[:, 0], moved[:, 1])),
        clips=n,
        rows=rows,
    )


def ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> Interval:
    """Divide two sums over clips; the interval is that of clips drawn with replacement.

    Nothing where the lower sum is not positive.
    """
    counts = drawn_counts(len(over), RESAMPLES)
    above, below = counts @ over, counts @ under
    if not below[0] > 0:
        return NOTHING
    draws = np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
    return Interval.of_draws(draws, len(over))


def _less_than_one(lost: Interval) -> Interval:
    return Interval(1 - lost.value, 1 - lost.high, 1 - lost.low, lost.n)


def feature_agreement(
    features: SparseFeatures, others: SparseFeatures
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " width"]]:
    """Compare the directions of two trainings, in the measure of the first.

    Returns:
        For each feature of the first its largest cosine with one of the second; and the cosines of
        the best pairing, each feature used once (as many as the smaller of the two has).
    Raises:
        ValueError: they are of different sites or sizes.
    """
    if features.site != others.site or len(features.mean) != len(others.mean):
        raise ValueError(
            f"feature_agreement: features of the {features.site} with {len(features.mean)} numbers "
            f"and of the {others.site} with {len(others.mean)}; expected the same site and size."
        )
    theirs = F.normalize(others.decoder.detach() / others.measure * features.measure, dim=1)
    cosines = (features.decoder.detach() @ theirs.T).cpu().numpy()
    return cosines.max(1), cosines[linear_sum_assignment(-cosines)]


def _losses(model: VideoMamba, outputs: Sequence[Tensor], right: Tensor | None) -> Tensor:
    """What each clip loses, (clips, outputs); the first output is the model as it is."""
    first = outputs[0]
    if model.is_encoder:
        return torch.stack([(each - first).square().sum(1) for each in outputs], 1)
    logs = [each.log_softmax(1) for each in outputs]
    if right is not None:
        chosen = right.to(first.device)
        return torch.stack([F.nll_loss(each, chosen, reduction="none") for each in logs], 1)
    return torch.stack(
        [F.kl_div(each, logs[0], reduction="none", log_target=True).sum(1) for each in logs], 1
    )
