"""Medians of interleaved rounds, on the CPU and on a GPU.

Every round runs every implementation in turn, and starts with another one each time, so that a
machine that slows down or speeds up does so for all. A short one runs several times a round. Before
each, the machine rests for a moment: torch's threads spin for a while after their last job, and
would take a core from whoever comes next.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

Run = Callable[[], object]
ROUND_SECONDS = 0.02  # what one implementation gets in a round, at least
MOST_CALLS = 20
SLOW = 5.0  # seconds; what takes longer than this is called twice in all, and timed once
REST = 0.005


class Timing(NamedTuple):
    """Milliseconds of one call: on the clock, and of the processor, summed over its threads."""

    clock: float
    core: float
    rounds: int


def interleaved(runs: dict[str, Run], rounds: int, gpu: bool = False) -> dict[str, Timing]:
    """Time every implementation; the calls that compile are not counted.

    Args:
        runs: Implementation -> function of no arguments, called before (so that it has compiled).
        rounds: How many times each one has its turn.
        gpu: Take the clock from the GPU's own events.
    """
    clock = _gpu_clock if gpu else _cpu_clock
    first = {name: clock(run, 1) for name, run in runs.items()}
    calls = {
        name: max(1, min(MOST_CALLS, round(ROUND_SECONDS / max(seconds, 1e-9))))
        for name, (seconds, _) in first.items()
    }
    times = {name: [once] if once[0] > SLOW else [] for name, once in first.items()}
    names = [name for name, once in times.items() if not once]
    for turn in range(rounds):
        start = turn % max(1, len(names))
        for name in names[start:] + names[:start]:
            time.sleep(REST)
            times[name].append(clock(runs[name], calls[name]))
    return {
        name: Timing(
            1e3 * statistics.median(clock for clock, _ in measured),
            1e3 * statistics.median(core for _, core in measured),
            len(measured),
        )
        for name, measured in times.items()
    }


def _cpu_clock(run: Run, calls: int) -> tuple[float, float]:
    """Seconds of one call: clock, processor."""
    clock, core = time.perf_counter(), time.process_time()
    for _ in range(calls):
        run()
    return (time.perf_counter() - clock) / calls, (time.process_time() - core) / calls


def _gpu_clock(run: Run, calls: int) -> tuple[float, float]:
    """The same; the clock is the GPU's, from the first kernel of the first call to the last."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    core = time.process_time()
    start.record()
    for _ in range(calls):
        run()
    end.record()
    core = time.process_time() - core
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / calls, core / calls


def graphed(run: Run) -> Run:
    """The same work as one CUDA graph: without the time that launching its kernels takes.

    Raises:
        RuntimeError: the work waits for the GPU somewhere, and cannot be a graph.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # capture wants everything compiled and allocated beforehand
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def replay() -> object:
        graph.replay()
        return result

    return replay
