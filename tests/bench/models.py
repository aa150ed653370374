"""Whole models side by side: `python tests/bench/models.py` (part of `make bench`).

`kaist_small` against VideoMAE-S and TimeSformer (Hugging Face transformers) and VideoSwin-T
(torchvision), each where it is installed, all with random weights: one clip of 224 x 224 pixels,
8 to 128 frames, forward pass and training step, float32 and bfloat16, time and peak memory.

Every finished cell is written to models.json at once; another run fills in what is missing
(`--fresh` begins anew), and models.md is written from it. With all lengths of clip this takes hours
on two cores; `--frames 8 16` takes minutes.

* Peak memory: a process of its own for each cell, since a peak cannot be taken back. On a CPU it is
  the resident size (a small model has run before, so that libraries and compiled kernels count as
  loaded); on a GPU what torch's allocator handed out.
* Time: one process for all models of a cell, which run in turn. A ratio is the median over the
  rounds of the ratio within a round; seconds are medians.
* bfloat16: a forward pass with bfloat16 weights, a training step with float32 weights under
  autocast. A training step is forward, loss, backward and AdamW.
* A cell that would not fit into memory or time, judged by shorter clips or by trying under a limit,
  is left out and the reason given.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time

from common import GIB
from model_runs import MODELS
from model_tables import DTYPES, MODES, tables

FRAMES = (8, 16, 32, 64, 128)
DEFAULT_MODELS = tuple(MODELS)[:4]
MIN_ROUNDS = 3
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "MemoryError")
RUNS = pathlib.Path(__file__).with_name("model_runs.py")


class Sweep:
    """Measures what models.json does not have yet.

    Args:
        results: What models.json holds; changed in place.
        options: The command line.
        available: Names of the models to measure.
        worker: `in_a_process`, or a stand-in.
        save: Called after every finished cell.
    """

    def __init__(self, results, options, available, worker, save):
        self.results, self.options, self.available = results, options, available
        self.worker, self.save = worker, save

    def run(self):
        options = self.options
        for mode, dtype in itertools.product(options.modes, options.dtypes):
            for frames in sorted(options.frames):
                fitting = [n for n in self.available if self.memory(mode, dtype, frames, n)]
                self.time(mode, dtype, frames, fitting)

    def memory(self, mode, dtype, frames, name):
        """Measure the peak of one cell unless it is known; whether the cell fits."""
        cells, options = self.results["memory"], self.options
        key = f"{mode}/{dtype}/{frames}/{name}"
        limit = {"limit": options.memory_limit, "run_seconds": options.run_seconds}
        known = cells.get(key)
        if known is not None and not (
            "left_out" in known and any(limit[k] > known["limits"][k] for k in limit)
        ):
            return "left_out" not in known
        reason = self.too_much(mode, dtype, frames, name)
        if reason is not None:
            found = {"left_out": reason}
        else:
            say(f"memory {key}")
            job = {"mode": mode, "dtype": dtype, "frames": frames, "model": name}
            job |= {"device": options.device, "limit": options.memory_limit}
            found = self.worker("memory", job, 120 + 3 * options.run_seconds)
        if "left_out" in found:
            found["limits"] = limit
            say(f"       left out: {found['left_out']}")
        cells[key] = found | {"revision": revision()}
        self.save()
        return "left_out" not in found

    def too_much(self, mode, dtype, frames, name):
        """Why a cell need not be tried, judged by shorter clips; None where it may fit."""
        shorter = []
        for key, cell in self.results["memory"].items():
            *same, length, of = key.split("/")
            if (*same, of) == (mode, dtype, name) and int(length) < frames:
                if "left_out" in cell:
                    return f"{length} frames already: {cell['left_out']}"
                shorter.append((int(length), cell))
        if not shorter:
            return None
        shorter.sort(key=lambda pair: pair[0])
        expected = {
            quantity: extrapolated([(n, cell[quantity]) for n, cell in shorter], frames)
            for quantity in ("above_loaded_bytes", "seconds")
        }
        last = shorter[-1][1]
        needed = last["peak_bytes"] - last["above_loaded_bytes"] + expected["above_loaded_bytes"]
        if needed > 1.05 * self.options.memory_limit:
            return (
                f"would need about {needed / GIB:.0f} GiB, judged by shorter clips; "
                f"{self.options.memory_limit / GIB:.1f} GiB may be used"
            )
        if expected["seconds"] > self.options.run_seconds:
            return (
                f"one run would take about {expected['seconds']:.0f} s, judged by shorter clips; "
                f"--run-seconds is {self.options.run_seconds:.0f}"
            )
        return None

    def time(self, mode, dtype, frames, names):
        """Time the models of one cell in turn, unless that was done for all of them."""
        key, options = f"{mode}/{dtype}/{frames}", self.options
        known = self.results["time"].get(key, {})
        if not names or set(names) <= known.get("seconds", {}).keys():
            return
        names = [n for n in MODELS if n in {*names, *(known.get("seconds", {}))}]
        once = sum(self.results["memory"][f"{key}/{n}"]["seconds"] for n in names)
        affordable = int(options.cell_seconds / once) - 1  # one round is not counted
        rounds = max(MIN_ROUNDS, min(options.rounds, affordable))
        say(f"time   {key}: {', '.join(names)}, {rounds} rounds of about {once:.1f} s")
        job = {"mode": mode, "dtype": dtype, "frames": frames, "models": names, "rounds": rounds}
        job |= {"device": options.device, "limit": options.memory_limit}
        found = self.worker("time", job, 300 + 10 * once * (rounds + 1))
        if "left_out" in found:
            say(f"       left out: {found['left_out']}")
        self.results["time"][key] = found | {"revision": revision()}
        self.save()


def extrapolated(points, frames):
    """The value at `frames`, by the growth between the last two points, at most quadratic."""
    (last, value), power = points[-1], 1.0
    if len(points) > 1:
        before, smaller = points[-2]
        power = math.log(max(value / smaller, 1e-9)) / math.log(last / before)
    return value * (frames / last) ** min(max(power, 1.0), 2.0)


def in_a_process(kind, job, timeout):
    """What a worker found, or {"left_out": reason}."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, str(RUNS), json.dumps({"kind": kind, **job})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)
    except subprocess.TimeoutExpired:
        return {"left_out": f"was stopped after {timeout:.0f} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.strip().splitlines()[-1])
    words = done.stderr
    if done.returncode == -9 or any(sign in words for sign in OUT_OF_MEMORY):
        limit = f"{job['limit'] / GIB:.1f} GiB" if job["device"] == "cpu" else "the GPU's memory"
        return {"left_out": f"does not fit into {limit}"}
    sys.exit(f"{kind} {job} failed:\n{words}")


def main(arguments=None):
    options = read_options(arguments)
    json_path, markdown_path = options.output / "models.json", options.output / "models.md"
    results = {"machine": machine(options.device), "memory": {}, "time": {}}
    if json_path.exists() and not options.fresh:
        results = json.loads(json_path.read_text())
        now = machine(options.device)
        different = [key for key in now if now[key] != results["machine"].get(key)]
        # a peer may be installed in between
        if set(different) - {"transformers", "torchvision"}:
            sys.exit(
                f"{json_path} is of another machine or version ({', '.join(different)} differ): "
                "--fresh begins anew, --output writes elsewhere."
            )
        results["machine"] = now
    missing = {
        name: f"{MODELS[name][2]} is not installed here"
        for name in options.models
        if MODELS[name][2] and importlib.util.find_spec(MODELS[name][2]) is None
    }
    available = [name for name in options.models if name not in missing]

    def save():
        options.output.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (json_path, json.dumps(results, indent=1) + "\n"),
            (markdown_path, tables(results, missing)),
        ):
            new = path.with_name(path.name + ".new")
            new.write_text(text, encoding="utf-8")
            new.replace(path)

    Sweep(results, options, available, in_a_process, save).run()
    save()
    print(markdown_path.read_text(encoding="utf-8"))


def read_options(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = pathlib.Path(__file__).parent
    many = {"nargs": "+"}
    parser.add_argument("--frames", type=int, default=FRAMES, help="lengths of the clip", **many)
    parser.add_argument("--models", choices=MODELS, default=DEFAULT_MODELS, **many)
    parser.add_argument("--modes", choices=MODES, default=MODES, **many)
    parser.add_argument("--dtypes", choices=DTYPES, default=DTYPES, **many)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help=f"timed, at least {MIN_ROUNDS}")
    parser.add_argument("--run-seconds", type=float, default=180, help="longest single run")
    parser.add_argument(
        "--cell-seconds", type=float, default=300, help="fewer rounds where they would take longer"
    )
    parser.add_argument("--memory-gib", type=float, help="default: 85 %% of what is free")
    parser.add_argument("--output", type=pathlib.Path, default=here, help="folder")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    options = parser.parse_args(arguments)
    options.memory_limit = int(
        options.memory_gib * GIB if options.memory_gib else 0.85 * free_memory()
    )
    return options


def free_memory():
    """Bytes that processes could still take, by the system's own estimate."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine(device):
    import torch

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    name = f"{name} ({torch.backends.cpu.get_cpu_capability()})"
    facts = {
        "name": torch.cuda.get_device_name() if device == "cuda" else name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "freed memory": "kept" if "MALLOC_TRIM_THRESHOLD_" in os.environ else "given back",
    }
    for package in ("transformers", "torchvision"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def revision():
    here = pathlib.Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return "unknown"


def say(words):
    print(time.strftime("%H:%M:%S"), words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
