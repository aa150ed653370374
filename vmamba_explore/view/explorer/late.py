"""What an explorer shows before everything is computed, and who computes the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vmamba_explore.view.explorer.exploration import Exploration
from vmamba_explore.view.progress import Report


class _Replaced(Exception):
    """What is being computed belongs to a side that is shown no more."""


class Sides:
    """The sides that are shown, completed one after the other by whoever wants them.

    Args:
        sides: One or two.
        added: Called with the sides when one of them has become complete.

    Attributes:
        now: What is shown.
        unchanged: The same without changes of the model.
        lock: To be held while `now` is replaced.
    """

    def __init__(
        self,
        sides: tuple[Exploration, ...],
        added: Callable[[tuple[Exploration, ...]], None],
    ) -> None:
        self.now = self.unchanged = sides
        self.lock = threading.RLock()
        self._computing = threading.Lock()
        self._added = added

    def catch_up(self, report: Report | None) -> None:
        """Compute what is missing; where another thread does so, wait for it.

        Args:
            report: Told what is being done; what it raises stops the work.
        """
        with self._computing:
            done = 0
            while missing := [side for side in self.now if side.later is not None]:
                side = missing[0]
                tell = None if report is None else self._told_of(side, report, done, len(missing))
                done += 1
                try:
                    found = side.complete(tell)
                except _Replaced:
                    continue
                with self.lock:
                    self.now, self.unchanged = (
                        tuple(found if each is side else each for each in sides)
                        for sides in (self.now, self.unchanged)
                    )
                    self._added(self.now)

    def _told_of(self, side: Exploration, report: Report, done: int, missing: int) -> Report:
        """The report of one side of several; it ends the work when the side is shown no more."""

        def tell(words: str, share: float) -> None:
            if side not in self.now:
                raise _Replaced
            report(words, (done + share) / (done + missing))

        return tell
