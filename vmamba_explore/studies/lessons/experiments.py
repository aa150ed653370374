"""Questions of notebook 08: which changes of order, position and size a small model minds."""

from __future__ import annotations

from vmamba_explore.studies.experiments.summary import NOT_APART, Comparison
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge


def does_worst(answer: Answer, comparison: Comparison) -> Verdict:
    """Judge which arm has the lowest mean top-1."""
    arms = comparison.arms["mean"]
    hint = "Think of what one tubelet, two frames long, still sees of the motion in each arm."
    return judge(answer, str(arms.idxmin()), hint=hint, choices=tuple(map(str, arms.index)))


def keeps(answer: Answer, comparison: Comparison, arm: str) -> Verdict:
    """Judge which top-1 an arm reaches, 0 to 1."""
    truth = float(comparison.arms.loc[arm, "mean"])
    hint = "A guess is right in one of four clips, the untouched clips come out above 0.9."
    return judge(answer, truth, hint=hint, tolerance=0.12)


def told_apart(answer: Answer, comparison: Comparison) -> Verdict:
    """Judge whether any two arms that the paper orders are apart by more than the seeds' spread."""
    truth = bool((comparison.pairs["verdict"] != NOT_APART).any())
    hint = "Look for a pair whose interval of differences leaves zero out."
    return judge(answer, truth, hint=hint)


def agrees(answer: Answer, comparison: Comparison, data_set: str) -> Verdict:
    """Judge whether the means here stand in the order that the paper found on a data set."""
    hint = "Every pair counts: one that stands the other way round is enough for a no."
    return judge(answer, bool(comparison.agreement().loc[data_set, "agrees"]), hint=hint)
