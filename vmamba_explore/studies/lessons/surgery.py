"""Questions of notebook 05: what surgery on the states will do."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vmamba_explore.analysis.patching import TwinPatching
from vmamba_explore.analysis.selection import SelectionSwap
from vmamba_explore.analysis.slow_states import OPERATIONS, StateSurgery
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge


def still_right(answer: Answer, logits: Tensor, labels: Tensor) -> Verdict:
    """Judge whether most clips keep their label, yes or no."""
    share = (logits.argmax(1) == labels).float().mean()
    hint = "Where else can what is needed come from: from the other side, or from a token itself?"
    return judge(answer, bool(share > 0.5), hint=hint)


def whose(answer: Answer, logits: Tensor, labels: Tensor, donor_labels: Tensor) -> Verdict:
    """Judge whose answer most clips get: "own", "donor" or "neither"."""
    hint = "Only one of the two colors is in the state that the scans go on from."
    return judge(answer, _most(logits, own=labels, donor=donor_labels), hint=hint,
                 choices=("own", "donor", "neither"))  # fmt: skip


def becomes(answer: Answer, logits: Tensor, labels: Tensor, twin_labels: Tensor) -> Verdict:
    """Judge what most clips are taken for: "clip", "twin" or "neither"."""
    hint = "A token holds two frames. What can be seen in two frames, and in which order?"
    return judge(answer, _most(logits, clip=labels, twin=twin_labels), hint=hint,
                 choices=("clip", "twin", "neither"))  # fmt: skip


def moves_most(answer: Answer, patching: TwinPatching) -> Verdict:
    """Judge in which layer the past of the other clip moves the answer most, at any boundary."""
    best = patching.restored_overall.max(["direction", "frame"])
    truth = float(best["layer"].values[best.values.argmax()])
    hint = "Which scans see the sample's pixels themselves, rather than what others tell of them?"
    return judge(answer, truth, hint=hint)


def can_be_read(answer: Answer, share: float) -> Verdict:
    """Judge whether a probe is right on at least nine of ten clips, yes or no."""
    hint = "What have the tokens that this scan reads been told by the layers before?"
    return judge(answer, share >= 0.9, hint=hint)


def is_enough(answer: Answer, operated: StateSurgery, order: str) -> Verdict:
    """Judge the smallest share of states, first in an order, that answers as well as all, less 1.

    Kept, all others being reset, they lose at most one clip beside all states kept.
    """
    right = operated.right.sel(operation=OPERATIONS[0], order=order).sum("clip").sortby("share")
    enough = right.values >= right.values[-1] - 1
    truth = float(right["share"].values[np.argmax(enough)])
    hint = "One color of four has to be held. How many numbers does that take?"
    return judge(answer, truth, hint=hint)


def carries_more(answer: Answer, swap: SelectionSwap, layer: int, direction: str) -> Verdict:
    """Judge whether "u" or the "selection" (delta, B, C) brings more of the difference."""
    place = {"layer": layer, "direction": direction}
    u, selection = (float(share.sel(place)) for share in (swap.by_u, swap.by_selection))
    hint = "Is it what a token writes that tells the two apart, or how strongly it is written?"
    truth = "u" if u > selection else "selection"
    return judge(answer, truth, hint=hint, choices=("u", "selection"))


def _most(logits: Tensor, **labels: Tensor) -> str:
    """Which labels more than half of the clips are given, "neither" where none are."""
    named = logits.argmax(1)
    shares = {name: float((named == wanted).float().mean()) for name, wanted in labels.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > 0.5 else "neither"
