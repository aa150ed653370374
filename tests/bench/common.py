"""What the measurements share: memory, processes of their own, seconds, Markdown tables."""

import argparse
import contextlib
import ctypes
import gc
import json
import pathlib
import subprocess
import sys
import time

MIB, GIB = 2**20, 2**30


def options_for(doc, rows=None):
    """The command line of a measurement; `rows` is the file of what was measured before."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    if rows is not None:
        parser.add_argument("--rows", type=pathlib.Path, default=pathlib.Path("runs") / rows)
    return parser


def subject_options(doc, rows=None):
    """As `options_for`, for a measurement that there is of several models."""
    parser = options_for(doc, rows)
    parser.add_argument(
        "--subject",
        default="motion-nano",
        help="which bundled model, with clips of its own: motion-nano, recall-nano or camera-nano",
    )
    return parser


def chosen_subject(options):
    """The subject that was asked for."""
    from vmamba_explore.studies.scorecard.subjects import SUBJECTS

    if options.subject not in SUBJECTS:
        sys.exit(f"--subject is {options.subject}, expected {', '.join(SUBJECTS)}.")
    return SUBJECTS[options.subject]


def named(name, subject):
    """A file's name for a subject; those of motion-nano have the plain name."""
    stem, _, end = name.rpartition(".")
    return name if subject.model == "motion-nano" else f"{stem}_{subject.model}.{end}"


def give_back_freed_memory():
    """Let the allocator keep nothing for later, which would hide what a run takes."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak():
    """Begin anew to note the resident memory of this process at most, on Linux."""
    give_back_freed_memory()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def resident(which):
    """Bytes of resident memory: "VmRSS" now, "VmHWM" at most."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux: the peak stands in for both
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    (line,) = (line for line in lines if line.startswith(which))
    return int(line.split()[1]) * 1024


def in_own_process(script, *words):
    """Run a script in a fresh process, since a peak cannot be taken back; the JSON it ends with."""
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def timed(run, *args):
    """Seconds of one call, and what it returned."""
    started = time.perf_counter()
    result = run(*args)
    return time.perf_counter() - started, result


def markdown(header, rows):
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]
