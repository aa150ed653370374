"""Send damaged files, messages, calls and kills through every door; `make fuzz` runs this.

    python -m tests.fuzz.campaign [--minutes 60] [--seed 0] [--workers N] [--door NAME …]
        [--output FOLDER]

Every worker is a process of its own (see `worker.py`), so a crash ends that one only, and the case
that caused it is saved. Findings go to the output folder: what was sent, and what came.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.door import HANGS
from tests.fuzz.findings import Report
from tests.fuzz.known import is_known

ROOT = Path(__file__).parents[2]
DOORS = {
    "load_clip": "tests.fuzz.videos:LOAD_CLIP",
    "stream_clips": "tests.fuzz.videos:STREAM_CLIPS",
    "check_uploaded": "tests.fuzz.videos:CHECK_UPLOADED",
    "config": "tests.fuzz.checkpoints:CONFIG",
    "weights": "tests.fuzz.checkpoints:WEIGHTS",
    "checkup": "tests.fuzz.checkpoints:CHECKUP",
    "messages": "tests.fuzz.messages:MESSAGES",
    "visitor": "tests.fuzz.messages:VISITOR",
    "tables": "tests.fuzz.tables:TABLES",
    "lists": "tests.fuzz.tables:LISTS",
    "calls": "tests.fuzz.calls:CALLS",
    "kills": "tests.fuzz.writers:KILLS",
    "full_disks": "tests.fuzz.writers:FULL_DISKS",
    "command_line": "tests.fuzz.command_line:COMMAND_LINE",
}
START = 120
"""Seconds that a worker may take besides its cases."""


def work(
    door: str,
    seed: int,
    *,
    examples: int = 10**9,
    seconds: float = 60,
    known: set[str] | None = None,
) -> Report:
    """Run one worker and return what came of it; a crash or a hang is one of its findings.

    Args:
        door: module:name of a Door.
        seed: The same cases for the same seed.
        examples: How many cases at most.
        seconds: When to stop sending.
        known: Signatures that need no further look.
    """
    with tempfile.TemporaryDirectory(prefix="vmamba-fuzz-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        command = [sys.executable, "-m", "tests.fuzz.worker", door, str(seed), str(examples)]
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "TQDM_DISABLE": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        }
        process = subprocess.Popen(
            [*command, str(seconds), str(folder), *(known or ())],
            cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds * (1 + HANGS) + START)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it started, if anything is left
                os.killpg(process.pid, signal.SIGKILL)
        return _came_of(door, process.returncode, said, folder)


def _came_of(door: str, code: int, said: str, folder: Path) -> Report:
    """Read a worker's report; what ended the worker is one of its findings."""
    report = Report.read(folder / "report")
    if code == 0:
        return report
    trace = (folder / "trace").read_text() if (folder / "trace").exists() else ""
    hung = trace.startswith("Timeout")
    if not (folder / "case").exists() or (code > 0 and not hung):
        raise RuntimeError(f"{door}: the worker ended with {code}, not in a call:\n{said}")
    finding = pickle.loads((folder / "case").read_bytes())
    frames = re.findall(r'File "[^"]*/vmamba_([^"]+)\.py", line \d+ in (\S+)', trace)
    place = ".".join(frames[0]).replace("/", ".") if frames else "unknown code"
    what = "hangs" if hung else f"ends the process (signal {-code})"
    finding.signature = f"{door.partition(':')[2].lower()}: {what} in {place}"
    finding.detail = f"{trace}\n{said}"
    report.tried += 1
    report.outcomes["finding"] += 1
    report.findings[finding.signature] = finding
    return report


def campaign(doors: list[str], minutes: float, seed: int, workers: int, output: Path) -> int:
    """Run workers until the time is over, print a table, and return how many findings are new."""
    ends, totals = time.monotonic() + 60 * minutes, {door: Report() for door in doors}
    turns = iter(range(10**9))

    def turn(number: int) -> None:
        door = doors[number % len(doors)]
        total = totals[door]
        share = 60 * minutes / max(1, -(-len(doors) // workers))
        left = min(60.0, 0.7 * share)  # the rest is for starts: every door has a turn
        report = work(
            DOORS[door], seed + number // len(doors), seconds=left, known=set(total.findings)
        )
        total.tried += report.tried
        total.outcomes += report.outcomes
        for signature, finding in report.findings.items():
            if signature not in total.findings:
                total.findings[signature] = finding
                finding.save(output)
                mark = "known" if is_known(signature) else "NEW"
                print(f"{mark}: {signature}", flush=True)

    def turns_of_one() -> None:
        while time.monotonic() < ends:
            turn(next(turns))

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(turns_of_one) for _ in range(workers)]:
            future.result()
    new = 0
    for door, total in totals.items():
        counts = ", ".join(f"{n:,} {what}" for what, n in total.outcomes.most_common())
        news = [signature for signature in total.findings if not is_known(signature)]
        new += len(news)
        print(f"{door:15} {total.tried:8,} cases: {counts}; {len(total.findings)} causes")
    print(f"{new} new findings" + (f", in {output}" if new else ""))
    return new


def main() -> int:
    """Run what the command line says; 1 where there are new findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--door", nargs="+", choices=DOORS, default=list(DOORS))
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"))
    given = parser.parse_args()
    return bool(campaign(given.door, given.minutes, given.seed, given.workers, given.output))


if __name__ == "__main__":
    sys.exit(main())
