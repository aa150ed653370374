"""Time the kernels: by shape and type, beside the definition, the yardstick and installed peers.

    python kernels/bench/run.py            # the CPU, and the GPU where there is one
    python kernels/bench/run.py --quick    # a small shape, in seconds; writes nothing

A full run writes results/cpu.json (gpu.json) and the tables of kernels/README.md. Quote no
milliseconds of a busy machine: the load before and after stands beside them. `--tables` makes the
tables again from JSON files, so that those of another machine can be brought along.
"""

import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from cases import QUICK, Case, Setting, Shape, names
from limits import Cpu, Gpu, Instructions, this_cpu, this_gpu
from peers import find
from report import number, rewrite, tables, write
from timing import graphed, interleaved
from torch import Tensor
from vector import per_exponential

import vmamba_kernels

CLIP = Shape(1, 768, 1569, 16)  # VideoMamba-S, 16 frames
PLAN = {  # (shape, type); cases that keep states come with the first type only
    "cpu": (
        (CLIP, torch.float32),
        (Shape(32, 128, 513, 16), torch.float32),
        (CLIP, torch.bfloat16),
    ),
    "gpu": (
        *((CLIP._replace(batch=batch), torch.bfloat16) for batch in (1, 8, 32)),
        (CLIP._replace(seqlen=12545), torch.bfloat16),  # 128 frames
        *((CLIP._replace(batch=batch), torch.float32) for batch in (1, 32)),
        (CLIP._replace(batch=32), torch.float16),
    ),
}
WRONG = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative difference from naive above which an implementation did some other work."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels.")
    parser.add_argument("--quick", action="store_true", help="one small shape; writes nothing")
    parser.add_argument("--cases", default="", help="only cases with this text; writes nothing")
    parser.add_argument("--no-write", action="store_true", help="only print")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: all there are")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, at least 5")
    parser.add_argument("--tables", action="store_true", help="only write the README, from JSON")
    options = parser.parse_args()
    if options.tables:
        return rewrite()
    for backend in vmamba_kernels.backends():
        if backend.name == "naive" or options.device not in (None, backend.name):
            continue
        if not backend.available or (backend.name == "gpu" and not torch.cuda.is_available()):
            print(f"Not timed: {backend.name}. {backend.reason}.")
            continue
        plan = PLAN[backend.name]
        if options.quick:
            plan = tuple((QUICK, dtype) for dtype in dict.fromkeys(dtype for _, dtype in plan))
        measured = measure(backend.name, plan, options.cases, max(5, options.rounds))
        text = tables(measured)
        print("\n" + text)
        if not (options.quick or options.cases or options.no_write):
            write(backend.name, measured, text)


def measure(
    backend: str, plan: tuple[tuple[Shape, torch.dtype], ...], wanted: str, rounds: int
) -> dict[str, Any]:
    """Run the cases of a plan on one backend: everything that the JSON file holds."""
    load, device = os.getloadavg()[0], "cuda" if backend == "gpu" else "cpu"
    peers, missing = find(device)
    for name, reason in missing.items():
        print(f"Without {name}: {reason}")
    rates = this_gpu() if backend == "gpu" else this_cpu()
    results: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    instructions: Instructions = {}
    for shape, dtype in plan:
        setting = Setting(shape, dtype, backend, peers)
        for name, make in names(main_only=dtype != plan[0][1]):
            if wanted in name:
                given = {"case": name, "shape": str(shape), "dtype": str(dtype).split(".")[1]}
                rows, failed = timed(name, make, setting, rates, rounds, instructions)
                results += [given | row for row in rows]
                failures += [given | row for row in failed]
                show(given, rows, failed)
                if backend == "gpu":
                    torch.cuda.empty_cache()
    return {
        "machine": machine(backend),
        "peers": {peer.name: peer.version for peer in peers},
        "missing": missing,
        "rounds": rounds,
        "load": [load, os.getloadavg()[0]],
        "rates": rates._asdict(),
        "instructions_per_exponential": instructions,
        "limits": rates.described(instructions),
        "results": results,
        "failures": failures,
    }


def timed(
    name: str,
    make: Callable[[Setting], Case],
    setting: Setting,
    rates: Cpu | Gpu,
    rounds: int,
    instructions: Instructions,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Time one case: a row for each implementation, and why some have none."""
    failed: list[dict[str, str]] = []
    gpu = setting.backend == "gpu"

    def attempt(implementation: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:  # foreign code, other types, memory: the others still run
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            failed.append({"implementation": implementation, "reason": reason})
            return None

    case = attempt("ours", lambda: make(setting))
    if case is None:
        return [], failed
    failed += [{"implementation": key, "reason": why} for key, why in case.left_out.items()]
    runs, work = dict(case.runs), dict(case.work)
    if gpu and setting.shape.batch == 1:
        replay = attempt("ours, CUDA graph", lambda: graphed(case.runs["ours"]))
        if replay:
            runs["ours, CUDA graph"], work["ours, CUDA graph"] = replay, work["ours"]
    outputs = {key: attempt(key, run) for key, run in runs.items()}
    runs = {key: run for key, run in runs.items() if outputs[key] is not None}
    errors = {
        key: None if key == "scan alone" else difference(x, outputs.get("naive"))
        for key, x in outputs.items()
    }
    del outputs
    if not gpu and "ours" in runs and name not in instructions:
        found = per_exponential(runs["ours"])
        if found:
            instructions[name] = found
    rows = []
    measured = attempt("all", lambda: interleaved(runs, rounds, gpu)) or {}
    for key, timing in measured.items():
        row: dict[str, Any] = {"implementation": key, "ms": timing.clock, "core_ms": timing.core}
        error = errors[key]
        row |= {"rounds": timing.rounds, "error": error}
        limit = rates.limit(work[key], instructions.get(name)) if key in work else None
        rows.append(row | ({"limit_ms": limit.ms, "binds": limit.binds} if limit else {}))
        if error is not None and not error < WRONG[setting.dtype]:  # NaN too
            reason = f"differs from naive by {error:.1e}"
            failed.append({"implementation": key, "reason": reason})
    return rows, failed


def difference(result: Any, truth: Any) -> float | None:
    """Relative error of y or of each gradient, the largest; None without a truth."""
    if result is None or truth is None:
        return None
    ours, true = ([x] if isinstance(x, Tensor) else list(x) for x in (result, truth))
    return max(
        ((a.double() - b.double()).norm() / b.double().norm()).item()
        for a, b in zip(ours, true, strict=False)
    )


def machine(backend: str) -> dict[str, Any]:
    """What kind of machine this is, and what runs on it."""
    import llvmlite.binding as llvm

    kind: dict[str, Any] = {"system": f"{platform.system()} {platform.machine()}"}
    kind |= {"torch": torch.__version__, "python": platform.python_version()}
    if backend == "gpu":
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        kind |= {"GPU": torch.cuda.get_device_name(), "capability": capability}
        return kind | {"triton": version("triton")}
    kind |= {"processor": llvm.get_host_cpu_name(), "cores": os.cpu_count()}
    kind |= {"threads": torch.get_num_threads(), "vectors": torch.backends.cpu.get_cpu_capability()}
    return kind | {"llvmlite": version("llvmlite")}


def show(given: dict[str, str], rows: list[dict[str, Any]], failed: list[dict[str, str]]) -> None:
    """Print one case as soon as it is known."""
    print(" | ".join(given.values()))
    for row in rows:
        once = ", once" if row["rounds"] == 1 else ""
        print(f"    {row['implementation']:20} {number(row['ms']):>8} ms{once}")
    for row in failed:
        print(f"    {row['implementation']:20} {row['reason']}", flush=True)


if __name__ == "__main__":
    main()
