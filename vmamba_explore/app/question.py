"""Question: what to find out about a clip, and how to tell how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from vmamba_explore.edits import editing
from vmamba_explore.hooks import hook_points
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.progress import Cancelled, PassingBar, Report

__all__ = [
    "EVIDENCE_CURVES", "EVIDENCE_FRAMES", "LOGARITHMIC", "QUANTITIES", "SLOW", "Cancelled", "Edit",
    "Question", "Report", "Steps", "part",
]  # fmt: skip

Asked = int | str | Tensor | np.ndarray | None
"""A class by number or name; a direction over an encoder's features; or None."""
Edit = Callable[[VideoMamba], AbstractContextManager[object]]
"""Takes a model and returns a `with` block in which it is edited, such as
`lambda model: mute(model, "forward")`."""
QUANTITIES = {
    "delta": (
        "The step size, mean over channels. Large: forget the state and take this token in. "
        "Small: keep the state and skip this token.",
        "",
    ),
    "state norm": (
        "The size of the hidden state after each token, every state weighted by how strongly it is "
        "read.",
        "",
    ),
    "retention": (
        "The share of what a token writes into the states that is left as many tokens later as a "
        "frame has. None near the end of a scan.",
        "",
    ),
    "look-back": (
        "How old what a token reads from the state is on average, in frames opened since.",
        "frames",
    ),
    "hidden attention": (
        "How strongly the logits' read-out reads each token in this layer: mean size of the "
        "frozen scan's weights over channels.",
        "",
    ),
    "contribution": (
        "What each token of a layer's input adds to the logit directly, through one direction's "
        "scan. Signed; over all layers, directions and tokens it sums to the logit, but for what "
        "the embedding and the biases add.",
        "logits",
    ),
    "relevance": (
        "MambaLRP's attribution to the clip's patches. It belongs to the model as a whole, so it "
        "is the same for all layers and directions.",
        "logits",
    ),
}  # fmt: skip
"""By name: what a map of the explorer shows, and its unit."""
LOGARITHMIC = ("delta", "state norm", "hidden attention")
EVIDENCE_FRAMES = 16
"""Clips of more token frames get no evidence curves: each of their points is one run."""
EVIDENCE_CURVES = (("seen from the start", "forward"), ("seen from the end", "backward"))
"""The curves of evidence, each with the direction whose color it has."""
SLOW = ("retention", "relevance")
"""Maps that are computed when something is shown already, unless nothing else is asked for."""


@dataclass(frozen=True)
class Question:
    """What to find out about a clip; see `explore` for the first five.

    Attributes:
        model_name: What the model is called.
        report: Told, before each step, what it does and how much is done, 0 to 1; may raise
            `Cancelled` to stop.
    """

    target: Asked = None
    minus: Asked = None
    quantities: Sequence[str] | None = None
    layers: Sequence[int] | None = None
    budget_gib: float | int = 1.0
    progress: bool = True
    model_name: str = "model"
    report: Report | None = None

    def chosen(self, model: VideoMamba) -> tuple[list[str], list[int]]:
        """Quantities and layers, checked; all where None was given.

        Raises:
            ValueError: there is no such quantity or layer, or nothing is left.
        """
        names = _some_of("quantities", self.quantities, list(QUANTITIES))
        return names, sorted(set(_some_of("layers", self.layers, list(range(model.config.depth)))))


def part(question: Question, index: int, count: int) -> Question:
    """Return the question as one of several parts of the same work, counted from 0."""
    report = question.report
    if report is None:
        return question
    return replace(question, report=lambda words, done: report(words, (index + done) / count))


class Steps(PassingBar):
    """A progress bar that also tells a `Report`.

    Args:
        question: Has the report, and whether to show a bar.
        total: How many steps there will be.
    """

    def __init__(self, question: Question, total: int) -> None:
        super().__init__(total, "explore", disable=not question.progress)
        self._report, self._total, self._done = question.report, total, 0
        self._told = ("", 0.0)

    def __call__(self, words: str) -> None:
        self._told = (words, min(1.0, self._done / self._total))
        self._tell()
        self._done += 1
        self.step(words)

    def told_by_every_block(self, model: VideoMamba) -> AbstractContextManager[None]:
        """Tell the report again at every block of every run, so that it can stop a long step.

        Args:
            model: Whose runs in this thread, for the duration of the `with` block.
        """
        points = hook_points(model)
        names = [f"layers.{layer}.hook_block_input" for layer in range(len(model.layers))]
        return editing(*((points[name].observers, lambda _: self._tell()) for name in names))

    def _tell(self) -> None:
        if self._report is not None:
            self._report(*self._told)


def _some_of(what: str, chosen: Any, known: list[Any]) -> list[Any]:
    if chosen is None:
        return known
    several = isinstance(chosen, Iterable) and not isinstance(chosen, str)
    found = list(chosen) if several else []
    if not found or any(item not in known for item in found):
        raise ValueError(
            f"explore: {what} is {found if several else repr(chosen)}, expected a list of some of "
            f"{', '.join(map(str, known))}; None takes all."
        )
    return found
