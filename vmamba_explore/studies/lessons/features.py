"""Questions of notebook 10: what many clips have in common, and what a feature does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vmamba_explore.intervals import Interval
from vmamba_explore.stores.sizes import StoreSize
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge


def takes(answer: Answer, size: StoreSize, variable: str) -> Verdict:
    """Judge how many megabytes a variable takes, up to a factor of 1.5."""
    hint = "Videos, times tokens of each, times numbers of a token, times bytes of a number."
    return judge(answer, size.bytes_by_variable[variable] / 1e6, hint=hint, within=1.5)


def occupies(answer: Answer, directions: float) -> Verdict:
    """Judge among how many directions the embeddings spread, up to a factor of two."""
    hint = "The head only has to keep the classes apart. How many directions does that take?"
    return judge(answer, directions, hint=hint, within=2.0)


def is_like(answer: Answer, same: float) -> Verdict:
    """Judge whether most clips have a nearest neighbor of their own class, yes or no."""
    hint = "What was the model trained to keep apart, and what to overlook?"
    return judge(answer, same > 0.5, hint=hint)


def tells_best(answer: Answer, scores: Mapping[str, Interval]) -> Verdict:
    """Judge which kind of number tells the classes best on held-out clips."""
    truth = max(scores, key=lambda kind: scores[kind].value)
    hint = "There are more features than channels, but each of them is silent in most tokens."
    return judge(answer, truth, hint=hint, choices=tuple(scores))


def brings(answer: Answer, before: Tensor, after: Tensor, wanted: int) -> Verdict:
    """Judge whether adding a feature raises a logit above the others in most clips, yes or no.

    Args:
        answer: The reader's.
        before, after: Logits, (clips, class), of clips of other classes.
        wanted: The class.
    """
    hint = "How many tokens does the answer come from, and in how many of them is it added?"
    turned = (after.argmax(1) == wanted) & (before.argmax(1) != wanted)
    return judge(answer, bool(turned.float().mean() > 0.5), hint=hint)
