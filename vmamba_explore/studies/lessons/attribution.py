"""Questions of notebook 06: which map is right, and compared with what?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.attribution.removal_scores import Faithfulness
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge


def finds_it(answer: Answer, shares: Mapping[str, float]) -> Verdict:
    """Judge which map has the largest share of its positive part on the true tokens."""
    truth = max(shares, key=lambda name: shares[name])
    hint = "Which line has next to nothing green outside of the outlines, and most of it inside?"
    return judge(answer, truth, hint=hint, choices=tuple(shares))


def bias_share(answer: Answer, conservation: Conservation) -> Verdict:
    """Judge what share of a logit goes to the biases, 0 to 1."""
    share = 1 - float(conservation.inputs[0] / conservation.logit[0])
    hint = "The biases are the last lines of the ledger: add them up, and divide by the logit."
    return judge(answer, share, hint=hint, tolerance=0.08)


def hands_on(answer: Answer, flow: RelevanceFlow) -> Verdict:
    """Judge in which layer the states carry most of the relevance over the borders of frames."""
    carried = flow.handed_on[0].abs().sum((1, 2))
    hint = "Which layer's scan brought everything to the class token, in notebooks 04 and 05?"
    return judge(answer, float(carried.argmax()), hint=hint)


def lowest_deletion(answer: Answer, found: Mapping[str, Faithfulness]) -> Verdict:
    """Judge which map's order of deletion leaves the least of the logit, over the whole curve."""
    areas = {name: float(each.deletion.area()[0]) for name, each in found.items()}
    truth = min(areas, key=lambda name: areas[name])
    hint = "A map can be roughly right about the place and still have one token in front too many."
    return judge(answer, truth, hint=hint, choices=tuple(found))


def hardest_control(answer: Answer, summary: Mapping[str, Any], score: str) -> Verdict:
    """Judge which control, none of which has a model, does best in a score."""
    values = {
        name: summary["methods"][name]["truth"]["positive"][score]["value"]
        for name in summary["controls"]
    }
    truth = max(values, key=lambda name: values[name])
    hint = "The truth is where something moves. Who is told that without asking any model?"
    return judge(answer, truth, hint=hint, choices=tuple(values))


def follows(answer: Answer, logits: Tensor, motion: int, mark: int) -> Verdict:
    """Judge whether a model names the "motion" that a clip shows or the "mark" that it bears.

    Raises:
        ValueError: it names neither of the two.
    """
    named = int(logits.argmax())
    if named not in (motion, mark):
        raise ValueError(f"follows: the model names class {named}, neither motion nor mark.")
    hint = "In its training, which of the two was there in every clip and easier to see?"
    return judge(
        answer, "motion" if named == motion else "mark", hint=hint, choices=("motion", "mark")
    )


def reaches(answer: Answer, share: float, area: float) -> Verdict:
    """Judge whether a map has more on a region than the region's part of the tokens, yes or no."""
    hint = "Compare the region in the clip with the same region in what the clip is compared with."
    return judge(answer, bool(share > area), hint=hint)
