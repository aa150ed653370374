"""Vector instructions: how many a CPU kernel of ours takes, and how many this machine can do.

Instructions are counted where they cannot hide: in the innermost loops of the optimized LLVM IR of
the kernels that a call compiles. They are counted per exponential, of which the definition says how
many there are (`limits.Work.exponentials`), so it does not matter how a kernel cuts its work into
loops. Loads, stores and broadcasts of a loaded number are not counted: other units do them.

Both numbers are in lanes (float32 numbers), so that the width of a vector register drops out.
"""

import re
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import torch
from timing import interleaved

from vmamba_kernels.jit import native
from vmamba_kernels.jit.ircode import Kernel, Var, fma

MULTIPLIES = {"fmul", "fdiv", "fmuladd", "fma", "sqrt"}  # units that multiply do these alone
OTHERS = {
    *("fadd", "fsub", "fneg", "fabs", "select", "minnum", "maxnum", "rint", "sitofp", "fptosi"),
    *("add", "sub", "shl", "lshr", "ashr", "and", "or", "xor", "smin", "smax", "shufflevector"),
}
TURNS = 200_000
AGAIN = 4  # times each chain advances in one turn of the loop


class Count(NamedTuple):
    """Lane operations of innermost loops: those that multiply, all of them, exponentials."""

    multiplies: int
    operations: int
    exponentials: int


class Peak(NamedTuple):
    """Lane operations a second of all threads: that multiply alone, and of an even mix."""

    multiplies: float
    operations: float


def per_exponential(run: Callable[[], object]) -> tuple[float, float] | None:
    """Vector instructions per exponential of what `run` compiles: that multiply, and all.

    None where they cannot be told, because no loop of the kernels has an exponential.
    """
    counts = [count(optimized(source)) for source in sources(run)]
    multiplies, operations, exponentials = (sum(numbers) for numbers in zip(*counts, strict=True))
    return (multiplies / exponentials, operations / exponentials) if exponentials else None


def sources(run: Callable[[], object]) -> list[str]:
    """The LLVM IR of every kernel that `run` needs, as written; it is compiled anew."""
    texts: list[str] = []
    compile_source = native._compile

    def record(source: str) -> object:
        texts.append(source)
        return compile_source(source)

    with (
        mock.patch.object(native, "_compile", record),
        mock.patch.dict(native._kernels, clear=True),
    ):
        run()
    return texts


def optimized(source: str) -> str:
    """The IR optimized as for running, but with every loop there once: none is unrolled."""
    import llvmlite.binding as llvm

    machine = llvm.Target.from_default_triple().create_target_machine(opt=3)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    builder, module = llvm.create_pass_builder(machine, options), llvm.parse_assembly(source)
    builder.getModulePassManager().run(module, builder)
    return str(module)


def count(text: str) -> Count:
    """Count the lane operations in the innermost loops of LLVM IR."""
    multiplies = operations = exponentials = 0
    for function in re.findall(r"^define .*?^}", text, re.MULTILINE | re.DOTALL):
        blocks = _blocks(function)
        edges = {name: re.findall(r"label %([-$\w.]+)", body) for name, body in blocks.items()}
        inside = set().union(*_innermost_loops(edges))
        for line in "\n".join(blocks[name] for name in sorted(inside)).splitlines():
            kind, lanes = _operation(line)
            operations += lanes
            multiplies += lanes * (kind in MULTIPLIES)
            # the step that every exp2 has: the whole part goes into the exponent's bits
            exponentials += lanes * (kind == "shl" and "i32 23" in line)
    return Count(multiplies, operations, exponentials)


def peak() -> Peak:
    """Measure it: chains of operations that need not wait for each other, on every thread."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    lanes, chains = (16, 20) if wide else (8, 12)  # as many as there are registers for
    return Peak(_rate(lanes, chains, 0), _rate(lanes, chains // 2, chains // 2))


def _rate(lanes: int, multiplies: int, additions: int) -> float:
    """Lane operations a second of all threads, the best of several runs.

    By processor time: where other jobs share the cores, the clock would give them the blame.
    """
    kernel, threads = chains(lanes, multiplies, additions), torch.get_num_threads()
    numbers = torch.full((2 + multiplies + additions, lanes), 0.5) + torch.rand(1)
    numbers[0] = 0.5  # x -> x / 2 + b stays where it is
    arguments = {"numbers": numbers, "out": torch.empty(threads, lanes), "n_turns": TURNS}

    def run() -> None:
        kernel(threads, arguments)

    run()
    core_seconds = min(interleaved({"": run}, 1)[""].core / 1e3 for _ in range(15))
    operations = threads * TURNS * AGAIN * (multiplies + additions) * lanes
    return operations / (core_seconds / threads)


def chains(lanes: int, multiplies: int, additions: int) -> native.Native:
    """A kernel of independent chains x = fma(x, a, b) and x = x + b; a task is one thread's."""
    k = Kernel(lanes, ("numbers", "out", "n_turns"))
    with k.tasks() as task:
        rows = [k.ptr("numbers") + i * lanes for i in range(2 + multiplies + additions)]
        a, b, *first = [row.load() for row in rows]
        xs = [Var(k, x) for x in first]
        with k.loop(k.int("n_turns")):
            for _ in range(AGAIN):
                for i, x in enumerate(xs):
                    x.set(fma(x.get(), a, b) if i < multiplies else x.get() + b)
        total = k.number(0.0)
        for x in xs:
            total = total + x.get()
        (k.ptr("out") + task * lanes).store(total)
    return native.Native(k)


def _operation(line: str) -> tuple[str, int]:
    """The operation of one line and its lanes; 0 lanes if it is none that counts."""
    found = re.match(r"\s+%\S+ = (?:tail |musttail |notail )?(\w+)(.*)", line)
    if not found:
        return "", 0
    kind, rest = found[1], found[2]
    if kind == "call":
        name = re.search(r"@llvm\.(\w+)", rest)
        kind = name[1] if name else ""
    widths = re.findall(r"<(\d+) x ", rest)
    if kind not in MULTIPLIES | OTHERS or not widths:
        return kind, 0
    if kind == "shufflevector":  # as wide as its last type; the same lane everywhere: a broadcast
        return kind, 0 if "zeroinitializer" in rest else int(widths[-1])
    return kind, int(widths[0])


def _blocks(function: str) -> dict[str, str]:
    """Label -> text of each basic block."""
    parts = re.split(r"^([-$\w.]+):.*$", function, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _innermost_loops(edges: dict[str, list[str]]) -> list[set[str]]:
    """The blocks of each loop that has no other loop inside."""
    before: dict[str, set[str]] = {name: set() for name in edges}
    for name, targets in edges.items():
        for target in targets:
            before[target].add(name)
    loops: dict[str, set[str]] = {}
    for last, first in _back_edges(edges):
        body, todo = {first}, [last]
        while todo:  # everything that leads to the jump back without passing the first block
            name = todo.pop()
            if name not in body:
                body.add(name)
                todo += before[name]
        loops.setdefault(first, set()).update(body)
    return [
        body
        for first, body in loops.items()
        if not any(other in body for other in loops if other != first)
    ]


def _back_edges(edges: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Jumps to a block that is still open when blocks are visited in depth."""
    found, opened, done = [], set(), set()
    todo = [(name, False) for name in list(edges)[:1]]
    while todo:
        name, leaving = todo.pop()
        if leaving:
            opened.discard(name)
            done.add(name)
        elif name not in done and name not in opened:
            opened.add(name)
            todo.append((name, True))
            for target in edges[name]:
                if target in opened:
                    found.append((name, target))
                elif target not in done:
                    todo.append((target, False))
    return found
