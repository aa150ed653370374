"""Another stretch of the file: the same question about the clip that starts at another frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from vmamba_explore.app.question import Question, Report
from vmamba_explore.clips.clip import Clip, Generated
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.film import named_as
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.clips.sampling import frame_indices
from vmamba_explore.view.explorer.exploration import Changing, Exploration, Moved
from vmamba_explore.view.visitors import for_visitors

READ = 0.1
"""How much of the progress is over when the clip is read."""
Begin = Callable[[Clip, Sequence[str], Report], tuple[tuple[Exploration, ...], Changing | None]]
"""Runs the model on a clip: computes some maps at once, and tells a report."""


@dataclass(frozen=True, eq=False)
class FileWindows:
    """Moves a clip within its file; see `Windows` in view.explorer.exploration.

    Attributes:
        clip: The clip as it lies now.
        stride: Source frames from one of its frames to the next; None: spread from its first frame
            to the end of the file.
        begin: Runs the model on another clip.
        options: What else `explore` was asked, by the names of its arguments, as Python.
    """

    clip: Clip
    stride: int | None
    begin: Begin
    options: dict[str, str]

    @classmethod
    def of(
        cls, clip: Clip | Generated, begin: Begin, options: dict[str, str]
    ) -> FileWindows | None:
        """Return how to move a clip; None for one that no file and stride stand for."""
        if not isinstance(clip, Clip) or not clip.path:
            return None
        if clip.frames.shape[1] != clip.frames.shape[2]:
            return None
        numbers = clip.indices[: clip.num_frames - clip.repeated]
        steps = np.unique(np.diff(numbers))
        if len(steps) <= 1 and (steps > 0).all():
            return cls(clip, int(steps[0]) if len(steps) else 1, begin, options)
        spread, _ = frame_indices(
            int(clip.indices.max()) + 1, clip.num_frames, None, max(0, int(clip.indices[0]))
        )
        if np.array_equal(spread, clip.indices):
            return cls(clip, None, begin, options)
        return None

    def window(self) -> dict[str, Any]:
        """Where the clip lies; see `Windows.window`."""
        return {
            "name": self.clip.source,
            "first": int(self.clip.indices[0]),
            "last": int(self.clip.indices[-1]),
            "spread": self.stride is None,
            "least": self._least,
            "code": self.code(),
        }

    def code(self) -> str:
        """Return Python that shows this stretch; it names a file of visitors as they do."""
        path, here = self.clip.path, os.path.join(os.getcwd(), "")
        if for_visitors() or self.clip.source != os.path.basename(path):
            path = self.clip.source
        given = [repr(path.removeprefix(here))]
        options = {**self.options, "start": f"{self.clip.indices[0]}", "stride": f"{self.stride}"}
        given += [f"{name}={words}" for name, words in options.items()]
        return f"from vmamba_explore import explore\n\nexplore({', '.join(given)})"

    def moved(self, start: int, first: Sequence[str], report: Report) -> Moved:
        """Run the model on the clip that starts at another frame; see `Windows.moved`."""
        report("reading the clip", 0.0)
        found = self._read(start)
        tell: Report = lambda words, share: report(words, READ + (1 - READ) * share)  # noqa: E731
        sides, changing = self.begin(found, first, tell)
        return Moved(sides, changing, replace(self, clip=found))

    @property
    def _least(self) -> int:
        """How many frames of the file it covers at least, where the file has so many."""
        frames = self.clip.num_frames
        return frames if self.stride is None else (frames - 1) * self.stride + 1

    def _read(self, start: int) -> Clip:
        clip, size = self.clip, self.clip.frames.shape[1]

        def choose(available: int) -> tuple[np.ndarray, int]:
            within = min(max(0, start), max(0, available - self._least))
            return frame_indices(available, clip.num_frames, self.stride, within)

        with named_as(clip):
            found = load_frames(clip.path, choose, partial(middle_square, size=size))
        return replace(found, source=clip.source)


def as_options(question: Question, model: str, compare: object) -> dict[str, str]:
    """Return what `explore` was asked, by the names of its arguments, as Python.

    Args:
        question: What was asked.
        model: What the model is called; a name for `load_model`, or the name of its class.
        compare: What it is compared with; other than text it stands as a variable.
    """
    given: dict[str, Any] = {
        "target": question.target,
        "minus": question.minus,
        "quantities": None if question.quantities is None else list(question.quantities),
        "layers": None if question.layers is None else list(question.layers),
    }
    arrays = (Tensor, np.ndarray)  # directions, which stand as variables
    options = {"model": model} | {
        name: name if isinstance(value, arrays) else repr(value)
        for name, value in given.items()
        if value is not None
    }
    if compare is not None:
        options["compare"] = repr(compare) if isinstance(compare, str) else "compare"
    return options
