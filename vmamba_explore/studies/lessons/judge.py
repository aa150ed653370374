"""Judge a reader's prediction against what the model does, without giving the answer away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import EllipsisType

from vmamba_explore.errors import shown

Answer = str | float | int | bool | EllipsisType | list[str] | list[int] | tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """What becomes of an answer.

    Args:
        right: True or False; None where nothing was answered yet.
        words: What to tell the reader. It never contains the truth.
    """

    right: bool | None
    words: str

    def __repr__(self) -> str:
        return self.words


def judge(
    answer: Answer,
    truth: str | float | int | bool,
    *,
    hint: str,
    within: float | None = None,
    tolerance: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Verdict:
    """Compare an answer with the truth, which the caller has just computed.

    Args:
        answer: The reader's; `...` means not answered yet.
        truth: A word, a number or a yes (True) or no (False).
        hint: Where to look again, one sentence that does not say the answer.
        within: A number is right up to this factor either way (2.0: from half to double).
        tolerance: A number is right up to this difference. Without either it must be equal.
        choices: The words to choose from; another one is an error of the reader's typing and is
            told so.
    Returns:
        The verdict.
    """
    if answer is ...:
        return Verdict(None, "No answer yet: replace the three dots, then run this cell again.")
    if isinstance(truth, bool):
        known = {"yes": True, "true": True, "no": False, "false": False}
        given = known.get(str(answer).strip().casefold())
        if given is None:
            return Verdict(None, f'Answer "yes" or "no"; got {shown(answer)}.')
        return _verdict(given == truth, hint)
    if isinstance(truth, str):
        word = str(answer).strip().casefold()
        if choices is not None and word not in {choice.casefold() for choice in choices}:
            listed = ", ".join(map(repr, choices))
            return Verdict(None, f"Answer one of {listed}; got {shown(answer)}.")
        return _verdict(word == truth.casefold(), hint)
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        return Verdict(None, f"Answer a number; got {shown(answer)}.")
    if within is not None:
        same_sign = answer * truth > 0
        return _verdict(same_sign and max(answer / truth, truth / answer) <= within, hint)
    return _verdict(abs(answer - truth) <= (tolerance or 0.0), hint)


def _verdict(right: bool, hint: str) -> Verdict:
    return Verdict(right, "Right." if right else f"Not so here. {hint}")
