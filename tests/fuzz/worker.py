"""A process that sends cases through one door; what kills it kills nothing else.

    python -m tests.fuzz.worker DOOR SEED EXAMPLES SECONDS FOLDER [SIGNATURE …]

DOOR is module:name, FOLDER an empty one for its files, and findings of these signatures are counted
but not looked into again. It prints nothing: `report` holds what came of it, `case` the case
that was under way, `trace` where a crash or a hang was.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import logging
import os
import pickle
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import hypothesis

from tests.fuzz.door import HANGS, Door, message_fault
from tests.fuzz.findings import Finding, Report
from tests.fuzz.known import is_known
from tests.fuzz.watch import Watch

PACKAGES = ("vmamba_explore", "vmamba_kernels")


def where(error: BaseException) -> str:
    """Say where an error was raised: the last function of the package, then the last of all."""
    ours = last = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", "?"))
        last = f"{module}.{frame.f_code.co_name}"
        if module.partition(".")[0] in PACKAGES:
            ours = last
    return ours if ours == last else f"{ours} <- {last}"


def is_ours(error: BaseException) -> bool:
    """Whether the package itself raised an error, rather than what it calls."""
    place = where(error)
    return place.startswith(PACKAGES) and " <- " not in place


def general(text: str) -> str:
    """Return a text without what differs from case to case: numbers, names in quotes, paths."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", text)
    text = re.sub(r"(?:/[\w.@:+-]+)+", "/…", text)
    return re.sub(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f]*\b|\d+", "N", text)[:160]


class Sender:
    """Sends cases through a door and judges what comes back."""

    def __init__(self, door: Door, folder: Path) -> None:
        self.door, self.folder, self.watch = door, folder, Watch(folder)
        self.trace = (folder / "trace").open("w")
        faulthandler.enable(self.trace)
        gc.freeze()  # what was imported need not be looked through after every case

    def send(self, case: Any) -> tuple[str, Finding | None]:
        """Send a case; return what to count it as, and what is wrong.

        What a call did to the process counts where it does it again: a first call imports modules
        and fills caches.
        """
        self._note(case)
        for last in (False, True):
            outcome, fault, detail = self._call(case)
            done = "" if fault else self._process_fault()
            if fault or not done or last:
                break
        if not fault and not done:
            return outcome, None
        signature = f"{self.door.name}: {fault or general(done)}"
        return "finding", Finding(signature, repr(case)[:4000], f"{done}\n{detail}")

    def _note(self, case: Any) -> None:
        noted = Finding("", repr(case)[:4000], files=self.door.files(case))
        (self.folder / "case").write_bytes(pickle.dumps(noted))

    def _call(self, case: Any) -> tuple[str, str | None, str]:
        """Return what came, what is wrong with it, and a traceback; no error is kept."""
        door, watch = self.door, self.watch
        for place in (watch.work, watch.temporary):
            shutil.rmtree(place)
            place.mkdir()
        os.chdir(watch.work)
        outcome, fault, detail = "a value", None, ""
        faulthandler.dump_traceback_later(HANGS * door.seconds, exit=True, file=self.trace)
        watch.start(memory_mib=door.memory_mib, starts=door.starts)
        with watch.quiet():
            try:
                door.call(case, watch.work)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                outcome, fault = type(error).__name__, self._error_fault(error)
                detail = "".join(traceback.format_exception(error))
        watch.stop()
        faulthandler.cancel_dump_traceback_later()
        os.chdir(watch.work)
        return outcome, fault, detail

    def _error_fault(self, error: BaseException) -> str | None:
        if isinstance(error, AssertionError) and not isinstance(error, self.door.allowed):
            return general(f"{error}".strip().partition("\n")[0])
        if not isinstance(error, self.door.allowed) and not self.door.ours(error):
            return f"{type(error).__name__} in {where(error)}"
        if fault := message_fault(error):
            return f"{type(error).__name__} with {fault} in {where(error)}"
        return None

    def _process_fault(self) -> str:
        door = self.door
        faults = self.watch.faults(
            seconds=door.seconds, writes=door.writes, draws=door.draws, prints=door.prints
        )
        return faults[0] if faults else ""


def run(
    door: Door, seed: int, examples: int, seconds: float, folder: Path, known: set[str]
) -> Report:
    """Send so many cases, or for so long; hypothesis makes each finding as small as it can."""
    (folder / "seeds").mkdir()
    cases = door.cases(folder / "seeds")
    sender, report = Sender(door, folder), Report()
    ends = time.monotonic() + seconds
    kinds: dict[str, type[Exception]] = {}

    def one(case: Any) -> None:
        if time.monotonic() > ends:
            return
        outcome, finding = sender.send(case)
        report.tried += 1
        report.outcomes[outcome] += 1
        if finding is None or finding.signature in known:
            return
        finding.files = door.files(case)
        report.findings[finding.signature] = finding  # hypothesis tries smaller ones only
        report.write(folder / "report")
        if is_known(finding.signature):
            known.add(finding.signature)
            return
        raise kinds.setdefault(finding.signature, type("Found", (Exception,), {}))

    batch = 0
    while report.tried < examples and time.monotonic() < ends:
        settings = hypothesis.settings(
            max_examples=max(1, min(200, examples - report.tried)),
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            verbosity=hypothesis.Verbosity.quiet,
        )
        before = report.tried
        try:
            hypothesis.seed(seed * 1000 + batch)(settings(hypothesis.given(cases)(one)))()
        except Exception:
            if not report.findings.keys() - known:
                raise  # not a finding, but a fault of the strategy
        known |= report.findings.keys()
        batch += 1
        if report.tried == before:
            break  # there are no further cases
    report.write(folder / "report")
    return report


def main() -> None:
    """Run what the command line says."""
    name, seed, examples, seconds, folder, *known = sys.argv[1:]
    warnings.simplefilter("ignore", hypothesis.errors.HypothesisWarning)
    logging.getLogger().addHandler(logging.NullHandler())  # as an application has one of its own
    module, _, attribute = name.partition(":")
    door = getattr(importlib.import_module(module), attribute)
    run(door, int(seed), int(examples), float(seconds), Path(folder), set(known))


if __name__ == "__main__":
    main()
