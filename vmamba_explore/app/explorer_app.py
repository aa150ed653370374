"""ExplorerApp: choose a clip in the page, run it, look into it; no line of code to change."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from functools import partial

from vmamba_explore import resources
from vmamba_explore.app.control_clips import REVERSED
from vmamba_explore.app.explore import as_clip, shape_of, side_by_side
from vmamba_explore.app.question import Cancelled, Edit, Question
from vmamba_explore.clips import Clip, ClipError
from vmamba_explore.clips.container import check_uploaded
from vmamba_explore.model.bundled import BUNDLED, SHAPE, model_for
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.trace.interventions import mute
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.explorer.page import ExplorerPage
from vmamba_explore.view.visitors import for_visitors, meant_for_readers, told
from vmamba_explore.view.widgets.chooser import AUTO, Choice, ClipChooser
from vmamba_explore.view.widgets.upload import ChosenFile

BEFORE = 0.05
"""How much of the progress bar is over when the model runs: loading it and reading the clips."""
SHOWN = 0.6
"""How much of it is over when the explorer is shown: evidence and controls come after that."""

logger = logging.getLogger(__name__)


class ExplorerApp(ExplorerPage):
    """Choose a clip, or bring your own; the model runs in the background and can be cancelled.

    Whatever goes wrong is said in the page, in a sentence, and the explorer shown before stays.

    Args:
        allow_paths: Whether files may be named by their path. They are read with the rights of
            whoever started the kernel. None allows it, but not in a page that Voila serves, unless
            `VMAMBA_APP_PATHS=1` is set there.
        limit_mib: The largest upload, MiB.
        budget_gib: The most that a recording may hold, GiB.
    """

    def __init__(
        self,
        *,
        allow_paths: bool | None = None,
        limit_mib: int = 512,
        budget_gib: float | int = 1.0,
    ) -> None:
        samples = {name: resources.path(f"clips/{name}.mp4") for name in resources.CLIPS}
        allowed = not for_visitors() if allow_paths is None else allow_paths
        self._visitors = not allowed
        models = {AUTO: "what fits the clip"}
        models |= {known.name: known.question for known in BUNDLED.values()}
        chooser = ClipChooser(samples, models, allow_paths=allowed, limit_mib=limit_mib)
        self._budget_gib = budget_gib
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(chooser)
        chooser.on_run(self.run)
        chooser.on_cancel(self._cancelled.set)

    def run(self, choice: Choice) -> None:
        """Begin to work on a choice, in the background; one at a time."""
        if self.chooser.busy:
            return
        self._cancelled.clear()
        self.chooser.tell("starting", 0)
        self._thread = threading.Thread(target=self._work, args=(choice,), daemon=True)
        self._thread.start()

    def wait(self, seconds: float | int | None = None) -> None:
        """Wait until nothing runs, or for so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """Stop what runs and close everything on the page."""
        self._cancelled.set()
        self.wait()
        super().close()

    def _work(self, choice: Choice) -> None:
        start, failed = time.monotonic(), False
        try:
            explorer = self._explorer(choice)
            self._report("drawing", SHOWN)
            self.show(explorer)
            later = lambda words, done: self._report(words, SHOWN + (1 - SHOWN) * done)  # noqa: E731
            side = explorer.complete(later)[0]
            seconds, (name, share) = time.monotonic() - start, side.classes[0]
            if side.controls is not None:
                name = side.controls.original.says
            message = f"{side.title}: {name}, {share:.0%} ({seconds:.1f} s)."
            if side.controls is not None and side.controls.note:
                message += f" But {side.controls.note}"
        except Cancelled:
            message = "Cancelled."
        except Exception as error:
            fault = self._visitors and not meant_for_readers(error)  # of which they hear nothing
            logger.log(logging.WARNING if fault else logging.DEBUG, "a run failed", exc_info=True)
            message, failed = self._told(error, choice), True
        self.chooser.finish(message, failed)

    def _told(self, error: Exception, choice: Choice) -> str:
        """What to say of an error; a visitor knows files by their names, not their places."""
        words = sentence(error)
        for file in (choice.clip, choice.second):
            if self._visitors and file is not None:
                words = words.replace(str(file.path), file.name)
        return told(error, words, self._visitors)

    def _explorer(self, choice: Choice) -> Explorer:
        name = choice.model
        if name == AUTO:
            self._report("choosing the model", 0.0)
            name = model_for(read_clip(choice.clip, SHAPE, choice))
        self._report("loading the model", 0.01)
        model = load_model(name)  # each run its own: the explorer before still asks its one
        self._report("reading the clip", 0.02)
        clip = read_clip(choice.clip, shape_of(model), choice)
        compare: Clip | Edit | str | None = None
        edited = ""
        if choice.compare == REVERSED:
            compare = REVERSED
        elif choice.second is not None:
            compare = read_clip(choice.second, shape_of(model), choice)
        elif choice.compare:
            direction = choice.compare.removeprefix("mute ")
            if direction not in model.config.directions:
                raise ValueError(f"Compare: {name} has no {direction} scans that could be muted.")
            compare, edited = partial(mute, direction=direction), f"{direction} scans muted"
        question = Question(
            budget_gib=self._budget_gib,
            progress=False,
            model_name=name,
            report=lambda words, done: self._report(words, BEFORE + (SHOWN - BEFORE) * done),
        )
        return side_by_side(model, clip, compare, question, edited)

    def _report(self, words: str, done: float) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.chooser.tell(words, done)


def read_clip(file: ChosenFile, shape: tuple[int, int], choice: Choice) -> Clip:
    """Read a chosen file under the name that its owner gave it.

    Args:
        file: The file.
        shape: How many frames, and their side in pixels.
        choice: Which frames.

    Raises:
        ClipError: it cannot be read; the message has that name.
    """
    if file.uploaded:
        check_uploaded(file.path, file.name)
    try:
        clip = as_clip(file.path, shape, stride=choice.stride, start=choice.start)
    except ClipError as error:
        if not file.uploaded:
            raise
        raise ClipError(str(error).replace(str(file.path), file.name)) from None
    assert isinstance(clip, Clip)
    return replace(clip, source=file.name)


def sentence(error: Exception) -> str:
    """Say what went wrong to somebody who cannot see the code."""
    if meant_for_readers(error):
        return str(error)
    return (
        f"Something unexpected: {type(error).__name__}: {error}. That is a fault of this program; "
        "please report it with the clip's format and what `vmamba-explore info` prints."
    )
