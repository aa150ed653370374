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

import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from common import GIB, MIB, markdown, options_for
from model_runs import MODELS, OURS

FRAMES = (8, 16, 32, 64, 128)
DEFAULT_MODELS = tuple(MODELS)[:4]
MODES = {"forward": "Forward pass", "training": "Training step"}
DTYPES = ("float32", "bfloat16")
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
    parser = options_for(__doc__)
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


# ---------------------------------------------------------------- models.md


def tables(results, missing):
    """The results as markdown.

    Args:
        results: What models.json holds.
        missing: Model -> why it could not be measured at all.
    """
    names = [n for n in MODELS if any(key.endswith("/" + n) for key in results["memory"])]
    lines = ["# Whole models", "", "| model | parameters | what |", "|---|---|---|"]
    for name in names:
        counts = [
            cell["parameters"]
            for key, cell in results["memory"].items()
            if key.endswith("/" + name) and "parameters" in cell
        ]
        size = f"{min(counts) / 1e6:.1f} M" if counts else ""
        lines.append(f"| {MODELS[name][0]} | {size} | {MODELS[name][1]} |")
    lines += [f"| {MODELS[n][0]} | not measured | {reason} |" for n, reason in missing.items()]
    for mode, dtype in itertools.product(MODES, DTYPES):
        keys = [k for k in results["memory"] if k.startswith(f"{mode}/{dtype}/")]
        frames = sorted({int(key.split("/")[2]) for key in keys})
        if frames:
            lines += ["", f"## {MODES[mode]}, {dtype}", ""]
            lines += time_table(results, mode, dtype, frames, names)
            lines += ["", *memory_table(results, mode, dtype, frames, names)]
    lines += ["", *footnotes(results)]
    return "\n".join(lines) + "\n"


def time_table(results, mode, dtype, frames, names):
    peers = [name for name in names if name != OURS]
    header = ["frames", f"{OURS}, s"]
    for peer in peers:
        header += [f"{MODELS[peer][0]}, s", f"{OURS} / {MODELS[peer][0]}"]
    rows, medians = [], {name: {} for name in names}
    for n in frames:
        seconds = results["time"].get(f"{mode}/{dtype}/{n}", {}).get("seconds", {})
        for name, rounds in seconds.items():
            medians[name][n] = statistics.median(rounds)
        row = [str(n), shown(medians.get(OURS, {}).get(n))]
        for peer in peers:
            pairs = zip(seconds.get(OURS, []), seconds.get(peer, []), strict=False)
            ratios = [a / b for a, b in pairs]
            row += [shown(medians[peer].get(n)), shown(ratios and statistics.median(ratios))]
        rows.append(row)
    row = ["exponent", exponent(medians.get(OURS, {}))]
    for peer in peers:
        row += [exponent(medians[peer]), ""]
    return markdown(header, [*rows, row])


def memory_table(results, mode, dtype, frames, names):
    rows = []
    for n in frames:
        row = [str(n)]
        for name in names:
            cell = results["memory"].get(f"{mode}/{dtype}/{n}/{name}", {})
            row.append(
                f"{cell['peak_bytes'] / MIB:,.0f} ({cell['above_loaded_bytes'] / MIB:,.0f})"
                if "peak_bytes" in cell
                else "–"
            )
        rows.append(row)
    header = ["frames"] + [f"{MODELS[n][0]}, peak MiB (above the loaded model)" for n in names]
    return markdown(header, rows)


def footnotes(results):
    machine = results["machine"]
    lines = [
        f"Machine: {machine['name']}, {machine['threads']} threads (OMP_WAIT_POLICY "
        f"{machine['OMP_WAIT_POLICY']}; freed memory {machine['freed memory']} between "
        f"operations), torch {machine['torch']}, transformers "
        f"{machine['transformers']}, torchvision {machine['torchvision']}. One clip "
        "of 224 x 224 pixels. Seconds are medians of rounds in which the models run in turn; a "
        "ratio is the median of the ratios within the rounds, below 1 where kaist_small is "
        "faster. The exponent p is that of seconds = c frames^p, fitted by least squares, ± its "
        "standard error."
    ]
    loads = [load for cell in results["time"].values() for load in cell.get("load", [])]
    if loads:
        lines.append(f"Load of the machine while timing: {min(loads):.1f} to {max(loads):.1f}.")
    revisions = sorted(
        {c["revision"] for part in ("memory", "time") for c in results[part].values()}
    )
    lines.append(f"Revisions measured: {', '.join(revisions)}.")
    left_out = [
        f"- {key.replace('/', ', ')}: {cell['left_out']}"
        for part in ("memory", "time")
        for key, cell in results[part].items()
        if "left_out" in cell
    ]
    return ["\n\n".join(lines)] + (["", "Left out:", "", *left_out] if left_out else [])


def exponent(medians):
    from vmamba_explore.studies.scaling.fit import fit_exponent, make_curve

    if len(medians) < 3:
        return ""
    law = fit_exponent(make_curve("", "", "s", medians))
    return f"{law.exponent:.2f} ± {law.standard_error:.2f}"


def shown(value):
    return f"{value:.3g}" if value else "–"


if __name__ == "__main__":
    main()
