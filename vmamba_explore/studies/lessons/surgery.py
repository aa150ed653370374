"""Questions of notebook 05: what surgery on the states will do."""

from __future__ import annotations

from torch import Tensor

from vmamba_explore.analysis.patching import Sweep, TwinPatching
from vmamba_explore.analysis.selection import SelectionSwap
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge

_DIRECTIONS = ("forward", "backward")


def hurts_more(answer: Answer, muted: Sweep, layer: int) -> Verdict:
    """Judge which direction of a layer costs more of the logit difference when it is muted."""
    lost = (muted.plain - muted.values.isel(frame=0)).sum("clip").sel(layer=layer)
    truth = str(lost["direction"].values[lost.values.argmax()])
    hint = "Which of the two scans comes to the class token last, with all other tokens behind it?"
    return judge(answer, truth, hint=hint, choices=_DIRECTIONS)


def can_matter(answer: Answer, resets: Sweep, layer: int, direction: str) -> Verdict:
    """Judge whether forgetting in one scan changes the answer of any clip at all, yes or no."""
    moved = abs(resets.change.sel(layer=layer, direction=direction)).max()
    hint = "Follow the way from this scan's states to the logits: which token would have to read?"
    return judge(answer, bool(moved > 0), hint=hint)


def last_boundary(answer: Answer, patching: TwinPatching, layer: int, direction: str) -> Verdict:
    """Judge the last boundary at which the past of pair 0 restores at least half."""
    share = patching.restored.isel(clip=0).sel(layer=layer, direction=direction)
    restoring = share["frame"].values[share.values >= 0.5]
    truth = float(restoring.max()) if len(restoring) else 0.0
    hint = "How much of the motion has a scan behind it that comes from the end of the clip?"
    return judge(answer, truth, hint=hint)


def still_right(answer: Answer, logits: Tensor, labels: Tensor) -> Verdict:
    """Judge whether most clips keep their label, yes or no."""
    share = (logits.argmax(1) == labels).float().mean()
    hint = "Must two frames meet in a state to be compared, or do they meet before the first layer?"
    return judge(answer, bool(share > 0.5), hint=hint)


def becomes(answer: Answer, logits: Tensor, labels: Tensor, twin_labels: Tensor) -> Verdict:
    """Judge what most clips are taken for: "clip", "twin" or "neither"."""
    named = logits.argmax(1)
    shares = {
        "clip": float((named == labels).float().mean()),
        "twin": float((named == twin_labels).float().mean()),
    }
    best = max(shares, key=lambda name: shares[name])
    truth = best if shares[best] > 0.5 else "neither"
    hint = "A token holds two frames. What can be seen in two frames, and in which order?"
    return judge(answer, truth, hint=hint, choices=("clip", "twin", "neither"))


def carries_more(answer: Answer, swap: SelectionSwap, layer: int, direction: str) -> Verdict:
    """Judge whether "u" or the "selection" (delta, B, C) brings more of the difference."""
    place = {"layer": layer, "direction": direction}
    u, selection = (float(share.sel(place)) for share in (swap.by_u, swap.by_selection))
    hint = "Is it what a token writes that tells the twins apart, or how strongly it is written?"
    return judge(
        answer, "u" if u > selection else "selection", hint=hint, choices=("u", "selection")
    )
