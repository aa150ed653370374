"""Feature cards: what there is to know of a feature, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.features.activations import Activations, Site, keeping, room_for
from vmamba_explore.analysis.features.activity import Activity, check_site, feature_activity
from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.analysis.features.steering import remove_feature, steer
from vmamba_explore.analysis.features.written import Written
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.edits import editing
from vmamba_explore.hooks import plain
from vmamba_explore.intervals import Interval, mean_intervals
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import as_batch

ClipOf = Callable[[int], Clip | Generated]
"""Gives a clip by its number, video * views + view."""
_BATCH = 8
_AGREES = 0.05


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """One feature.

    Args:
        feature: Its number.
        fires: Share of the vectors in which it is active.
        fires_clips: Share of the clips in which it is active anywhere.
        share: Its part of the sum of all squared codes.
        amount: Its mean code where it is active; what is added to see its effect.
        top: Numbers of the clips with its largest codes, the largest first.
        peaks: Its largest code in each of these.
        by_class: Mean largest code in the clips of each class; None without labels.
        top_labels: Classes of the top clips, -1 unknown; None without labels.
        course: Its largest code in each token frame, mean over the top clips as they are.
        course_reversed: The same with the clips played backwards, their last frame first.
        removed: By class, change of the logit in its top clips when it is removed.
        added: By class, change of the logit in the common clips when `amount` is added
            everywhere.
    """

    feature: int
    fires: float
    fires_clips: float
    share: float
    amount: float
    top: tuple[int, ...]
    peaks: tuple[float, ...]
    by_class: Float[np.ndarray, " class"] | None
    top_labels: tuple[int, ...] | None
    course: Float[np.ndarray, " frame"]
    course_reversed: Float[np.ndarray, " frame"]
    removed: tuple[Interval, ...]
    added: tuple[Interval, ...]


@dataclass(frozen=True, eq=False)
class ShownClip:
    """One clip among the top clips of a feature.

    Args:
        number: video * views + view.
        clip: Its frames.
        label: Its class, -1 unknown.
        answer: The model's class, -1 of an encoder.
        codes: Codes of the features that have cards, (feature, frame, row, col); of states, which
            have no patches, (feature, frame, 1, 1).
        written: Of states: what each patch brought to the feature's code after the token frame in
            which it is largest, (feature, frame, row, col); else None.
    """

    number: int
    clip: Clip
    label: int
    answer: int
    codes: Float[np.ndarray, "feature frame _ _"]
    written: Float[np.ndarray, "feature frame _ _"] | None


@dataclass(frozen=True, eq=False)
class FeatureCards:
    """Cards of some features, and the clips that they share.

    Args:
        site: Where the vectors were taken.
        cards: One for each feature.
        clips: All top clips of these, by number.
        class_names: Names of the classes; None where the model has none.
        activity: How all features act.
        common: Numbers of the clips on which features were added.
        differs: How many of the clips gave another largest code than the vectors did, by more than
            5 %: the clip is not the one that was stored, or the model not the same. 0 where vectors
            of some frames or patches were stored only.
    """

    site: Site
    cards: tuple[FeatureCard, ...]
    clips: tuple[ShownClip, ...]
    class_names: tuple[str, ...] | None
    activity: Activity
    common: tuple[int, ...]
    differs: int


@torch.no_grad()
def feature_cards(
    model: VideoMamba,
    features: SparseFeatures,
    activations: Activations,
    clips: ClipOf | Sequence[Clip | Generated],
    *,
    which: int | Sequence[int] = 24,
    top: int = 4,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    common: int = 16,
) -> FeatureCards:
    """Describe features by their clips, their course in time and their effect in the model.

    Memory and time grow with the number of cards times `top`, not with the number of vectors.

    Args:
        model: The model.
        features: Features of one of its sites.
        activations: Vectors of that site, from which the top clips are chosen.
        clips: The clips that the vectors are of, by number (video * views + view).
        which: Numbers of the features, or how many: those with the largest share of the codes.
        top: Clips for each feature.
        labels: The class of each video; -1 where it is not known.
        common: How many clips, evenly spread over all, to add each feature to.
    Raises:
        ValueError: there is no such feature, or none that is active; or vectors of another site.
    """
    model = plain(model)
    features.site.size(model)
    check_site(features, activations, "feature_cards")
    activity = feature_activity(features, activations, labels, top=top)
    chosen = activity.order[:which].tolist() if isinstance(which, int) else list(which)
    features.check(chosen, "feature_cards")
    if not chosen:
        raise ValueError(
            "feature_cards: no feature is active in these vectors; train features on vectors like "
            "these, or choose features by number."
        )
    views = activity.clips // activations.videos
    places = model.grid.frames if features.site.direction else model.grid.num_patches
    whole = activity.rows == activity.clips * places
    known = np.full(activity.clips, -1) if labels is None else np.repeat(labels, views)
    clip_of = clips if callable(clips) else clips.__getitem__
    numbers = sorted({int(n) for n in activity.top[chosen].flat if n >= 0})
    spread = np.unique(np.linspace(0, activity.clips - 1, min(common, activity.clips)).round())
    runs = _Runs(model, features, chosen)
    shown, turned, logits = runs.describe(numbers, clip_of, known)
    at = {number: place for place, number in enumerate(numbers)}
    common_clips = torch.stack([shown_by(clip_of(int(n))).tensor() for n in spread])
    plainly = runs.logits(common_clips)
    cards = []
    for place, feature in enumerate(tqdm(chosen, desc="feature cards", unit="card")):
        mine = [int(number) for number in activity.top[feature] if number >= 0]
        amount = float(activity.mean_code[feature])
        peaks = [shown[at[n]].codes[place].max((1, 2)) for n in mine]
        other_way = [turned[at[n]][place] for n in mine]
        nothing = np.zeros(model.grid.frames, np.float32)
        taken: tuple[Interval, ...] = ()
        put: tuple[Interval, ...] = ()
        if not model.is_encoder:
            if mine:
                pixels = torch.stack([shown[at[n]].clip.tensor() for n in mine])
                before = logits[[at[n] for n in mine]]
                taken = _change(runs, pixels, before, remove_feature(model, features, feature))
            put = _change(runs, common_clips, plainly, steer(model, features, feature, amount))
        cards.append(
            FeatureCard(
                feature=feature,
                fires=float(activity.fires[feature]),
                fires_clips=float(activity.fires_clips[feature]),
                share=float(activity.share[feature]),
                amount=amount,
                top=tuple(mine),
                peaks=tuple(activity.peak[feature][: len(mine)].tolist()),
                by_class=None if activity.by_class is None else activity.by_class[feature],
                top_labels=None if labels is None else tuple(int(known[n]) for n in mine),
                course=np.mean(peaks, 0) if mine else nothing,
                course_reversed=np.mean(other_way, 0) if mine else nothing,
                removed=taken,
                added=put,
            )
        )
    return FeatureCards(
        site=features.site,
        cards=tuple(cards),
        clips=tuple(shown),
        class_names=model.class_names,
        activity=activity,
        common=tuple(int(n) for n in spread),
        differs=_differing(cards, shown, at) if whole else 0,
    )


class _Runs:
    """Runs of a model on clips, and what features make of them."""

    def __init__(self, model: VideoMamba, features: SparseFeatures, chosen: list[int]) -> None:
        self.model, self.features, self.chosen = model, features, chosen

    def logits(self, pixels: Tensor) -> Tensor:
        """The model's outputs for any number of clips."""
        batches = as_batch(self.model, pixels).split(_BATCH)
        return torch.cat([at_least_float32(self.model(batch)).cpu() for batch in batches])

    def codes(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and the codes of the chosen features, (clip, feature, frame, row, col)."""
        model, site = self.model, self.features.site
        into = room_for(model, site, len(pixels))
        with editing(*keeping(model, site, into, torch.zeros(model.config.d_state))):
            output = at_least_float32(model(as_batch(model, pixels))).cpu()
        places = into.shape[1:-1] if site.direction is None else (into.shape[1], 1, 1)
        rows = into.reshape(-1, len(self.features.mean))
        found = self.features.encode(rows)[:, self.chosen].cpu()
        return output, found.view(len(pixels), *places, -1).movedim(-1, 1)

    def describe(
        self, numbers: Sequence[int], clip_of: ClipOf, labels: Int64[np.ndarray, " clips"]
    ) -> tuple[list[ShownClip], list[NDArray[np.float32]], Tensor]:
        """The clips; of each played backwards the largest code by (feature, frame); outputs."""
        shown, turned, outputs = [], [], []
        of_states = self.features.site.direction is not None
        starts = tqdm(range(0, len(numbers), _BATCH), desc="top clips", unit="batch", leave=False)
        for start in starts:
            part = numbers[start : start + _BATCH]
            clips = [shown_by(clip_of(number)) for number in part]
            pixels = torch.stack([clip.tensor() for clip in clips])
            if of_states:
                written = Written(self.model, self.features)
                with written.block:
                    output, codes = self.codes(pixels)
            else:
                output, codes = self.codes(pixels)
            reverse = torch.stack([_reversed(clip).tensor() for clip in clips])
            turned += list(self.codes(reverse)[1].amax((3, 4)).numpy())
            outputs.append(output)
            for at, (number, clip) in enumerate(zip(part, clips, strict=True)):
                parts = None
                if of_states:
                    peaks = codes[at, ..., 0, 0].argmax(1)
                    parts = written.parts(at, torch.tensor(self.chosen), peaks).cpu().numpy()
                answer = -1 if self.model.is_encoder else int(output[at].argmax())
                label = int(labels[number])
                shown.append(ShownClip(number, clip, label, answer, codes[at].numpy(), parts))
        return shown, turned, torch.cat(outputs) if outputs else torch.empty(0)


def _change(
    runs: _Runs, pixels: Tensor, before: Tensor, block: AbstractContextManager[None]
) -> tuple[Interval, ...]:
    """By class, the mean change of the logit inside a block."""
    with block:
        after = runs.logits(pixels)
    return tuple(mean_intervals((after - before).double().numpy()))


def _reversed(clip: Clip) -> Clip:
    return replace(clip, frames=np.ascontiguousarray(clip.frames[::-1]), damaged=None, repeated=0)


def _differing(cards: Sequence[FeatureCard], shown: Sequence[ShownClip], at: dict[int, int]) -> int:
    """How many clips give another peak than the vectors that were stored."""
    wrong = set()
    for place, card in enumerate(cards):
        for number, peak in zip(card.top, card.peaks, strict=True):
            here = float(shown[at[number]].codes[place].max())
            if abs(here - peak) > _AGREES * peak:
                wrong.add(number)
    return len(wrong)
