"""Runs: work that a browser asks for, in the background, with progress, cancel and one answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from vmamba_explore.view.progress import Cancelled, Report
from vmamba_explore.view.visitors import told

logger = logging.getLogger(__name__)
REMINDER = 2.0
"""Seconds after which progress is sent again, so that a browser knows that the kernel lives."""
Send = Callable[[dict[str, Any], list[bytes]], object]
Work = Callable[[Report], tuple[dict[str, Any], list[bytes]] | None]
"""Does something; what it returns is sent with the last answer."""


class Run:
    """One piece of work, and the requests that wait for its end.

    Args:
        kind: What it does.
        work: Does it; tells the report, which stops it when it is cancelled.
        gives_way: Whether it waits while other runs work.
    """

    def __init__(self, kind: str, work: Work, gives_way: bool) -> None:
        self.kind, self.work, self.gives_way = kind, work, gives_way
        self.waiting: dict[Any, Send] = {}  # by the number of the request
        self.stopped = threading.Event()
        self._told: tuple[str, float | int] = ("", 0.0)
        self._when = 0.0

    def tell(self, words: str, share: float | int) -> None:
        """Send progress, where it is new or the last is a while ago."""
        now = time.monotonic()
        if self._told != (words, share) or now - self._when > REMINDER:
            self._told, self._when = (words, share), now
            self.answer({"progress": share, "words": words})

    def answer(self, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
        """Answer every request that waits."""
        for number, send in list(self.waiting.items()):
            send({"reply": number, **content}, list(buffers))


class Runs:
    """The runs of one widget: one at a time, but for those that give way to the others.

    A newer run of the same kind takes the place of an older one. A request is answered with
    {"reply": its number} and, while the work goes on, "progress" and "words"; at last with "done"
    and what the work returned, with "cancelled", or with "error", a sentence.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: list[Run] = []

    def start(
        self,
        kind: str,
        number: Any,
        work: Work,
        send: Send | None,
        *,
        gives_way: bool = False,
    ) -> None:
        """Start some work; of a kind that gives way and works already, join it.

        Args:
            kind: What it does.
            number: Of the request, any value that a browser sent.
            work: Does it, in a thread of its own.
            send: Sends an answer; None where nothing waits for one.
            gives_way: Whether it waits while other runs work.
        """
        with self._changed:
            same = [run for run in self._open if run.kind == kind and not run.stopped.is_set()]
            run = same[0] if gives_way and same else Run(kind, work, gives_way)
            if send is not None:
                run.waiting[_key(number)] = send
                run.answer({"progress": 0.0, "words": "waiting"})
            if run in same:
                return
            for other in same:
                other.stopped.set()
            self._open.append(run)
            self._changed.notify_all()
        threading.Thread(target=self._do, args=(run,), daemon=True, name=f"run {kind}").start()

    def cancel(self, number: Any = None) -> None:
        """Stop the run that a request waits for; None: all of them."""
        with self._changed:
            for run in self._open:
                if number is None or _key(number) in run.waiting:
                    run.stopped.set()
            self._changed.notify_all()

    def wait(self, seconds: float | int | None = None) -> bool:
        """Wait until nothing runs, or for so many seconds; return whether nothing does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, seconds)

    def close(self) -> None:
        """Stop everything; nothing is answered any more."""
        with self._changed:
            for run in self._open:
                run.waiting.clear()
        self.cancel()

    def _do(self, run: Run) -> None:
        def report(words: str, share: float | int) -> None:
            self._turn(run)
            run.tell(words, share)

        buffers: list[bytes] = []
        answer: dict[str, Any]
        try:
            self._turn(run)
            found, buffers = run.work(report) or ({}, [])
            answer = {"done": True, **found}
        except Cancelled:
            answer = {"cancelled": True}
        except Exception as error:  # one sentence where it was asked
            logger.debug("a run failed", exc_info=True)
            answer = {"error": told(error, f"{error}" or type(error).__name__)}
        with self._changed:  # who asks now is answered by this run, or starts another
            run.answer(answer, buffers)
            self._open.remove(run)
            self._changed.notify_all()

    def _turn(self, run: Run) -> None:
        """Wait until it is the run's turn.

        Raises:
            Cancelled: it was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: run.stopped.is_set() or not self._before(run))
        if run.stopped.is_set():
            raise Cancelled

    def _before(self, run: Run) -> list[Run]:
        """The runs whose turn is before that of one."""
        others = [other for other in self._open if other is not run and not other.gives_way]
        if run.gives_way:
            return others
        return [other for other in others if self._open.index(other) < self._open.index(run)]


def _key(number: Any) -> Any:
    """A number that a browser sent as a key: what cannot be one stands for itself in words."""
    return number if isinstance(number, str | int | float) else repr(number)
